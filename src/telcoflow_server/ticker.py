"""The clock of the media plane: one call per 20 ms, drift-free.

Not here: what a tick does (`call/exchange.py`). Deadlines are `start + n * 20 ms`; nothing is ever
re-armed from "now". Implements docs/explanation/flow-control.md, "The tick".
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Callable
from functools import partial

from telcoflow_sdk.audio.format import TICK_MS

TICK_S = TICK_MS / 1000

CATCH_UP_TICKS = 5
"""A stall of up to 100 ms is made good; what is older is skipped and counted: playing it late
would only turn the stall into a delay that stays."""


class Ticker:
    """Calls `on_tick(lateness_s)` for every tick since `start`, on the running loop.

    Args:
        on_tick: Must not raise and not wait.

    Attributes:
        skipped_ticks: Ticks never run because the loop was blocked for too long.
        due_s: When the tick that is under way was due, monotonic seconds.
    """

    def __init__(self, on_tick: Callable[[float], None]) -> None:
        self.skipped_ticks = 0
        self.due_s = 0.0
        self._on_tick = on_tick
        self._loop: asyncio.AbstractEventLoop | None = None
        self._start_s = 0.0
        self._ticks_done = 0
        self._timer: _TimerFd | None = None
        self._handle: asyncio.Handle | None = None

    @property
    def has_own_timer(self) -> bool:
        """Whether a timer of the system's wakes it; else, or when stopped, the event loop's do."""
        return self._timer is not None

    def start(self) -> None:
        """Start ticking; the first tick comes 20 ms from now."""
        self._loop = asyncio.get_running_loop()
        self._start_s = time.monotonic()
        self._ticks_done = 0
        self._timer = _TimerFd.open(TICK_S)
        if self._timer is not None:
            self._loop.add_reader(self._timer.fileno, self._wake)
        else:
            self._arm()

    def stop(self) -> None:
        """Stop ticking and free the timer; idempotent."""
        if self._timer is not None:
            assert self._loop is not None, "a timer exists from start to stop only"
            self._loop.remove_reader(self._timer.fileno)
            self._timer.close()
            self._timer = None
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop = None

    def since_tick_ms(self) -> float:
        """Return how long ago the last tick's deadline was, 0 to 20 ms when all is well."""
        deadline_s = self._start_s + self._ticks_done * TICK_S
        return min(max(0.0, (time.monotonic() - deadline_s) * 1000), TICK_MS)

    def _wake(self) -> None:
        assert self._timer is not None, "the reader is removed before the timer is closed"
        self._timer.acknowledge()
        if self._handle is None:  # else ticks are being caught up
            self._run_due()

    def _arm(self) -> None:
        if self._loop is not None:
            deadline_s = self._start_s + (self._ticks_done + 1) * TICK_S
            self._handle = self._loop.call_at(deadline_s, self._run_due)

    def _run_due(self) -> None:
        self._handle = None
        # Not the loop's time: uvloop caches it and rounds it to a millisecond.
        ticks_due = int((time.monotonic() - self._start_s) / TICK_S) - self._ticks_done
        if ticks_due > CATCH_UP_TICKS:
            self.skipped_ticks += ticks_due - CATCH_UP_TICKS
            self._ticks_done += ticks_due - CATCH_UP_TICKS
            ticks_due = CATCH_UP_TICKS
        if ticks_due > 0:
            self._ticks_done += 1
            self.due_s = self._start_s + self._ticks_done * TICK_S
            self._on_tick(time.monotonic() - self.due_s)
        if ticks_due > 1:
            # Not at once: what has come over sockets meanwhile is for the ticks that follow.
            self._soon(partial(self._soon, self._run_due))
        elif self._timer is None:
            self._arm()

    def _soon(self, do: Callable[[], None]) -> None:
        """Do something in the next turn of the loop, before what its sockets bring in it."""
        if self._loop is not None:
            self._handle = self._loop.call_soon(do)


_TFD_NONBLOCK = os.O_NONBLOCK
_TFD_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_CLOCK_MONOTONIC = 1


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", _TimeSpec), ("first", _TimeSpec))


class _TimerFd:
    """A periodic Linux timer that an event loop can watch.

    Woken 0.07 ms late where asyncio's own timers are 0.6 to 0.8 ms late. Python has it from 3.13
    on (`os.timerfd_create`); ctypes serves the older ones. Source: timerfd_create(2).
    """

    def __init__(self, fileno: int) -> None:
        self.fileno = fileno

    @classmethod
    def open(cls, period_s: float) -> _TimerFd | None:
        """Return a running timer, or None where the system has none."""
        if not sys.platform.startswith("linux"):
            return None
        libc = ctypes.CDLL(None, use_errno=True)
        fileno: int = libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if fileno < 0:
            return None
        period = _TimeSpec(0, int(period_s * 1e9))
        spec = _TimerSpec(period, period)
        if libc.timerfd_settime(fileno, 0, ctypes.byref(spec), None) != 0:
            os.close(fileno)
            return None
        return cls(fileno)

    def acknowledge(self) -> None:
        """Read the count of expirations, so that the descriptor is quiet until the next one."""
        with contextlib.suppress(BlockingIOError, InterruptedError):
            os.read(self.fileno, 8)

    def close(self) -> None:
        """Free the descriptor."""
        os.close(self.fileno)
