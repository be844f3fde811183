from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_sdk.exceptions import (
    BufferClosedError,
    WSSCallClosedError,
    WSSCallCommandError,
    WSSCallCommandTimeoutError,
)
from telcoflow_sdk.protocol.commands import (
    COMMAND_GRACE_S,
    COMMAND_TIMEOUT_MS,
    V2_COMMANDS,
    CommandName,
)
from telcoflow_sdk.protocol.media_events import (
    Answered,
    CommandSettled,
    EndCause,
    Ended,
    ErrorReported,
    MediaOutput,
)
from telcoflow_sdk.protocol.messages import InterruptResult
from telcoflow_sdk.protocol.states import TRANSITIONS, CallState
from tests.support.engines import MediaDialogue, ring_time_s

V1_COMMANDS = [name for name in CommandName if name not in V2_COMMANDS]
PATIENCE_S = COMMAND_TIMEOUT_MS / 1000 + COMMAND_GRACE_S


def test_answer_leads_from_pending_to_answered() -> None:
    dialogue = MediaDialogue()
    before = dialogue.engine.state

    command_id = dialogue.sends(CommandName.ANSWER)
    meanwhile = dialogue.engine.state
    dialogue.succeeds(command_id)

    assert before is meanwhile is CallState.PENDING
    assert dialogue.events() == [CommandSettled(command_id, None, None), Answered()]
    assert dialogue.engine.state is CallState.ANSWERED


def test_command_says_how_long_it_may_take() -> None:
    dialogue = MediaDialogue()
    dialogue.engine.send_command(CommandName.ANSWER, dialogue.now)

    (message,) = dialogue.said()

    assert message["data"]["timeout_ms"] == COMMAND_TIMEOUT_MS
    assert "data" not in message["data"]


@pytest.mark.parametrize("state", [CallState.PENDING, CallState.ANSWERED, CallState.CONNECTED])
@pytest.mark.parametrize("name", V1_COMMANDS)
def test_commands_follow_the_table(state: CallState, name: CommandName) -> None:
    dialogue = MediaDialogue(answered=state is CallState.ANSWERED)
    if state is CallState.CONNECTED:
        dialogue.connects()

    if (state, name) not in TRANSITIONS:
        with pytest.raises(WSSCallCommandError) as caught:
            dialogue.engine.send_command(name, dialogue.now)
        assert caught.value.error_code == "INVALID_STATE"
        assert name in caught.value.error_message
        assert state in caught.value.error_message
        assert dialogue.said() == []
        return
    dialogue.succeeds(dialogue.sends(name))

    assert dialogue.engine.state is TRANSITIONS[state, name]
    ended = dialogue.engine.state is CallState.DISCONNECTED
    assert (Ended(EndCause.HUNG_UP) in dialogue.events()) is ended


@pytest.mark.parametrize("name", sorted(V2_COMMANDS))
def test_what_protocol_v1_has_no_words_for_is_refused_here(name: CommandName) -> None:
    dialogue = MediaDialogue(answered=True)

    with pytest.raises(WSSCallCommandError) as caught:
        dialogue.engine.send_command(name, dialogue.now)

    assert caught.value.error_code == "UNSUPPORTED"
    assert dialogue.said() == []
    assert dialogue.engine.next_deadline() is None


@pytest.mark.parametrize("name", list(CommandName))
def test_after_the_end_every_command_is_refused_at_once(name: CommandName) -> None:
    dialogue = MediaDialogue()
    dialogue.engine.link_lost(dialogue.now)

    with pytest.raises(WSSCallClosedError):
        dialogue.engine.send_command(name, dialogue.now)


def test_refusal_leaves_the_state_and_carries_the_code() -> None:
    dialogue = MediaDialogue()
    dialogue.fails(dialogue.sends(CommandName.ANSWER), "RATE_LIMITED")

    error = dialogue.settled().error

    assert isinstance(error, WSSCallCommandError)
    assert (error.error_code, error.error_message) == ("RATE_LIMITED", "told so")
    assert "told so" not in str(error)
    assert dialogue.engine.state is CallState.PENDING


