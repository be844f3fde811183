from __future__ import annotations

import pytest

from telcoflow_sdk.audio.format import AudioFormat
from telcoflow_sdk.audio.outbox import Outbox


def outbox() -> Outbox:
    return Outbox(AudioFormat(24_000), 1 << 20)


def leaves(box: Outbox) -> list[bytes | str]:
    """Take everything that may leave: audio, and the names of marks."""
    taken: list[bytes | str] = []
    while True:
        while (message := box.next_message()) is not None:
            taken.append(message[1:])
        mark = box.next_mark()
        if mark is None:
            return taken
        taken.append(mark)


def test_mark_keeps_its_place_among_the_audio() -> None:
    box = outbox()
    box.write(b"aaaa")
    box.mark("one")
    box.write(b"bb")
    box.mark("two")
    box.mark("three")
    box.write(b"cccc")

    box.grant(100)

    assert leaves(box) == [b"aaaa", "one", b"bb", "two", "three", b"cccc"]
    assert box.is_drained
    assert not box.has_marks


def test_mark_without_audio_in_front_of_it_is_taken_at_once() -> None:
    box = outbox()
    box.mark("now")

    assert box.next_mark() == "now"
    assert box.next_mark() is None


def test_audio_behind_a_mark_is_held_back_whatever_credit_there_is() -> None:
    box = outbox()
    box.write(b"aaaa")
    box.mark("mark")
    box.write(b"bbbb")
    box.grant(100)

    assert box.next_message() == b"\0aaaa"
    assert box.next_message() is None
    assert box.queued_bytes == 4
    assert not box.is_drained


def test_mark_waits_for_credit_of_the_audio_in_front_of_it() -> None:
    box = outbox()
    box.write(b"aaaa")
    box.mark("mark")
    box.grant(2)

    assert leaves(box) == [b"aa"]

    box.grant(2)
    assert leaves(box) == [b"aa", "mark"]


def test_marks_alone_keep_the_outbox_from_being_drained() -> None:
    box = outbox()
    box.mark("mark")

    assert box.has_marks
    assert not box.is_drained


def test_clear_takes_the_audio_and_leaves_the_marks_in_order() -> None:
    box = outbox()
    box.write(b"aaaa")
    box.mark("one")
    box.write(b"bbbb")
    box.mark("two")
    box.write(b"cccc")

    assert box.clear() == 12
    box.write(b"dd")
    box.grant(100)

    assert leaves(box) == ["one", "two", b"dd"]


def test_removed_mark_leaves_the_audio_on_both_sides_of_it() -> None:
    box = outbox()
    box.write(b"aaaa")
    box.mark("gone")
    box.write(b"bb")
    box.mark("stays")
    box.grant(100)

    box.remove_mark("gone")

    assert leaves(box) == [b"aaaabb", "stays"]


def test_removing_the_last_mark_lets_everything_leave() -> None:
    box = outbox()
    box.write(b"aaaa")
    box.mark("stays")
    box.write(b"bb")
    box.mark("gone")
    box.write(b"cc")
    box.grant(100)

    box.remove_mark("gone")

    assert leaves(box) == [b"aaaa", "stays", b"bbcc"]


def test_audio_in_front_of_a_mark_can_be_dropped_and_is_counted() -> None:
    box = outbox()
    box.write(b"aaaa")
    box.mark("one")
    box.write(b"bb")
    box.mark("two")
    box.write(b"cc")
    box.mark("three")
    box.write(b"dd")
    box.grant(100)

    assert box.drop_before_mark("two") == 6
    assert box.statistics().overdue_bytes == 6
    assert box.statistics().queued_bytes == 4

    assert leaves(box) == ["one", "two", b"cc", "three", b"dd"]


@pytest.mark.parametrize("first", [b"abc", b"a"])
def test_sample_is_behind_a_mark_if_its_second_byte_is(first: bytes) -> None:
    box = outbox()
    box.write(first)
    box.mark("mark")
    box.write(b"xyz")
    box.grant(100)

    whole = len(first) & ~1
    assert leaves(box) == [*([first[:whole]] if whole else []), "mark", first[whole:] + b"xyz"]


def test_end_of_the_call_forgets_marks() -> None:
    box = outbox()
    box.write(b"aaaa")
    box.mark("mark")

    box.close()

    assert box.next_mark() is None
    assert box.is_drained
