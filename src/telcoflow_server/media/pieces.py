"""What a jitter buffer returns for a tick, and what it reports of itself.

Not here: how it decides (`jitter.py`), what becomes of the pieces (`hearing.py`).
Implements docs/explanation/jitter-buffer.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

P = TypeVar("P")


class Packet(NamedTuple, Generic[P]):
    """Audio that is there.

    Attributes:
        payload: As it was put.
        offset_units: Where in the decoded payload to begin.
        length_units: How much of it to play.
        is_new: Whether this payload has not been returned before; each is decoded once, in order,
            and what is not played yet is kept for the next piece.
    """

    payload: P
    offset_units: int
    length_units: int
    is_new: bool


@dataclass(frozen=True, slots=True)
class Lost(Generic[P]):
    """Audio that is not there: conceal it.

    Attributes:
        length_units: How much.
        run: Pieces in a row that are lost, 1 for the first.
        following: The payload that is played next, where it is there already and follows
            directly: what is made up can lead into it. None otherwise.
        is_new: Whether `following` has not been returned before; the `Packet` that plays it then
            is not new.
    """

    length_units: int
    run: int
    following: P | None = None
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing is to be heard: the buffer is filling, or the far end has paused.

    Attributes:
        length_units: How much.
        comfort: The RFC 3389 payload that describes the pause; None when there was none.
    """

    length_units: int
    comfort: bytes | None


@dataclass(frozen=True, slots=True)
class JitterStatistics:
    """What came, what became of it, and how the depth adapted. Counts are packets.

    Attributes:
        depth_ms: From when the fastest packet would have come to its playing; 0 while filling.
        target_ms: What the depth should be.
        received: With audio, all that are counted below included.
        reordered: Out of order, but in time.
        late: After their playout; discarded.
        lost: Not there when due and not since. One that comes after all is late instead.
        duplicate: Seen before.
        discarded: There was no room, or they belonged to no time line.
        restarts: Time lines begun, the first not counted.
        concealed_ms: Returned as lost, those by which the depth grew included.
        grown_ms: By which the depth was raised while playing.
        shortened_ms: Of silence left out to lower the depth.
    """

    depth_ms: float
    target_ms: float
    received: int
    reordered: int
    late: int
    lost: int
    duplicate: int
    discarded: int
    restarts: int
    concealed_ms: int
    grown_ms: int
    shortened_ms: int


@dataclass(slots=True)
class JitterCounts:
    """What a jitter buffer counts for its statistics, see there.

    An object of its own: one with more than some 30 attributes, as the buffer would be, is slower
    to use in Python 3.11, and takes several times the memory.

    Attributes:
        missing: Numbers that were not there when due. What comes after all is late as well.
    """

    received: int = 0
    reordered: int = 0
    late: int = 0
    missing: int = 0
    duplicate: int = 0
    discarded: int = 0
    restarts: int = 0
    concealed_units: int = 0
    grown_units: int = 0
    shortened_units: int = 0

    def statistics(
        self, depth_units: int, target_units: int, strays: int, units_per_ms: int
    ) -> JitterStatistics:
        """Return them as they are reported.

        Args:
            depth_units: At the tick to come; 0 while filling.
            target_units: What it should be.
            strays: Packets that were on no time line, discarded too.
            units_per_ms: Of the clock rate.
        """
        return JitterStatistics(
            depth_ms=depth_units / units_per_ms,
            target_ms=target_units / units_per_ms,
            received=self.received,
            reordered=self.reordered,
            late=self.late,
            lost=max(self.missing - self.late, 0),
            duplicate=self.duplicate,
            discarded=self.discarded + strays,
            restarts=self.restarts,
            concealed_ms=self.concealed_units // units_per_ms,
            grown_ms=self.grown_units // units_per_ms,
            shortened_ms=self.shortened_units // units_per_ms,
        )


Piece = Packet[P] | Lost[P] | Silence
"""Part of a tick, or all of it."""
