"""Pulling audio from one agent: credit out, bytes in, one frame a tick to the call.

Not here: the messages and the link (`legs/agent.py`), resampling (`resample.py`).
Implements docs/reference/wire.md §3 and docs/explanation/flow-control.md.

Time is the tick passed to `take`; what arrives between two takes belongs to the later one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from telcoflow_sdk.audio.format import BYTES_PER_SAMPLE, TICK_MS, AudioFormat
from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_server.media.routing import Audience

START_LEAD_MS = 60
"""Queued plus requested at the start: one frame being played, one here, one under way."""
MIN_LEAD_MS = 40
"""With less, a reply that takes a millisecond over a tick would already leave a gap."""
MAX_LEAD_MS = 200
"""What an interruption may have to recall, and still a late network's worst."""
MIN_PREFILL_MS = 20
"""One frame in hand covers the jitter of a loopback or a good network."""
MAX_PREFILL_MS = 60
"""More would be heard as a slow answer; who jitters by more has gaps."""
STEP_MS = TICK_MS
"""Lead and prefill change by whole frames: credit is granted in frames."""
STEADY_TICKS = 10_000 // TICK_MS
"""Sound without a gap for 10 s brings lead and prefill one step down: slower than any gap
brings them up, so a link that fails every few seconds keeps what it needs."""
UTTERANCE_PAUSE_TICKS = 250 // TICK_MS
"""Silence longer than this is a pause of the speaker's, not a gap in the link: gaps in the audio
of text-to-speech engines between sentences start at about 300 ms."""
TAIL_TICKS = 2
"""How long a part frame waits for its rest: as long as an answer within the starting lead may
take. With a smaller lead less is queued ahead of it, and it waits correspondingly less."""
MAX_QUEUED_MS = 1_000
"""Five times the largest lead. Only who sends unasked gets there; the newest is discarded."""
MAX_GAPS_LISTED = 1_000
"""A summary's length; all gaps are counted."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Silence of one tick or more inside an utterance.

    Attributes:
        at_ms: When it began, on the call's time axis.
        ms: How long it was.
        cause: Whose fault. Always "unknown": protocol v1 does not tell.
    """

    at_ms: int
    ms: int
    cause: str = "unknown"


@dataclass(frozen=True, slots=True)
class PlayoutStatistics:
    """Where the audio is, how playout adapted, and what went wrong.

    Attributes:
        queued_ms: Received and not yet played.
        outstanding_ms: Requested and not yet received; below 0 after unrequested audio.
        lead_ms: What queued and outstanding are kept at.
        prefill_ms: How much is awaited behind a first frame.
        frames: Ticks that played audio.
        requested_bytes: All requests.
        received_bytes: All payloads, discarded ones included.
        played_bytes: Audio played; padding is not counted.
        cleared_bytes: Dropped by clears.
        discarded_bytes: Dropped because the queue was full or the call was draining.
        gaps: The last `MAX_GAPS_LISTED`.
        gap_count: All of them.
        gap_ms: Their sum.
    """

    queued_ms: float
    outstanding_ms: float
    lead_ms: int
    prefill_ms: int
    frames: int
    requested_bytes: int
    received_bytes: int
    played_bytes: int
    cleared_bytes: int
    discarded_bytes: int
    gaps: tuple[Gap, ...]
    gap_count: int
    gap_ms: int


class _Phase(Enum):
    """What the next tick does with what is queued."""

    IDLE = auto()  # no utterance; what comes begins one
    HOLDING = auto()  # filling up before a start or a restart
    PLAYING = auto()
    STARVED = auto()  # ran dry; the end of the utterance or a gap, which only time tells


