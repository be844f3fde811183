"""Playout by positions: ends, marks, pauses and gaps, to the exact sample."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_sdk.audio.format import AudioFormat
from telcoflow_sdk.protocol.commands import GapCause
from telcoflow_server.media.gaps import CLIENT_LATE_MS, Gap
from telcoflow_server.media.places import PassedMark
from telcoflow_server.media.playout import UTTERANCE_PAUSE_TICKS, Playout
from telcoflow_server.media.routing import Audience
from tests.support.media import FRAME, PositionedLine

SAMPLES_PER_MS = 8


@pytest.fixture
def line() -> PositionedLine:
    return PositionedLine()


# --- ends of utterances ------------------------------------------------------------------


def test_a_part_frame_at_the_end_is_played_at_once_with_silence_behind_it(
    line: PositionedLine,
) -> None:
    line.say(10, end=True, more=False)

    line.run(2)

    assert line.sounding == "#."
    assert line.heard.tolist() == [*range(1, 11), *([0] * (FRAME - 10))]


def test_a_part_frame_without_an_end_waits_two_ticks(line: PositionedLine) -> None:
    line.say(10, more=False)

    line.run(4)

    assert line.sounding == "..#."


def test_two_utterances_are_not_played_in_one_frame(line: PositionedLine) -> None:
    line.say(FRAME + 10, end=True)
    line.say(2 * FRAME, end=True, more=False)

    line.run(5)

    assert line.sounding == "####."
    assert line.heard[FRAME + 10 : 2 * FRAME].tolist() == [0] * (FRAME - 10)
    assert line.heard[2 * FRAME] == FRAME + 11


def test_heard_counts_from_the_beginning_of_the_utterance(line: PositionedLine) -> None:
    line.say(2 * FRAME, end=True)
    line.say(2 * FRAME, end=True)
    heard = []

    for _ in range(4):
        line.run()
        heard.append(line.playout.heard.samples)

    assert heard == [FRAME, 2 * FRAME, FRAME, 2 * FRAME]


def test_silence_does_not_end_an_utterance_whose_client_says_where_they_end(
    line: PositionedLine,
) -> None:
    line.say(FRAME, end=True)
    line.run(2)
    line.say(2 * FRAME, more=False)
    line.run(2 + UTTERANCE_PAUSE_TICKS + 1)

    line.say(2 * FRAME)
    line.run(3)

    assert line.playout.heard.samples == 4 * FRAME
    assert line.playout.statistics().gap_count == 0


def test_silence_ends_an_utterance_whose_client_never_says_so(line: PositionedLine) -> None:
    line.say(2 * FRAME, more=False)
    line.run(2 + UTTERANCE_PAUSE_TICKS + 1)

    line.say(2 * FRAME)
    line.run(1)

    assert line.playout.heard.samples == FRAME


def test_audio_behind_an_end_is_no_gap_however_soon_or_late_it_comes(line: PositionedLine) -> None:
    for silent_ticks in (1, UTTERANCE_PAUSE_TICKS, UTTERANCE_PAUSE_TICKS + 1):
        line.say(2 * FRAME, end=True, more=True)
        line.run(2 + silent_ticks)

    assert line.playout.statistics().gap_count == 0


def test_what_nobody_can_hear_is_played_and_not_heard(line: PositionedLine) -> None:
    line.playout.switch(Audience.NOBODY, FRAME)
    line.say(3 * FRAME)

    line.run(3)

    assert (line.playout.played, line.playout.heard.samples) == (3 * FRAME, FRAME)


# --- marks -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "at_ms"),
    [
        (0, 40.0),
        (1, 40.125),
        (80, 50.0),
        (FRAME - 1, 59.875),
        (FRAME, 60.0),
        (FRAME + 4, 60.5),
        (2 * FRAME, 80.0),
    ],
)
def test_a_mark_tells_when_its_sample_was_played(
    line: PositionedLine, offset: int, at_ms: float
) -> None:
    line.run(2)
    line.playout.mark("here", offset)
    line.say(2 * FRAME)

    line.run(2)

    assert line.playout.take_passed_marks() == [PassedMark("here", at_ms)]
    assert line.playout.take_passed_marks() == []


def test_a_mark_before_its_audio_waits_for_it(line: PositionedLine) -> None:
    line.playout.mark("early", 2 * FRAME + 8)
    line.say(2 * FRAME)
    line.run(2)
    assert line.playout.take_passed_marks() == []

    line.say(FRAME)
    line.run(1)

    assert line.playout.take_passed_marks() == [PassedMark("early", 41.0)]


def test_a_mark_on_what_was_played_is_reached_with_the_next_tick(line: PositionedLine) -> None:
    line.say(2 * FRAME)
    line.run(2)

    line.playout.mark("late", FRAME)
    line.run(1)

    assert line.playout.take_passed_marks() == [PassedMark("late", 40.0)]


def test_a_mark_behind_a_padded_part_frame_is_where_the_audio_ended(line: PositionedLine) -> None:
    line.playout.mark("end", 80)
    line.say(80, end=True, more=False)

    line.run(1)

    assert line.playout.take_passed_marks() == [PassedMark("end", 10.0)]


def test_marks_are_told_in_the_order_of_their_places(line: PositionedLine) -> None:
    for name, offset in (("c", 24), ("a", 8), ("b", 8)):
        line.playout.mark(name, offset)
    line.say(2 * FRAME)

    line.run(1)

    assert line.playout.take_passed_marks() == [("a", 1.0), ("b", 1.0), ("c", 3.0)]


def test_a_clear_clears_the_marks_it_passes(line: PositionedLine) -> None:
    line.playout.mark("heard", FRAME)
    line.playout.mark("unheard", FRAME + 1)
    line.say(2 * FRAME)
    line.run(1)

    line.clear()
    line.run(1)

    assert line.playout.take_passed_marks() == [("heard", 20.0), ("unheard", None)]


# --- switches ----------------------------------------------------------------------------


def test_the_audience_changes_at_the_exact_sample(line: PositionedLine) -> None:
    line.playout.switch(Audience.CALLEE, FRAME + 10)
    line.say(3 * FRAME)
    audiences = []

    for _ in range(3):
        line.run()
        audiences.append(line.playout.audience)

    assert audiences == [Audience.CALLER, Audience.CALLER, Audience.CALLEE]
    assert line.heard[FRAME + 10 : 2 * FRAME].tolist() == [0] * (FRAME - 10)
    assert line.heard[2 * FRAME] == FRAME + 11
    assert line.playout.has_switched


def test_a_switch_beyond_what_has_come_waits_for_its_audio(line: PositionedLine) -> None:
    line.playout.switch(Audience.NOBODY, 3 * FRAME)
    line.say(2 * FRAME)
    line.run(3)
    audiences = [line.playout.audience]

    line.clear()
    line.run(1)
    audiences.append(line.playout.audience)

    assert audiences == [Audience.CALLER, Audience.NOBODY]


# --- pauses ------------------------------------------------------------------------------


def test_a_pause_loses_and_repeats_no_sample(line: PositionedLine) -> None:
    line.say(4 * FRAME)
    line.run(2)
    line.playout.pause()
    line.run(30)
    line.playout.resume()
    line.run(2)

    assert line.sounding == "##" + 30 * "." + "##"
    assert (line.heard == np.arange(1, 4 * FRAME + 1)).all()


def test_paused_time_is_no_gap_and_no_pause_of_the_speaker_s(line: PositionedLine) -> None:
    line.say(2 * FRAME)
    line.run(2)
    line.playout.pause()
    line.run(UTTERANCE_PAUSE_TICKS * 2)
    line.say(2 * FRAME)
    line.playout.resume()
    line.run(2)

    assert line.sounding[-2:] == "##"
    assert line.playout.statistics().gap_count == 0
    assert line.playout.heard.samples == 4 * FRAME


def test_a_gap_around_a_pause_is_as_long_as_it_was_without_it(line: PositionedLine) -> None:
    line.say(2 * FRAME)
    line.run(3)  # one tick of silence
    line.playout.pause()
    line.run(50)
    line.playout.resume()
    line.run(1)  # and another
    line.say(5 * FRAME)
    line.run(1)

    [gap] = line.playout.gaps.take_untold()
    assert gap.ms == 40


def test_a_first_frame_is_not_held_longer_for_a_pause(line: PositionedLine) -> None:
    line.say(FRAME)
    line.run(1)
    line.playout.pause()
    line.run(5)
    line.playout.resume()

    line.run(1)

    assert line.sounding == "......#"


def test_marks_and_switches_are_not_reached_while_playback_is_paused(line: PositionedLine) -> None:
    line.playout.pause()
    line.playout.mark("m", 0)
    line.playout.switch(Audience.BOTH, 0)

    line.run(3)
    assert line.playout.take_passed_marks() == []
    assert line.playout.audience is Audience.CALLER
    line.playout.resume()
    line.run(1)

    assert line.playout.take_passed_marks() == [PassedMark("m", 60.0)]


def test_a_clear_of_a_paused_utterance_resumes_and_says_what_was_heard(
    line: PositionedLine,
) -> None:
    line.say(4 * FRAME)
    line.run(1)
    line.playout.pause()
    line.run(10)

    dropped = line.clear()
    line.say(2 * FRAME)
    line.run(2)

    assert dropped == 6 * FRAME
    assert not line.playout.is_paused
    assert line.sounding == "#" + 10 * "." + "##"
    assert line.playout.statistics().cleared_samples == 3 * FRAME


# --- generations -------------------------------------------------------------------------


def test_heard_of_what_was_cleared_is_known_until_something_new_comes(line: PositionedLine) -> None:
    line.say(3 * FRAME)
    line.run(2)

    line.clear()
    line.run(3)
    assert line.playout.heard_ms == 40
    line.say(2 * FRAME)
    line.run(1)

    assert line.playout.heard_ms == 20
    assert (line.playout.generation, line.playout.played) == (1, FRAME)
    assert line.playout.statistics().played_samples == 3 * FRAME


def test_an_end_that_was_not_reached_is_forgotten_with_its_generation(line: PositionedLine) -> None:
    line.say(2 * FRAME, end=True)
    line.clear()

    line.say(3 * FRAME)
    line.run(3)

    assert line.playout.heard.samples == 3 * FRAME


# --- gaps --------------------------------------------------------------------------------


def gap_after(line: PositionedLine, silent_ticks: int, *, more: bool, delay_ms: int) -> list[Gap]:
    """Run dry for so long, then go on."""
    line.say(2 * FRAME, more=more)
    line.run(2 + silent_ticks)
    line.say(5 * FRAME, delay_ms=delay_ms)
    line.run(5)
    return list(line.playout.gaps.take_untold())


@pytest.mark.parametrize(
    ("more", "delay_ms", "cause"),
    [
        (False, 300, GapCause.AGENT_SILENT),
        (True, CLIENT_LATE_MS + 1, GapCause.CLIENT_LATE),
        (True, CLIENT_LATE_MS, GapCause.NETWORK_LATE),
    ],
)
def test_a_gap_has_a_cause(
    line: PositionedLine, more: bool, delay_ms: int, cause: GapCause
) -> None:
    assert gap_after(line, 3, more=more, delay_ms=delay_ms) == [Gap(40, 60, cause)]
    assert line.playout.statistics().gap_causes == {cause: 1}
    assert line.playout.gaps.last == Gap(40, 60, cause)


def test_the_first_message_behind_the_silence_tells_whose_fault_it_was(
    line: PositionedLine,
) -> None:
    line.say(2 * FRAME)
    line.run(3)
    line.say(FRAME, delay_ms=100)
    line.say(4 * FRAME, delay_ms=0)
    line.run(2)

    [gap] = line.playout.gaps.take_untold()
    assert gap.cause is GapCause.CLIENT_LATE


def test_a_speaker_s_silence_is_a_pause_when_it_is_long(line: PositionedLine) -> None:
    assert gap_after(line, UTTERANCE_PAUSE_TICKS + 1, more=False, delay_ms=0) == []


def test_a_fault_is_a_gap_however_long_it_lasts(line: PositionedLine) -> None:
    ticks = 10 * UTTERANCE_PAUSE_TICKS

    assert gap_after(line, ticks, more=True, delay_ms=0) == [
        Gap(40, 20 * ticks, GapCause.NETWORK_LATE)
    ]


def test_a_restart_waits_for_no_more_than_the_lead(line: PositionedLine) -> None:
    for _ in range(3):  # what was not made yet is held longer, and not fetched earlier
        line.say(2 * FRAME, more=False)
        line.run(8)
    statistics = line.playout.statistics()
    assert statistics.lead_ms == statistics.prefill_ms == 60

    line.say(3 * FRAME, more=False)
    line.run(3)

    assert line.sounding[-3:] == "###"


# --- the end of all ----------------------------------------------------------------------


def test_the_end_may_be_known_before_it_has_come(line: PositionedLine) -> None:
    line.say(2 * FRAME)
    line.playout.end_at(3 * FRAME + 5)
    finished = []

    for _ in range(3):
        line.run()
        finished.append(line.playout.is_finished)
    line.say(FRAME + 5, more=False)
    for _ in range(4):
        line.run()
        finished.append(line.playout.is_finished)

    assert finished[:3] == [False] * 3
    assert finished[-1]
    assert line.playout.played == 3 * FRAME + 5
    assert line.playout.end is not None


def test_an_end_before_what_has_come_is_behind_it(line: PositionedLine) -> None:
    line.say(2 * FRAME + 5)

    line.playout.end_at(FRAME)
    line.run(3)

    assert line.sounding == "###"
    assert line.playout.is_finished


def test_a_last_part_frame_does_not_wait(line: PositionedLine) -> None:
    line.say(10)
    line.playout.end_at(10)

    line.run(1)

    assert line.playout.is_finished


def test_marks_behind_the_end_are_cleared(line: PositionedLine) -> None:
    line.playout.mark("in", FRAME)
    line.playout.mark("out", FRAME + 1)
    line.playout.end_at(FRAME)
    line.say(FRAME, more=False)

    line.run(2)

    assert line.playout.take_passed_marks() == [("out", None), ("in", 20.0)]


def test_a_clear_is_the_end_when_nothing_more_was_to_come(line: PositionedLine) -> None:
    line.say(2 * FRAME)
    line.playout.end_at(10 * FRAME)

    line.clear()

    assert line.playout.is_finished


# --- whatever happens --------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(st.sampled_from(["say", "end", "take", "take", "take", "pause", "mark", "switch"]),
              st.integers(1, 3 * FRAME)),
    max_size=120,
)  # fmt: skip


@given(STEPS)
def test_every_sample_is_played_once_and_every_mark_when_its_sample_was(
    script: list[tuple[str, int]],
) -> None:
    playout = Playout(AudioFormat(8_000))
    out = np.zeros(FRAME, dtype=np.int16)
    said = tick = 0
    played: list[int] = []
    when: dict[int, float] = {}  # offset to when the sample before it had been played
    marks: dict[str, int] = {}
    audiences: list[Audience] = []
    passed: list[PassedMark] = []

    def take() -> None:
        nonlocal tick
        before = playout.played
        assert playout.take(tick, out) == (playout.played > before)
        count = playout.played - before
        assert not out[count:].any() or count == 0
        played.extend(out[:count].tolist())
        when.update({before + n: tick * 20 + n / SAMPLES_PER_MS for n in range(1, count + 1)})
        audiences.extend([playout.audience] * count)
        passed.extend(playout.take_passed_marks())
        tick += 1

    changes: list[tuple[int, Audience]] = [(0, Audience.CALLER)]
    for step, size in script:
        match step:
            case "say":
                pcm = (np.arange(said, said + size) % 30_000 + 1).astype("<i2")
                playout.append(pcm.tobytes(), more=True)
                said += size
            case "end":
                playout.end_utterance()
            case "take":
                take()
            case "pause":
                (playout.resume if playout.is_paused else playout.pause)()
            case "mark":
                marks[f"m{len(marks)}"] = said + 1
                playout.mark(f"m{len(marks) - 1}", said + 1)
            case _:
                audience = list(Audience)[size % len(Audience)]
                changes.append((said, audience))
                playout.switch(audience, said)
    playout.append(b"\1\0", more=False)  # so that the last marks have a sample before them
    said += 1
    playout.resume()
    playout.expect_no_more()
    while not playout.is_finished:
        take()

    assert played[:-1] == [n % 30_000 + 1 for n in range(said - 1)]
    assert [mark.name for mark in passed] == sorted(marks, key=lambda name: marks[name])
    assert {mark.name: mark.at_ms for mark in passed} == {
        name: pytest.approx(when[offset]) for name, offset in marks.items()
    }
    expected = list(Audience)
    for n, heard_by in enumerate(audiences):
        expected = [audience for offset, audience in changes if offset <= n]
        assert heard_by is expected[-1]
