"""An agent that runs while a test looks at it.

Not here: what it connects to (`sandbox.py`). Implements "A complete example" of
docs/how-to/test-your-agent.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def running(agent: Coroutine[Any, Any, object]) -> AsyncIterator[asyncio.Task[object]]:
    """Run a coroutine in a task of its own until the block is left; then it is cancelled.

    An agent that fails ends the block at once, with its exception. One that returns does not.

    Args:
        agent: What a program's `main()` does: connect, and serve for ever.

    Returns:
        Its task.
    """
    test = asyncio.current_task()
    assert test is not None, "a context manager is entered in a task"
    is_leaving = False

    def ended(task: asyncio.Task[object]) -> None:
        if not is_leaving and not task.cancelled() and task.exception() is not None:
            test.cancel()

    task = asyncio.create_task(agent, name="agent")
    task.add_done_callback(ended)
    try:
        yield task
    except asyncio.CancelledError:
        if task.done() and not task.cancelled() and (failure := task.exception()) is not None:
            test.uncancel()
            raise failure from None
        raise
    finally:
        is_leaving = True
        task.cancel()
        await asyncio.wait({task})
