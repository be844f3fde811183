"""Places in an agent's audio where something happens: a change of audience, a mark, an end.

Not here: the audio itself (`playout.py`). Implements "Commands" of docs/reference/wire-v2.md.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from telcoflow_server.media.routing import Audience

MAX_PLACES = 1_000
"""Marks and changes of audience that may wait: minutes of a mark for every word."""

MAX_ENDS = 1_000
"""Ends of utterances kept apart, far more than there can be in a lead of 200 ms of speech; of more
than these in one frame's time the first ones count."""


@dataclass(frozen=True, slots=True)
class Errand:
    """Something to be done at a place, by whoever is told that it was passed.

    Attributes:
        command: What.
        command_id: Who waits for it.
        text: Digits, or a number: never part of a log line.
    """

    command: str
    command_id: str
    text: str = field(repr=False)


MarkName = str | Errand
"""What a mark is known by: its name, to be reported, or what is to be done."""


class PassedMark(NamedTuple):
    """A mark that was reached.

    Attributes:
        name: As it was set.
        at_ms: When its place was played, on the call's time axis; None: it was cleared.
    """

    name: MarkName
    at_ms: float | None


class Places:
    """What waits for its place in one generation of audio; offsets are in samples.

    Attributes:
        first: Where the first of all is; None: nothing waits. To be read only, like the other.
        boundary: The first place at which a frame must stop: a switch or an end.
    """

    def __init__(self) -> None:
        self.first: int | None = None
        self.boundary: int | None = None
        self._switches: list[tuple[int, int, Audience]] = []  # offset, order of coming, audience
        self._marks: list[tuple[int, int, MarkName]] = []
        self._ends: deque[int] = deque()
        self._added = 0

    @property
    def is_full(self) -> bool:
        """Whether no mark or switch can be added."""
        return len(self._switches) + len(self._marks) >= MAX_PLACES

    @property
    def has_switches(self) -> bool:
        """Whether a change of audience waits."""
        return bool(self._switches)

    def add_switch(self, offset: int, audience: Audience) -> None:
        """Let what follows `offset` be for others; of several at one place the last counts."""
        self._added += 1
        insort(self._switches, (offset, self._added, audience), key=_order)
        self._find_first()

    def add_mark(self, offset: int, name: MarkName) -> None:
        """Report when `offset` was played."""
        self._added += 1
        insort(self._marks, (offset, self._added, name), key=_order)
        self._find_first()

    def add_end(self, offset: int) -> None:
        """End the utterance at `offset`, which is not before the last end."""
        if len(self._ends) < MAX_ENDS and (not self._ends or self._ends[-1] != offset):
            self._ends.append(offset)
            self._find_first()

    def take_switch(self, played: int) -> Audience | None:
        """Return the audience of what is played next if it changes here, else None."""
        audience = None
        while self._switches and self._switches[0][0] <= played:
            audience = self._switches.pop(0)[2]
        self._find_first()
        return audience

    def take_end(self, played: int) -> bool:
        """Return whether the utterance ends here."""
        is_end = False
        while self._ends and self._ends[0] <= played:
            self._ends.popleft()
            is_end = True
        self._find_first()
        return is_end

    def take_marks(self, played: int) -> list[tuple[int, MarkName]]:
        """Return offset and name of the marks that were reached, in order."""
        reached = []
        while self._marks and self._marks[0][0] <= played:
            offset, _, name = self._marks.pop(0)
            reached.append((offset, name))
        self._find_first()
        return reached

    def drop_after(self, offset: int) -> list[MarkName]:
        """No audio comes after `offset`: return the marks behind it, which will not be played.

        Switches behind it move there: nothing is lost by them.
        """
        dropped = [name for at, _, name in self._marks if at > offset]
        self._marks = [mark for mark in self._marks if mark[0] <= offset]
        self._switches = [(min(at, offset), n, audience) for at, n, audience in self._switches]
        self._find_first()
        return dropped

    def clear(self) -> list[MarkName]:
        """A new generation begins: return the marks that will not be played.

        Switches have their place now; ends have no meaning any more.
        """
        names = [name for _, _, name in self._marks]
        self._marks.clear()
        self._ends.clear()
        self._switches = [(0, n, audience) for _, n, audience in self._switches]
        self._find_first()
        return names

    def _find_first(self) -> None:
        """Something has changed: places come seldom, and are asked for on every tick."""
        stops = [self._switches[0][0]] if self._switches else []
        if self._ends:
            stops.append(self._ends[0])
        self.boundary = min(stops, default=None)
        if self._marks:
            stops.append(self._marks[0][0])
        self.first = min(stops, default=None)


def _order(place: tuple[int, int, object]) -> tuple[int, int]:
    return place[0], place[1]
