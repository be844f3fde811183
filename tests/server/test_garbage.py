"""When the process looks for cyclic garbage, and that calls leave it none for long."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from telcoflow_server.garbage import ENDED_PER_RUNNING, EVERY_TICKS, FEW_CALLS, Garbage


class Node:
    """Something that can be part of a circle."""

    def __init__(self) -> None:
        self.other: object = None


def circle() -> weakref.ref[Node]:
    """Make two objects that nobody but each other knows; return one weakly."""
    first, second = Node(), Node()
    first.other, second.other = second, first
    return weakref.ref(first)


@pytest.fixture
def garbage() -> Iterator[Garbage]:
    one = Garbage()
    one.take_over()
    yield one
    one.give_back()


@pytest.fixture
def searches() -> Iterator[list[int]]:
    """Every look through all objects, by whomever."""
    seen: list[int] = []

    def note(phase: str, info: dict[str, Any]) -> None:
        if phase == "start" and info["generation"] == 2:
            seen.append(1)

    gc.callbacks.append(note)
    yield seen
    gc.callbacks.remove(note)


def test_python_no_longer_looks_through_everything_in_the_middle_of_a_tick(
    garbage: Garbage, searches: list[int]
) -> None:
    kept = [[Node()] for _ in range(300_000)]

    assert searches == []
    garbage.give_back()
    kept += [[Node()] for _ in range(300_000)]
    assert searches != [], "Python by itself does"


def test_young_garbage_is_found_by_python_itself(garbage: Garbage) -> None:
    young = circle()

    kept = [Node() for _ in range(20 * gc.get_threshold()[0])]

    assert young() is None
    assert garbage.searches == 0
    assert len(kept) > 0


def test_with_few_calls_garbage_is_looked_for_every_ten_seconds(garbage: Garbage) -> None:
    old = circle()
    gc.collect(0)
    gc.collect(1)  # old by now: Python would not find it before a look at everything

    for _ in range(EVERY_TICKS - 1):
        garbage.after_tick(FEW_CALLS, ended_calls=0)
    garbage.after_tick(FEW_CALLS, ended_calls=0)

    assert old() is None
    assert garbage.searches == 1
    assert garbage.longest_s > 0


def test_with_many_calls_garbage_is_looked_for_when_many_have_ended(garbage: Garbage) -> None:
    running = FEW_CALLS + 1

    for _ in range(2 * EVERY_TICKS):
        garbage.after_tick(running, ended_calls=ENDED_PER_RUNNING * running - 1)
    before = garbage.searches
    garbage.after_tick(running, ended_calls=ENDED_PER_RUNNING * running)
    garbage.after_tick(running, ended_calls=ENDED_PER_RUNNING * running + 1)

    assert before == 0
    assert garbage.searches == 1


def test_giving_back_leaves_the_process_as_it_was() -> None:
    before = gc.get_threshold(), gc.get_freeze_count()
    garbage = Garbage()

    garbage.take_over()
    during = gc.get_threshold(), gc.get_freeze_count()
    garbage.give_back()
    garbage.give_back()

    assert during != before
    assert (gc.get_threshold(), gc.get_freeze_count()) == before


def test_who_has_not_taken_over_leaves_garbage_alone(searches: list[int]) -> None:
    garbage = Garbage()

    for _ in range(EVERY_TICKS):
        garbage.after_tick(0, ended_calls=0)

    assert garbage.searches == 0
    assert searches == []
