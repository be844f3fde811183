"""What holds for the jitter buffer whatever comes, and whenever."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from telcoflow_server.media.jitter import JitterBuffer
from telcoflow_server.media.jitter_state import MAX_HELD_MS
from telcoflow_server.media.pieces import Packet, Piece
from tests.support.jitter import FIRST_SEQ, FIRST_TIMESTAMP, TICK_S, Line

TICK = 160

lateness = st.lists(st.integers(0, 12), min_size=1, max_size=120)


def arrivals(late_ticks: list[int]) -> dict[int, list[int]]:
    """Return by tick the numbers of the packets that arrive, each as late as it is said."""
    by_tick: dict[int, list[int]] = {}
    for number, late in enumerate(late_ticks):
        by_tick.setdefault(number + late, []).append(number)
    return by_tick


@given(lateness)
def test_any_delays_play_in_order_and_account_for_every_packet(late_ticks: list[int]) -> None:
    line = Line()
    by_tick = arrivals(late_ticks)
    for tick in range(len(late_ticks) + 40):
        for number in by_tick.get(tick, ()):
            line.put(number)
        line.run()

    played = [place for place in line.places if place >= 0]
    assert played == sorted(set(played))
    whole = {place // TICK for place in played}
    statistics = line.statistics
    assert statistics.received == len(late_ticks)
    assert len(whole) + statistics.late + statistics.discarded == len(late_ticks)
    assert statistics.lost == statistics.duplicate == 0


@pytest.mark.slow
@given(st.lists(st.integers(0, 3), min_size=60, max_size=150))
def test_delays_within_the_depth_lose_nothing_once_it_has_been_found(late_ticks: list[int]) -> None:
    line = Line()
    late_ticks = [late_ticks[at % len(late_ticks)] for at in range(400)]
    by_tick = arrivals(late_ticks)
    for tick in range(400):
        for number in by_tick.get(tick, ()):
            line.put(number)
        line.run()
    line.places = line.places[200 * TICK :]

    assert line.places == list(range(line.places[0], line.places[0] + 200 * TICK))


pieces_of_script = st.lists(
    st.one_of(
        st.tuples(
            st.just("put"), st.integers(0, 120), st.sampled_from([0, 1, 80, 160, 240, 480, 960])
        ),
        st.tuples(st.just("pause"), st.integers(0, 120), st.integers(-200, 200)),
        st.tuples(st.just("over"), st.integers(0, 120), st.just(0)),
        st.tuples(st.just("far"), st.integers(0, 2**17), st.integers(0, 2**32 - 1)),
        st.tuples(st.just("take"), st.integers(0, 3), st.booleans()),
        st.tuples(st.just("restart"), st.just(0), st.just(0)),
    ),
    max_size=150,
)


@example(
    [
        ("put", 0, 0),
        ("put", 25, 0),
        ("put", 54, 0),
        ("far", 0, 2**32 - 2_400),
        ("far", 131_050, 0),
        ("put", 19, 0),
    ]
)
@given(pieces_of_script)
def test_nothing_that_comes_breaks_the_tick_or_the_bounds(
    script: list[tuple[str, int, int]],
) -> None:
    buffer: JitterBuffer[int] = JitterBuffer(8_000)
    before = buffer.statistics()
    tick = 0

    for kind, number, more in script:
        now_s = tick * TICK_S
        seq, timestamp = FIRST_SEQ + number, (FIRST_TIMESTAMP + number * TICK) % 2**32
        if kind == "put":
            buffer.put(seq, timestamp, now_s, number, max(more, 1))
        elif kind == "pause":
            buffer.pause(seq, (timestamp + more) % 2**32, now_s, b"\x30")
        elif kind == "over":
            buffer.pass_over(seq)
        elif kind == "far":
            buffer.put(number, more, now_s, number, TICK)
        elif kind == "restart":
            buffer.restart()
        else:
            tick += number
            check(buffer.take(tick * TICK_S))
            if more:
                check(buffer.shorten() or ())
        now = buffer.statistics()
        assert 0 <= now.lost <= 2**17 * len(script)  # with each, all numbers that there are
        assert now.depth_ms <= MAX_HELD_MS + 80 or kind != "take"
        for counter in ("received", "late", "duplicate", "discarded", "restarts", "concealed_ms"):
            assert getattr(now, counter) >= getattr(before, counter)
        before = now


def check(pieces: tuple[Piece[int], ...]) -> None:
    assert sum(piece.length_units for piece in pieces) == (TICK if pieces else 0)
    assert all(piece.length_units > 0 for piece in pieces)
    assert all(piece.offset_units >= 0 for piece in pieces if isinstance(piece, Packet))
