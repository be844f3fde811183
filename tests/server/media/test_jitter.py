"""The jitter buffer: in order, out of order, too late, twice, never. Every line wraps early on."""

from __future__ import annotations

import pytest

from telcoflow_server.media.delay import START_DEPTH_MS
from telcoflow_server.media.jitter import MAX_HELD_PACKETS, JitterBuffer
from telcoflow_server.media.jitter_state import MAX_HELD_MS
from telcoflow_server.media.pieces import Lost, Packet, Silence
from tests.support.jitter import FIRST_SEQ, FIRST_TIMESTAMP, Line, numbers


@pytest.fixture
def line() -> Line:
    return Line()


def test_first_packet_waits_for_the_starting_depth(line: Line) -> None:
    line.play("0 1 2 3 4 5")

    assert line.heard == ". . . 0 1 2"
    assert START_DEPTH_MS <= line.statistics.depth_ms < START_DEPTH_MS + 20


def test_depth_of_a_filling_buffer_is_none_yet(line: Line) -> None:
    line.play("0 1")

    assert line.statistics.depth_ms == 0
    assert line.statistics.target_ms == START_DEPTH_MS


def test_packets_are_played_by_the_tick_whatever_the_rhythm_of_their_arrival(line: Line) -> None:
    line.play("0 - 1,2 3 - - 4,5,6 7 8 9 10")

    assert line.heard == ". . . 0 1 2 3 4 5 6 7"


def test_nothing_lost_means_every_unit_once_and_in_order(line: Line) -> None:
    line.play(numbers(0, 200))

    assert line.places == [-2] * 480 + list(range(197 * 160))
    statistics = line.statistics
    assert (statistics.received, statistics.lost, statistics.late) == (200, 0, 0)
    assert (statistics.concealed_ms, statistics.grown_ms, statistics.shortened_ms) == (0, 0, 0)


def test_payload_of_a_tick_is_one_whole_piece(line: Line) -> None:
    line.play("0 1 2 3")

    assert line.pieces[3] == (Packet(payload=0, offset_units=0, length_units=160, is_new=True),)


def test_missing_packets_are_lost_for_their_time_and_counted(line: Line) -> None:
    line.play("0 1 2 3 - - 6 7 8 9 10")

    assert line.heard == ". . . 0 1 2 3 x x 6 7"
    assert line.pieces[7:9] == [(Lost(160, 1),), (Lost(160, 2, following=6, is_new=True),)]
    assert (line.statistics.lost, line.statistics.concealed_ms) == (2, 40)


def test_run_begins_anew_after_what_was_there(line: Line) -> None:
    line.play("0 1 2 - 4 - 6 7 8 9")

    assert [piece.run for (piece,) in line.pieces if isinstance(piece, Lost)] == [1, 1]


def test_loss_shows_what_follows_it_and_that_is_new_once(line: Line) -> None:
    line.play("0 1 - 3 4 5 6")

    assert line.pieces[5:] == [
        (Lost(160, 1, following=3, is_new=True),),
        (Packet(3, 0, 160, is_new=False),),
    ]


def test_what_follows_is_not_shown_when_it_is_not_there_yet(line: Line) -> None:
    line.settle()
    line.play("- - - - 4 5")

    assert line.pieces[3] == (Lost(160, 1),)


def test_packet_is_late_once_what_follows_it_has_been_shown(line: Line) -> None:
    """A decoder has gone past it, even where the depth has to grow."""
    line.play("0 1 - 3 4 5 2,6 7 8 9 10")

    assert line.heard.startswith(". . . 0 1 x")
    assert "2" not in line.heard.split()
    assert (line.statistics.late, line.statistics.lost) == (1, 0)


def test_restart_after_a_loss_shows_all_that_comes_as_new(line: Line) -> None:
    line.play("0 1 - 3 4 5")
    assert isinstance(line.pieces[5][0], Lost)
    line.buffer.restart()
    line.forget()
    line.play("900 901 902 903")

    assert line.pieces[3] == (Packet(900, 0, 160, is_new=True),)


def test_reordered_packets_are_put_in_order_and_counted(line: Line) -> None:
    line.play("0 - 2 1,3 4 - 6 5,7 8")

    assert line.heard == ". . . 0 1 2 3 4 5"
    assert line.statistics.reordered == 2
    assert line.statistics.late == line.statistics.lost == 0


def test_first_packets_out_of_order_start_with_the_earliest(line: Line) -> None:
    line.play("- 1 0,2 3 4 5")

    assert line.heard == ". . . 0 1 2"
    assert line.statistics.reordered == 1


def test_duplicates_are_played_once_and_counted(line: Line) -> None:
    line.play("0,0 1 1,2 3 0 5 4,5 6")

    assert line.heard == ". . . 0 1 2 3 4"
    statistics = line.statistics
    assert (statistics.duplicate, statistics.late, statistics.lost) == (4, 0, 0)
    assert statistics.received == 11


