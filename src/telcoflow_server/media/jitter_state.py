"""What a jitter buffer is at one moment, and how it goes on after having been kept elsewhere.

Not here: what it does with a packet and a tick (`jitter.py`), elsewhere (`jitter_array.py`).
Implements docs/explanation/jitter-buffer.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any, Generic, TypeVar

from telcoflow_sdk.audio.format import TICK_MS
from telcoflow_server.media.delay import RelativeDelay
from telcoflow_server.media.pieces import JitterCounts, P
from telcoflow_server.media.sequence import SequenceNumbers
from telcoflow_server.media.steady import SteadyBuffer
from telcoflow_server.media.timeline import TimeLine
from telcoflow_server.media.waiting import Audio, Waiting

T = TypeVar("T")

MAX_HELD_MS = 300
"""The largest depth, a tick of slack and a packet of 60 ms. Who gets there has not been silent
for long; the oldest is discarded."""


class JitterState(Generic[P]):
    """The state of a `JitterBuffer`, see there."""

    def __init__(self, clock_rate_hz: int) -> None:
        if clock_rate_hz < 1000 or clock_rate_hz % 1000:
            raise ValueError(f"clock rate must be a multiple of 1000 Hz, not {clock_rate_hz!r}")
        self._rate_hz = clock_rate_hz
        self._units_per_ms = clock_rate_hz // 1000
        self._tick = TICK_MS * self._units_per_ms
        self._max_held = MAX_HELD_MS * self._units_per_ms
        self._line: TimeLine[P] = TimeLine(clock_rate_hz)
        self._delay = RelativeDelay(clock_rate_hz)
        self._now = -(1 << 62)  # before any clock
        self._counts = JitterCounts()
        self._begin()

    def _begin(self) -> None:
        """Begin a time line: nothing held, nothing known of its numbers."""
        self._numbers = SequenceNumbers()
        self._held: Waiting[P] = []
        self._is_under_way = False  # whether the first one held has been played in part
        self._is_known = False  # whether it has been returned, for that or as what follows a loss
        self._packet_length = self._tick  # of the last packet put
        self._target = self._delay.depth_units(self._tick)
        self._is_playing = False  # False: filling
        self._head = 0
        self._played_until = 0  # end of the last audio played
        self._is_paused = False
        self._comfort: bytes | None = None
        self.wants_silence = False
        self._is_silent = False  # what the last tick played, as far as we were told
        self._run = 0
        self._run_units = 0

    def steady(self) -> SteadyBuffer | None:
        """Return what there is to go on from elsewhere, if nothing is the matter.

        Payloads must be bytes. After `take`: nothing may be put or taken before `catch_up`.
        """
        newest, delay = self._line.newest_place, self._delay.steady()
        held, tick, head = self._held, self._tick, self._head
        is_in_turn = (
            newest is not None
            and newest + tick - head == len(held) * tick
            and self._played_until == head
            and self._packet_length == tick
            and self._numbers.unplayed == len(held)
            and all(
                isinstance(one, Audio) and one[:3] == (place, place + tick, seq)
                for place, seq, one in self._in_turn(head, held)
            )
        )
        is_disturbed = (
            not self._is_playing
            or self.wants_silence
            or self._is_silent
            or self._is_known
            or self._run
            or self._is_paused
            or self._line.stray is not None
        )
        if delay is None or newest is None or is_disturbed or not is_in_turn:
            return None
        payloads: list[Any] = [one.payload for one in held if isinstance(one, Audio)]
        return SteadyBuffer(newest + tick, head, self._target, payloads, delay)

    def count(self, came: int, head: int, fastest_units: int, played_at_s: float) -> None:
        """Count what has happened elsewhere, where that goes on.

        Args:
            came: Packets that have come since `steady` or since this was told last.
            head: Where it is now.
            fastest_units: See `RelativeDelay`.
            played_at_s: Time of the tick that has brought it there.
        """
        self._counts.received += came
        if head != self._head:
            self._now = round(played_at_s * self._rate_hz)
        self._head = self._played_until = head
        self._delay.fastest_units = fastest_units

    def catch_up(self, now: SteadyBuffer, came: int, played: int) -> None:
        """Go on from what elsewhere became of `steady`, after `count`.

        Args:
            now: What there is now.
            came: Packets that have come since `steady`.
            played: Packets that were played since: one a tick.
        """
        tick = self._tick
        self._numbers.catch_up(came, played)
        self._line.newest_place = now.next_place - tick
        payloads: list[Any] = now.held
        self._held = [
            Audio(place, place + tick, seq, payload)
            for place, seq, payload in self._in_turn(now.head, payloads)
        ]
        self._delay.catch_up(now.delay, came)

    def _in_turn(self, head: int, held: list[T]) -> Iterator[tuple[int, int, T]]:
        """Yield place and number of each of those held, if they are the last that came."""
        highest = self._numbers.highest or 0
        return zip(count(head, self._tick), count(highest - len(held) + 1), held, strict=False)
