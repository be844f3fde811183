"""How agent audio ends other than by being played: clears, overruns, half samples, drains."""

from __future__ import annotations

import numpy as np
import pytest

from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_server.media.playout import UTTERANCE_PAUSE_TICKS
from tests.support.media import FRAME, FRAME_BYTES, Line, speech


@pytest.fixture
def line() -> Line:
    return Line()


def test_clear_is_silent_on_the_very_next_tick_and_says_what_was_dropped(line: Line) -> None:
    line.requests.receive(speech(3 * FRAME) + b"\x01")
    line.run()

    dropped = line.requests.clear()
    line.run(5)

    assert dropped == 2 * FRAME_BYTES + 1
    assert line.sounding == "#....."
    assert line.playout.heard_ms == 20
    assert line.playout.statistics().cleared_samples == 2 * FRAME
    assert line.requests.clear() == 0


def test_heard_counts_the_utterance_in_progress_without_its_padding(line: Line) -> None:
    line.requests.receive(speech(2 * FRAME + 80))
    line.run(3)
    assert line.playout.heard_ms == 50

    line.run(UTTERANCE_PAUSE_TICKS + 1)
    assert line.playout.heard_ms == 50
    line.requests.receive(speech(2 * FRAME))
    line.run()

    assert line.playout.heard_ms == 20
    assert line.playout.statistics().played_samples == 3 * FRAME + 80


def test_stale_audio_after_a_clear_is_a_new_utterance(line: Line) -> None:
    line.requests.receive(speech(3 * FRAME))
    line.run()
    line.requests.clear()

    line.requests.receive(speech(FRAME, 1_000))
    line.run(2)

    assert line.sounding == "#.#"
    assert line.heard[FRAME] == 1_000
    assert line.playout.heard_ms == 20


def test_odd_byte_waits_for_the_other_half_of_its_sample(line: Line) -> None:
    audio = speech(2 * FRAME)
    line.requests.receive(audio[:101])
    line.requests.receive(audio[101:102])
    line.requests.receive(audio[102:301])
    line.requests.receive(audio[301:])

    line.run(2)

    assert (line.heard == np.arange(1, 2 * FRAME + 1)).all()


def test_clear_drops_the_odd_byte_so_that_new_audio_is_aligned(line: Line) -> None:
    line.requests.receive(b"\x7f")
    assert line.requests.clear() == 1

    line.requests.receive(speech(2 * FRAME))
    line.run()

    assert (line.heard == np.arange(1, FRAME + 1)).all()


def test_lone_odd_byte_is_never_played(line: Line) -> None:
    line.requests.receive(b"\x7f")

    line.run(10)

    assert line.sounding == ".........."


def test_empty_payload_changes_nothing(line: Line) -> None:
    assert line.requests.receive(b"") is None

    line.run(5)

    assert line.sounding == "....."


def test_more_than_a_second_is_discarded_newest_first_and_reported(line: Line) -> None:
    assert line.requests.receive(speech(7_990)) is None
    assert line.requests.receive(speech(20, 7_991)) is ErrorCode.AUDIO_OVERRUN
    assert line.requests.receive(speech(20, 9_000)) is ErrorCode.AUDIO_OVERRUN

    line.run(51)

    assert (line.heard == np.arange(1, 8_001)).all()
    assert line.credit.discarded_bytes == 20 + 40


def test_odd_payload_cut_by_an_overrun_leaves_the_stream_aligned(line: Line) -> None:
    line.requests.receive(speech(8_000))
    audio = speech(100, 20_000)
    line.requests.receive(audio[:99])
    line.run(2)

    line.requests.receive(audio[99:])
    line.run(52)

    assert line.heard[8_000:8_051].tolist() == [*range(20_049, 20_100)]


def test_drain_plays_out_what_is_held_at_once_and_asks_for_no_more(line: Line) -> None:
    line.request_all()
    line.requests.receive(speech(FRAME + 10) + b"\x01")

    line.requests.end()
    drained = []
    for _ in range(2):
        drained.append(line.playout.is_finished)
        line.run()

    assert drained == [False, False]
    assert line.sounding == "##"
    assert line.heard[: FRAME + 10].tolist() == list(range(1, FRAME + 11))
    assert line.playout.is_finished
    assert line.request_all() == []
    assert line.credit.discarded_bytes == 1


def test_drain_plays_a_part_frame_that_was_waiting_for_its_rest(line: Line) -> None:
    line.requests.receive(speech(2 * FRAME))
    line.run()
    line.requests.receive(speech(10))
    line.run(2)
    assert line.sounding == "##."

    line.requests.end()
    line.run()

    assert line.sounding == "##.#"
    assert line.playout.is_finished


def test_audio_that_comes_while_draining_is_discarded_and_counted(line: Line) -> None:
    line.request_all()
    line.requests.end()

    assert line.requests.receive(speech(FRAME)) is None
    line.run(2)

    assert line.sounding == ".."
    assert line.playout.is_finished
    assert line.credit.discarded_bytes == FRAME_BYTES
    assert line.credit.outstanding_ms == 40


def test_drain_ends_at_a_clear(line: Line) -> None:
    line.requests.receive(speech(5 * FRAME))
    line.requests.end()

    line.requests.clear()

    assert line.playout.is_finished


def test_nothing_is_drained_unless_asked(line: Line) -> None:
    assert not line.playout.is_finished