def test_refusal_without_a_code_is_a_refusal() -> None:
    dialogue = MediaDialogue()
    command_id = dialogue.sends(CommandName.ANSWER)
    dialogue.hears("command_response", command_id=command_id, success=False)

    error = dialogue.settled().error

    assert isinstance(error, WSSCallCommandError)
    assert (error.error_code, error.error_message) == ("", "")


def test_time_out_of_the_servers_is_a_time_out() -> None:
    dialogue = MediaDialogue()
    dialogue.fails(dialogue.sends(CommandName.ANSWER), "TIMEOUT")

    assert isinstance(dialogue.settled().error, WSSCallCommandTimeoutError)


def test_refusal_because_the_call_ended_says_so() -> None:
    dialogue = MediaDialogue()
    dialogue.fails(dialogue.sends(CommandName.ANSWER), "CALL_ENDED")

    assert isinstance(dialogue.settled().error, WSSCallClosedError)


def test_command_without_an_answer_times_out() -> None:
    dialogue = MediaDialogue()
    assert dialogue.engine.next_deadline() is None
    dialogue.sends(CommandName.ANSWER)
    assert dialogue.engine.next_deadline() == dialogue.now + PATIENCE_S

    dialogue.passes(PATIENCE_S - 0.1)
    assert dialogue.events() == []
    dialogue.passes(0.1)

    assert isinstance(dialogue.settled().error, WSSCallCommandTimeoutError)
    assert dialogue.engine.next_deadline() is None


def test_late_answer_is_ignored() -> None:
    dialogue = MediaDialogue()
    command_id = dialogue.sends(CommandName.ANSWER)
    dialogue.passes(PATIENCE_S)
    dialogue.events()

    dialogue.succeeds(command_id)

    assert dialogue.events() == []
    assert dialogue.engine.state is CallState.PENDING


def test_answer_that_arrives_with_the_second_of_two_is_not_reported_twice() -> None:
    dialogue = MediaDialogue()
    first, second = dialogue.sends(CommandName.ANSWER), dialogue.sends(CommandName.ANSWER)

    dialogue.succeeds(first)
    dialogue.succeeds(second)

    assert dialogue.events().count(Answered()) == 1


@pytest.mark.parametrize(
    ("result", "understood"),
    [
        (
            {"dropped_bytes": 960, "heard_ms": 12.5, "dropped_ms": 20},
            InterruptResult(dropped_bytes=960, heard_ms=12.5),
        ),
        ({"heard_ms": 7}, InterruptResult(heard_ms=7)),
        ({}, InterruptResult()),
        (None, InterruptResult()),
        ("cleared", InterruptResult()),
        ({"dropped_bytes": "many"}, InterruptResult()),
    ],
)
def test_interrupt_tells_what_the_server_says_or_nothing(
    result: Any, understood: InterruptResult
) -> None:
    dialogue = MediaDialogue(answered=True)
    dialogue.succeeds(dialogue.sends(CommandName.INTERRUPT), result=result)

    settled = dialogue.settled()

    assert (settled.result, settled.error) == (understood, None)
    assert dialogue.engine.state is CallState.ANSWERED


def test_terminated_ends_the_call_once_and_fails_what_is_pending() -> None:
    dialogue = MediaDialogue(answered=True)
    command_id = dialogue.sends(CommandName.INTERRUPT)

    dialogue.hears("call_event", event="call.terminated")
    dialogue.hears("call_event", event="call.terminated")
    dialogue.engine.link_lost(dialogue.now)
    dialogue.engine.end(EndCause.ABANDONED)

    settled, ended = dialogue.events()
    assert isinstance(settled, CommandSettled)
    assert settled.command_id == command_id
    assert isinstance(settled.error, WSSCallClosedError)
    assert ended == Ended(EndCause.TERMINATED)
    assert dialogue.engine.next_deadline() is None


