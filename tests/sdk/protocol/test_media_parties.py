"""What an agent's engine does with a callee, with modes and with channels."""

from __future__ import annotations

import pytest

from telcoflow_sdk.exceptions import (
    WSSCallClosedError,
    WSSCallCommandError,
    WSSCallCommandTimeoutError,
)
from telcoflow_sdk.protocol.commands import COMMAND_GRACE_S, MODE_COMMANDS, CommandName
from telcoflow_sdk.protocol.commands import DialProgress as Progress
from telcoflow_sdk.protocol.in_flight import CONNECT_DRAIN_MS, HOLD_S
from telcoflow_sdk.protocol.media_events import (
    Answered,
    CommandSettled,
    Connected,
    Ended,
    HoldEnded,
    Progressed,
)
from telcoflow_sdk.protocol.states import CallState
from tests.support.engines import RING_TIME_S, MediaDialogue

CONNECT, WHISPER, BARGE = CommandName.CONNECT, CommandName.WHISPER, CommandName.BARGE


# --- connect -------------------------------------------------------------------------------------


@pytest.mark.parametrize("answered", [False, True])
def test_connect_leads_to_connected(answered: bool) -> None:
    dialogue = MediaDialogue(answered=answered)
    command_id = dialogue.sends(CONNECT)

    dialogue.succeeds(command_id)

    assert dialogue.events() == [CommandSettled(command_id, None, None), Connected()]
    assert dialogue.engine.state is CallState.CONNECTED


def test_connect_says_how_long_to_ring_and_allows_for_what_the_server_holds() -> None:
    dialogue = MediaDialogue()
    dialogue.engine.send_command(CONNECT, dialogue.now, ring_time_s=45)

    (message,) = dialogue.said()

    assert message["data"]["data"] == {"ringTimeSeconds": 45}
    assert message["data"]["timeout_ms"] == 45_000 + CONNECT_DRAIN_MS


def test_connect_is_given_up_some_seconds_after_the_ring_time() -> None:
    dialogue = MediaDialogue()
    dialogue.sends(CONNECT)

    dialogue.passes(RING_TIME_S + COMMAND_GRACE_S - 0.1)
    assert dialogue.events() == []
    dialogue.passes(0.1)

    assert isinstance(dialogue.settled().error, WSSCallCommandTimeoutError)
    assert dialogue.engine.state is CallState.PENDING


def test_time_a_connect_was_held_is_not_taken_from_its_answer() -> None:
    dialogue = MediaDialogue(answered=True)
    dialogue.outbox.write(b"ab")
    dialogue.engine.send_command(CONNECT, dialogue.now, ring_time_s=RING_TIME_S)
    dialogue.passes(HOLD_S - 1)
    dialogue.outbox.grant(2)
    dialogue.pump()

    assert dialogue.engine.next_deadline() == dialogue.now + RING_TIME_S + COMMAND_GRACE_S


@pytest.mark.parametrize("code", ["CALL_UNANSWERED", "CALL_BUSY", "CALL_DECLINED"])
@pytest.mark.parametrize("answered", [False, True])
def test_failed_connect_leaves_the_call_as_it_was_and_may_be_tried_again(
    code: str, answered: bool
) -> None:
    dialogue = MediaDialogue(answered=answered)
    before = dialogue.engine.state
    dialogue.fails(dialogue.sends(CONNECT), code)

    error = dialogue.settled().error

    assert isinstance(error, WSSCallCommandError)
    assert error.error_code == code
    assert dialogue.engine.state is before
    dialogue.succeeds(dialogue.sends(CONNECT))
    assert dialogue.engine.state is CallState.CONNECTED


@pytest.mark.parametrize("name", [CommandName.ANSWER, CONNECT])
@pytest.mark.parametrize("held", [False, True])
def test_while_the_callee_is_rung_nothing_else_may_change_the_call(
    name: CommandName, held: bool
) -> None:
    dialogue = MediaDialogue(answered=held)
    if held:
        dialogue.outbox.write(b"ab")
    dialogue.engine.send_command(CONNECT, dialogue.now, ring_time_s=RING_TIME_S)

    with pytest.raises(WSSCallCommandError, match="INVALID_STATE") as caught:
        dialogue.engine.send_command(name, dialogue.now, ring_time_s=RING_TIME_S)

    if not held or name is CONNECT:
        assert "call.connect is in progress" in caught.value.error_message


def test_caller_who_hangs_up_ends_the_ringing_at_once() -> None:
    dialogue = MediaDialogue(answered=True)
    dialogue.sends(CONNECT)

    dialogue.hears("call_event", event="call.terminated")

    assert isinstance(dialogue.settled().error, WSSCallClosedError)


