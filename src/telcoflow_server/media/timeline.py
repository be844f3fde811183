"""Where the timestamps of a stream lie, and which packets do not lie there.

Not here: the order of packets (`waiting.py`), when they are played (`jitter.py`).
Implements "How deep" of docs/explanation/jitter-buffer.md, its last paragraph.
"""

from __future__ import annotations

from typing import Generic, NamedTuple

from telcoflow_server.media.pieces import P

JUMP_S = 1
"""A timestamp that differs by more from what its arrival suggests belongs to another time line."""

_HALF = 1 << 31
_MASK = (1 << 32) - 1


class Arrival(NamedTuple, Generic[P]):
    """A packet as the network brought it; see `JitterBuffer.put`."""

    seq: int
    timestamp: int
    arrival_s: float
    payload: P
    length_units: int


class TimeLine(Generic[P]):
    """The time line of one stream, and the last packet that was not on it.

    Args:
        clock_rate_hz: Of the RTP timestamps.

    Attributes:
        newest_place: That timestamps are unwrapped from; None before the first packet.
        discarded: Packets that were on no time line.
        stray: The last packet that was elsewhere, until another one comes. To be read only.
    """

    def __init__(self, clock_rate_hz: int) -> None:
        self._rate_hz = clock_rate_hz
        self._jump_units = JUMP_S * clock_rate_hz
        self.newest_place: int | None = None
        self.discarded = 0
        self.stray: Arrival[P] | None = None

    def restart(self) -> None:
        """Begin another time line."""
        self.newest_place = None
        self.forget_stray()

    def place(self, timestamp: int, arrival_units: int, fastest_units: int | None) -> int | None:
        """Return a timestamp without its wrap: the place nearest to the newest one.

        Args:
            timestamp: Of 32 bits.
            arrival_units: When it came.
            fastest_units: The least transit of late; None before the first packet.

        Returns:
            None: elsewhere, at a time too far from all the others'.
        """
        place, newest = timestamp, self.newest_place
        if newest is not None:  # `advance_between`, for each packet
            place = newest + (timestamp - newest + _HALF & _MASK) - _HALF
        if fastest_units is not None:
            excess = arrival_units - place - fastest_units
            if not -self._jump_units <= excess <= self._jump_units:
                return None
        return place

    def meet_stray(self, stray: Arrival[P]) -> Arrival[P] | None:
        """Keep a packet that is elsewhere.

        Returns:
            The one before, if that was elsewhere too and agrees: they begin a new time line. One
            alone is an error: the rule of RFC 3550 A.1, applied to timestamps.
        """
        before = self.stray
        if before is not None and before.seq != stray.seq:
            elapsed = round((stray.arrival_s - before.arrival_s) * self._rate_hz)
            advance = advance_between(before.timestamp, stray.timestamp)
            if abs(elapsed - advance) <= self._jump_units:
                self.stray = None
                return before
        self.forget_stray()
        self.stray = stray
        return None

    def forget_stray(self) -> None:
        """Discard what was kept: the next packet did not agree."""
        if self.stray is not None:
            self.stray = None
            self.discarded += 1


def advance_between(before: int, after: int) -> int:
    """Return how far a timestamp is ahead of another, the shorter way around 32 bits."""
    return (after - before + _HALF & _MASK) - _HALF
