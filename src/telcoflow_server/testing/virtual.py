"""Virtual time: an event loop whose clock jumps to the next deadline when nothing is ready.

Not here: what happens in that time (`node.py`), pytest (`fixtures.py`).
Implements "Virtual time" of docs/how-to/test-your-agent.md.
"""

from __future__ import annotations

import asyncio
import random
import selectors
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from telcoflow_sdk.protocol.link import Link, LinkError, LinkEvents

PATIENCE_S = 5.0
"""How long, in real time, the clock stands still for a thread or a socket before that fails."""

LIMIT_S = 4 * 3600.0
"""How much virtual time may pass: by then no call is left, and what still waits waits for ever."""

SEED = 1
"""Of `random`: what is drawn in virtual time (delays, ids) is drawn again in the next run."""

T = TypeVar("T")


class VirtualTimeError(RuntimeError):
    """Something in virtual time waits for what cannot come; the text says which task and where."""


class LinkServer(Protocol):
    """Whoever serves links at an address of a virtual loop."""

    async def open_link(self, path: str, events: LinkEvents, headers: Mapping[str, str]) -> Link:
        """Open a link. Raises `LinkRefused`."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time, with links of its own (a `LinkOpener`).

    Timers fire in order, each at its very time, and nothing is waited for between them. While a
    thread of `run_in_executor` works or a real socket is registered, the clock stands still: what
    they do takes no virtual time. If nothing comes of it for `PATIENCE_S`, the run fails.

    Attributes:
        servers: Who serves links, by host and port.
    """

    def __init__(self) -> None:
        self.servers: dict[str, LinkServer] = {}
        self._now_s = 0.0
        self._threads: dict[asyncio.Future[Any], str] = {}
        self._has_failed = False
        self._jumping = _JumpingSelector(self._pass_time)
        super().__init__(self._jumping)
        # What there is now is the loop's own: the pipe by which threads and signals wake it.
        self._own_sockets = len(self._jumping.get_map())

    def time(self) -> float:
        """Return the virtual time, seconds since the loop was made."""
        return self._now_s

    async def open_link(self, url: str, events: LinkEvents, headers: Mapping[str, str]) -> Link:
        """See `LinkOpener`: links go to `servers`, and nowhere else."""
        parts = urlsplit(url)
        server = self.servers.get(parts.netloc)
        await asyncio.sleep(0)  # as sockets do: nothing opens within one turn
        if server is None or parts.scheme != "ws":
            raise LinkError("nobody in this virtual time listens there")
        return await server.open_link(parts.path, events, headers)

    def run_in_executor(  # type: ignore[override]  # typeshed ties `args` to `func`
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """See `asyncio`; the clock stands still until it is done."""
        future: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        task = asyncio.current_task(self)
        self._threads[future] = task.get_name() if task is not None else "a callback"
        future.add_done_callback(self._threads.pop)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """See `asyncio`; after a failure the thread that may have caused it is left alone."""
        if self._has_failed:
            return
        joining: asyncio.Future[None] = self.create_future()
        self._threads[joining] = "shutdown"
        try:
            await super().shutdown_default_executor()
        finally:
            del self._threads[joining]

    def _pass_time(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        """Nothing is ready: wait for what is real, else let time pass."""
        is_real = bool(self._threads) or len(self._jumping.get_map()) > self._own_sockets
        if is_real:
            events = self._jumping.wait(PATIENCE_S)
            if not events:
                self._fail(f"nothing real came within {PATIENCE_S:g} s")
            return events
        if timeout is None:
            self._fail("nothing is left that could happen")
            return []
        self._now_s += timeout
        if self._now_s > LIMIT_S and not self._has_failed:
            self._fail(f"{LIMIT_S:g} s of virtual time have passed")
        return []

    def _fail(self, problem: str) -> None:
        self._has_failed = True
        waiting = [f"task {name!r} waits for a thread" for name in self._threads.values()]
        waiting = waiting or [_place(task) for task in asyncio.all_tasks(self)]
        raise VirtualTimeError("\n  ".join([f"{problem}:", *sorted(waiting)]))


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that never waits by itself."""

    def __init__(
        self, pass_time: Callable[[float | None], list[tuple[selectors.SelectorKey, int]]]
    ) -> None:
        super().__init__()
        self._pass_time = pass_time

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready; when nothing is, time passes instead."""
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        return self._pass_time(timeout)

    def wait(self, patience_s: float) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait in real time."""
        deadline = time.monotonic() + patience_s
        while (left_s := deadline - time.monotonic()) > 0:
            if events := super().select(left_s):
                return events
        return []


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in virtual time, as `asyncio.run` does in real time.

    Raises:
        VirtualTimeError: it waits for something that cannot come.
    """
    chance = random.getstate()
    random.seed(SEED)
    try:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(main)
    finally:
        random.setstate(chance)


def _place(task: asyncio.Task[Any]) -> str:
    frames = task.get_stack(limit=1)
    if not frames:
        return f"task {task.get_name()!r}"
    code = frames[0].f_code
    where = f"{code.co_filename}:{frames[0].f_lineno}, in {code.co_qualname}"
    return f"task {task.get_name()!r} waits at {where}"
