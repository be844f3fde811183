"""A jitter buffer whose packets come in turn: what changes in it then, to be kept elsewhere.

Not here: keeping it for many legs at once (`jitter_array.py`), the buffer itself (`jitter.py`).
Implements "Many legs at once" of docs/explanation/jitter-buffer.md.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SteadyDelay:
    """The distribution of a stream's relative delay; see `RelativeDelay`.

    Attributes:
        fastest_units: The least transit of late.
        window_fastest_units: Of the window under way; None: it has no packet yet.
        packets_left: So many more may be counted as below; the one after makes up the window or
            the half-life, and is for `RelativeDelay`.
        bins: Weight by delay.
        total: Of all bins.
        edge: The bin of the wanted percentile.
        beyond: Weight of the bins after it.
    """

    fastest_units: int
    window_fastest_units: int | None
    packets_left: int
    bins: list[int]
    total: int
    edge: int
    beyond: int


@dataclass(frozen=True, slots=True)
class SteadyBuffer:
    """A jitter buffer that plays, as deep as it should be, with every packet there and in turn.

    Attributes:
        next_place: Of the packet that comes next.
        head: The place of the next unit to be played; a packet begins there.
        target_units: How deep it should be.
        held: Payloads from the head on, each of one tick.
        delay: How late they came.
    """

    next_place: int
    head: int
    target_units: int
    held: list[bytes]
    delay: SteadyDelay
