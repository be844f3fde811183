"""Sequence numbers seen, passed over and missing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from telcoflow_server.media.sequence import MAX_DROPOUT, WINDOW, SequenceNumbers


def test_number_is_new_once() -> None:
    numbers = SequenceNumbers()

    assert [numbers.note(seq) for seq in (70_000, 70_002, 70_001, 70_001, 70_000, 70_002)] == (
        [True, True, True, False, False, False]
    )


def test_nothing_is_missing_before_anything_was_played() -> None:
    numbers = SequenceNumbers()
    assert numbers.missing_before(5) == 0

    numbers.note(9)
    assert numbers.play(9) == 0


def test_missing_numbers_are_those_between_the_last_played_and_this_one() -> None:
    numbers = SequenceNumbers()
    for seq in (1, 5):
        numbers.note(seq)
    numbers.play(1)

    assert numbers.missing_before(5) == 3
    assert numbers.play(5) == 3
    assert numbers.missing_before(6) == 0
    assert numbers.missing_before(4) == 0


def test_numbers_passed_over_are_not_missing() -> None:
    numbers = SequenceNumbers()
    numbers.note(1)
    numbers.play(1)
    for seq in (3, 4, 8):
        numbers.pass_over(seq)
    numbers.note(6)

    assert numbers.missing_before(6) == 2  # 2 and 5
    assert numbers.play(6) == 2
    assert numbers.play(9) == 1  # 7


def test_numbers_may_be_passed_over_out_of_order() -> None:
    numbers = SequenceNumbers()
    numbers.note(1)
    numbers.play(1)
    numbers.note(4)
    numbers.pass_over(2)
    numbers.pass_over(3)

    assert numbers.missing_before(4) == 0


def test_long_loss_is_missing_and_old_numbers_are_forgotten() -> None:
    numbers = SequenceNumbers()
    numbers.note(1)
    numbers.play(1)

    assert numbers.note(1 + MAX_DROPOUT)
    assert numbers.play(1 + MAX_DROPOUT) == MAX_DROPOUT - 1


def test_number_too_far_away_begins_anew() -> None:
    numbers = SequenceNumbers()
    numbers.note(10_000)
    numbers.play(10_000)

    assert numbers.note(10_000 + MAX_DROPOUT + 1)
    assert numbers.play(10_000 + MAX_DROPOUT + 1) == 0
    assert numbers.note(10_000 + MAX_DROPOUT + 1 - WINDOW)
    assert numbers.highest == 10_000 + MAX_DROPOUT + 1 - WINDOW


@given(st.lists(st.integers(0, WINDOW - 1), max_size=200))
def test_within_the_window_seen_means_seen(numbers_given: list[int]) -> None:
    numbers = SequenceNumbers()
    seen: set[int] = set()

    for seq in numbers_given:
        assert numbers.note(seq) == (seq not in seen)
        seen.add(seq)
        assert numbers.highest == max(seen)


@given(st.sets(st.integers(1, 60)), st.sets(st.integers(1, 60)))
def test_all_numbers_are_played_passed_over_or_missing(audio: set[int], others: set[int]) -> None:
    numbers = SequenceNumbers()
    numbers.note(0)
    numbers.play(0)
    missing = 0

    for seq in sorted(audio | others):
        if seq in audio:
            numbers.note(seq)
        else:
            numbers.pass_over(seq)
    for seq in sorted(audio):
        missing += numbers.play(seq)

    before_last = set(range(1, max(audio, default=0) + 1))
    assert missing == len(before_last - audio - others)


def test_what_came_and_was_played_elsewhere_is_known_when_it_is_told() -> None:
    told, noted = SequenceNumbers(), SequenceNumbers()
    assert [told.unplayed] == [None]
    for numbers in (told, noted):
        numbers.pass_over(70)
        numbers.note(71)
        numbers.note(73)
        assert [numbers.unplayed] == [None]
        numbers.play(71)
        assert [numbers.unplayed] == [2]
        numbers.play(73)

    for seq in range(74, 94):
        noted.note(seq)
        if seq < 92:
            noted.play(seq)
    told.catch_up(came=20, played=18)

    assert told.highest == noted.highest == 93
    assert told.unplayed == noted.unplayed == 2
    for seq in (72, 80, 93, 95, 94, 70):
        assert told.note(seq) == noted.note(seq), seq
    assert told.play(95) == noted.play(95)


def test_more_than_are_remembered_may_have_come_elsewhere() -> None:
    numbers = SequenceNumbers()
    numbers.note(5)
    numbers.play(5)

    numbers.catch_up(came=2 * WINDOW, played=2 * WINDOW)

    assert not numbers.note(5 + WINDOW + 1)
    assert numbers.note(5 + 2 * WINDOW + 1)