def test_packet_after_its_playout_is_late_and_not_lost(line: Line) -> None:
    line.settle()
    line.play("0 1 - 3 4 5 6 2,7 8")

    assert line.heard == "-3 -2 -1 0 1 x 3 4 5"
    assert (line.statistics.late, line.statistics.lost) == (1, 0)
    assert line.statistics.reordered == 0


def test_packet_that_comes_while_its_place_is_concealed_does_not_hold_up_those_after_it(
    line: Line,
) -> None:
    line.settle()
    line.play("0 1 - 3 4 5 2,6 7 8")

    assert line.heard == "-3 -2 -1 0 1 x 3 4 5"
    assert (line.statistics.late, line.statistics.lost) == (1, 0)


def test_late_packet_that_nothing_has_followed_yet_is_played_if_the_depth_has_to_grow(
    line: Line,
) -> None:
    line.play("0 1 - - - - 2,3 4 5 6 7")

    assert line.heard == ". . . 0 1 x 2 3 4 5 6"
    statistics = line.statistics
    assert (statistics.late, statistics.lost, statistics.grown_ms) == (0, 0, 20)


def test_late_packet_that_nothing_has_followed_yet_is_left_out_if_the_depth_is_right(
    line: Line,
) -> None:
    line.settle()
    line.play("0 1 - - - - 2,3 4 5 6 7")

    assert line.heard == "-3 -2 -1 0 1 x 3 4 5 6 7"
    statistics = line.statistics
    assert (statistics.late, statistics.lost, statistics.grown_ms) == (1, 0, 0)


def test_late_stream_is_played_rather_than_more_concealed(line: Line) -> None:
    """Nothing else is there: leaving it out would only prolong the gap."""
    line.settle()
    line.play("0 1 2 - - - - - 3 4 5 6 7 8")

    assert line.heard == "-3 -2 -1 0 1 2 x x 3 4 5 6 7 8"
    statistics = line.statistics
    assert (statistics.late, statistics.lost) == (0, 0)
    assert statistics.grown_ms == statistics.concealed_ms == 40


def test_late_stream_is_played_at_once_where_the_depth_was_what_it_should_be(line: Line) -> None:
    line.settle()
    line.put(0)
    line.run(is_silent=True)  # one tick less: the depth is its target and less than a tick more
    line.play("1 2 - - - - 3 4 5 6 7")

    assert line.heard == "-2 -1 0 1 2 x x 3 4 5 6 7"
    assert (line.statistics.late, line.statistics.grown_ms) == (0, 40)


def test_stall_that_ends_in_a_burst_does_not_change_the_depth(line: Line) -> None:
    line.settle()
    line.play("0 1 2 - - - - - 3,4,5,6,7,8 9 10 11")

    assert line.heard == "-3 -2 -1 0 1 2 x x 5 6 7 8"
    assert (line.statistics.late, line.statistics.lost) == (2, 0)
    assert line.statistics.grown_ms == 0


def test_silent_from_the_start_is_no_loss(line: Line) -> None:
    line.run(100)

    assert line.pieces == [(Silence(160, None),)] * 100
    assert line.statistics.concealed_ms == 0


def test_time_of_the_tick_must_not_go_back(line: Line) -> None:
    line.buffer.take(1.0)
    line.buffer.take(1.0)

    with pytest.raises(ValueError, match="went back by 8 units"):
        line.buffer.take(0.999)


@pytest.mark.parametrize("rate_hz", [0, -8000, 999, 11_025])
def test_clock_rate_must_give_whole_units_per_millisecond(rate_hz: int) -> None:
    with pytest.raises(ValueError, match="clock rate must be a multiple of 1000 Hz"):
        JitterBuffer[int](rate_hz)


def test_more_than_there_is_room_for_drops_the_oldest(line: Line) -> None:
    for number in range(30):
        line.put(number)
    line.run(4)

    assert MAX_HELD_MS == 300
    assert line.heard == "x 26 27 28"
    assert line.statistics.discarded == 26
    assert (line.statistics.late, line.statistics.lost) == (0, 0)


def test_there_is_no_room_for_more_than_so_long(line: Line) -> None:
    for number in range(16):
        line.put(number)
    assert line.statistics.discarded == 0

    line.put(16)

    assert line.statistics.discarded == 1


def test_packets_without_number_are_bounded_too(line: Line) -> None:
    for seq in range(1_000):
        line.buffer.put(seq, FIRST_TIMESTAMP, 0.0, seq, 160)

    assert line.statistics.discarded == 1_000 - MAX_HELD_PACKETS


def test_ticks_that_were_left_out_do_not_leave_the_buffer_deep(line: Line) -> None:
    """A server that skipped ticks: what was to be played in them goes."""
    line.settle()
    for number in range(20):
        line.put(number)
        line.ticks += 1
    line.play("20 21 22 23 24")

    assert line.heard == "17 18 19 20 21"
    assert line.statistics.discarded == 20
    assert line.statistics.depth_ms == 70