def test_answer_that_comes_while_the_call_is_connected_changes_nothing() -> None:
    dialogue = MediaDialogue()
    answer = dialogue.sends(CommandName.ANSWER)
    dialogue.succeeds(dialogue.sends(CONNECT))
    dialogue.events()

    dialogue.succeeds(answer)

    assert dialogue.events() == [CommandSettled(answer, None, None)]
    assert dialogue.engine.state is CallState.CONNECTED


# --- commands in their place ---------------------------------------------------------------------


def test_ringing_call_is_connected_without_waiting_for_audio_nobody_hears() -> None:
    dialogue = MediaDialogue()
    dialogue.outbox.write(b"greeting")

    dialogue.sends(CONNECT)


@pytest.mark.parametrize("name", sorted(MODE_COMMANDS))
def test_change_of_mode_keeps_its_place_among_the_audio(name: CommandName) -> None:
    dialogue = MediaDialogue(connected=True)
    dialogue.outbox.write(b"before")
    dialogue.engine.send_command(name, dialogue.now)
    dialogue.outbox.write(b"behind")
    dialogue.outbox.grant(100)

    before, command, behind = dialogue.pump()

    assert isinstance(command, dict)
    assert (before, command["command"], behind) == (b"before", name, b"behind")


def test_held_command_goes_after_a_while_without_the_audio_in_front_of_it() -> None:
    dialogue = MediaDialogue(connected=True)
    dialogue.outbox.grant(2)
    dialogue.outbox.write(b"whispered")
    dialogue.engine.send_command(BARGE, dialogue.now)
    dialogue.outbox.write(b"aloud!")
    assert dialogue.pump() == [b"wh"]
    assert dialogue.engine.next_deadline() == dialogue.now + HOLD_S

    dialogue.passes(HOLD_S)
    dialogue.outbox.grant(100)

    assert dialogue.events() == [HoldEnded(dropped_bytes=6)]
    command, aloud = dialogue.pump()
    assert isinstance(command, dict)
    assert command["command"] == BARGE
    assert aloud == b"daloud!"[:6]  # the odd byte belongs to the sample that completes it


def test_commands_that_are_held_together_go_in_order() -> None:
    dialogue = MediaDialogue(connected=True)
    dialogue.outbox.write(b"aa")
    dialogue.engine.send_command(WHISPER, dialogue.now)
    dialogue.outbox.write(b"bb")
    dialogue.engine.send_command(BARGE, dialogue.now)

    dialogue.passes(HOLD_S)

    assert dialogue.events() == [HoldEnded(dropped_bytes=4)]
    commands = [sent["command"] for sent in dialogue.pump() if isinstance(sent, dict)]
    assert commands == [WHISPER, BARGE]


def test_held_command_is_answered_for_as_long_as_any_once_it_went() -> None:
    dialogue = MediaDialogue(connected=True)
    dialogue.outbox.write(b"aa")
    dialogue.engine.send_command(WHISPER, dialogue.now)
    dialogue.passes(HOLD_S)
    dialogue.pump()
    dialogue.events()

    dialogue.passes(14.9)
    assert dialogue.events() == []
    dialogue.passes(0.1)

    assert isinstance(dialogue.settled().error, WSSCallCommandTimeoutError)


def test_clear_ends_the_hold() -> None:
    dialogue = MediaDialogue(connected=True)
    dialogue.outbox.write(b"aa")
    dialogue.engine.send_command(WHISPER, dialogue.now)

    dialogue.outbox.clear()

    (command,) = dialogue.pump()
    assert isinstance(command, dict)


def test_end_of_the_call_settles_held_commands() -> None:
    dialogue = MediaDialogue(connected=True)
    dialogue.outbox.write(b"aa")
    dialogue.engine.send_command(WHISPER, dialogue.now)

    dialogue.engine.link_lost(dialogue.now)

    settled, ended = dialogue.events()
    assert isinstance(settled, CommandSettled)
    assert isinstance(settled.error, WSSCallClosedError)
    assert isinstance(ended, Ended)
    assert dialogue.pump() == []


def test_held_connect_can_be_withdrawn() -> None:
    dialogue = MediaDialogue(answered=True)
    dialogue.outbox.write(b"aa")
    command_id = dialogue.engine.send_command(CONNECT, dialogue.now, ring_time_s=RING_TIME_S)
    dialogue.outbox.write(b"bb")

    dialogue.engine.withdraw_connect()
    dialogue.outbox.grant(100)

    settled = dialogue.settled()
    assert settled.command_id == command_id
    assert isinstance(settled.error, WSSCallClosedError)
    assert dialogue.pump() == [b"aabb"]
    assert dialogue.engine.next_deadline() is None