class Playout:
    """The audio of one agent between its link and its call's row.

    Conserves samples: everything received is played once, in order, unless a clear, an overrun
    or a drain drops it, and all of that is counted. One thread; never waits.

    Args:
        audio_format: Of the payloads and of the frames.
    """

    def __init__(self, audio_format: AudioFormat) -> None:
        self.audience = Audience.CALLER
        """Of the frame last taken; see `switch`."""
        self._switches: deque[tuple[int, Audience]] = deque()  # bytes queued before each
        self._format = audio_format
        self._frame_bytes = audio_format.frame_bytes
        self._max_queued_bytes = audio_format.ms_to_bytes(MAX_QUEUED_MS)
        self._queue = bytearray()  # whole samples
        self._odd = b""  # first half of a sample whose second half is still to come
        self._phase = _Phase.IDLE
        self._is_draining = False
        self._has_arrived = False  # since the last take
        self._last_arrival_tick = 0
        self._held_since_tick = 0
        self._silent_since_tick: int | None = None  # inside an utterance
        self._steady_ticks = 0
        self._lead_ms = START_LEAD_MS
        self._prefill_ms = MIN_PREFILL_MS
        self._outstanding_bytes = 0
        self._frames = 0
        self._requested_bytes = 0
        self._received_bytes = 0
        self._played_bytes = 0
        self._heard_bytes = 0
        self._cleared_bytes = 0
        self._discarded_bytes = 0
        self._gaps: deque[Gap] = deque(maxlen=MAX_GAPS_LISTED)
        self._gap_count = 0
        self._gap_ms = 0

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
        if self._is_draining:
            self._discarded_bytes += len(payload)
            return None
        stream = self._odd + payload if self._odd else payload
        whole = len(stream) // BYTES_PER_SAMPLE * BYTES_PER_SAMPLE
        self._odd = bytes(stream[whole:])
        fitting = min(whole, self._max_queued_bytes - len(self._queue))
        self._queue += stream[:fitting]
        self._has_arrived = True
        if fitting == whole:
            return None
        self._discarded_bytes += whole - fitting
        return ErrorCode.AUDIO_OVERRUN

    def clear(self) -> int:
        """Drop what is queued and end the utterance; return the bytes dropped.

        What was requested stays requested. At most one request's worth of stale audio may follow.
        """
        dropped = len(self._queue) + len(self._odd)
        self._queue.clear()
        self._switches = deque((0, audience) for _, audience in self._switches)
        self._odd = b""
        self._has_arrived = False
        self._silent_since_tick = None
        self._phase = _Phase.IDLE
        self._cleared_bytes += dropped
        return dropped

    def switch(self, audience: Audience) -> None:
        """Play what is received from now on to others; what is queued keeps its audience.

        The audio before the switch ends with a part frame padded with silence, so that the
        audience changes between two frames. A clear drops audio, never a switch.
        """
        self._discarded_bytes += len(self._odd)
        self._odd = b""
        self._switches.append((len(self._queue), audience))

    @property
    def has_switched(self) -> bool:
        """Whether everything received before the last switch has been played or cleared."""
        return not self._switches

    def next_request(self) -> int:
        """Return how many bytes to request now: one frame, or 0 when nothing is due.

        What is returned counts as requested. Ask again until 0: one request per frame, because
        the published client answers each request with one message, however long (wire.md §3).
        """
        # Audio nobody asked for is a debt that shows in the statistics; the next request writes
        # it off. Were it repaid by requests, each would invite more into a queue already full.
        awaited = max(self._outstanding_bytes, 0)
        lead_bytes = self._format.ms_to_bytes(self._lead_ms)
        if self._is_draining or len(self._queue) + awaited >= lead_bytes:
            return 0
        self._outstanding_bytes = awaited + self._frame_bytes
        self._requested_bytes += self._frame_bytes
        return self._frame_bytes

    def take(self, tick: int, out: NDArray[np.int16]) -> bool:
        """Play one frame.

        Args:
            tick: Number of this tick on the call's axis; must increase.
            out: int16, shape (frame samples,); filled when there is something to play.

        Returns:
            True: `out` is a frame, a part frame's end padded with silence.
            False: nothing to play, or not yet; `out` is as it was.
        """
        if self._has_arrived:
            self._has_arrived = False
            self._last_arrival_tick = tick
            self._note_arrival(tick)
        while self._switches and self._switches[0][0] == 0:
            self.audience = self._switches.popleft()[1]
        if self._phase is _Phase.HOLDING and self._is_filled(tick):
            self._phase = _Phase.PLAYING
        queued = self._switches[0][0] if self._switches else len(self._queue)
        is_frame_due = self._phase is _Phase.PLAYING and queued >= self._frame_bytes
        if is_frame_due or (0 < queued < self._frame_bytes and self._is_tail_due(tick)):
            self._phase = _Phase.PLAYING
            self._note_sound(tick)
            self._play(out)
            return True
        if self._phase is _Phase.PLAYING:
            self._phase = _Phase.STARVED
            self._silent_since_tick = tick
        return False

    def drain(self) -> None:
        """Play out what is held and no more: requests end, late audio is discarded."""
        self._is_draining = True
        self._discarded_bytes += len(self._odd)
        self._odd = b""

    @property
    def is_drained(self) -> bool:
        """Whether a drain was asked for and everything has been played (or cleared)."""
        return self._is_draining and not self._queue

    @property
    def queued_ms(self) -> float:
        """Audio received and not yet played."""
        return self._format.bytes_to_ms(len(self._queue))

    @property
    def heard_ms(self) -> float:
        """Audio played of the utterance in progress, or else of the last one.

        A clear leaves it as it is: what the caller had heard of what was cleared.
        """
        return self._format.bytes_to_ms(self._heard_bytes)

    def statistics(self) -> PlayoutStatistics:
        """Return all counters; they only grow, but for the first four."""
        return PlayoutStatistics(
            queued_ms=self.queued_ms,
            outstanding_ms=self._format.bytes_to_ms(self._outstanding_bytes),
            lead_ms=self._lead_ms,
            prefill_ms=self._prefill_ms,
            frames=self._frames,
            requested_bytes=self._requested_bytes,
            received_bytes=self._received_bytes,
            played_bytes=self._played_bytes,
            cleared_bytes=self._cleared_bytes,
            discarded_bytes=self._discarded_bytes,
            gaps=tuple(self._gaps),
            gap_count=self._gap_count,
            gap_ms=self._gap_ms,
        )

    def _note_arrival(self, tick: int) -> None:
        """Begin an utterance, or go on with one that had run dry."""
        if self._phase is _Phase.STARVED and self._silent_since_tick is not None:
            if tick - self._silent_since_tick <= UTTERANCE_PAUSE_TICKS:
                self._phase = _Phase.HOLDING
                self._held_since_tick = tick
                self._steady_ticks = 0
                self._lead_ms = min(self._lead_ms + STEP_MS, MAX_LEAD_MS)
                self._prefill_ms = min(self._prefill_ms + STEP_MS, MAX_PREFILL_MS)
                return
            self._phase = _Phase.IDLE
        if self._phase is _Phase.IDLE:
            self._phase = _Phase.HOLDING
            self._held_since_tick = tick
            self._silent_since_tick = None
            self._heard_bytes = 0

    def _is_filled(self, tick: int) -> bool:
        """Whether a whole first frame is there, with enough behind it or enough time gone."""
        behind = len(self._queue) - self._frame_bytes
        if behind < 0 or self._switches:
            return bool(self._switches)  # nothing can be added before a switch
        held_ms = (tick - self._held_since_tick) * TICK_MS
        # An utterance whose second frame came along with the first is not made in real time;
        # what is behind it comes as fast as it is asked for.
        is_burst = held_ms == 0 and self._silent_since_tick is None and behind >= self._frame_bytes
        is_deep = behind >= self._format.ms_to_bytes(self._prefill_ms)
        return is_burst or is_deep or held_ms >= self._prefill_ms or self._is_draining

    def _is_tail_due(self, tick: int) -> bool:
        """Whether a part frame is an end: its rest could have come by now."""
        patience = min(TAIL_TICKS, self._lead_ms // TICK_MS - 1)
        is_last = self._is_draining or bool(self._switches)
        return is_last or tick - self._last_arrival_tick >= patience

    def _note_sound(self, tick: int) -> None:
        """Close a gap; otherwise count towards steadiness."""
        if self._silent_since_tick is not None:
            gap = Gap(self._silent_since_tick * TICK_MS, (tick - self._silent_since_tick) * TICK_MS)
            self._silent_since_tick = None
            self._gaps.append(gap)
            self._gap_count += 1
            self._gap_ms += gap.ms
            return
        self._steady_ticks += 1
        if self._steady_ticks == STEADY_TICKS:
            self._steady_ticks = 0
            self._lead_ms = max(self._lead_ms - STEP_MS, MIN_LEAD_MS)
            self._prefill_ms = max(self._prefill_ms - STEP_MS, MIN_PREFILL_MS)

    def _play(self, out: NDArray[np.int16]) -> None:
        length = self._frame_bytes
        if self._switches:
            length = min(length, self._switches[0][0])
            self._switches = deque((at - length, then) for at, then in self._switches)
        played = self._queue[:length]
        del self._queue[:length]
        samples = len(played) // BYTES_PER_SAMPLE
        out[:samples] = np.frombuffer(played, dtype="<i2")
        out[samples:] = 0
        self._frames += 1
        self._played_bytes += len(played)
        if self.audience is not Audience.NOBODY:
            self._heard_bytes += len(played)
