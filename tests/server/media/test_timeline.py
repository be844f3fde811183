"""Timestamps without wraps, and packets from elsewhere."""

from __future__ import annotations

import pytest

from telcoflow_server.media.timeline import JUMP_S, Arrival, TimeLine, advance_between

RATE_HZ = 8_000


def arrival(seq: int, timestamp: int, arrival_s: float = 0.0) -> Arrival[None]:
    return Arrival(seq, timestamp, arrival_s, None, 160)


@pytest.fixture
def line() -> TimeLine[None]:
    return TimeLine(RATE_HZ)


@pytest.mark.parametrize("before", [0, 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize("advance", [-(2**31), -160, 0, 160, 2**31 - 1])
def test_advance_is_the_shorter_way_around(before: int, advance: int) -> None:
    assert advance_between(before, (before + advance) % 2**32) == advance
    assert advance_between(before + 5 * 2**32, (before + advance) % 2**32) == advance


def test_first_place_is_the_timestamp_and_later_ones_go_on_past_the_wrap(
    line: TimeLine[None],
) -> None:
    assert line.place(2**32 - 100, 0, None) == 2**32 - 100

    line.newest_place = 2**32 - 100
    assert line.place(60, 0, None) == 2**32 + 60
    assert line.place(2**32 - 260, 0, None) == 2**32 - 260


def test_nothing_is_elsewhere_before_there_is_a_time_line(line: TimeLine[None]) -> None:
    assert line.place(7, 10**9, None) == 7


@pytest.mark.parametrize("sign", [-1, 1])
def test_more_than_a_second_away_is_elsewhere(line: TimeLine[None], sign: int) -> None:
    arrival_units = 7 + 500 + sign * JUMP_S * RATE_HZ

    assert line.place(7, arrival_units, 500) == 7
    assert line.place(7, arrival_units + sign, 500) is None


def test_two_strays_that_agree_begin_a_time_line(line: TimeLine[None]) -> None:
    first = arrival(10, 2**32 - 80, 5.0)

    assert line.meet_stray(first) is None
    assert line.meet_stray(arrival(11, 80, 5.02)) is first
    assert line.discarded == 0


@pytest.mark.parametrize(
    "second", [arrival(10, 1_000), arrival(11, 1_000_000), arrival(11, 1_160, 3.0)]
)
def test_strays_that_do_not_agree_are_errors(line: TimeLine[None], second: Arrival[None]) -> None:
    line.meet_stray(arrival(10, 1_000))

    assert line.meet_stray(second) is None
    assert line.discarded == 1


def test_restart_forgets_all_but_the_count(line: TimeLine[None]) -> None:
    line.newest_place = 7
    line.meet_stray(arrival(10, 1_000))

    line.restart()

    assert line.place(2**32 - 1, 0, None) == 2**32 - 1
    assert line.discarded == 1
    assert line.meet_stray(arrival(11, 1_160, 0.02)) is None
