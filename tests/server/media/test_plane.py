"""The tick: who hears what, exactly, whatever else is on the node."""

from __future__ import annotations

import numpy as np
import pytest

from telcoflow_server.media.plane import BLOCK_ROWS, MediaPlane, Row
from telcoflow_server.media.routing import Slot, Stage
from tests.support.media import Frame, Leg, MemoryLane, join, noise


def test_both_sides_hear_each_other_bit_exactly() -> None:
    plane = MediaPlane()
    caller, agent = Leg(noise(960, 1)), Leg(noise(960, 2))
    said = noise(960, 1), noise(960, 2)
    join(plane.open_row(), caller, agent)

    plane.tick()
    plane.tick()

    assert (agent.sound == said[0]).all()
    assert (caller.sound == said[1]).all()


def test_what_was_said_last_can_be_looked_at() -> None:
    plane = MediaPlane()
    row = plane.open_row()
    join(row, Leg(noise(480, 1)), Leg(noise(480, 2)))

    plane.tick()
    looked_at = row.said(Slot.CALLER)
    plane.tick()

    assert (looked_at == noise(480, 1)).all()
    assert not row.said(Slot.CALLER).any()
    assert not row.said(Slot.CALLEE).any()


def test_nothing_is_heard_while_it_rings() -> None:
    plane = MediaPlane()
    row = plane.open_row()
    caller, agent = Leg(noise(480, 1)), Leg(noise(480, 2))
    join(row, caller, agent)
    row.set_stage(Stage.RINGING)

    plane.tick()

    assert not caller.sound.any()
    assert not agent.sound.any()


def test_mode_takes_effect_on_the_next_tick() -> None:
    plane = MediaPlane()
    row = plane.open_row()
    caller, agent = Leg(noise(960, 1)), Leg()
    join(row, caller, agent)
    row.set_stage(Stage.RINGING)
    plane.tick()

    row.set_stage(Stage.ANSWERED)
    plane.tick()

    assert not agent.heard[0].any()
    assert (agent.heard[1] == noise(960, 1)[480:]).all()


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
def test_silent_source_is_heard_as_zeros(rate_hz: int) -> None:
    plane = MediaPlane()
    caller, agent = Leg(rate_hz=rate_hz), Leg(rate_hz=rate_hz)
    join(plane.open_row(), caller, agent)

    plane.tick()

    assert not agent.sound.any()


def test_ticks_are_numbered_from_the_row_s_own_start() -> None:
    plane = MediaPlane()
    plane.tick()
    plane.tick()
    row = plane.open_row()
    caller = Leg()
    row.attach(Slot.CALLER, caller, caller, 24_000)
    assert row.tick == 0

    plane.tick()
    plane.tick()

    assert row.tick == 2
    assert caller.taken_ticks == caller.put_ticks == [0, 1]


