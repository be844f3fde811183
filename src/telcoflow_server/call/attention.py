"""Which calls have to be looked at on every tick, and which may rest meanwhile.

Not here: what is looked at, and when a call may rest (`call.py`). Implements "Many agents at once"
of docs/explanation/flow-control.md.
"""

from __future__ import annotations

from collections import deque

from telcoflow_sdk.audio.format import TICK_MS

REST_TICKS = 1_000 // TICK_MS
"""A call that was not woken is looked at after a second all the same."""


class Attention:
    """The calls of a node, by their ids. One thread."""

    def __init__(self) -> None:
        self._awake: dict[str, None] = {}
        self._resting = deque[list[str]]([] for _ in range(REST_TICKS))  # by the tick it ends with

    def wake(self, call_id: str) -> None:
        """Look at a call from the next tick on. Idempotent."""
        self._awake[call_id] = None

    def rest(self, call_id: str) -> None:
        """Look away for `REST_TICKS`, or until it is woken."""
        self._awake.pop(call_id, None)
        self._resting[-1].append(call_id)

    def forget(self, call_id: str) -> None:
        """The call is over. Idempotent."""
        self._awake.pop(call_id, None)

    def tick(self) -> list[str]:
        """Return the calls to be looked at in this tick; among them may be some that are over."""
        self._resting.append([])
        for call_id in self._resting.popleft():
            self._awake[call_id] = None
        return list(self._awake)
