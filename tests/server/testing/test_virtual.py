from __future__ import annotations

import asyncio
import random
import socket
import threading
import time

import pytest

from telcoflow_server.testing import virtual
from telcoflow_server.testing.virtual import LIMIT_S, VirtualTimeError, run_virtual


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual, "PATIENCE_S", 0.02)


def test_an_hour_passes_at_once_and_timers_fire_at_their_very_time() -> None:
    times: list[float] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for delay_s in (0.3, 0.1, 0.2):
            loop.call_later(delay_s, lambda: times.append(loop.time()))
        await asyncio.sleep(3600)
        times.append(loop.time())

    began_s = time.monotonic()
    run_virtual(main())

    assert times == [0.1, 0.2, 0.3, 3600.0]
    assert time.monotonic() - began_s < 60


def test_result_and_failure_come_out_as_of_asyncio_run() -> None:
    async def result() -> str:
        return "done"

    async def failure() -> None:
        raise LookupError("of the test's")

    assert run_virtual(result()) == "done"
    with pytest.raises(LookupError, match="of the test's"):
        run_virtual(failure())


def test_chance_is_the_same_in_every_run_and_untouched_outside() -> None:
    async def draw() -> float:
        return random.random()

    random.seed(7)
    expected = random.random()
    random.seed(7)

    assert run_virtual(draw()) == run_virtual(draw())
    assert random.random() == expected


def test_the_clock_stands_still_while_a_thread_works() -> None:
    async def main() -> tuple[float, list[str]]:
        loop = asyncio.get_running_loop()
        order: list[str] = []
        loop.call_later(1.0, order.append, "a second later")
        order.append(await asyncio.to_thread(_after_a_moment))
        return loop.time(), order

    assert run_virtual(main()) == (0.0, ["from a thread"])


def _after_a_moment() -> str:
    threading.Event().wait(0.01)
    return "from a thread"


def test_a_thread_that_does_not_end_fails_with_the_name_of_the_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    impatient(monkeypatch)
    may_end = threading.Event()

    async def ask() -> None:
        await asyncio.to_thread(may_end.wait)

    async def main() -> None:
        await asyncio.create_task(ask(), name="ask the model")

    with pytest.raises(VirtualTimeError, match=r"task 'ask the model' waits for a thread"):
        run_virtual(main())
    may_end.set()


def test_a_socket_that_is_silent_fails_with_the_name_of_the_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    impatient(monkeypatch)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(1.0, lambda: None)
        await asyncio.create_task(loop.sock_recv(ours, 1), name="read the model")

    with (
        ours,
        theirs,
        pytest.raises(VirtualTimeError, match=r"(?s)nothing real came.*'read the model'"),
    ):
        run_virtual(main())


def test_a_socket_that_answers_takes_no_virtual_time() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    async def main() -> tuple[bytes, float]:
        loop = asyncio.get_running_loop()
        theirs.send(b"x")
        return await loop.sock_recv(ours, 1), loop.time()

    with ours, theirs:
        assert run_virtual(main()) == (b"x", 0.0)


async def _wait_for_ever() -> None:
    await asyncio.get_running_loop().create_future()


def test_waiting_for_nothing_fails_at_once_and_says_where() -> None:
    async def main() -> None:
        await asyncio.create_task(_wait_for_ever(), name="hopeless")

    with pytest.raises(VirtualTimeError, match=r"'hopeless' waits at .*test_virtual.py:\d+"):
        run_virtual(main())


def test_time_without_an_end_fails() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        def again() -> None:
            loop.call_later(LIMIT_S / 10, again)

        again()
        await asyncio.create_task(_wait_for_ever(), name="hopeless")

    with pytest.raises(VirtualTimeError, match=r"(?s)14400 s of virtual time.*'hopeless'"):
        run_virtual(main())


def test_tasks_are_cancelled_and_may_clean_up_after_a_failure() -> None:
    done: list[str] = []

    async def main() -> None:
        try:
            await _wait_for_ever()
        finally:
            await asyncio.sleep(1)
            done.append(await asyncio.to_thread(_after_a_moment))

    with pytest.raises(VirtualTimeError):
        run_virtual(main())

    assert done == ["from a thread"]