def test_lost_link_ends_the_call_and_fails_commands_at_once() -> None:
    """Flaw 5 of the published client: a command in flight hung for 15 s."""
    dialogue = MediaDialogue()
    dialogue.sends(CommandName.ANSWER)

    dialogue.engine.link_lost(dialogue.now)

    settled, ended = dialogue.events()
    assert isinstance(settled, CommandSettled)
    assert isinstance(settled.error, WSSCallClosedError)
    assert ended == Ended(EndCause.LINK_LOST)


def test_end_closes_the_outgoing_audio() -> None:
    dialogue = MediaDialogue(answered=True)

    dialogue.engine.end(EndCause.SESSION_CLOSED)

    with pytest.raises(BufferClosedError):
        dialogue.outbox.write(b"ab")
    assert dialogue.events() == [Ended(EndCause.SESSION_CLOSED)]


def test_error_of_the_call_is_reported_and_the_call_goes_on() -> None:
    dialogue = MediaDialogue(answered=True)

    dialogue.hears("call_event", event="call.error", error_code="AUDIO_OVERRUN")
    dialogue.hears("call_event", event="call.error", error_message="words", more={"new": 1})

    assert dialogue.events() == [ErrorReported("AUDIO_OVERRUN", ""), ErrorReported("", "words")]
    assert dialogue.engine.state is CallState.ANSWERED


def test_the_same_request_again_adds_to_the_credit() -> None:
    dialogue = MediaDialogue(answered=True)

    for _ in range(3):
        dialogue.hears("buffer_request", requested_bytes=960, prefer_audio_frame_bytes=2)
    dialogue.hears("buffer_request", requested_bytes=100)

    assert dialogue.outbox.statistics().credit_bytes == 3 * 960 + 100


def test_requests_for_audio_become_credit() -> None:
    dialogue = MediaDialogue(answered=True)

    dialogue.hears("buffer_request", requested_bytes=960, prefer_audio_frame_bytes=2)
    dialogue.hears("buffer_request", requested_bytes=960.0)
    dialogue.hears("buffer_request", requested_bytes=-5)
    dialogue.hears("buffer_request", requested_bytes=960, channelId=1)

    assert dialogue.outbox.statistics().credit_bytes == 1_920


def test_audio_is_what_follows_the_channel() -> None:
    assert MediaDialogue().engine.receive_audio(b"\0abcd") == b"abcd"


@pytest.mark.parametrize("message", [b"", b"\0", b"\1abcd", b"\xffabcd"])
def test_audio_that_is_none_or_of_another_channel_is_counted(message: bytes) -> None:
    dialogue = MediaDialogue()

    assert dialogue.engine.receive_audio(message) == b""
    assert dialogue.engine.ignored_messages == 1


def test_sample_cut_in_two_is_put_together() -> None:
    engine = MediaDialogue().engine

    received = [engine.receive_audio(b"\0" + part) for part in (b"abc", b"d", b"ef", b"g")]

    assert received == [b"ab", b"cd", b"ef", b""]


@given(pcm=st.binary(max_size=300), sizes=st.lists(st.integers(1, 40), min_size=1))
def test_any_cutting_gives_the_same_audio_in_whole_samples(pcm: bytes, sizes: list[int]) -> None:
    engine = MediaDialogue().engine
    received = bytearray()
    at = turn = 0
    while at < len(pcm):
        size = sizes[turn % len(sizes)]
        part = engine.receive_audio(b"\0" + pcm[at : at + size])
        assert len(part) % 2 == 0
        received += part
        at, turn = at + size, turn + 1

    assert bytes(received) == pcm[: len(pcm) & ~1]


def test_after_the_end_nothing_is_received() -> None:
    dialogue = MediaDialogue(answered=True)
    dialogue.engine.link_lost(dialogue.now)
    dialogue.events()

    assert dialogue.engine.receive_audio(b"\0abcd") == b""
    dialogue.hears("call_event", event="call.error", error_code="X")
    assert dialogue.events() == []


