"""Runs a protocol engine on the event loop: the one place where engines meet links and time.

Not here: the engines (`protocol/`), what their events cause (`control.py`, `media.py`).
Implements "one change, then drain": after every input, all outputs are taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from telcoflow_sdk._asyncio.link import Link

OutputT = TypeVar("OutputT")


class Engine(Protocol[OutputT]):
    """What every protocol engine can do."""

    def take_messages(self) -> list[bytes]:
        """Return what must be sent, in order."""

    def take_events(self) -> list[OutputT]:
        """Return what has happened, in order."""

    def next_deadline(self) -> float | None:
        """Return when `expire` must be called, or None."""

    def expire(self, now: float) -> None:
        """Give up what has waited too long."""


class EngineDriver(Generic[OutputT]):
    """Sends what an engine says, reports what it learns, wakes it at its deadlines.

    Args:
        engine: Owned by the caller, who calls `drain` after every input.
        loop: Whose time the engine lives in.
        on_event: Called for every event of the engine's, in order; must not raise.

    Attributes:
        link: The open link, or None; to be read only.
    """

    __slots__ = ("_engine", "_loop", "_on_event", "_timer", "link")

    def __init__(
        self,
        engine: Engine[OutputT],
        loop: asyncio.AbstractEventLoop,
        on_event: Callable[[OutputT], None],
    ) -> None:
        self._engine = engine
        self._loop = loop
        self._on_event = on_event
        self.link: Link | None = None
        self._timer: asyncio.TimerHandle | None = None

    def attach(self, link: Link) -> None:
        """Send over `link` from now on, what the engine said before included."""
        self.link = link
        self.drain()

    def detach(self) -> None:
        """The link is gone; what the engine says from now on waits for the next one."""
        self.link = None

    def drain(self) -> None:
        """Take everything the engine has to say, then wait for its next deadline."""
        if self.link is not None:
            for message in self._engine.take_messages():
                self.link.send_text(message)
        for event in self._engine.take_events():
            self._on_event(event)
        self._arm()

    def _arm(self) -> None:
        deadline = self._engine.next_deadline()
        if self._timer is not None:
            if deadline is not None and self._timer.when() == deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._engine.expire(self._loop.time())
        self.drain()
