"""Asking one agent for audio and taking what comes: by requests (v1) or by positions (v2).

Not here: playing it (`playout.py`), the messages (`legs/dialects.py`). Implements
docs/reference/wire.md §3 and "Positions" of docs/reference/wire-v2.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from telcoflow_sdk.audio.format import BYTES_PER_SAMPLE, AudioFormat
from telcoflow_sdk.protocol.codes import CloseCode, ErrorCode
from telcoflow_sdk.protocol.positions import END, MORE, AudioMessage, Position
from telcoflow_server.media.lead import MAX_LEAD_MS
from telcoflow_server.media.playout import Playout

MAX_QUEUED_MS = 1_000
"""Five times the largest lead. Only who sends unasked gets there; the newest is discarded."""

HEARTBEAT_TICKS = 50
"""A client hears a position at least once a second, and so knows that the link is alive."""


@dataclass(frozen=True, slots=True)
class CreditStatistics:
    """What was asked for and what came of it.

    Attributes:
        outstanding_ms: Asked for and not yet received; below 0 after audio nobody asked for.
        received_bytes: All audio that arrived, discarded included.
        discarded_bytes: What was not queued: no room, too late, or already there.
        stale_bytes: Of these, what an interruption had overtaken.
    """

    outstanding_ms: float
    received_bytes: int
    discarded_bytes: int
    stale_bytes: int


class Requests:
    """Credit of protocol v1: one request per frame, kept up to the lead.

    Args:
        playout: Plays what comes.
        audio_format: Of it.
    """

    def __init__(self, playout: Playout, audio_format: AudioFormat) -> None:
        self._playout = playout
        self._format = audio_format
        self._frame_bytes = audio_format.frame_bytes
        self._max_queued_bytes = audio_format.ms_to_bytes(MAX_QUEUED_MS)
        self._odd = b""  # first half of a sample whose second half is still to come
        self._is_ended = False
        self._outstanding_bytes = 0
        self._received_bytes = 0
        self._discarded_bytes = 0

    def receive(self, payload: bytes | memoryview) -> ErrorCode | None:
        """Queue audio. Any length is normal: part frames, odd bytes, several frames, none asked.

        Returns:
            None: queued, or discarded quietly because the call is draining.
            ErrorCode.AUDIO_OVERRUN: more than `MAX_QUEUED_MS` would be queued; what is beyond
                was discarded, and counted.
        """
        # An interrupt does not reset this: the client goes on to serve what it was asked for
        # before it (wire.md §3), so forgetting it would leak one lead per interrupt.
        self._outstanding_bytes -= len(payload)
        self._received_bytes += len(payload)
        if self._is_ended:
            self._discarded_bytes += len(payload)
            return None
        stream = self._odd + payload if self._odd else payload
        whole = len(stream) // BYTES_PER_SAMPLE * BYTES_PER_SAMPLE
        self._odd = bytes(stream[whole:])
        queued_bytes = self._playout.queued_samples * BYTES_PER_SAMPLE
        fitting = min(whole, self._max_queued_bytes - queued_bytes)
        if fitting > 0:
            self._playout.append(stream[:fitting])
        if fitting == whole:
            return None
        self._discarded_bytes += whole - fitting
        return ErrorCode.AUDIO_OVERRUN

    def clear(self) -> int:
        """Drop what is queued; return the bytes.

        What was requested stays requested. At most one request's worth of stale audio may follow.
        """
        dropped_bytes = self._playout.clear() * BYTES_PER_SAMPLE + len(self._odd)
        self._odd = b""
        return dropped_bytes

    def break_sample(self) -> None:
        """What comes next belongs to something else: drop half a sample that waits for its rest."""
        self._discarded_bytes += len(self._odd)
        self._odd = b""

    def end(self) -> None:
        """Ask for no more; what still comes is discarded."""
        self.break_sample()
        self._is_ended = True
        self._playout.expect_no_more()

    def next_request(self) -> int:
        """Return how many bytes to request now: one frame, or 0 when nothing is due.

        What is returned counts as requested. Ask again until 0: one request per frame, because
        the published client answers each request with one message, however long (wire.md §3).
        """
        # Audio nobody asked for is a debt that shows in the statistics; the next request writes
        # it off. Were it repaid by requests, each would invite more into a queue already full.
        awaited = max(self._outstanding_bytes, 0)
        lead_bytes = self._format.ms_to_bytes(self._playout.lead.lead_ms)
        queued_bytes = self._playout.queued_samples * BYTES_PER_SAMPLE
        if self._is_ended or queued_bytes + awaited >= lead_bytes:
            return 0
        self._outstanding_bytes = awaited + self._frame_bytes
        return self._frame_bytes

    def statistics(self) -> CreditStatistics:
        """Return what was asked for and what came of it."""
        return CreditStatistics(
            outstanding_ms=self._format.bytes_to_ms(self._outstanding_bytes),
            received_bytes=self._received_bytes,
            discarded_bytes=self._discarded_bytes,
            stale_bytes=0,
        )


@dataclass(frozen=True, slots=True)
class SteadyWindow:
    """A window that moves with what is played; samples.

    Attributes:
        granted: The furthest that the generation's audio may reach.
        window: How far beyond what was played audio is taken.
        seen: The last text message of the client's, as it was told.
        received: As the client was told last.
        played: Likewise.
    """

    granted: int
    window: int
    seen: int
    received: int
    played: int


class Window:
    """Credit of protocol v2: how far beyond what was played audio is taken.

    Args:
        playout: Plays what comes.
        audio_format: Of it.
    """

    def __init__(self, playout: Playout, audio_format: AudioFormat) -> None:
        self._playout = playout
        self._format = audio_format
        self._samples_per_s = audio_format.sample_rate_hz
        self._max_window = self._samples_per_s * MAX_LEAD_MS // 1000
        self._granted = self._max_window  # the furthest that this generation's audio may reach
        self._may_repeat = True  # a new link begins with what the old one may have brought
        self._told: tuple[int, int, int, int, bool, int] | None = None
        self._silent_ticks = 0
        self._received_bytes = 0
        self._discarded_bytes = 0
        self._stale_bytes = 0

    def receive(self, message: AudioMessage) -> CloseCode | None:
        """Queue audio in its place.

        Returns:
            None: queued, or it was here already, or an interruption had overtaken it.
            CloseCode.BAD_POSITION: it goes back, leaves a hole, or is of no generation.
            CloseCode.CREDIT_OVERRUN: it goes beyond what was granted.
        """
        playout, pcm = self._playout, message.pcm
        size = len(pcm)
        self._received_bytes += size
        if message.generation < playout.generation:
            self._stale_bytes += size
            self._discarded_bytes += size
            return None
        end = message.offset + size // BYTES_PER_SAMPLE
        known = playout.received - message.offset
        is_out_of_place = message.generation > playout.generation or known < 0
        if is_out_of_place or (known > 0 and not self._may_repeat):
            return CloseCode.BAD_POSITION
        if end > self._granted:
            return CloseCode.CREDIT_OVERRUN
        if known:
            self._discarded_bytes += min(size, known * BYTES_PER_SAMPLE)
            pcm = pcm[known * BYTES_PER_SAMPLE :]
        if pcm:
            self._may_repeat = False
            more = message.flags & MORE != 0
            playout.append(pcm, more=more, delay_ms=message.delay_ms)
        if message.flags & END and end == playout.received:
            playout.end_utterance()
        return None

    def clear(self) -> int:
        """Drop what is queued; return the bytes. What is still under way is dropped as it comes."""
        # The client goes by the last window it knows of, which may be any that was announced.
        self._granted = self._max_window
        return self._playout.clear() * BYTES_PER_SAMPLE

    def relink(self) -> None:
        """A new link begins: it may bring again what is here, and knows of no window yet."""
        self._may_repeat = True
        self._told = None

    def steady(self) -> SteadyWindow | None:
        """Return what changes as audio comes in its turn; None: something else is to be expected.

        Between two ticks, after `next_position`. See `Playout.steady`.
        """
        if self._may_repeat or self._told is None:
            return None
        generation, received, played, window, is_paused, seen = self._told
        if is_paused or generation != self._playout.generation:
            return None
        return SteadyWindow(self._granted, window, seen, received, played)

    def catch_up(self, now: SteadyWindow, received_bytes: int) -> None:
        """Count what went on elsewhere as if it had been here: `received_bytes` more came."""
        self._granted = now.granted
        generation = self._playout.generation
        self._told = (generation, now.received, now.played, now.window, False, now.seen)
        self._silent_ticks = 0
        self._received_bytes += received_bytes

    def next_position(self, seen: int) -> Position | None:
        """Return what the client is to be told after this tick, or None when it knows.

        Args:
            seen: The last text message of the client's that arrived.
        """
        playout = self._playout
        generation, received, played = playout.generation, playout.received, playout.played
        window = self._samples_per_s * playout.lead.lead_ms // 1000
        is_paused = playout.is_paused
        news = (generation, received, played, window, is_paused, seen)
        if news == self._told:
            self._silent_ticks += 1
            if self._silent_ticks < HEARTBEAT_TICKS:
                return None
        self._told = news
        self._silent_ticks = 0
        if played + window > self._granted:
            self._granted = played + window
        heard = playout.heard.samples
        return Position(generation, received, played, window, heard, seen, is_paused)

    def statistics(self) -> CreditStatistics:
        """Return what was asked for and what came of it."""
        window_bytes = self._format.ms_to_bytes(self._playout.lead.lead_ms)
        outstanding_bytes = window_bytes - self._playout.queued_samples * BYTES_PER_SAMPLE
        return CreditStatistics(
            outstanding_ms=self._format.bytes_to_ms(outstanding_bytes),
            received_bytes=self._received_bytes,
            discarded_bytes=self._discarded_bytes,
            stale_bytes=self._stale_bytes,
        )
