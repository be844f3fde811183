"""The tasks a client has started, so that none outlives it.

Not here: what they do. Implements "nothing is left" of docs/reference/sdk.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class OwnedTasks:
    """A set of tasks that ends together. One per client."""

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Start `work` in a task of its own, held until it is done."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def finish(self, grace_s: float, leave: set[asyncio.Task[Any]]) -> None:
        """Wait for every task, and cancel what has not ended after `grace_s`.

        Args:
            grace_s: Seconds.
            leave: Tasks that are waiting for this very call, directly or not; read again
                whenever a task ends, because more may join.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace_s
        while others := self._tasks - leave:
            remaining_s = deadline - loop.time()
            if remaining_s <= 0:
                break
            await asyncio.wait(others, timeout=remaining_s, return_when=asyncio.FIRST_COMPLETED)
        while others := self._tasks - leave:
            for task in others:
                task.cancel()
            await asyncio.wait(others)
