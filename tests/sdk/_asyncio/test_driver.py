from __future__ import annotations

import asyncio

from telcoflow_sdk._asyncio.driver import EngineDriver


class Clockwork:
    """An engine that wants to be woken a few times, and says so each time."""

    def __init__(self, deadlines: list[float]) -> None:
        self.deadlines = deadlines
        self.happened: list[str] = []

    def take_messages(self) -> list[bytes]:
        return []

    def take_events(self) -> list[str]:
        happened, self.happened = self.happened, []
        return happened

    def next_deadline(self) -> float | None:
        return min(self.deadlines, default=None)

    def expire(self, now: float) -> None:
        due = [deadline for deadline in self.deadlines if deadline <= now]
        self.deadlines = [deadline for deadline in self.deadlines if deadline > now]
        self.happened += ["late" for _ in due]


async def test_engine_is_woken_at_each_of_its_deadlines() -> None:
    loop = asyncio.get_running_loop()
    now = loop.time()
    engine = Clockwork([now + 0.03, now + 0.01])
    seen: asyncio.Queue[str] = asyncio.Queue()
    driver = EngineDriver[str](engine, loop, seen.put_nowait)

    driver.drain()
    driver.drain()  # an unchanged deadline is kept

    assert [await seen.get(), await seen.get()] == ["late", "late"]
    assert loop.time() >= now + 0.03


async def test_deadline_that_moves_closer_is_kept_in_time() -> None:
    loop = asyncio.get_running_loop()
    now = loop.time()
    engine = Clockwork([now + 3600])
    seen: asyncio.Queue[str] = asyncio.Queue()
    driver = EngineDriver[str](engine, loop, seen.put_nowait)
    driver.drain()

    engine.deadlines = [now + 0.01]
    driver.drain()

    assert await seen.get() == "late"