def test_restart_begins_with_what_comes_and_discards_what_is_held(line: Line) -> None:
    line.play("0 1 2 3")
    line.buffer.restart()
    line.forget()
    line.play("500 501 502 503 504")

    assert line.heard == ". . . 500 501"
    statistics = line.statistics
    assert (statistics.restarts, statistics.discarded) == (1, 3)
    assert (statistics.lost, statistics.late, statistics.duplicate) == (0, 0, 0)


@pytest.mark.slow
def test_sequence_and_timestamp_wrap_long_after_the_start() -> None:
    buffer: JitterBuffer[int] = JitterBuffer(8_000)
    played = []
    for number in range(70_000):
        timestamp = (2**32 - 35_000 * 160 + number * 160) % 2**32
        buffer.put(number + 30_000, timestamp, number * 0.02, number, 160)
        (piece,) = buffer.take(number * 0.02 + 0.01)
        if isinstance(piece, Packet):
            played.append(piece.payload)

    assert played == list(range(70_000 - 3))
    assert buffer.statistics().restarts == 0


def test_sequence_that_begins_anew_within_a_time_line_is_played_on(line: Line) -> None:
    line.play(numbers(0, 10))
    line.forget()
    for number in range(10, 16):
        line.buffer.put(
            number - 10, (FIRST_TIMESTAMP + number * 160) % 2**32, line.now_s - 0.01, number, 160
        )
        line.run()

    assert line.heard == "7 8 9 10 11 12"
    assert (line.statistics.lost, line.statistics.late) == (0, 0)


class TestJump:
    """A timestamp more than a second from where its arrival puts it."""

    JUMP = 8_000 * 5

    def test_stray_is_discarded_and_the_stream_goes_on(self, line: Line) -> None:
        line.play(numbers(0, 10))
        line.buffer.put(FIRST_SEQ + 900, 12_345_678, line.now_s - 0.01, 900, 160)
        line.play(numbers(10, 14))

        assert line.heard.split()[3:] == numbers(0, 11).split()
        assert (line.statistics.restarts, line.statistics.discarded) == (0, 1)

    def test_stray_that_is_repeated_by_the_network_is_still_one(self, line: Line) -> None:
        line.play(numbers(0, 10))
        for _ in range(2):
            line.buffer.put(FIRST_SEQ + 900, 12_345_678, line.now_s - 0.01, 900, 160)
        line.play(numbers(10, 14))

        assert line.heard.split()[3:] == numbers(0, 11).split()
        assert (line.statistics.restarts, line.statistics.discarded) == (0, 2)

    def test_strays_that_come_between_are_not_in_a_row(self, line: Line) -> None:
        line.play(numbers(0, 10))
        for number in range(10, 14):
            timestamp = 12_345_678 + number * 160
            line.buffer.put(FIRST_SEQ + 900 + number, timestamp, line.now_s - 0.01, 900, 160)
            line.play(str(number))

        assert line.heard.split()[3:] == numbers(0, 11).split()
        assert (line.statistics.restarts, line.statistics.discarded) == (0, 4)

    def test_restart_discards_a_stray_too(self, line: Line) -> None:
        line.play("0 1 2 3")
        line.buffer.put(FIRST_SEQ + 900, 12_345_678, line.now_s - 0.01, 900, 160)
        line.buffer.restart()

        assert line.statistics.discarded == 3 + 1

    def test_strays_that_disagree_are_no_stream(self, line: Line) -> None:
        line.play(numbers(0, 10))
        for seq, timestamp in ((900, 12_345_678), (901, 99_345_678), (77, 555_555_555)):
            line.buffer.put(seq, timestamp, line.now_s - 0.01, 900, 160)
        line.play(numbers(10, 14))

        assert line.heard.split()[3:] == numbers(0, 11).split()
        assert (line.statistics.restarts, line.statistics.discarded) == (0, 3)

    @pytest.mark.parametrize("jump", [JUMP, -JUMP, 2**31 - 1])
    def test_two_in_a_row_are_followed_and_both_played(self, line: Line, jump: int) -> None:
        line.play(numbers(0, 10))
        line.forget()
        line.play(numbers(10, 20), skipped=jump)

        assert line.heard == "7 . . 10 11 12 13 14 15 16"
        assert line.statistics.restarts == 1
        assert line.statistics.discarded == 2  # 8 and 9, held when the new time line began

    def test_less_than_a_second_is_a_gap_in_the_same_time_line(self, line: Line) -> None:
        line.play(numbers(0, 10))
        line.forget()
        line.play(numbers(10, 70), skipped=4_000)

        assert line.statistics.restarts == 0
        assert line.heard.split()[-1] in {str(number) for number in range(40, 70)}
