from __future__ import annotations

import random

import pytest

from telcoflow_sdk.audio.format import AudioFormat
from telcoflow_sdk.audio.turns import Cut, Turns

FORMAT = AudioFormat(24_000)
MS = 48  # bytes


def cuts(turns: Turns, unheard_ms: float) -> list[tuple[object, object, float, float]]:
    found = turns.cuts(turns.interrupt(), unheard_ms, is_measured=True)
    assert all(cut.is_measured for cut in found)
    return [(cut.turn, cut.part, cut.heard_ms, cut.said_ms) for cut in found]


def test_a_turn_is_cut_where_what_was_dropped_begins() -> None:
    turns = Turns(FORMAT)
    turns.add("a", None, 1_000 * MS)
    turns.add("a", None, 500 * MS)

    assert cuts(turns, 700.0) == [("a", "a", 800.0, 1_500.0)]


def test_of_several_turns_those_heard_whole_are_not_told() -> None:
    turns = Turns(FORMAT)
    turns.add("a", 1, 100 * MS)
    turns.add("b", 1, 200 * MS)
    turns.add("b", 2, 300 * MS)
    turns.add("c", 3, 400 * MS)

    assert cuts(turns, 650.0) == [("b", 2, 50.0, 300.0), ("c", 3, 0.0, 400.0)]


@pytest.mark.parametrize("unheard_ms", [0.0, 0.01])
def test_what_was_heard_to_its_end_is_not_cut(unheard_ms: float) -> None:
    turns = Turns(FORMAT)
    turns.add("a", None, 100 * MS)

    assert cuts(turns, unheard_ms) == []


def test_more_dropped_than_said_is_nothing_heard() -> None:
    turns = Turns(FORMAT)
    turns.add("a", None, 100 * MS)

    assert cuts(turns, 5_000.0) == [("a", "a", 0.0, 100.0)]


def test_half_a_sample_is_completed_by_what_follows_and_dropped_by_an_end() -> None:
    turns = Turns(FORMAT)
    turns.add("a", None, 3)
    turns.add("a", None, 3)
    turns.add("a", None, 1)
    turns.end()
    turns.add("b", None, 100 * MS)
    turns.add("b", None, 1)

    assert cuts(turns, 100.0) == [("b", "b", 0.0, (100 * MS + 1) / MS)]


def test_a_part_may_begin_in_the_middle_of_a_sample() -> None:
    turns = Turns(FORMAT)
    turns.add("a", 1, 48_001)
    turns.add("a", 2, 47_999)

    assert cuts(turns, 1_500.0) == [
        ("a", 1, 500.0, 48_001 / MS),
        ("a", 2, 0.0, 47_999 / MS),
    ]


def test_an_end_before_anything_was_said_is_nothing() -> None:
    turns = Turns(FORMAT)
    turns.end()

    assert turns.interrupt() == []


def test_what_was_all_heard_can_not_be_cut() -> None:
    turns = Turns(FORMAT)
    turns.add("a", None, 100 * MS)
    turns.all_heard()
    turns.add("b", None, 100 * MS)

    assert cuts(turns, 200.0) == [("b", "b", 0.0, 100.0)]


def test_interrupted_turns_never_speak_again() -> None:
    turns = Turns(FORMAT)
    turns.add("a", None, 2)
    turns.add("b", None, 2)
    turns.add("a", None, 2)

    turns.interrupt("not begun")

    assert [turns.is_interrupted(one) for one in ("a", "b", "not begun", "c", None)] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_what_has_no_turn_is_never_refused() -> None:
    turns = Turns(FORMAT)
    turns.add(None, None, 2)

    turns.interrupt()

    assert not turns.is_interrupted(None)


def test_nothing_is_no_part() -> None:
    turns = Turns(FORMAT)
    turns.add("a", None, 0)

    assert not turns.is_new("b")
    assert turns.interrupt() == []


def test_another_turn_than_the_last_is_new() -> None:
    turns = Turns(FORMAT)
    turns.add("a", None, 2)

    assert (turns.is_new("a"), turns.is_new("b")) == (False, True)


@pytest.mark.parametrize("seed", range(20))
def test_heard_and_dropped_are_all_that_was_said(seed: int) -> None:
    chance = random.Random(seed)
    turns = Turns(FORMAT)
    said_ms = 0.0
    for turn in range(chance.randint(1, 20)):
        for part in range(chance.randint(1, 3)):
            samples = chance.randint(1, 20_000)
            turns.add(turn, part, 2 * samples)
            said_ms += samples / 24
    dropped_samples = chance.randint(1, round(said_ms * 24))

    found = turns.cuts(turns.interrupt(), dropped_samples / 24, is_measured=False)

    lost_ms = sum(cut.said_ms - cut.heard_ms for cut in found)
    assert lost_ms == pytest.approx(dropped_samples / 24)
    assert all(cut.heard_ms == 0 for cut in found[1:])
    assert isinstance(found[0], Cut)
    assert not found[0].is_measured
