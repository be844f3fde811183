"""Packets that wait in a jitter buffer, in the order of their places.

Not here: when they are played (`jitter.py`).
Implements the order of docs/explanation/jitter-buffer.md.
"""

from __future__ import annotations

from bisect import insort
from typing import Generic, NamedTuple

from telcoflow_server.media.pieces import P


class Audio(NamedTuple, Generic[P]):
    """A packet that waits for its place to be played."""

    place: int
    end: int
    seq: int
    payload: P


class Pause(NamedTuple):
    """A comfort noise packet: from its place on, nothing is sent."""

    place: int
    end: int  # its place: it lasts until the next packet with audio
    seq: int
    comfort: bytes


Waiting = list[Audio[P] | Pause]
"""What waits, the earliest place first."""


def insert(waiting: Waiting[P], new: Audio[P] | Pause) -> None:
    """Put a packet in its place, after those that have the same one."""
    insort(waiting, new, key=lambda held: held.place)


def covers(waiting: Waiting[P], place: int) -> bool:
    """Whether there is audio for a place."""
    return any(held.place <= place < held.end for held in waiting)
