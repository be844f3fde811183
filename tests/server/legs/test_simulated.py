"""A simulated phone follows its script to the sample."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_server.call.ports import CalleeProgress, PressedDigit
from telcoflow_server.legs.behaviour import Behaviour
from telcoflow_server.legs.simulated import (
    DEFAULT_RING_MS,
    FLOOR_DB,
    HANG_UP_AFTER_SILENCE_MS,
    KEY_MS,
    CalleeScript,
    Levels,
    Play,
    Script,
    SimulatedCallee,
    SimulatedPhone,
)

FRAME = 480
SILENT_TICKS = HANG_UP_AFTER_SILENCE_MS // 20
SILENCE = np.zeros(FRAME, dtype=np.int16)
LOUD = np.full(FRAME, 3_276, dtype=np.int16)  # -20 dB
FAINT = np.full(FRAME, 100, dtype=np.int16)  # -50.3 dB


def sound(samples: int, first: int = 1) -> NDArray[np.int16]:
    return np.arange(first, first + samples, dtype=np.int16)


class MemoryLane:
    def __init__(self) -> None:
        self.frames: list[NDArray[np.int16]] = []
        self.is_closed = False

    def write(self, frame: NDArray[np.int16]) -> None:
        self.frames.append(frame.copy())

    def close(self) -> None:
        self.is_closed = True


class Ear:
    """Runs a phone tick by tick and keeps what it says; what it hears is up to the test."""

    def __init__(self, phone: SimulatedPhone) -> None:
        self.phone = phone
        self.tick = 0
        self.said: list[NDArray[np.int16]] = []

    def run(self, ticks: int = 1, heard: NDArray[np.int16] = SILENCE) -> None:
        for _ in range(ticks):
            out = np.zeros(FRAME, dtype=np.int16)
            is_sounding = self.phone.take(self.tick, out)
            self.said.append(out if is_sounding else SILENCE)
            self.phone.put(self.tick, heard)
            self.tick += 1

    def run_until_hung_up(self, heard: NDArray[np.int16] = SILENCE) -> int:
        while not self.phone.has_hung_up:
            assert self.tick < 10_000, "never hangs up"
            self.run(1, heard)
        return self.tick

    @property
    def stream(self) -> NDArray[np.int16]:
        return np.concatenate(self.said)


def answered(script: Script, at_tick: int = 0) -> Ear:
    ear = Ear(SimulatedPhone(script))
    ear.run(at_tick)
    ear.phone.answered(at_tick)
    return ear


def test_nothing_is_said_before_the_answer() -> None:
    ear = Ear(SimulatedPhone(Script((Play(sound(960)),))))

    ear.run(10)

    assert not ear.stream.any()


def test_script_begins_with_the_answering_tick() -> None:
    ear = answered(Script((Play(sound(960)),)), at_tick=7)

    ear.run(3)

    assert (ear.stream[7 * FRAME : 9 * FRAME] == sound(960)).all()
    assert not ear.stream[9 * FRAME :].any()


def test_sounds_are_played_at_their_sample_and_after_each_other() -> None:
    ear = answered(Script((Play(sound(100)), Play(sound(50, 500)), Play(sound(70, 900), at_ms=25))))

    ear.run(3)

    expected = np.zeros(3 * FRAME, dtype=np.int16)
    expected[:100] = sound(100)
    expected[100:150] = sound(50, 500)
    expected[600:670] = sound(70, 900)
    assert (ear.stream == expected).all()


def test_none_follows_the_one_before_it_in_the_list() -> None:
    ear = answered(Script((Play(sound(10), at_ms=20), Play(sound(10, 50)))))

    ear.run(2)

    assert (ear.stream[FRAME : FRAME + 20] == [*sound(10), *sound(10, 50)]).all()


def test_overlapping_sounds_are_both_heard_and_saturate() -> None:
    loud = np.full(FRAME, 30_000, dtype=np.int16)
    ear = answered(Script((Play(loud, at_ms=0), Play(loud, at_ms=10))))

    ear.run(2)

    assert (ear.stream[:240] == 30_000).all()
    assert (ear.stream[240:480] == 32_767).all()
    assert (ear.stream[480:720] == 30_000).all()


def test_everything_heard_is_recorded_from_tick_0() -> None:
    lane = MemoryLane()
    ear = Ear(SimulatedPhone(Script(), lane))

    ear.run(2)
    ear.phone.answered(2)
    ear.run(1, LOUD)

    assert [frame[0] for frame in lane.frames] == [0, 0, LOUD[0]]
    assert not lane.is_closed


def test_end_of_the_call_closes_the_recording_and_silences_the_phone() -> None:
    lane = MemoryLane()
    ear = Ear(SimulatedPhone(Script((Play(sound(4_800)),)), lane))
    ear.phone.answered(0)
    ear.run(2)

    ear.phone.ended(2, EndReason.AGENT_CLOSED)
    ear.run(3)

    assert lane.is_closed
    assert len(lane.frames) == 2
    assert not ear.stream[2 * FRAME :].any()


def test_phone_without_a_recording_may_end_too() -> None:
    phone = SimulatedPhone(Script())

    phone.ended(0, EndReason.NO_AGENT)

    assert not phone.has_hung_up


def test_hang_up_time_counts_from_the_answer() -> None:
    assert answered(Script(hang_up_after_ms=100), at_tick=3).run_until_hung_up() == 3 + 5


def test_hang_up_time_counts_from_the_first_ring_without_an_answer() -> None:
    assert Ear(SimulatedPhone(Script(hang_up_after_ms=90))).run_until_hung_up() == 5


def test_hang_up_silences_what_is_still_to_be_said() -> None:
    ear = answered(Script((Play(sound(4_800)),), hang_up_after_ms=40))

    ear.run(4)

    assert ear.stream[: 2 * FRAME].all()
    assert not ear.stream[2 * FRAME :].any()


def test_unanswered_phone_without_a_time_keeps_ringing() -> None:
    ear = Ear(SimulatedPhone(Script()))

    ear.run(1_000)

    assert not ear.phone.has_hung_up


def test_phone_hangs_up_after_three_seconds_of_silence_once_all_was_said() -> None:
    ear = answered(Script((Play(sound(FRAME), at_ms=5_000),)))

    assert ear.run_until_hung_up() == 5_000 // 20 + 1 + SILENT_TICKS


def test_audible_answer_keeps_the_phone_up() -> None:
    ear = answered(Script())
    ear.run(SILENT_TICKS - 1)
    ear.run(10, LOUD)

    assert ear.run_until_hung_up(heard=FAINT) == SILENT_TICKS - 1 + 10 + SILENT_TICKS


def test_levels_are_those_of_the_last_tick() -> None:
    ear = answered(Script((Play(np.full(FRAME, -32_768, dtype=np.int16)),)))

    ear.run(1, LOUD)
    assert ear.phone.levels.spoken_db == pytest.approx(0.0)
    assert ear.phone.levels.heard_db == pytest.approx(-20.0, abs=0.01)

    ear.run(1)
    assert ear.phone.levels == Levels(FLOOR_DB, FLOOR_DB)


def test_statistics_count_frames_said_heard_and_audible() -> None:
    ear = answered(Script((Play(sound(FRAME + 1)),)))
    ear.run(2, LOUD)
    ear.run(3, FAINT)

    statistics = ear.phone.statistics()

    assert (statistics.frames_spoken, statistics.frames_heard) == (2, 5)
    assert statistics.frames_audible == 2


def test_negative_times_are_refused() -> None:
    with pytest.raises(ValueError, match="at_ms must be 0 or more, not -1"):
        Play(SILENCE, at_ms=-1)
    with pytest.raises(ValueError, match="hang_up_after_ms must be 0 or more, not -5"):
        Script(hang_up_after_ms=-5)
    with pytest.raises(ValueError, match="after_ms must be 0 or more, not -1"):
        CalleeScript(after_ms=-1)


# --- a phone that is called ----------------------------------------------------------------------


def rings(callee: SimulatedCallee, ticks: int, first: int = 0) -> list[CalleeProgress]:
    return [callee.ring(tick) for tick in range(first, first + ticks)]


@pytest.mark.parametrize(
    ("behaviour", "comes_to"),
    [
        (Behaviour.ANSWER, CalleeProgress.ANSWERED),
        (Behaviour.BUSY, CalleeProgress.BUSY),
        (Behaviour.DECLINE, CalleeProgress.DECLINED),
    ],
)
@pytest.mark.parametrize(("after_ms", "ringing"), [(0, 0), (1, 1), (20, 1), (100, 5), (101, 6)])
def test_callee_rings_for_its_time_whenever_it_is_dialled(
    behaviour: Behaviour, comes_to: CalleeProgress, after_ms: int, ringing: int
) -> None:
    callee = SimulatedCallee(CalleeScript(behaviour, after_ms))

    progress = rings(callee, ringing + 2, first=500)

    assert progress == [CalleeProgress.RINGING] * ringing + [comes_to] * 2


def test_callee_who_does_not_answer_rings_for_ever() -> None:
    callee = SimulatedCallee(CalleeScript(Behaviour.NO_ANSWER, after_ms=0))

    assert set(rings(callee, 10_000)) == {CalleeProgress.RINGING}


def test_callee_who_was_told_nothing_answers_after_a_second_and_stays() -> None:
    callee = SimulatedCallee(CalleeScript())

    progress = rings(callee, DEFAULT_RING_MS // 20 + 1)
    callee.answered(DEFAULT_RING_MS // 20 + 1)
    for tick in range(51, 10_000):
        callee.put(tick, SILENCE)

    assert progress[-2:] == [CalleeProgress.RINGING, CalleeProgress.ANSWERED]
    assert not callee.has_hung_up


def test_callee_may_put_the_phone_down_while_it_rings() -> None:
    callee = SimulatedCallee(CalleeScript(Behaviour.NO_ANSWER))
    rings(callee, 3)

    callee.decline()

    assert callee.ring(3) is CalleeProgress.DECLINED


def test_callee_follows_its_script_from_its_answer_on() -> None:
    lane = MemoryLane()
    script = Script((Play(sound(FRAME), at_ms=20),), hang_up_after_ms=60)
    callee = SimulatedCallee(CalleeScript(script=script), lane)
    out = np.zeros(FRAME, dtype=np.int16)

    callee.answered(70)
    is_sounding = []
    for tick in range(70, 73):
        is_sounding.append(callee.take(tick, out))
        assert not callee.has_hung_up
        callee.put(tick, LOUD)

    assert is_sounding == [False, True, False]
    assert (out == sound(FRAME)).all()
    assert callee.levels.heard_db == pytest.approx(-20.0, abs=0.01)
    assert callee.has_hung_up
    assert len(lane.frames) == 3
    callee.ended(73, EndReason.CALLEE_HUNG_UP)
    assert lane.is_closed


# --- keys and transfers ------------------------------------------------------------------


def make_caller() -> SimulatedPhone:
    return SimulatedPhone(Script())


def make_callee() -> SimulatedCallee:
    return SimulatedCallee(CalleeScript())


@pytest.mark.parametrize("make", [make_caller, make_callee])
def test_keys_that_were_pressed_are_taken_once(
    make: Callable[[], SimulatedPhone | SimulatedCallee],
) -> None:
    phone = make()
    phone.press_key("1")
    phone.press_key("#", 80.0)

    assert phone.take_digits() == [PressedDigit("1", KEY_MS), PressedDigit("#", 80.0)]
    assert phone.take_digits() == []


@pytest.mark.parametrize("make", [make_caller, make_callee])
def test_a_phone_goes_to_whom_it_is_sent(
    make: Callable[[], SimulatedPhone | SimulatedCallee],
) -> None:
    phone = make()
    phone.hears_early(0)
    before = phone.transferred
    phone.press("12")
    phone.transfer("+15550111")

    assert (before, phone.transferred) == (None, True)
