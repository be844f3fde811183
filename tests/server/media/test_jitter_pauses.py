"""What is missing on purpose: comfort noise, silence suppression, DTMF, a far end that stops."""

from __future__ import annotations

import pytest

from telcoflow_server.media.jitter import STOPPED_MS
from telcoflow_server.media.pieces import Lost, Silence
from tests.support.jitter import Line, numbers

COMFORT = b"\x32"


@pytest.fixture
def line() -> Line:
    line = Line()
    line.settle()
    return line


def test_comfort_noise_makes_what_follows_silence_until_audio_comes(line: Line) -> None:
    line.play("0 1")
    line.pause(2, COMFORT)
    line.run(10)
    line.play("3 4 5 6", skipped=9 * 160)

    assert line.heard == "-3 -2 -1 0 1 . . . . . . . . . . 3"
    assert set(line.pieces[5:15]) == {(Silence(160, COMFORT),)}
    assert (line.statistics.lost, line.statistics.concealed_ms) == (0, 0)


def test_pause_keeps_its_length_exactly(line: Line) -> None:
    line.play("0 1")
    line.pause(2, COMFORT)
    line.run(11)
    line.play(numbers(3, 12), skipped=10 * 160 + 40)

    played = line.places
    end, start = played.index(2 * 160 - 1), played.index(3 * 160)
    assert start - end - 1 == 11 * 160 + 40
    assert set(played[end + 1 : start]) == {-2}


def test_later_comfort_noise_takes_over(line: Line) -> None:
    line.pause(0, COMFORT)
    line.run(5)
    line.pause(1, b"\x40", skipped=4 * 160)
    line.run(5)

    assert [piece.comfort for (piece,) in line.pieces[3:] if isinstance(piece, Silence)] == (
        5 * [COMFORT] + 2 * [b"\x40"]
    )


def test_comfort_noise_that_comes_twice_is_a_duplicate(line: Line) -> None:
    line.pause(0)
    line.pause(0)

    assert line.statistics.duplicate == 1


def test_comfort_noise_after_the_audio_that_follows_it_changes_nothing(line: Line) -> None:
    line.play("- 1 2 3 4 5")
    line.pause(0, COMFORT)
    line.play("6 7")

    assert line.heard == "-3 -2 -1 x 1 2 3 4"
    assert line.statistics.late == 0


def test_comfort_noise_of_another_time_line_is_discarded(line: Line) -> None:
    line.play("0")
    line.pause(1, COMFORT, skipped=100_000)
    line.play("1 2 3 4 5")

    assert line.heard == "-3 -2 -1 0 1 2"
    assert line.statistics.discarded == 1


def test_stream_may_begin_with_comfort_noise() -> None:
    line = Line()
    line.pause(0, COMFORT)
    line.run(2)
    line.play("1 2 3 4", skipped=320)

    assert line.heard == ". . . . . 1"
    assert line.pieces[0] == (Silence(160, COMFORT),)


def test_comfort_noise_with_nothing_lost_before_it_hides_no_loss(line: Line) -> None:
    line.play("0 - 2")
    line.pause(3)
    line.run(5)

    assert line.heard == "-3 -2 -1 0 x 2 . ."
    assert line.statistics.lost == 1


def test_packet_lost_before_the_comfort_noise_is_concealed_and_counted(line: Line) -> None:
    line.play("0 -")
    line.pause(2)
    line.run(6)

    assert line.heard == "-3 -2 -1 0 x . . ."
    assert line.statistics.lost == 1


def test_loss_at_the_end_of_a_pause_is_counted_and_still_sounds_like_the_pause(line: Line) -> None:
    line.pause(0, COMFORT)
    line.play("- - 2 3 4 5")

    assert line.heard == "-3 -2 -1 . . 2"
    assert line.statistics.lost == 1
    assert line.statistics.concealed_ms == 0


def test_suppressed_silence_is_known_by_numbers_that_follow_each_other(line: Line) -> None:
    """A sender that says nothing of its pause, by comfort noise or marker."""
    line.play("0 1 2 -")
    line.play("3 4 5 6", skipped=160)

    assert line.heard == "-3 -2 -1 0 1 2 . 3"
    assert line.statistics.lost == 0


def test_suppressed_silence_is_concealed_only_until_its_end_is_known(line: Line) -> None:
    line.play("0 1 - - - - -")
    line.play("2 3 4 5", skipped=5 * 160)

    assert line.heard == "-3 -2 -1 0 1 x x . . . 2"
    assert line.statistics.lost == 0


def test_of_a_gap_only_what_numbers_are_missing_for_is_lost(line: Line) -> None:
    line.play("0 1")
    line.run(2)
    for number in range(3, 8):
        line.play(str(number), skipped=160)

    assert line.heard == "-3 -2 -1 0 1 x . 3 4"
    assert line.statistics.lost == 1


def test_far_end_that_stops_is_concealed_for_a_while_and_then_silent(line: Line) -> None:
    line.play("0")
    line.run(100)

    lost = [piece for (piece,) in line.pieces if isinstance(piece, Lost)]
    assert len(lost) == STOPPED_MS // 20
    assert lost[-1].run == len(lost)
    assert line.pieces[-1] == (Silence(160, None),)
    assert line.statistics.lost == 0


def test_far_end_that_goes_on_in_time_is_played_at_the_same_depth(line: Line) -> None:
    line.play("0 1 2")
    line.run(50)
    line.forget()
    line.play(numbers(3, 10), skipped=50 * 160)

    assert line.heard == ". . . 3 4 5 6"
    assert line.statistics.depth_ms == 70
    assert line.statistics.grown_ms == 0


@pytest.mark.parametrize("ticks", [20, 30, 40])
def test_far_end_that_goes_on_with_its_old_timestamps_is_played_at_once(
    line: Line, ticks: int
) -> None:
    """Timestamps should count through a pause; there are senders whose do not."""
    line.play("0 1 2")
    line.run(ticks)
    line.forget()
    line.play(numbers(3, 60))

    assert line.heard == numbers(3, 60)
    statistics = line.statistics
    assert (statistics.late, statistics.lost, statistics.discarded) == (0, 0, 0)
    assert statistics.depth_ms <= 220


def test_numbers_of_digits_are_not_missing(line: Line) -> None:
    line.play("0 1")
    for number in range(2, 5):
        line.buffer.pass_over(65_533 + line.origin + number)
        line.run()
    line.play("5 6 7 8")

    assert line.statistics.lost == 0
    assert line.heard == "-3 -2 -1 0 1 . . . 5"


def test_numbers_of_digits_between_audio_take_no_time(line: Line) -> None:
    """A phone that goes on sending audio while a digit is held."""
    line.play("0 1")
    line.buffer.pass_over(65_533 + line.origin + 2)
    line.play("3 4 - 6 7 8 9", skipped=-160)

    assert line.heard == "-3 -2 -1 0 1 3 4 x 6"
    assert line.statistics.lost == 1


def test_restart_in_a_pause_is_silent_until_it_has_filled(line: Line) -> None:
    line.pause(0, COMFORT)
    line.run(6)
    line.buffer.restart()
    line.forget()
    line.play("1 2 3 4")

    assert line.heard == ". . 1 2"


def test_pause_passed_over_by_a_cut_still_begins(line: Line) -> None:
    line.pause(0, COMFORT)
    line.ticks += 40
    line.run(3)

    assert set(line.pieces) == {(Silence(160, COMFORT),)}
