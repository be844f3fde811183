"""Clients that were set up a moment ago, and shall hear of the calls that wait in a moment.

Not here: the calls (`session.py`). Implements "From the server" of docs/reference/wire.md.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

WELCOME_TICKS = 3
"""How many ticks after `setup.done` a client hears of calls, 40 to 60 ms: the published client
loses what it is told before its application has come to register a handler."""

ClientT = TypeVar("ClientT", bound=Hashable)


class Newcomers(Generic[ClientT]):
    """Who is to be told later. Time is the node's ticks."""

    def __init__(self) -> None:
        self._ticks_left: dict[ClientT, int] = {}

    def __contains__(self, client: ClientT) -> bool:
        return client in self._ticks_left

    def add(self, client: ClientT) -> None:
        """Let a client wait, from now on."""
        self._ticks_left[client] = WELCOME_TICKS

    def discard(self, client: ClientT) -> None:
        """Forget a client."""
        self._ticks_left.pop(client, None)

    def tick(self) -> list[ClientT]:
        """Return those who have waited long enough, in the order in which they came."""
        for client in self._ticks_left:
            self._ticks_left[client] -= 1
        arrived = [client for client, ticks in self._ticks_left.items() if ticks == 0]
        for client in arrived:
            del self._ticks_left[client]
        return arrived
