from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import Callable, Iterator
from contextvars import Context
from typing import TypeVarTuple

import pytest

from telcoflow_sdk._asyncio.loop_lag import BEAT_S, WARN_EVERY_S, WARN_LAG_S, LoopLag, loop_lag

Ts = TypeVarTuple("Ts")


class Clock(asyncio.SelectorEventLoop):
    """A loop whose time the test makes pass, and whose only timer it fires."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.timers: list[asyncio.TimerHandle] = []

    def time(self) -> float:
        return self.now

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self.timers.append(handle)
        return handle

    @property
    def due(self) -> list[asyncio.TimerHandle]:
        return [timer for timer in self.timers if not timer.cancelled()]

    def beats(self, late_s: float = 0.0) -> None:
        """Let the next timer fire, so much too late."""
        (timer,) = self.due
        self.timers = []
        self.now = max(self.now, timer.when() + late_s)
        timer._run()


@pytest.fixture
def clock() -> Iterator[Clock]:
    loop = Clock()
    yield loop
    loop.close()


def test_a_loop_in_time_has_no_lag(clock: Clock) -> None:
    lag = LoopLag(clock)
    lag.watch()
    seen = []
    for _ in range(50):
        clock.beats()
        seen.append(lag.lag_s(clock.now))

    assert set(seen) == {0.0}
    assert lag.max_lag_s == 0.0


def test_what_is_read_before_an_overdue_beat_was_waiting_since_then(clock: Clock) -> None:
    lag = LoopLag(clock)
    lag.watch()

    assert lag.lag_s(clock.now + BEAT_S + 0.1) == pytest.approx(0.1)


def test_what_is_read_right_after_a_late_beat_was_waiting_as_long(clock: Clock) -> None:
    lag = LoopLag(clock)
    lag.watch()
    clock.beats(late_s=0.11)

    assert lag.lag_s(clock.now + 0.001) == pytest.approx(0.11)
    assert lag.lag_s(clock.now + 0.006) == 0.0
    assert lag.max_lag_s == pytest.approx(0.11)


def test_the_longest_lag_stays(clock: Clock) -> None:
    lag = LoopLag(clock)
    lag.watch()
    for late_s in (0.02, 0.07, 0.03):
        clock.beats(late_s)

    assert lag.max_lag_s == pytest.approx(0.07)


def test_beats_stay_on_their_grid_however_late_one_is(clock: Clock) -> None:
    lag = LoopLag(clock)
    lag.watch()
    began = clock.now
    for late_s in (0.0, 0.013, 0.05, 0.0):
        clock.beats(late_s)
        beats = (clock.due[0].when() - began) / BEAT_S
        assert beats == pytest.approx(round(beats))
        assert clock.due[0].when() > clock.now


def test_a_gap_that_the_caller_hears_is_warned_of_now_and_then(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    lag = LoopLag(clock)
    lag.watch()
    with caplog.at_level(logging.WARNING):
        clock.beats(WARN_LAG_S - 0.01)
        quiet = len(caplog.records)
        clock.beats(WARN_LAG_S + 0.01)
        clock.beats(WARN_LAG_S + 0.01)
        once = len(caplog.records)
        clock.beats(WARN_EVERY_S)

    assert (quiet, once, len(caplog.records)) == (0, 1, 2)
    assert "move blocking work to a thread" in caplog.text


def test_it_is_measured_while_anybody_watches(clock: Clock) -> None:
    lag = LoopLag(clock)
    lag.watch()
    lag.watch()
    timers = [len(clock.due)]
    lag.unwatch()
    timers.append(len(clock.due))
    lag.unwatch()
    timers.append(len(clock.due))
    lag.watch()
    timers.append(len(clock.due))

    assert timers == [1, 1, 0, 1]
    assert lag.is_watched


def test_time_without_a_watcher_is_no_lag(clock: Clock) -> None:
    lag = LoopLag(clock)
    lag.watch()
    lag.unwatch()
    clock.now += 100
    lag.watch()

    assert lag.lag_s(clock.now) == 0.0


def test_all_calls_on_a_loop_share_one_measurement(clock: Clock) -> None:
    other = Clock()
    mine, theirs = loop_lag(clock), loop_lag(other)

    assert loop_lag(clock) is mine
    assert theirs is not mine
    other.close()


def test_a_loop_that_was_measured_is_freed() -> None:
    """It was kept for good, by the measurement that was kept for it."""
    loop = Clock()
    lag = loop_lag(loop)
    lag.watch()
    lag.unwatch()
    loop.close()
    gone = weakref.ref(loop)

    del lag, loop
    gc.collect()

    assert gone() is None
