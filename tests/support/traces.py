"""Something in virtual time that must leave nothing behind: no task, thread or file descriptor."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from telcoflow_sdk.testing import run_virtual

T = TypeVar("T")


def open_descriptors() -> set[str]:
    """Return this process's open files and sockets."""
    return {one.name for one in Path("/proc/self/fd").glob("*")}


def run_without_a_trace(main: Coroutine[Any, Any, T]) -> T:
    """Run it in virtual time; assert that nothing of it is left at its end."""
    threads, descriptors = set(threading.enumerate()), open_descriptors()

    async def watched() -> tuple[T, list[str]]:
        result = await main
        await asyncio.sleep(0)  # what ended with it may take its last turn
        others = asyncio.all_tasks() - {asyncio.current_task()}
        return result, [str(task) for task in others]

    result, tasks = run_virtual(watched())
    assert tasks == []
    assert set(threading.enumerate()) == threads
    assert open_descriptors() == descriptors
    return result
