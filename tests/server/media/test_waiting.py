"""Packets in the order of their places."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from telcoflow_server.media.waiting import Audio, Pause, Waiting, covers, insert


@given(st.lists(st.integers(-1_000, 1_000)))
def test_any_order_of_arrival_waits_in_the_order_of_places(places: list[int]) -> None:
    waiting: Waiting[None] = []

    for seq, place in enumerate(places):
        insert(waiting, Audio(place, place + 160, seq, None))

    assert [(held.place, held.seq) for held in waiting] == sorted(
        (place, seq) for seq, place in enumerate(places)
    )


def test_only_audio_covers_a_place_from_its_first_to_its_last_unit() -> None:
    waiting: Waiting[None] = [Pause(50, 50, 1, b""), Audio(100, 260, 2, None)]

    assert [covers(waiting, place) for place in (50, 99, 100, 259, 260)] == (
        [False, False, True, True, False]
    )