def test_connect_that_went_is_not_withdrawn_nor_is_anything_else() -> None:
    dialogue = MediaDialogue(answered=True)
    dialogue.sends(CONNECT)

    dialogue.engine.withdraw_connect()

    assert dialogue.events() == []
    assert dialogue.engine.next_deadline() is not None

    modes = MediaDialogue(connected=True)
    modes.outbox.write(b"aa")
    modes.engine.send_command(WHISPER, modes.now)
    modes.engine.withdraw_connect()
    assert modes.events() == []


# --- a call we place -----------------------------------------------------------------------------


def test_progress_of_dialling_is_reported_and_kept() -> None:
    dialogue = MediaDialogue()
    before = dialogue.engine.progress

    dialogue.hears("call_event", event="call.progress", state="ringing")
    dialogue.hears("call_event", event="call.progress", state="early")

    assert before is None
    assert dialogue.events() == [Progressed(Progress.RINGING), Progressed(Progress.EARLY)]
    assert dialogue.engine.progress is Progress.EARLY
    assert dialogue.engine.state is CallState.PENDING


@pytest.mark.parametrize("fields", [{}, {"state": "from.the.future"}, {"state": None}])
def test_progress_that_is_not_understood_is_counted(fields: dict[str, str]) -> None:
    dialogue = MediaDialogue()

    dialogue.hears("call_event", event="call.progress", **fields)

    assert dialogue.events() == []
    assert dialogue.engine.ignored_messages == 1


def test_answer_of_a_call_we_place_may_take_the_ring_time() -> None:
    dialogue = MediaDialogue(ring_time_s=90)
    dialogue.engine.send_command(CommandName.ANSWER, dialogue.now)

    (message,) = dialogue.said()

    assert message["data"]["timeout_ms"] == 90_000 + CONNECT_DRAIN_MS
    assert "data" not in message["data"]
    assert dialogue.engine.next_deadline() == dialogue.now + 90 + COMMAND_GRACE_S


def test_person_who_answers_is_noticed_whether_or_not_anybody_asked() -> None:
    dialogue = MediaDialogue(ring_time_s=90)

    dialogue.hears("call_event", event="call.progress", state="answered")

    assert dialogue.events() == [Progressed(Progress.ANSWERED), Answered()]
    assert dialogue.engine.state is CallState.ANSWERED


def test_person_who_answers_is_reported_once() -> None:
    dialogue = MediaDialogue(ring_time_s=90)
    command_id = dialogue.sends(CommandName.ANSWER)

    dialogue.hears("call_event", event="call.progress", state="answered")
    dialogue.succeeds(command_id)

    assert dialogue.events().count(Answered()) == 1


def test_callee_who_answers_a_connect_is_not_the_answer_of_the_call() -> None:
    dialogue = MediaDialogue()
    dialogue.sends(CONNECT)

    dialogue.hears("call_event", event="call.progress", state="answered")

    assert dialogue.engine.state is CallState.PENDING


def test_why_nobody_answered_is_known_after_the_end() -> None:
    dialogue = MediaDialogue(ring_time_s=90)
    dialogue.hears("call_event", event="call.progress", state="failed", error_code="CALL_BUSY")
    dialogue.hears("call_event", event="call.terminated")

    with pytest.raises(WSSCallCommandError) as caught:
        dialogue.engine.send_command(CommandName.ANSWER, dialogue.now)

    assert (caught.value.error_code, caught.value.error_message) == ("CALL_BUSY", "")
    with pytest.raises(WSSCallClosedError):
        dialogue.engine.send_command(CommandName.CLOSE, dialogue.now)


def test_server_that_does_not_say_why_nobody_answered_leaves_it_at_the_end() -> None:
    dialogue = MediaDialogue(ring_time_s=90)
    dialogue.hears("call_event", event="call.progress", state="failed")
    dialogue.hears("call_event", event="call.terminated")

    with pytest.raises(WSSCallClosedError):
        dialogue.engine.send_command(CommandName.ANSWER, dialogue.now)


# --- channels ------------------------------------------------------------------------------------


def test_isolated_audio_has_three_channels_each_with_its_own_samples() -> None:
    engine = MediaDialogue(channels=3).engine

    received = [
        engine.receive_audio(message)
        for message in (b"\0abc", b"\1ABC", b"\2xy", b"\1DE", b"\0de", b"\2z", b"\3ab")
    ]

    assert received == [b"ab", b"AB", b"xy", b"CD", b"cd", b"", b""]
    assert engine.ignored_messages == 1
