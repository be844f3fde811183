"""Audio on its way to the server by positions: protocol v2.

Not here: sockets, and waiting (`_asyncio/media.py`); protocol v1 (`outbox.py`).
Implements "Positions" and "Binary messages" of docs/reference/wire-v2.md.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import msgspec

from telcoflow_sdk.audio.format import BYTES_PER_SAMPLE, BytesLike
from telcoflow_sdk.audio.intake import Intake
from telcoflow_sdk.audio.outbox import MAX_AUDIO_BYTES, OutboxStatistics
from telcoflow_sdk.protocol.messages import Place
from telcoflow_sdk.protocol.positions import (
    AUDIO_HEADER_BYTES,
    END,
    MAX_DELAY_MS,
    MORE,
    Position,
    build_audio,
)

_CHANNEL = 0
_MAX_PCM_BYTES = MAX_AUDIO_BYTES - AUDIO_HEADER_BYTES


@dataclass(frozen=True, slots=True)
class Playback:
    """Where the agent's audio is, ms.

    Attributes:
        queued_ms: Waiting in this process.
        in_flight_ms: Sent, and not yet played: under way, or waiting at the server.
        heard_ms: Audible to somebody, since the utterance in progress began.
        is_paused: Whether playback is paused.
        lead_ms: What the server keeps in flight.
    """

    queued_ms: float
    in_flight_ms: float
    heard_ms: float
    is_paused: bool
    lead_ms: float


class _Sent(msgspec.Struct, frozen=True, gc=False):
    """Audio that has left and may not have arrived."""

    offset: int
    end: int
    flags: int
    pcm: bytes


class PositionedOutbox:
    """Turns the application's chunks and the server's positions into messages.

    At any time `written >= sent >= received >= played`, in samples of one generation; what was
    sent and not received is kept, to be sent again over another link. Only whole samples leave.

    Concurrency: `write` from any thread; everything else from the event loop's only. After a
    write on another thread `has_credit` tells whether the loop must be woken.

    Args:
        intake: Holds what was written.

    Attributes:
        generation: How many clears there were; to be read only, like the others.
        sent: Samples of this generation that have left.
        played: Of these, what the server's mix was given.
        is_paused: Whether the server plays nothing for now.
        cleared_sent: `sent` of the generation before this one, when it was cleared.
        cleared_begins: Where in it utterances began, behind the ends of others that were not
            known to have been passed.
    """

    __slots__ = (
        "_again",
        "_buffer",
        "_ends",
        "_granted_at",
        "_heard",
        "_intake",
        "_last_end",
        "_limit",
        "_sent_bytes",
        "_sent_ends",
        "_unreceived",
        "_window",
        "cleared_begins",
        "cleared_sent",
        "generation",
        "is_paused",
        "played",
        "sent",
    )

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._buffer = intake.buffer
        self.generation = 0
        self.sent = 0
        self.played = 0
        self.is_paused = False
        self.cleared_sent = 0
        self.cleared_begins: frozenset[int] = frozenset()
        self._heard = 0
        self._window = 0
        self._limit = 0  # up to where the server takes audio
        self._granted_at = 0.0  # when there was credit again
        self._ends: deque[int] = deque()  # of utterances, not yet sent
        self._last_end = -1  # of the last utterance whose end was sent
        self._sent_ends: deque[int] = deque()  # of those that may not be played yet
        self._unreceived: deque[_Sent] = deque()
        self._again: deque[bytes] = deque()  # what a new link begins with
        self._sent_bytes = 0

    # --- from the application --------------------------------------------------------------

    def write(self, data: BytesLike) -> None:
        """Queue PCM; see `Intake.write`."""
        self._intake.write(data)

    def end_utterance(self) -> None:
        """End the utterance behind what is queued; half a sample is dropped."""
        self._buffer.drop_odd_byte()
        written = self.written
        last = self._ends[-1] if self._ends else self._last_end
        if written != last:
            # Also at 0, where nothing ends: so the server learns that this agent says itself when
            # an utterance ends, before a pause in the first one could be taken for its end.
            self._ends.append(written)

    def clear(self) -> int:
        """Begin the next generation: drop what is queued, the odd byte too.

        New audio may leave at once, as far as the last announced window.

        Returns:
            The bytes dropped here; whole samples.
        """
        ends, written = (*self._sent_ends, *self._ends), self.written
        self.cleared_begins = frozenset(end for end in ends if end < written)
        self._sent_ends.clear()
        dropped_bytes = self._buffer.clear() & ~1
        self.cleared_sent = self.sent
        self.generation += 1
        self.sent = self.played = self._heard = 0
        self.is_paused = False
        self._limit = self._window
        self._ends.clear()
        self._last_end = -1
        self._unreceived.clear()
        self._again.clear()
        return dropped_bytes

    def drop_unsent(self) -> int:
        """Drop what has not left, and keep the generation. Returns the bytes dropped."""
        self._ends.clear()
        return self._buffer.clear() & ~1

    def seal(self) -> None:
        """Fix the end of the goodbye: what is written from now on is discarded and counted."""
        self._buffer.seal()

    def unseal(self) -> None:
        """Take audio again: the call goes on after all."""
        self._buffer.unseal()

    def close(self) -> None:
        """The call is over: drop everything, refuse what is written from now on."""
        self._buffer.close()
        self._buffer.clear()
        self._ends.clear()
        self._unreceived.clear()
        self._again.clear()
        self._limit = self.sent

    # --- to and from the server ------------------------------------------------------------

    def update(self, position: Position, now: float) -> None:
        """Take what the server says of its progress.

        Args:
            position: Of a generation that was cleared since, only the window counts.
            now: When it could have been read: monotonic, seconds.

        Raises:
            ValueError: it claims more than was sent; nothing changed.
        """
        if position.generation != self.generation:
            self._window = position.window
            return
        if not position.played <= position.received <= self.sent:
            raise ValueError(
                f"the server has {position.received} samples and played {position.played} of the "
                f"{self.sent} that were sent"
            )
        self._window = position.window
        had_credit = self.has_credit
        self._limit = position.played + position.window
        if not had_credit and self._limit > self.sent:
            self._granted_at = now
        self.played = position.played
        while self._sent_ends and self._sent_ends[0] < self.played:
            self._sent_ends.popleft()
        self._heard = position.heard
        self.is_paused = position.is_paused
        unreceived = self._unreceived
        while unreceived and unreceived[0].end <= position.received:
            unreceived.popleft()

    def next_message(self, now: float) -> bytes | None:
        """Return the next binary message to send, or None when credit or audio is missing.

        Args:
            now: Monotonic, seconds.
        """
        if self._again:
            return self._again.popleft()
        queued_bytes = self._buffer.queued_bytes
        if not self._ends and (queued_bytes < BYTES_PER_SAMPLE or self._limit <= self.sent):
            return None  # as it mostly is
        credit_bytes = (self._limit - self.sent) * BYTES_PER_SAMPLE
        size = max(0, min(credit_bytes, queued_bytes & ~1, _MAX_PCM_BYTES))
        flags = 0
        if self._ends:
            up_to_end = (self._ends[0] - self.sent) * BYTES_PER_SAMPLE
            if size >= up_to_end:
                size, flags = up_to_end, END
                self._last_end = self._ends.popleft()
                self._sent_ends.append(self._last_end)
        if size == 0 and not flags:
            return None
        pcm = self._buffer.read(size)
        if queued_bytes - size >= BYTES_PER_SAMPLE:
            flags |= MORE
        delay_ms = min(int((now - self._granted_at) * 1000), MAX_DELAY_MS)
        message = build_audio(_CHANNEL, flags, delay_ms, self.generation, self.sent, pcm)
        end = self.sent + size // BYTES_PER_SAMPLE
        self._unreceived.append(_Sent(self.sent, end, flags, pcm))
        self.sent = end
        self._sent_bytes += size
        return message

    def relink(self, generation: int, received: int, now: float) -> None:
        """A new link begins: send again what the server does not have.

        Args:
            generation: As the server knows it; it may have missed a clear, never made one up.
            received: What it has of that generation.
            now: Monotonic, seconds: what waited until now did not wait for this process.

        Raises:
            ValueError: it claims more than was sent, or has lost what it had.
        """
        if generation < self.generation:
            received = 0
        first = self._unreceived[0].offset if self._unreceived else self.sent
        if generation > self.generation or not first <= received <= self.sent:
            raise ValueError(
                f"the server has {received} samples of generation {generation}; of generation "
                f"{self.generation}, {self.sent} were sent and {first} acknowledged"
            )
        self._granted_at = now
        self._again.clear()
        if received in self._sent_ends:
            # That this end arrived is nowhere said.
            self._again.append(build_audio(_CHANNEL, END, 0, self.generation, received, b""))
        for sent in self._unreceived:
            if sent.end > received:
                message = build_audio(
                    _CHANNEL, sent.flags, 0, self.generation, sent.offset, sent.pcm
                )
                self._again.append(message)

    # --- what can be told ------------------------------------------------------------------

    @property
    def queued_bytes(self) -> int:
        """Audio that has not left yet, in whole samples; reaches 0."""
        return self._buffer.queued_bytes & ~1

    @property
    def sent_bytes(self) -> int:
        """Audio that left, over the whole call; what was sent again counts once."""
        return self._sent_bytes

    @property
    def written(self) -> int:
        """Samples of this generation that were written: sent, or queued here."""
        return self.sent + self._buffer.queued_bytes // BYTES_PER_SAMPLE

    @property
    def place(self) -> Place:
        """Behind everything that was written."""
        return Place(self.generation, self.written)

    @property
    def unplayed_ms(self) -> float:
        """How long what was written and not played takes to play."""
        unplayed_bytes = (self.written - self.played) * BYTES_PER_SAMPLE
        return self._intake.audio_format.bytes_to_ms(unplayed_bytes)

    @property
    def is_sealed(self) -> bool:
        """Whether what is written is discarded, or refused."""
        return self._buffer.is_sealed

    @property
    def has_credit(self) -> bool:
        """Whether the server waits for audio."""
        return self._limit > self.sent

    @property
    def fills_request(self) -> bool:
        """Whether there is a whole frame, or as much as the server waits for."""
        credit_bytes = (self._limit - self.sent) * BYTES_PER_SAMPLE
        frame_bytes = self._intake.audio_format.frame_bytes
        return self._buffer.queued_bytes >= min(credit_bytes, frame_bytes)

    @property
    def is_drained(self) -> bool:
        """Whether everything that was written has left."""
        return self._buffer.queued_bytes < BYTES_PER_SAMPLE and not self._ends and not self._again

    def playback(self) -> Playback:
        """Return where the audio is."""
        audio_format = self._intake.audio_format
        return Playback(
            queued_ms=audio_format.bytes_to_ms(self.queued_bytes),
            in_flight_ms=audio_format.bytes_to_ms((self.sent - self.played) * BYTES_PER_SAMPLE),
            heard_ms=audio_format.bytes_to_ms(self._heard * BYTES_PER_SAMPLE),
            is_paused=self.is_paused,
            lead_ms=audio_format.bytes_to_ms(self._window * BYTES_PER_SAMPLE),
        )

    def statistics(self) -> OutboxStatistics:
        """Return what went through."""
        buffer = self._buffer.statistics()
        return OutboxStatistics(
            queued_bytes=buffer.queued_bytes & ~1,
            credit_bytes=max(0, self._limit - self.sent) * BYTES_PER_SAMPLE,
            sent_bytes=self._sent_bytes,
            high_water_bytes=buffer.high_water_bytes,
            rejected_writes=buffer.rejected_writes,
            discarded_bytes=buffer.discarded_bytes,
            cleared_bytes=buffer.cleared_bytes,
            overdue_bytes=0,
        )
