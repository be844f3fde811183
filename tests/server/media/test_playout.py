"""Credit and playout towards one agent, sample by sample, in virtual time."""

from __future__ import annotations

import numpy as np
import pytest

from telcoflow_sdk.protocol.commands import GapCause
from telcoflow_server.media.gaps import MAX_GAPS_LISTED, Gap
from telcoflow_server.media.lead import (
    MAX_LEAD_MS,
    MAX_PREFILL_MS,
    MIN_LEAD_MS,
    MIN_PREFILL_MS,
    START_LEAD_MS,
    STEADY_TICKS,
)
from telcoflow_server.media.playout import UTTERANCE_PAUSE_TICKS
from tests.support.media import FRAME, FRAME_BYTES, Line, speech


@pytest.fixture
def line() -> Line:
    return Line()


def test_requests_are_one_frame_each_until_the_lead_is_asked_for(line: Line) -> None:
    assert line.request_all() == [FRAME_BYTES] * 3
    assert line.credit.outstanding_ms == START_LEAD_MS == 60


def test_nothing_is_requested_while_the_agent_owes_what_was_asked_for(line: Line) -> None:
    line.request_all()
    line.run(50)

    assert line.request_all() == []


def test_each_frame_played_is_asked_for_again(line: Line) -> None:
    line.request_all()
    line.requests.receive(speech(3 * FRAME))

    line.run()

    assert line.request_all() == [FRAME_BYTES]


def test_part_frames_pay_for_what_they_bring_and_no_more(line: Line) -> None:
    line.request_all()
    line.requests.receive(speech(100))

    assert line.credit.outstanding_ms == 60 - 12.5
    assert line.request_all() == []


def test_interrupt_leaves_requests_outstanding(line: Line) -> None:
    line.request_all()
    line.requests.receive(speech(FRAME))

    line.requests.clear()

    assert line.credit.outstanding_ms == 40
    assert line.request_all() == [FRAME_BYTES]


def test_audio_nobody_asked_for_shows_as_debt_and_is_not_paid_for_with_requests(line: Line) -> None:
    line.requests.receive(speech(10 * FRAME))
    assert line.credit.outstanding_ms == -200
    assert line.request_all() == []

    line.run(8)

    assert line.playout.queued_ms == 40
    assert line.request_all() == [FRAME_BYTES]
    assert line.credit.outstanding_ms == 20