@pytest.mark.parametrize("rate_hz", [8_000, 16_000])
def test_narrow_leg_gives_and_gets_one_frame_of_its_rate_per_tick(rate_hz: int) -> None:
    plane = MediaPlane()
    at = np.arange(rate_hz // 5)
    said = np.rint(9_000 * np.sin(2 * np.pi * 500 / rate_hz * at)).astype(np.int16)
    caller, agent = Leg(said, rate_hz), Leg(rate_hz=rate_hz)
    join(plane.open_row(), caller, agent)

    for _ in range(10):
        plane.tick()

    assert [frame.size for frame in agent.heard] == [rate_hz // 50] * 10
    level = np.sqrt(np.mean(agent.sound[rate_hz // 25 :].astype(np.float64) ** 2))
    assert level == pytest.approx(9_000 / np.sqrt(2), rel=0.01)


def test_frame_given_to_a_sink_cannot_be_written() -> None:
    plane = MediaPlane()
    caller, agent = Leg(), Leg(rate_hz=8_000)
    flags: list[bool] = []

    class Sink:
        def put(self, tick: int, frame: Frame) -> None:
            flags.append(frame.flags.writeable)

    row = plane.open_row()
    row.attach(Slot.CALLER, caller, Sink(), 24_000)
    row.attach(Slot.AGENT, agent, Sink(), 8_000)
    plane.tick()

    assert flags == [False, False]


def watched_call(plane: MediaPlane, rate_hz: int) -> tuple[Leg, Leg]:
    caller = Leg(noise(rate_hz // 50 * 12, 10), rate_hz)
    agent = Leg(noise(rate_hz // 50 * 12, 11), rate_hz)
    join(plane.open_row(), caller, agent)
    return caller, agent


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
def test_bytes_do_not_depend_on_who_else_is_calling(rate_hz: int) -> None:
    alone = MediaPlane()
    caller_alone, agent_alone = watched_call(alone, rate_hz)
    for _ in range(12):
        alone.tick()

    shared = MediaPlane()
    random = np.random.default_rng(4)
    others: list[Row] = []

    def come() -> None:
        row = shared.open_row()
        rates = random.choice([8_000, 16_000, 24_000], 2)
        legs = [Leg(noise(int(rate) // 50 * 20, 5), int(rate)) for rate in rates]
        join(row, *legs)
        others.append(row)

    for _ in range(BLOCK_ROWS + 5):
        come()
    others.pop(3).close()
    caller, agent = watched_call(shared, rate_hz)
    for _ in range(12):
        come()
        others.pop(int(random.integers(len(others)))).close()
        others.pop(0).close()
        shared.tick()

    assert caller.sound.tobytes() == caller_alone.sound.tobytes()
    assert agent.sound.tobytes() == agent_alone.sound.tobytes()


def test_recording_has_one_stereo_frame_per_tick_from_the_row_s_first() -> None:
    plane = MediaPlane()
    plane.tick()
    row = plane.open_row()
    lane = MemoryLane()
    row.record(lane)
    plane.tick()
    caller, agent = Leg(noise(480, 1)), Leg(noise(480, 2))
    join(row, caller, agent)
    plane.tick()

    assert [frame.shape for frame in lane.frames] == [(480, 2)] * 2
    assert not lane.frames[0].any()
    assert (lane.frames[1][:, 0] == noise(480, 1)).all()
    assert (lane.frames[1][:, 1] == noise(480, 2)).all()


def test_recording_can_be_stopped() -> None:
    plane = MediaPlane()
    row = plane.open_row()
    lane = MemoryLane()
    row.record(lane)
    plane.tick()

    row.record(None)
    plane.tick()

    assert len(lane.frames) == 1


def test_a_recording_that_begins_while_legs_listen_begins_with_the_next_tick() -> None:
    plane = MediaPlane()
    row = plane.open_row()
    caller, agent = Leg(noise(960, 1)), Leg(noise(960, 2))
    join(row, caller, agent)
    lane = MemoryLane()
    caller.on_put = lambda: row.record(lane)

    plane.tick()
    plane.tick()

    assert len(lane.frames) == 1
    assert (lane.frames[0][:, 0] == noise(960, 1)[480:]).all()
    assert (lane.frames[0][:, 1] == noise(960, 2)[480:]).all()


def test_a_stage_that_changes_while_legs_listen_is_heard_from_the_next_tick_on() -> None:
    plane = MediaPlane()
    row = plane.open_row()
    caller, agent, callee = (Leg(noise(960, seed)) for seed in (1, 2, 3))
    join(row, caller, agent)
    row.attach(Slot.CALLEE, callee, callee, callee.rate_hz)
    caller.on_put = lambda: row.set_stage(Stage.CONNECTED)

    plane.tick()
    plane.tick()

    assert (agent.heard[0] == noise(960, 1)[:480]).all()
    both = noise(960, 1)[480:].astype(int) + noise(960, 3)[480:]
    assert (agent.heard[1] == both.clip(-32768, 32767)).all()
    assert not callee.heard[0].any()
    assert (callee.heard[1] == noise(960, 1)[480:]).all()


def test_who_hears_one_person_hears_the_same_beside_a_call_that_is_mixed() -> None:
    plane = MediaPlane()
    mixed, straight = plane.open_row(), plane.open_row()
    join(mixed, Leg(noise(960, 4)), Leg(noise(960, 5)))
    mixed.record(MemoryLane())
    caller, agent = Leg(noise(960, 1)), Leg(noise(960, 2))
    join(straight, caller, agent)

    plane.tick()
    mixed.close()
    plane.tick()

    assert (agent.sound == noise(960, 1)).all()
    assert (caller.sound == noise(960, 2)).all()


@pytest.mark.parametrize("rate_hz", [8_000, 24_000])
def test_detached_leg_is_silent_and_its_slot_free(rate_hz: int) -> None:
    plane = MediaPlane()
    row = plane.open_row()
    caller, agent = Leg(noise(rate_hz // 10, 1), rate_hz), Leg()
    join(row, caller, agent)
    plane.tick()

    row.detach(Slot.CALLER)
    row.detach(Slot.CALLER)
    plane.tick()
    plane.tick()

    assert caller.taken_ticks == [0]
    assert not agent.heard[1].any()
    row.attach(Slot.CALLER, caller, caller, rate_hz)


def test_closed_row_leaves_nothing_to_the_next_call_in_its_place() -> None:
    plane = MediaPlane()
    first = plane.open_row()
    join(first, Leg(noise(4_800, 1)), Leg(noise(4_800, 2)))
    plane.tick()

    first.close()
    first.close()
    second = plane.open_row()
    caller, agent = Leg(), Leg()
    second.attach(Slot.CALLER, caller, caller, 24_000)
    second.attach(Slot.AGENT, agent, agent, 24_000)
    plane.tick()

    assert plane.rows == 1
    assert not caller.sound.any()
    assert not agent.sound.any()


def test_closed_row_refuses_everything_but_closing() -> None:
    row = MediaPlane().open_row()
    row.close()

    with pytest.raises(ValueError, match="the row is closed"):
        row.set_stage(Stage.ANSWERED)
    with pytest.raises(ValueError, match="the row is closed"):
        row.record(None)
    with pytest.raises(ValueError, match="the row is closed"):
        row.attach(Slot.AGENT, Leg(), Leg(), 24_000)
    row.detach(Slot.AGENT)


def test_attach_refuses_a_taken_slot_and_an_unknown_rate() -> None:
    row = MediaPlane().open_row()
    row.attach(Slot.CALLER, Leg(), Leg(), 24_000)

    with pytest.raises(ValueError, match="slot CALLER is taken"):
        row.attach(Slot.CALLER, Leg(), Leg(), 24_000)
    with pytest.raises(ValueError, match="not 44100"):
        row.attach(Slot.AGENT, Leg(), Leg(), 44_100)


def test_statistics_count_rows_legs_and_ticks() -> None:
    plane = MediaPlane()
    join(plane.open_row(), Leg(), Leg())
    plane.open_row()
    plane.tick()

    statistics = plane.statistics()

    assert (statistics.rows, statistics.legs, statistics.ticks) == (2, 2, 1)
    assert statistics.failed_legs == 0


def test_call_goes_on_when_the_block_of_rows_after_its_own_has_emptied() -> None:
    plane = MediaPlane()
    caller, agent = Leg(noise(960, 1)), Leg()
    join(plane.open_row(), caller, agent)
    others = [plane.open_row() for _ in range(BLOCK_ROWS)]
    plane.tick()

    for other in others:
        other.close()
    plane.tick()

    assert plane.rows == 1
    assert (agent.sound == noise(960, 1)).all()
