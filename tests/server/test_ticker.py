"""The tick's clock: as many ticks as time has passed, however late the loop is."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time

import pytest

from telcoflow_server.ticker import CATCH_UP_TICKS, TICK_S, Ticker


class Ticks:
    """Counts ticks and tells when a number of them is reached."""

    def __init__(self) -> None:
        self.lateness_s: list[float] = []
        self._waiting: list[tuple[int, asyncio.Event]] = []

    def __call__(self, lateness_s: float) -> None:
        self.lateness_s.append(lateness_s)
        for count, reached in self._waiting:
            if len(self.lateness_s) >= count:
                reached.set()

    async def reach(self, count: int) -> None:
        reached = asyncio.Event()
        self._waiting.append((count, reached))
        await reached.wait()


@pytest.fixture(params=["timerfd", "loop timer"])
def timer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "loop timer":
        monkeypatch.setattr(sys, "platform", "plan9")
    return str(request.param)


async def test_ticks_keep_to_their_deadlines(timer: str) -> None:
    ticks = Ticks()
    clock = Ticker(ticks)
    before_s = time.monotonic()

    clock.start()
    await ticks.reach(10)
    passed_s = time.monotonic() - before_s
    clock.stop()

    assert passed_s >= 10 * TICK_S, "no tick comes before its deadline"
    assert min(ticks.lateness_s) >= 0


async def test_a_short_stall_is_caught_up(timer: str) -> None:
    ticks = Ticks()
    clock = Ticker(ticks)
    clock.start()
    await ticks.reach(1)
    start_s = time.monotonic()

    while time.monotonic() < start_s + 3.2 * TICK_S:
        pass  # the loop is blocked, on purpose
    done_before = len(ticks.lateness_s)
    await ticks.reach(done_before + 3)
    clock.stop()

    assert clock.skipped_ticks == 0
    assert ticks.lateness_s[done_before] >= 2 * TICK_S, "the first of them was that late"


async def test_sockets_are_read_between_ticks_that_are_caught_up(timer: str) -> None:
    """Else an agent that answers every tick would have a gap for each stall of two ticks."""
    events: list[str] = []
    far, near = socket.socketpair()
    loop = asyncio.get_running_loop()
    ticks = Ticks()

    def tick(lateness_s: float) -> None:
        events.append("tick")
        far.send(b"!")
        ticks(lateness_s)

    def read() -> None:
        near.recv(16)
        events.append("read")

    with far, near:
        loop.add_reader(near, read)
        clock = Ticker(tick)
        clock.start()
        await ticks.reach(1)
        start_s = time.monotonic()
        while time.monotonic() < start_s + 3.2 * TICK_S:
            pass
        await ticks.reach(5)
        clock.stop()
        loop.remove_reader(near)

    assert events[:8] == ["tick", "read"] * 4


async def test_a_long_stall_is_skipped_and_counted(timer: str) -> None:
    ticks = Ticks()
    clock = Ticker(ticks)
    clock.start()
    await ticks.reach(1)
    start_s = time.monotonic()

    while time.monotonic() < start_s + (CATCH_UP_TICKS + 5.5) * TICK_S:
        pass
    await ticks.reach(2)
    clock.stop()

    assert clock.skipped_ticks >= 5
    assert max(ticks.lateness_s) <= (CATCH_UP_TICKS + 1) * TICK_S, "older ticks are not played"


async def test_stopping_leaves_no_tick_and_no_descriptor(timer: str) -> None:
    ticks, later = Ticks(), Ticks()
    clock, witness = Ticker(ticks), Ticker(later)
    descriptors = open_descriptors()

    clock.start()
    await ticks.reach(2)
    clock.stop()
    clock.stop()
    done = len(ticks.lateness_s)
    witness.start()
    await later.reach(2)
    witness.stop()

    assert len(ticks.lateness_s) == done
    assert open_descriptors() == descriptors


def open_descriptors() -> int:
    return len(os.listdir("/dev/fd"))
