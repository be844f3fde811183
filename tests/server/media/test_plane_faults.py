"""The tick: legs that fail, and calls that come and go in the middle of it."""

from __future__ import annotations

import pytest

from telcoflow_server.media.plane import BLOCK_ROWS, MediaPlane, Row
from telcoflow_server.media.routing import Slot, Stage
from tests.support.media import Leg, MemoryLane, join, noise


def fail() -> None:
    raise OSError("no such phone")


@pytest.mark.parametrize("where", ["on_take", "on_put"])
def test_leg_that_raises_is_detached_and_reported_and_others_do_not_notice(where: str) -> None:
    plane = MediaPlane()
    failures: list[tuple[Slot, str]] = []
    row = plane.open_row(lambda slot, error: failures.append((slot, str(error))))
    broken, partner = Leg(), Leg()
    join(row, broken, partner)
    caller, agent = Leg(noise(960, 1)), Leg()
    join(plane.open_row(), caller, agent)
    setattr(broken, where, fail)

    plane.tick()
    plane.tick()

    assert failures == [(Slot.CALLER, "no such phone")]
    assert plane.statistics().failed_legs == 1
    assert broken.taken_ticks == [0]
    assert partner.put_ticks == [0, 1]
    assert not partner.sound.any()
    assert (agent.sound == noise(960, 1)).all()


def test_leg_without_an_owner_to_tell_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    plane = MediaPlane()
    broken = Leg()
    broken.on_put = fail
    plane.open_row().attach(Slot.CALLER, broken, broken, 24_000)

    plane.tick()

    assert [record.getMessage() for record in caplog.records] == ["the caller's leg failed"]


def test_owner_that_raises_is_logged_and_the_next_owner_still_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    plane = MediaPlane()
    told: list[Slot] = []

    def careless(slot: Slot, error: Exception) -> None:
        raise KeyError(slot)

    for failed in (careless, lambda slot, error: told.append(slot)):
        broken = Leg()
        broken.on_take = fail
        plane.open_row(failed).attach(Slot.AGENT, broken, broken, 24_000)

    plane.tick()

    assert told == [Slot.AGENT]
    assert len(caplog.records) == 1


def test_owner_may_close_the_row_and_open_another() -> None:
    plane = MediaPlane()
    rows: list[Row] = []

    def replace(slot: Slot, error: Exception) -> None:
        rows[0].close()
        rows.append(plane.open_row())

    broken = Leg()
    broken.on_take = fail
    rows.append(plane.open_row(replace))
    rows[0].attach(Slot.AGENT, broken, broken, 24_000)
    plane.tick()
    plane.tick()

    assert [row.tick for row in rows[1:]] == [1]
    assert plane.rows == 1


@pytest.mark.parametrize("where", ["on_take", "on_put"])
@pytest.mark.parametrize("rate_hz", [8_000, 24_000])
def test_leg_that_detaches_itself_and_raises_is_told_once(where: str, rate_hz: int) -> None:
    plane = MediaPlane()
    failures: list[Slot] = []
    row = plane.open_row(lambda slot, error: failures.append(slot))
    leaver, partner = Leg(noise(rate_hz // 25, 1), rate_hz), Leg()
    join(row, leaver, partner)

    def leave() -> None:
        row.detach(Slot.CALLER)
        fail()

    setattr(leaver, where, leave)
    plane.tick()
    plane.tick()

    assert failures == [Slot.CALLER]
    assert len(leaver.taken_ticks) == 1
    assert not partner.heard[1].any()


def test_leg_that_leaves_while_it_speaks_is_not_heard() -> None:
    plane = MediaPlane()
    row = plane.open_row()
    leaver, partner = Leg(noise(960, 1)), Leg()
    join(row, leaver, partner)
    leaver.on_take = lambda: row.detach(Slot.CALLER)

    plane.tick()

    assert not partner.sound.any()


def test_leg_may_detach_another_before_its_turn() -> None:
    plane = MediaPlane()
    row = plane.open_row()
    caller, agent = Leg(), Leg()
    join(row, caller, agent)
    caller.on_take = lambda: row.detach(Slot.AGENT)

    plane.tick()

    assert agent.taken_ticks == []
    assert agent.put_ticks == []


@pytest.mark.parametrize("where", ["on_take", "on_put"])
def test_call_replaced_in_the_middle_of_a_tick_begins_with_the_next(where: str) -> None:
    plane = MediaPlane()
    row = plane.open_row()
    lane = MemoryLane()
    caller, late = Leg(noise(960, 1)), Leg(noise(480, 2), 24_000)
    row.attach(Slot.CALLER, caller, caller, 24_000)
    opened: list[Row] = []

    def replace() -> None:
        row.close()
        fresh = plane.open_row()
        fresh.attach(Slot.CALLER, late, late, 24_000)
        fresh.set_stage(Stage.ANSWERED)
        fresh.record(lane)
        opened.append(fresh)
        assert fresh.tick == 0

    setattr(caller, where, replace)
    plane.tick()
    assert opened[0].tick == 0
    assert lane.frames == []

    plane.tick()

    assert late.taken_ticks == late.put_ticks == [0]
    assert opened[0].tick == 1
    assert (lane.frames[0][:, 0] == noise(480, 2)).all()


def test_more_rows_than_a_block_holds_may_come_in_the_middle_of_a_tick() -> None:
    plane = MediaPlane()
    row = plane.open_row()
    caller, agent = Leg(noise(960, 1)), Leg()
    join(row, caller, agent)

    def crowd() -> None:
        for _ in range(BLOCK_ROWS):
            plane.open_row()

    caller.on_take = crowd
    plane.tick()
    plane.tick()

    assert (agent.sound == noise(960, 1)).all()
