"""A call whose agent speaks protocol v2."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from telcoflow_sdk.protocol.codes import CloseCode, EndReason, ErrorCode
from telcoflow_sdk.protocol.positions import build_audio
from telcoflow_sdk.protocol.states import CallState
from telcoflow_server.media.places import MAX_PLACES
from tests.support.exchange import MemoryPhone, Node
from tests.support.positions import FRAME, GRACE_MS, Scene, ruler


@pytest.fixture
def scene() -> Scene:
    return Scene()


# --- the first link ----------------------------------------------------------------------


def test_the_agent_is_welcomed_and_told_its_window_while_it_rings() -> None:
    scene = Scene(is_answered=False)

    [welcome] = scene.agent.welcomes

    assert welcome["secret"]
    assert {key: value for key, value in welcome.items() if key != "secret"} == {
        "epoch": 1,
        "seen": 0,
        "generation": 0,
        "received": 0,
        "continues": [0],
        "grace_ms": GRACE_MS,
    }
    assert scene.agent.positions[0].window > 0
    assert scene.call.state is CallState.PENDING


def test_a_greeting_that_is_here_before_the_answer_is_heard_at_once() -> None:
    scene = Scene(is_answered=False)
    scene.say(FRAME * 3)
    scene.run(3)
    scene.caller.forget()

    scene.agent.command("call.answer", placed=False)
    scene.run(1)

    assert scene.heard == ruler(FRAME).tolist()


def test_what_is_said_both_ways_arrives_to_the_sample(scene: Scene) -> None:
    scene.say(FRAME * 20 + 100, end=True)

    scene.run(40)

    assert scene.heard == ruler(FRAME * 20 + 100).tolist()
    said = scene.heard_by_agent()
    assert said == ruler(len(said)).tolist()
    assert len(said) >= FRAME * 40
    assert scene.agent.holes == []


def test_positions_tell_what_was_heard(scene: Scene) -> None:
    scene.say(FRAME * 5, end=True)

    scene.run(10)

    last = scene.agent.positions[-1]
    assert (last.received, last.played, last.heard) == (FRAME * 5,) * 3
    assert all(p.received >= p.played >= p.heard for p in scene.agent.positions)


def test_the_report_says_what_the_protocol_tells(scene: Scene) -> None:
    scene.agent.acknowledge(loop_lag_ms=7)
    scene.agent.acknowledge(loop_lag_ms=33)
    scene.agent.acknowledge(loop_lag_ms=0)
    scene.run(1)
    scene.agent.lose()
    scene.run(10)
    scene.agent.connect()
    scene.run(10)

    report = scene.node.exchange.report(scene.call)

    assert (report.protocol, report.loop_lag_ms) == (2, 33)
    assert (report.outages, report.outage_ms) == (1, 200)


# --- interruptions -------------------------------------------------------------------------


def test_an_interruption_tells_how_far_it_was_played_and_heard(scene: Scene) -> None:
    scene.say(FRAME * 50)
    scene.run(10)
    played = scene.agent.positions[-1].played
    scene.caller.forget()

    interrupt = scene.agent.interrupt()
    scene.run(5)

    result = scene.result(interrupt)["result"]
    assert result["played"] == played
    assert result["heard_ms"] == played / 24
    assert result["dropped_ms"] == result["dropped_bytes"] / 48 > 0
    assert scene.heard == []


def test_audio_in_flight_across_an_interruption_is_not_heard(scene: Scene) -> None:
    scene.say(FRAME * 50)
    scene.run(10)
    scene.agent.serve()
    crossing = scene.agent.positions[-1].received
    scene.agent.interrupt()
    scene.caller.forget()

    scene.agent.send_binary(build_audio(0, 0, 0, 0, crossing, b"\1\1" * FRAME))
    scene.say(FRAME * 3, end=True)
    scene.run(10)

    assert scene.heard == ruler(FRAME * 3).tolist()
    assert scene.agent.link.closed_with is None


def test_an_interruption_resumes_playback(scene: Scene) -> None:
    scene.agent.command("agent.pause", placed=False)
    scene.run(5)
    paused = [scene.agent.positions[-1].is_paused]

    scene.agent.interrupt()
    scene.say(FRAME * 2, end=True)
    scene.run(10)
    paused.append(scene.agent.positions[-1].is_paused)

    assert paused == [True, False]
    assert scene.heard == ruler(FRAME * 2).tolist()


@pytest.mark.parametrize("at", [(0, 0), (2, 0), (1, 480)])
def test_an_interruption_that_begins_no_next_generation_is_refused(
    scene: Scene, at: tuple[int, int]
) -> None:
    interrupt = scene.agent.command("agent.interrupt", at=at)

    assert scene.refusal(interrupt) == ErrorCode.INVALID_POSITION
    assert scene.agent.positions[-1].generation == 0


# --- commands and their places -------------------------------------------------------------


def test_modes_change_between_the_samples_they_name(scene: Scene) -> None:
    scene.connected()
    scene.caller.forget()
    scene.callee.forget()
    scene.say(FRAME * 5)
    whisper = scene.agent.command("agent.whisper")
    scene.say(FRAME * 4 + 7)
    scene.agent.command("agent.spy")
    scene.say(FRAME * 3)
    scene.agent.command("agent.barge")
    scene.say(FRAME * 2, end=True)

    response = scene.result(whisper)
    scene.run(40)

    aloud = ruler(FRAME * 5).tolist()
    last = ruler(FRAME * 2, FRAME * 12 + 7).tolist()
    whispered = ruler(FRAME * 4 + 7, FRAME * 5).tolist()
    assert response["success"], "at once: it is the place that counts"
    assert scene.heard == aloud + last
    callee_heard = scene.callee.heard - callers_share(scene)
    assert callee_heard[callee_heard != 0].tolist() == aloud + whispered + last


def callers_share(scene: Scene) -> NDArray[np.int16]:
    """What the callee hears of the caller, who counts on."""
    ticks = len(scene.callee.heard) // FRAME
    # The caller says the same tick to everybody: what the agent heard of it, too.
    said = np.frombuffer(bytes(scene.agent.heard[0]), "<i2")
    return said[-ticks * FRAME :]


def test_a_mode_that_an_interruption_passes_holds(scene: Scene) -> None:
    scene.connected()
    scene.say(FRAME * 50)
    scene.agent.command("agent.spy")
    scene.run(5)
    scene.agent.interrupt()
    scene.caller.forget()

    scene.say(FRAME * 3, end=True)
    scene.run(10)

    assert scene.heard == []
    assert scene.call.mode == "spy"


def test_connect_rings_when_the_audio_before_it_was_heard(scene: Scene) -> None:
    scene.say(FRAME * 10, end=True)

    scene.agent.command("call.connect")
    progress = []
    for _ in range(20):
        scene.run(1)
        progress.append(bool(scene.agent.events("call.progress")))

    rings_at = progress.index(True)
    assert rings_at >= 10
    assert scene.heard[: FRAME * 10] == ruler(FRAME * 10).tolist()


def test_close_ends_when_the_audio_before_it_was_heard_though_it_is_still_to_come(
    scene: Scene,
) -> None:
    scene.say(FRAME * 20 + 100, end=True)

    close = scene.agent.command("call.close")
    scene.run(10)
    assert not scene.call.is_over
    scene.run(20)

    assert scene.call.end_reason is EndReason.AGENT_CLOSED
    assert scene.heard == ruler(FRAME * 20 + 100).tolist()
    assert scene.result(close)["success"]
    assert scene.agent.events("call.terminated")
    assert scene.agent.link.closed_with is CloseCode.NORMAL


def test_close_of_a_paused_playback_lets_the_end_be_heard(scene: Scene) -> None:
    scene.say(FRAME * 5, end=True)
    scene.agent.command("agent.pause", placed=False)
    scene.run(10)

    scene.agent.command("call.disconnect")
    scene.run(20)

    assert scene.call.end_reason is EndReason.AGENT_DISCONNECTED
    assert scene.heard == ruler(FRAME * 5).tolist()


def test_pause_stops_at_once_and_resume_goes_on_at_the_sample(scene: Scene) -> None:
    scene.say(FRAME * 20, end=True)
    scene.run(5)
    pause = scene.agent.command("agent.pause", placed=False)
    heard = len(scene.heard)
    scene.run(30)
    assert scene.result(pause)["success"]
    assert len(scene.heard) == heard

    resume = scene.agent.command("agent.resume", placed=False)
    scene.run(30)

    assert scene.result(resume)["success"]
    assert scene.heard == ruler(FRAME * 20).tolist()
    assert scene.agent.events("media.gap") == []


@pytest.mark.parametrize(
    "name",
    ["agent.mark", "agent.spy", "call.connect", "call.close", "call.disconnect", "agent.interrupt"],
)
def test_a_command_without_its_place_is_refused(scene: Scene, name: str) -> None:
    if name == "agent.spy":
        scene.connected()

    command = scene.agent.command(name, placed=False, name="m")

    assert scene.refusal(command) == ErrorCode.INVALID_POSITION
    assert not scene.call.is_over


@pytest.mark.parametrize(
    "name", ["agent.mark", "agent.whisper", "call.connect", "call.close", "call.disconnect"]
)
def test_a_place_in_another_generation_is_none(scene: Scene, name: str) -> None:
    if name == "agent.whisper":
        scene.connected()

    command = scene.agent.command(name, at=(1, 0), name="m")

    assert scene.refusal(command) == ErrorCode.INVALID_POSITION
    scene.run(5)
    assert not scene.call.is_over


def test_a_ringing_call_is_rejected_without_a_place() -> None:
    scene = Scene(is_answered=False)

    scene.agent.command("call.close", placed=False)

    assert scene.call.end_reason is EndReason.AGENT_REJECTED


# --- marks and gaps ------------------------------------------------------------------------


def test_marks_are_told_when_their_sample_was_played(scene: Scene) -> None:
    scene.say(FRAME * 2 + 240)
    inside = scene.agent.command("agent.mark", name="inside")
    scene.say(FRAME * 2 - 240, end=True)
    scene.agent.command("agent.mark", name="end")

    scene.run(20)

    assert scene.result(inside)["success"]
    first, second = scene.agent.events("mark.played")
    assert (first["name"], second["name"]) == ("inside", "end")
    assert second["at_ms"] - first["at_ms"] == 30.0
    began_ms = np.flatnonzero(scene.caller.heard)[0] / 24
    assert first["at_ms"] == began_ms + 50


def test_marks_that_an_interruption_passes_are_cleared(scene: Scene) -> None:
    scene.say(FRAME * 50)
    scene.agent.command("agent.mark", name="never")
    scene.run(5)

    scene.agent.interrupt()
    scene.run(1)

    assert [event["name"] for event in scene.agent.events("mark.cleared")] == ["never"]
    assert scene.agent.events("mark.played") == []


@pytest.mark.parametrize("arguments", [{}, {"name": 7}, {"name": "x" * 129}])
def test_a_mark_without_a_name_is_refused(scene: Scene, arguments: dict[str, Any]) -> None:
    mark = scene.agent.command("agent.mark", **arguments)

    assert scene.refusal(mark) == ErrorCode.INVALID_REQUEST


def test_marks_and_modes_that_wait_are_bounded(scene: Scene) -> None:
    scene.connected()
    for _ in range(MAX_PLACES):
        last = scene.agent.command("agent.mark", at=(0, 10**9), name="m")
        scene.agent.acknowledge()

    mark = scene.agent.command("agent.mark", name="one more")
    mode = scene.agent.command("agent.spy")

    assert scene.result(last)["success"]
    assert scene.refusal(mark) == scene.refusal(mode) == ErrorCode.TOO_MANY_MARKS
    pause = scene.agent.command("agent.pause", placed=False)
    assert scene.result(pause)["success"], "which needs no room"


def test_a_gap_is_told_when_it_is_over(scene: Scene) -> None:
    scene.say(FRAME * 2)
    scene.run(6)
    scene.say(FRAME * 5, end=True)
    scene.run(15)

    [gap] = scene.agent.events("media.gap")

    assert gap["cause"] == "agent_silent"
    report = scene.node.exchange.report(scene.call)
    assert [(one.at_ms, one.ms, one.cause) for one in report.gaps] == [
        (gap["at_ms"], gap["ms"], gap["cause"])
    ]
    assert report.gap_causes == {"agent_silent": 1}


@pytest.mark.parametrize("name", ["agent.mark", "agent.pause", "agent.resume"])
def test_v1_has_no_words_for_marks_and_pauses(name: str) -> None:
    node = Node()
    _, agent = node.answered_call(MemoryPhone())

    response = agent.response(agent.command(name))

    assert response is not None
    assert response["error_code"] == ErrorCode.INVALID_COMMAND


def test_an_interrupt_of_v1_has_the_result_it_always_had() -> None:
    node = Node()
    _, agent = node.answered_call(MemoryPhone())

    response = agent.response(agent.command("agent.interrupt"))

    assert response is not None
    assert set(response["result"]) == {"dropped_bytes", "dropped_ms", "heard_ms"}


# --- what breaks a link --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (build_audio(0, 0, 0, 0, 1, b"\1\1"), CloseCode.BAD_POSITION),
        (build_audio(0, 0, 0, 1, 0, b"\1\1"), CloseCode.BAD_POSITION),
        (build_audio(0, 0, 0, 0, 0, b"\1\1" * 4801), CloseCode.CREDIT_OVERRUN),
    ],
)
def test_audio_that_cannot_be_there_closes_the_link(
    scene: Scene, message: bytes, code: CloseCode
) -> None:
    scene.agent.send_binary(message)

    assert scene.agent.link.closed_with is code
    assert scene.call.end_reason is EndReason.AGENT_LOST


def test_a_text_message_that_was_left_out_closes_the_link(scene: Scene) -> None:
    scene.agent.send_text(b'{"type":"command","seq":7,"data":{"command_id":"x","command":"y"}}')

    assert scene.agent.link.closed_with is CloseCode.BAD_SEQUENCE


def test_a_text_message_that_comes_twice_is_taken_once(scene: Scene) -> None:
    message = b'{"type":"command","seq":2,"data":{"command_id":"twice","command":"agent.pause"}}'

    scene.agent.send_text(message)
    scene.agent.send_text(message)

    answers = [m for m in scene.agent.log if m["data"].get("command_id") == "twice"]
    assert len(answers) == 1


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"\0", ErrorCode.MALFORMED_AUDIO),
        (build_audio(0, 0, 0, 0, 0, b"\0"), ErrorCode.MALFORMED_AUDIO),
        (build_audio(1, 0, 0, 0, 0, b"\0\0"), ErrorCode.INVALID_CHANNEL),
    ],
)
def test_audio_that_cannot_be_read_is_answered_and_counted(
    scene: Scene, message: bytes, code: ErrorCode
) -> None:
    with pytest.raises(Exception, match="unusable audio"):
        scene.agent.reception.binary(message)

    assert [event["error_code"] for event in scene.agent.events("call.error")] == [code]
    assert scene.call.state is CallState.ANSWERED
