"""Jitter buffers of many legs at once: each as one buffer would have it, or left to that."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from telcoflow_server.media.jitter import JitterBuffer
from telcoflow_server.media.jitter_array import LAST, MAX_HELD, UNITS, JitterArray
from telcoflow_server.media.pieces import Packet

FIRST_SEQ = 65_533
FIRST_TIMESTAMP = 2**32 - 3 * UNITS
TICK_S = 0.02
TRANSIT_S = 0.01
BEGINNING = 120
"""Ticks after which the depth has been found."""

ROW = 2
ROWS = np.array([ROW])


class Line:
    """A leg whose packets come 10 ms before their tick, or as late as is said.

    Attributes:
        buffer: Of its own.
        array: Where it is kept with others, in row `ROW`, from `enter` to `leave`.
        played: The payloads that were played, in order.
    """

    def __init__(self) -> None:
        self.buffer: JitterBuffer[bytes] = JitterBuffer(8_000)
        self.array = JitterArray(3)
        self.number = self.ticks = 0
        self.last = -1
        self.is_in = False
        self.played: list[bytes] = []

    @property
    def now_s(self) -> float:
        return self.ticks * TICK_S

    def put(self, late_ms: float = 0.0) -> bool:
        """Let the next packet come; return whether the array took it."""
        arrived_s = self.number * TICK_S - TRANSIT_S + late_ms / 1000
        payload = self.number.to_bytes(4, "big") * (UNITS // 4)
        is_taken = self.is_in and self._put_in(arrived_s, payload)
        if not is_taken:
            self.leave()
            seq, ts = FIRST_SEQ + self.number, FIRST_TIMESTAMP + self.number * UNITS
            self.buffer.put(seq, ts % 2**32, arrived_s, payload, UNITS)
        self.last = self.number
        self.number += 1
        return is_taken

    def _put_in(self, arrived_s: float, payload: bytes) -> bool:
        payloads = np.frombuffer(payload, np.uint8)[None]
        is_next = np.array([self.number == self.last + 1])
        return bool(self.array.put(ROWS, is_next, np.array([arrived_s]), payloads)[0])

    def tick(self) -> bool:
        """Play one tick; return whether the array did."""
        is_due = self.is_in and bool(self.array.are_due(ROWS, self.now_s)[0])
        if is_due:
            self.played.append(self.array.next_payloads(ROWS)[0].tobytes())
            self.array.play(ROWS, self.now_s)
        else:
            self.leave()
            pieces = self.buffer.take(self.now_s)
            if self.buffer.wants_silence:
                pieces = self.buffer.shorten() or pieces
            self.played += [piece.payload for piece in pieces if isinstance(piece, Packet)]
        self.ticks += 1
        return is_due

    def enter(self) -> bool:
        """Be kept with others, if that can be."""
        steady = None if self.is_in else self.buffer.steady()
        if steady is not None:
            self.array.enter(ROW, steady)
            self.is_in = True
        return self.is_in

    def count(self) -> None:
        if self.is_in:
            self.array.count(ROW, self.buffer)

    def leave(self) -> None:
        if self.is_in:
            self.count()
            counted = self.array.leave(ROW)
            self.buffer.catch_up(counted.now, counted.came, counted.played)
            self.is_in = False
            assert counted.last == self.played[-min(LAST, counted.played) or len(self.played) :]


def begun(*, is_in: bool) -> Line:
    """Return a line that runs steadily."""
    line = Line()
    for _ in range(BEGINNING):
        line.put()
        line.tick()
    if is_in:
        assert line.enter()
    return line


def run(line: Line, late_ms: list[float | None]) -> None:
    """Let a packet come in each tick, as late as is said; None: it never comes."""
    for late in late_ms:
        if late is None:
            line.number += 1
        else:
            line.put(late)
        line.tick()


@given(st.lists(st.one_of(st.none(), st.floats(0, 19.9)), max_size=250))
@example([0.0] * 250)
@example([5.0] * 90 + [19.0] * 90 + [0.0] * 60)
def test_kept_with_others_or_not_the_same_is_played_and_counted(
    late_ms: list[float | None],
) -> None:
    alone, other = begun(is_in=False), begun(is_in=True)
    for at, late in enumerate(late_ms):
        run(alone, [late])
        run(other, [late])
        if at % 3 == 0:
            other.enter()
        if at % 7 == 0:
            other.count()
            assert other.buffer.statistics() == alone.buffer.statistics()
        assert other.played[-1:] == alone.played[-1:]
    other.leave()

    assert other.played == alone.played
    assert other.buffer.statistics() == alone.buffer.statistics()


def test_what_comes_in_turn_is_taken_until_the_window_is_full() -> None:
    line = begun(is_in=True)

    taken = [(line.put(), line.tick()) for _ in range(200)]

    assert taken.index((False, False)) == 200 - BEGINNING - 1
    assert set(taken[: 200 - BEGINNING - 1]) == {(True, True)}


def test_it_goes_on_in_the_next_window_and_over_the_wrap_of_its_slots() -> None:
    alone, other = begun(is_in=False), begun(is_in=True)
    for _ in range(700):
        for line in (alone, other):
            line.put()
            line.tick()
        other.enter()
    other.leave()

    assert other.played == alone.played
    assert other.buffer.statistics() == alone.buffer.statistics()
    for line in (alone, other):
        run(line, [12.0, None, 3.0, 0.0] * 5)
    assert other.played == alone.played


def test_a_packet_that_changes_the_depth_is_left_to_the_buffer() -> None:
    line = begun(is_in=True)

    taken = []
    for _ in range(20):
        taken.append(line.put(late_ms=60))
        line.enter()

    assert taken[0], "one late packet is no jitter"
    assert not all(taken)


def test_a_depth_that_falls_is_left_to_the_buffer() -> None:
    line = begun(is_in=False)
    run(line, [70.0, 0.0] * 10)
    grown_ms = line.buffer.statistics().target_ms
    was_in = False
    while line.buffer.statistics().target_ms == grown_ms:
        was_in = line.enter()
        is_taken = line.put()
        line.tick()
        line.count()
        assert line.ticks < 5_000, "late packets are forgotten"

    assert was_in
    assert not is_taken


@pytest.mark.parametrize("late_ms", [-1_100.0, 1_100.0])
def test_a_packet_of_another_time_is_left_to_the_buffer(late_ms: float) -> None:
    line = begun(is_in=True)

    assert not line.put(late_ms)
    assert line.buffer.statistics().restarts == 0


def test_what_nobody_plays_is_left_to_the_buffer_before_there_is_no_room() -> None:
    line = begun(is_in=True)

    taken = [line.put() for _ in range(MAX_HELD + 1)]

    assert 0 < taken.index(False) <= MAX_HELD


def test_one_that_is_not_next_is_not_touched() -> None:
    line = begun(is_in=True)
    payloads = np.zeros((1, UNITS), np.uint8)

    is_taken = line.array.put(ROWS, np.array([False]), np.array([line.now_s]), payloads)
    line.leave()

    assert not is_taken.any()
    assert line.buffer.statistics() == begun(is_in=False).buffer.statistics()


def empty(line: Line) -> None:
    while line.tick():
        pass
    line.ticks -= 1  # that one, once more


def hurry(line: Line) -> None:
    line.ticks += 2


def dawdle(line: Line) -> None:
    line.ticks -= 2


@pytest.mark.parametrize("happens", [empty, hurry, dawdle], ids=lambda one: one.__name__)
def test_a_tick_that_is_not_an_ordinary_one_is_left_to_the_buffer(
    happens: Callable[[Line], None],
) -> None:
    line = begun(is_in=True)
    line.put()
    happens(line)

    assert not line.array.are_due(ROWS, line.now_s).any()


# --- when a buffer is steady -------------------------------------------------------------


def test_a_buffer_is_steady_when_nothing_is_the_matter() -> None:
    line = begun(is_in=False)
    steady = line.buffer.steady()

    assert steady is not None
    assert steady.target_units == 40 * 8
    assert len(steady.held) == (steady.next_place - steady.head) // UNITS > 0


def test_a_buffer_that_has_measured_little_is_not_steady() -> None:
    line = Line()
    assert line.buffer.steady() is None
    run(line, [0.0] * 30)

    assert line.buffer.steady() is None


def lose_one(line: Line) -> None:
    line.number += 1
    line.put()


def be_late(line: Line) -> None:
    for _ in range(4):
        line.tick()


def put(line: Line, seq: int, place: int, units: int = UNITS) -> None:
    """Put a packet by numbers that count from the next one."""
    line.buffer.put(
        FIRST_SEQ + line.number + seq,
        (FIRST_TIMESTAMP + line.number * UNITS + place) % 2**32,
        line.number * TICK_S - TRANSIT_S,
        bytes(units),
        units,
    )


def overtake(line: Line) -> None:
    put(line, 1, UNITS)
    put(line, 0, 0)


def count_wrongly(line: Line) -> None:
    put(line, 1, 0)
    put(line, 0, UNITS)


def come_in_halves(line: Line) -> None:
    put(line, 0, 0, UNITS // 2)
    put(line, 1, UNITS // 2, UNITS // 2)


def be_elsewhere(line: Line) -> None:
    put(line, 0, 2**31)


def say_a_digit(line: Line) -> None:
    line.buffer.pass_over(FIRST_SEQ + line.number)


def say_nothing(line: Line) -> None:
    line.buffer.pause(
        FIRST_SEQ + line.number,
        (FIRST_TIMESTAMP + line.number * UNITS) % 2**32,
        line.number * TICK_S,
        b"\x20",
    )


@pytest.mark.parametrize(
    "happens",
    [lose_one, be_late, count_wrongly, come_in_halves, be_elsewhere, say_a_digit, say_nothing],
    ids=lambda one: one.__name__,
)
def test_a_buffer_is_not_steady_when_something_is_the_matter(
    happens: Callable[[Line], None],
) -> None:
    line = begun(is_in=False)
    happens(line)

    assert line.buffer.steady() is None


def test_a_buffer_is_steady_again_after_packets_have_overtaken_each_other() -> None:
    line = begun(is_in=False)
    overtake(line)
    assert line.buffer.steady() is None
    put(line, 2, 2 * UNITS)

    assert line.buffer.steady() is not None
