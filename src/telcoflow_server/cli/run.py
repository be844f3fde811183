"""Run a coroutine on the fastest loop there is, with signals turned into events.

Not here: what a command does on a signal.
The server itself leaves signals alone; only a command line owns them.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
RELOAD_SIGNAL = signal.SIGHUP


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end, on uvloop where it is installed."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None
    try:
        import uvloop
    except ImportError:
        factory = None
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


class StopSignals:
    """SIGINT and SIGTERM, counted: the first asks to finish, the second to stop at once."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()

    def arrived(self) -> None:
        """Count one signal."""
        (self.second if self.first.is_set() else self.first).set()


@contextmanager
def on_reload(reload: Callable[[], None]) -> Iterator[None]:
    """Call `reload` at each SIGHUP while the block runs."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(RELOAD_SIGNAL, reload)
    try:
        yield
    finally:
        loop.remove_signal_handler(RELOAD_SIGNAL)


@contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Catch the signals to stop while the block runs, then hand them back."""
    loop = asyncio.get_running_loop()
    signals = StopSignals()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, signals.arrived)
    try:
        yield signals
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)
