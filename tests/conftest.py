"""Guards on every test: nothing outlives it, nothing blocks its event loop.

Not here: fixtures of any one part; those live beside its tests or in `tests/support`.
Warnings as errors, the 20 s limit and random order are set in pyproject.toml.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import signal
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest

ROOT = Path(__file__).parents[1]
SOCKET_RING = ("tests/sdk/_asyncio", "tests/sdk/test_c", "tests/server/api", "tests/end_to_end")
"""Where tests use real sockets: asyncio's debug mode, ten times slower, is on there only."""

GRACE_S = 2.0
"""How long what was closed may take to be gone: a close handshake and a few turns of the loop."""

P = ParamSpec("P")
T = TypeVar("T")


@pytest.fixture(autouse=True, scope="session")
def _programs_can_be_interrupted() -> None:
    """Have programs that tests start heed SIGINT.

    A shell lets what it runs in the background ignore it, and so does all that this starts.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _nothing_blocks_a_loop() -> Iterator[None]:
    """Make the usual blocking calls fail on a thread that runs an event loop."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", _never_on_a_loop(time.sleep))
        patch.setattr(socket, "getaddrinfo", _never_on_a_loop(socket.getaddrinfo))
        patch.setattr(subprocess.Popen, "wait", _never_on_a_loop(subprocess.Popen.wait))
        yield


def _never_on_a_loop(blocking: Callable[P, T]) -> Callable[P, T]:
    @functools.wraps(blocking)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        if asyncio._get_running_loop() is not None:
            raise RuntimeError(f"{blocking.__qualname__} would block the event loop")
        return blocking(*args, **kwargs)

    return guarded


@pytest.fixture(autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test that leaves a thread, a socket or a task behind."""
    threads = set(threading.enumerate())
    if inspect.iscoroutinefunction(request.function):
        # Set up first, so taken down last: the test's own fixtures have closed by then.
        request.getfixturevalue("_nothing_is_left_on_the_loop")
    yield
    deadline = time.monotonic() + GRACE_S
    while (left := _own_threads() - threads) and time.monotonic() < deadline:
        for thread in left:
            thread.join(0.05)
    assert not left, f"threads left behind: {[thread.name for thread in left]}"


@pytest.fixture
async def _nothing_is_left_on_the_loop(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    folder = request.path.relative_to(ROOT).as_posix()
    asyncio.get_running_loop().set_debug(folder.startswith(SOCKET_RING))
    sockets = _sockets()
    tasks = asyncio.all_tasks()
    yield
    deadline = time.monotonic() + GRACE_S
    # Polled because the end of a foreign task or transport sets no event of ours.
    while (_running_tasks() - tasks or _sockets() - sockets) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    left = _running_tasks() - tasks
    assert not left, f"tasks left behind: {[task.get_coro() for task in left]}"
    assert not _sockets() - sockets, f"sockets left open: {_sockets() - sockets}"


def _running_tasks() -> set[asyncio.Task[object]]:
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


def _own_threads() -> set[threading.Thread]:
    # The loop's default executor keeps its idle threads until the loop closes, after us.
    return {one for one in threading.enumerate() if not one.name.startswith("asyncio_")}


def _sockets() -> set[str]:
    """Return this process's open sockets, by inode; none where /proc is not mounted."""
    found: set[str] = set()
    for entry in Path("/proc/self/fd").glob("*"):
        try:
            target = str(entry.readlink())
        except OSError:  # closed since, such as the descriptor of this very listing
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found
