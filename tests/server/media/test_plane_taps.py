"""Taps: what one leg says, whoever may hear it; and cutting a filter's memory."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from telcoflow_server.media.plane import MediaPlane
from telcoflow_server.media.routing import Audience, Slot, Stage


class Source:
    """Says one value, at any rate; hears nothing."""

    def __init__(self, value: int) -> None:
        self.value = value

    def take(self, tick: int, out: NDArray[np.int16]) -> bool:
        out[:] = self.value
        return True

    def put(self, tick: int, frame: NDArray[np.int16]) -> None:
        pass


class Ear:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, NDArray[np.int16]]] = []

    def put(self, tick: int, frame: NDArray[np.int16]) -> None:
        self.frames.append((tick, frame.copy()))


class Broken:
    """Raises at every frame."""

    def put(self, tick: int, frame: NDArray[np.int16]) -> None:
        raise OSError("broken")


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
def test_a_tap_hears_its_slot_at_its_own_rate_whatever_the_stage(rate_hz: int) -> None:
    plane, ear, source = MediaPlane(), Ear(), Source(1000)
    row = plane.open_row()
    row.attach(Slot.CALLER, source, source, 24_000)
    row.tap(Slot.CALLER, ear, rate_hz)

    for _ in range(5):
        plane.tick()

    assert [tick for tick, _ in ear.frames] == [0, 1, 2, 3, 4]
    last = ear.frames[-1][1]
    assert len(last) == rate_hz // 50
    assert set(last) == {1000}
    with pytest.raises(ValueError, match="rate"):
        row.tap(Slot.CALLER, ear, 11_025)


def test_a_tap_of_a_free_slot_hears_silence_and_then_who_comes() -> None:
    plane, ear, source = MediaPlane(), Ear(), Source(7)
    row = plane.open_row()
    row.tap(Slot.CALLEE, ear, 24_000)
    plane.tick()
    row.attach(Slot.CALLEE, source, source, 24_000)
    plane.tick()
    row.detach(Slot.CALLEE)
    plane.tick()

    assert [int(frame[0]) for _, frame in ear.frames] == [0, 7, 0]


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
def test_a_tone_is_nobody_s_voice(rate_hz: int) -> None:
    plane, early, late, tone, voice = MediaPlane(), Ear(), Ear(), Source(1000), Source(1000)
    row = plane.open_row()
    row.tap(Slot.CALLEE, early, rate_hz)
    row.tap(Slot.CALLER, Ear(), rate_hz)
    row.attach(Slot.CALLEE, tone, tone, 24_000, is_tone=True)
    row.tap(Slot.CALLEE, late, rate_hz)
    for _ in range(3):
        plane.tick()
    row.detach(Slot.CALLEE)
    row.attach(Slot.CALLEE, voice, voice, 24_000)
    for _ in range(3):
        plane.tick()

    for ear in (early, late):
        assert not any(frame.any() for _, frame in ear.frames[:3])
        assert set(ear.frames[-1][1]) == {1000}


def test_a_tap_that_raises_is_taken_out_and_its_leg_stays() -> None:
    failed: list[Slot] = []
    plane, ear, source = MediaPlane(), Ear(), Source(7)
    row = plane.open_row(lambda slot, error: failed.append(slot))
    row.attach(Slot.CALLER, source, source, 8_000)
    row.tap(Slot.CALLER, Broken(), 8_000)
    row.tap(Slot.CALLER, ear, 24_000)

    for _ in range(3):
        plane.tick()

    assert failed == [Slot.CALLER]
    assert len(ear.frames) == 3
    assert plane.statistics().legs == 1
    row.close()
    plane.tick()
    assert len(ear.frames) == 3


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
def test_a_new_audience_hears_nothing_of_what_was_said_before(rate_hz: int) -> None:
    plane, agent, caller, callee = MediaPlane(), Source(20_000), Ear(), Ear()
    row = plane.open_row()
    row.attach(Slot.AGENT, agent, agent, rate_hz)
    silent = Source(0)
    row.attach(Slot.CALLER, silent, caller, 24_000)
    row.attach(Slot.CALLEE, silent, callee, 24_000)
    row.set_stage(Stage.CONNECTED)
    row.set_audience(Audience.CALLEE)
    for _ in range(3):
        plane.tick()

    agent.value = 0
    row.set_audience(Audience.BOTH)
    for _ in range(3):
        plane.tick()

    assert callee.frames[2][1].any()
    assert not any(frame.any() for _, frame in caller.frames)


def test_a_cut_of_a_free_slot_is_nothing() -> None:
    row = MediaPlane().open_row()

    row.cut(Slot.AGENT)

    assert row.tick == 0
