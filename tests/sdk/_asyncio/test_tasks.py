from __future__ import annotations

import asyncio

from telcoflow_sdk._asyncio.tasks import OwnedTasks


async def test_finish_waits_for_tasks_that_end_and_for_those_they_start() -> None:
    tasks = OwnedTasks()
    done: list[str] = []

    async def child() -> None:
        done.append("child")

    async def parent() -> None:
        await asyncio.sleep(0)
        tasks.spawn(child(), "child")
        done.append("parent")

    tasks.spawn(parent(), "parent")

    await tasks.finish(10.0, set())

    assert done == ["parent", "child"]


async def test_finish_cancels_what_does_not_end_in_time() -> None:
    tasks = OwnedTasks()
    task = tasks.spawn(asyncio.Event().wait(), "for ever")

    await tasks.finish(0.0, set())

    assert task.cancelled()


async def test_finish_leaves_those_who_wait_for_it() -> None:
    tasks = OwnedTasks()
    release = asyncio.Event()
    task = tasks.spawn(release.wait(), "waits for the end")

    await tasks.finish(10.0, {task})

    assert not task.done()
    release.set()
    await task