def test_has_output_tells_whether_there_is_something_to_take() -> None:
    dialogue = MediaDialogue()
    seen = [dialogue.engine.has_output]

    dialogue.engine.send_command(CommandName.ANSWER, dialogue.now)
    seen.append(dialogue.engine.has_output)
    dialogue.said()
    seen.append(dialogue.engine.has_output)
    dialogue.engine.link_lost(dialogue.now)
    seen.append(dialogue.engine.has_output)

    assert seen == [False, True, False, True]


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"nonsense",
        b"[]",
        b'{"type": "from.the.future", "data": {}}',
        b'{"type": "buffer_request", "data": {}}',
        b'{"type": "buffer_request", "data": {"requested_bytes": "many"}}',
        b'{"type": "buffer_request", "data": {"requested_bytes": null}}',
        b'{"type": "command_response", "data": {"command_id": "x"}}',
        b'{"type": "call_event", "data": {"event": "call.from.the.future"}}',
        b"\xff",
    ],
)
def test_what_is_not_understood_is_counted_and_ignored(message: bytes) -> None:
    dialogue = MediaDialogue(answered=True)

    dialogue.engine.receive_message(message, dialogue.now)

    assert dialogue.events() == []
    assert dialogue.engine.ignored_messages == 1


def test_a_link_begins_with_nothing_but_what_was_said_before() -> None:
    dialogue = MediaDialogue()

    dialogue.engine.link_opened()
    nothing = dialogue.said()
    dialogue.engine.send_command(CommandName.ANSWER, dialogue.now)
    dialogue.engine.link_opened()

    assert nothing == []
    assert [message["type"] for message in dialogue.said()] == ["command"]


def test_answer_to_an_unknown_command_is_ignored() -> None:
    dialogue = MediaDialogue()

    dialogue.succeeds("unknown")

    assert dialogue.events() == []


COMMANDS = st.sampled_from(V1_COMMANDS)


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("command"), COMMANDS),
            st.tuples(st.sampled_from(["succeed", "fail"]), st.integers(1, 12)),
            st.tuples(
                st.sampled_from(["terminate", "lose", "wait", "release", "withdraw"]), st.none()
            ),
        ),
        max_size=30,
    )
)
def test_any_script_settles_every_command_once_and_ends_once(
    steps: list[tuple[str, CommandName | int | None]],
) -> None:
    dialogue = MediaDialogue()
    sent: list[str] = []
    refusals: list[tuple[CallState, CommandName, str]] = []
    events: list[MediaOutput] = []
    for step, argument in steps:
        if isinstance(argument, CommandName):
            try:
                ring_s = ring_time_s(argument)
                sent.append(
                    dialogue.engine.send_command(argument, dialogue.now, ring_time_s=ring_s)
                )
            except WSSCallClosedError:
                assert dialogue.engine.state is CallState.DISCONNECTED
            except WSSCallCommandError as error:
                refusals.append((dialogue.engine.state, argument, error.error_message))
        elif step == "succeed":
            dialogue.succeeds(f"command-{argument}")
        elif step == "fail":
            dialogue.fails(f"command-{argument}", "INTERNAL_ERROR")
        elif step == "terminate":
            dialogue.hears("call_event", event="call.terminated")
        elif step == "lose":
            dialogue.engine.link_lost(dialogue.now)
        elif step == "release":
            dialogue.engine.release_command(dialogue.now)
        elif step == "withdraw":
            dialogue.engine.withdraw_connect()
        else:
            dialogue.passes(7)
        dialogue.said()
        events += dialogue.events()
    dialogue.engine.link_lost(dialogue.now)
    events += dialogue.events()

    settled = [event.command_id for event in events if isinstance(event, CommandSettled)]
    assert sorted(settled) == sorted(sent)
    for state, name, why in refusals:
        assert (state, name) not in TRANSITIONS or "call.connect is in progress" in why
    assert sum(isinstance(event, Ended) for event in events) == 1
    assert isinstance(events[-1], Ended)
