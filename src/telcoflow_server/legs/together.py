"""A leg that may be kept together with others while nothing is the matter with it.

Not here: what is kept of it there (`rtp_array.py`, `agent_array.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from telcoflow_server.media.plane import Joint, Strip


class Together(Joint, Protocol):
    """Where legs are kept together."""

    def count(self, row: int) -> None:
        """Tell the parts of the leg of a row what has come and gone so far."""

    def leave(self, row: int) -> None:
        """Let the leg of a row go on by itself; for the leg."""


def _nobody_rests() -> None:
    """Stand where nobody has to be woken."""


class JointLeg:
    """What such legs have in common.

    Attributes:
        together: Where it is kept with others, and its row there, from `join` to `be_alone`.
        woken: Called when it is alone again: from then on anything may happen to it.
    """

    def __init__(self) -> None:
        self.woken: Callable[[], None] = _nobody_rests
        self.together: tuple[Together, int] | None = None
        self._strip: Strip | None = None

    def use_strip(self, strip: Strip | None) -> None:
        """Its frames go in and come out here; None: whoever is attached is asked for each."""
        if strip is not self._strip:
            self.be_alone()
            self._strip = strip

    def join(self, together: Together, row: int) -> None:
        """It is kept with others from now on."""
        self.together = together, row
        if self._strip is not None:
            self._strip.join(together, row)

    def be_alone(self) -> None:
        """Go on by itself, if it does not already."""
        if self.together is not None:
            (together, row), self.together = self.together, None
            if self._strip is not None:
                self._strip.part()
            together.leave(row)
            self.woken()

    def _count(self) -> None:
        if self.together is not None:
            together, row = self.together
            together.count(row)
