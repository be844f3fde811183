"""What waits for its place is reached once, in order, and lost by nothing but a clear."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_server.media.places import MAX_ENDS, MAX_PLACES, MarkName, Places
from telcoflow_server.media.routing import Audience


@pytest.fixture
def places() -> Places:
    return Places()


def test_nothing_waits_at_first(places: Places) -> None:
    assert places.boundary is None
    assert not places.has_switches
    assert not places.is_full
    assert places.take_switch(1_000) is None
    assert not places.take_end(1_000)
    assert places.take_marks(1_000) == []


def test_a_switch_is_reached_at_its_offset_and_not_before(places: Places) -> None:
    places.add_switch(480, Audience.BOTH)

    reached = [(places.take_switch(at), places.has_switches) for at in (0, 479, 480, 480)]

    assert reached == [(None, True), (None, True), (Audience.BOTH, False), (None, False)]


def test_of_switches_at_one_place_the_last_counts(places: Places) -> None:
    places.add_switch(10, Audience.BOTH)
    places.add_switch(10, Audience.CALLEE)

    assert places.take_switch(10) is Audience.CALLEE


def test_switches_are_reached_by_place_whatever_order_they_came_in(places: Places) -> None:
    places.add_switch(20, Audience.NOBODY)
    places.add_switch(10, Audience.CALLEE)

    assert places.boundary == 10
    assert places.take_switch(10) is Audience.CALLEE
    assert places.take_switch(20) is Audience.NOBODY


def test_a_frame_stops_at_the_first_switch_or_end(places: Places) -> None:
    places.add_end(30)
    assert places.boundary == 30

    places.add_switch(40, Audience.BOTH)
    assert places.boundary == 30

    places.add_switch(20, Audience.CALLEE)
    assert places.boundary == 20


def test_the_first_place_of_all_is_known(places: Places) -> None:
    firsts = [places.first]
    places.add_mark(40, "far")
    firsts.append(places.first)
    places.add_end(30)
    firsts.append(places.first)
    places.add_mark(20, "near")
    firsts.append(places.first)
    places.add_switch(10, Audience.BOTH)
    firsts.append(places.first)

    assert firsts == [None, 40, 30, 20, 10]
    assert places.boundary == 10, "a frame goes on over a mark"

    places.take_switch(10)
    firsts = [places.first]
    places.take_marks(20)
    firsts.append(places.first)
    places.take_end(30)
    firsts.append(places.first)
    places.drop_after(35)
    firsts.append(places.first)

    assert firsts == [20, 30, 40, None]


def test_ends_that_were_passed_are_one_end(places: Places) -> None:
    places.add_end(10)
    places.add_end(10)
    places.add_end(20)

    assert places.take_end(20)
    assert not places.take_end(20)
    assert places.boundary is None


def test_ends_are_bounded_and_the_first_ones_count(places: Places) -> None:
    for offset in range(MAX_ENDS + 1):
        places.add_end(offset)

    assert places.take_end(MAX_ENDS - 1)
    assert not places.take_end(MAX_ENDS)


def test_marks_and_switches_share_their_room(places: Places) -> None:
    for offset in range(MAX_PLACES - 1):
        places.add_mark(offset, "m")
    full = [places.is_full]

    places.add_switch(0, Audience.BOTH)
    full.append(places.is_full)
    places.take_marks(0)
    full.append(places.is_full)

    assert full == [False, True, False]


def test_what_lies_behind_the_end_is_cleared_or_moves_there(places: Places) -> None:
    places.add_mark(10, "in time")
    places.add_mark(11, "too late")
    places.add_switch(50, Audience.NOBODY)

    assert places.drop_after(10) == ["too late"]
    assert places.take_marks(10) == [(10, "in time")]
    assert places.take_switch(10) is Audience.NOBODY


def test_a_clear_drops_marks_and_ends_and_brings_switches_here_in_order(places: Places) -> None:
    places.add_mark(30, "b")
    places.add_mark(20, "a")
    places.add_end(25)
    places.add_switch(40, Audience.NOBODY)
    places.add_switch(35, Audience.CALLEE)

    assert places.clear() == ["a", "b"]
    assert places.boundary == 0
    assert places.take_marks(1_000) == []
    assert not places.take_end(1_000)
    # What was furthest would have held in the end.
    assert places.take_switch(0) is Audience.NOBODY


@given(
    waiting=st.lists(st.tuples(st.integers(0, 100), st.booleans()), max_size=30),
    steps=st.lists(st.integers(0, 30), max_size=20),
)
def test_all_are_reached_once_by_place_then_by_order_of_coming(
    waiting: list[tuple[int, bool]], steps: list[int]
) -> None:
    places = Places()
    audiences = list(Audience)
    for number, (offset, is_mark) in enumerate(waiting):
        if is_mark:
            places.add_mark(offset, str(number))
        else:
            places.add_switch(offset, audiences[number % len(audiences)])
    expected = sorted((at, number) for number, (at, is_mark) in enumerate(waiting) if is_mark)
    switches = sorted((at, number) for number, (at, is_mark) in enumerate(waiting) if not is_mark)
    reached: list[tuple[int, MarkName]] = []
    played = 0

    for step in [*steps, 200]:
        before, played = played, played + step
        marks = places.take_marks(played)
        assert all(offset <= played for offset, _ in marks)
        reached += marks
        passed = [number for at, number in switches if at <= played and (at > before or not before)]
        audience = places.take_switch(played)
        if passed and audience is not None:
            assert audience is audiences[passed[-1] % len(audiences)]

    assert reached == [(at, str(number)) for at, number in expected]
    assert not places.has_switches