def test_falling_lead_takes_effect_as_credit_is_used(line: Line) -> None:
    line.request_all()
    line.requests.receive(speech(3 * FRAME))
    for tick in range(STEADY_TICKS):
        line.run()
        asked = sum(line.request_all())
        assert asked == (FRAME_BYTES if tick < STEADY_TICKS - 1 else 0)
        line.requests.receive(speech(asked // 2))

    assert line.playout.statistics().lead_ms == START_LEAD_MS - 20
    assert line.playout.queued_ms == 40


def test_burst_is_played_on_the_tick_after_it(line: Line) -> None:
    line.requests.receive(speech(2 * FRAME))

    line.run(3)

    assert line.sounding == "##."


def test_single_first_frame_waits_for_the_prefill(line: Line) -> None:
    line.requests.receive(speech(FRAME))

    line.run(3)

    assert line.sounding == ".#."


def test_real_time_agent_is_played_one_frame_behind_without_gaps(line: Line) -> None:
    for at in range(100):
        line.requests.receive(speech(FRAME, 1 + at * FRAME))
        line.run()

    assert line.sounding == "." + 99 * "#"
    assert (line.heard == np.arange(1, 99 * FRAME + 1)).all()
    assert line.playout.statistics().gap_count == 0


def test_incomplete_first_frame_is_not_played_when_only_the_time_has_passed(line: Line) -> None:
    line.requests.receive(speech(100))
    line.run()
    line.requests.receive(speech(40, 101))
    line.run()
    line.requests.receive(speech(40, 141))
    line.run()

    assert line.sounding == "..#"
    assert (line.heard == np.arange(1, FRAME + 1)).all()


def test_very_short_utterance_is_played_though_it_never_fills_a_frame(line: Line) -> None:
    line.requests.receive(speech(10))

    line.run(4)

    assert line.sounding == "..#."
    assert line.heard.tolist() == [*range(1, 11), *([0] * (FRAME - 10))]


def test_tail_follows_without_a_gap_when_the_lead_was_full(line: Line) -> None:
    line.requests.receive(speech(2 * FRAME + 50))

    line.run(4)

    assert line.sounding == "###."
    assert line.heard[: 2 * FRAME + 50].tolist() == list(range(1, 2 * FRAME + 51))
    assert not line.heard[2 * FRAME + 50 :].any()
    assert line.playout.statistics().gaps == ()


def test_tail_waits_less_when_the_lead_is_smaller(line: Line) -> None:
    for _ in range(STEADY_TICKS + 2):
        line.requests.receive(speech(FRAME))
        line.run()
    assert line.playout.statistics().lead_ms == MIN_LEAD_MS
    before = len(line.ticks)

    line.requests.receive(speech(50))
    line.run(3)

    assert line.sounding[before:] == "##."
    assert line.playout.statistics().gap_count == 0


def test_part_frame_waits_two_ticks_for_its_rest(line: Line) -> None:
    line.requests.receive(speech(2 * FRAME))
    line.run()
    line.requests.receive(speech(50, 2 * FRAME + 1))
    line.run()
    assert line.sounding == "##"

    line.run(3)

    assert line.sounding == "##.#."
    assert line.playout.statistics().gaps == (Gap(at_ms=40, ms=20),)


def test_rest_of_a_part_frame_continues_the_samples_exactly(line: Line) -> None:
    line.requests.receive(speech(2 * FRAME))
    line.run()
    line.requests.receive(speech(50, 2 * FRAME + 1))
    line.run(2)

    line.requests.receive(speech(3 * FRAME - 50, 2 * FRAME + 51))
    line.run(3)

    assert line.sounding == "##.###"
    assert (line.heard == np.arange(1, 5 * FRAME + 1)).all()


def test_audio_right_after_a_padded_tail_goes_on_without_waiting(line: Line) -> None:
    line.requests.receive(speech(2 * FRAME + 50))
    line.run(3)

    line.requests.receive(speech(FRAME))
    line.run()

    assert line.sounding == "####"
    assert line.playout.statistics().gap_count == 0


def run_dry(line: Line, silent_ticks: int) -> None:
    """Play two frames, go silent for so many ticks, then have plenty arrive."""
    line.requests.receive(speech(2 * FRAME))
    line.run(2 + silent_ticks)
    line.requests.receive(speech(5 * FRAME))


def test_underrun_inside_an_utterance_is_a_gap_of_unknown_cause(line: Line) -> None:
    run_dry(line, 3)
    line.run()

    statistics = line.playout.statistics()
    assert line.sounding == "##...#"
    assert statistics.gaps == (Gap(at_ms=40, ms=60, cause=GapCause.UNKNOWN),)
    assert (statistics.gap_count, statistics.gap_ms) == (1, 60)


def test_underrun_raises_lead_and_prefill_and_holds_again(line: Line) -> None:
    line.requests.receive(speech(2 * FRAME))
    line.run(4)

    line.requests.receive(speech(FRAME))
    line.run(5)

    statistics = line.playout.statistics()
    assert (statistics.lead_ms, statistics.prefill_ms) == (START_LEAD_MS + 20, 40)
    assert line.sounding == "##....#.."
    assert statistics.gaps == (Gap(at_ms=40, ms=80),)


def test_hold_after_an_underrun_ends_early_when_enough_is_there(line: Line) -> None:
    line.requests.receive(speech(2 * FRAME))
    line.run(3)
    line.requests.receive(speech(2 * FRAME))
    line.run()  # one frame behind the first: 20 of the 40 ms wanted
    line.requests.receive(speech(FRAME))
    line.run()

    assert line.sounding == "##..#"


@pytest.mark.parametrize(
    ("silent_ticks", "gaps"), [(UTTERANCE_PAUSE_TICKS, 1), (UTTERANCE_PAUSE_TICKS + 1, 0)]
)
def test_longer_silence_is_the_agent_having_nothing_to_say(
    line: Line, silent_ticks: int, gaps: int
) -> None:
    run_dry(line, silent_ticks)
    line.run()

    statistics = line.playout.statistics()
    assert statistics.gap_count == gaps
    assert statistics.lead_ms == START_LEAD_MS + 20 * gaps


def test_clear_ends_the_utterance_so_that_what_follows_is_no_gap(line: Line) -> None:
    line.requests.receive(speech(3 * FRAME))
    line.run()
    line.requests.clear()
    line.run(2)

    line.requests.receive(speech(2 * FRAME))
    line.run(2)

    assert line.sounding == "#..##"
    assert line.playout.statistics().gap_count == 0


def test_clear_after_an_underrun_ends_the_utterance_too(line: Line) -> None:
    line.requests.receive(speech(2 * FRAME))
    line.run(3)
    line.requests.clear()

    line.requests.receive(speech(2 * FRAME))
    line.run(1)

    assert line.sounding == "##.#"
    assert line.playout.statistics().gap_count == 0


def test_lead_and_prefill_have_limits_both_ways(line: Line) -> None:
    for _ in range(12):
        run_dry(line, 2)
        line.run(5)
    worst = line.playout.statistics()
    for _ in range(STEADY_TICKS * 12):
        line.requests.receive(speech(FRAME))
        line.run()
    best = line.playout.statistics()

    assert (worst.lead_ms, worst.prefill_ms) == (MAX_LEAD_MS, MAX_PREFILL_MS)
    assert (best.lead_ms, best.prefill_ms) == (MIN_LEAD_MS, MIN_PREFILL_MS)


def test_gap_puts_off_the_step_down(line: Line) -> None:
    def play(frames: int) -> None:
        for _ in range(frames):
            line.requests.receive(speech(FRAME))
            line.run()

    play(STEADY_TICKS - 10)
    line.run(2)
    play(STEADY_TICKS - 10)

    assert line.playout.statistics().lead_ms == START_LEAD_MS + 20


def test_list_of_gaps_is_bounded_and_all_are_counted(line: Line) -> None:
    for _ in range(MAX_GAPS_LISTED + 1):
        run_dry(line, 1)
        line.run(5)

    statistics = line.playout.statistics()
    assert len(statistics.gaps) == MAX_GAPS_LISTED
    assert statistics.gap_count > MAX_GAPS_LISTED
    assert statistics.gap_ms >= 20 * statistics.gap_count
