from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_sdk.protocol.control import (
    CLAIM_TIMEOUT_S,
    SETUP_TIMEOUT_S,
    CallOffered,
    SessionEnded,
    SetupCompleted,
    SetupTimedOut,
)
from tests.support.engines import ControlDialogue


def test_link_opens_with_a_set_up() -> None:
    dialogue = ControlDialogue()

    assert dialogue.open() == [
        {"type": "setup", "data": {"sampleRate": 16_000, "audioMode": "mixed"}}
    ]

    dialogue.hears("setup.done", smWsId="sm-1")
    assert dialogue.events() == [SetupCompleted()]
    assert dialogue.engine.next_deadline() is None


def test_set_up_without_an_answer_times_out() -> None:
    dialogue = ControlDialogue()
    dialogue.open()
    assert dialogue.engine.next_deadline() == dialogue.now + SETUP_TIMEOUT_S

    dialogue.passes(SETUP_TIMEOUT_S - 0.1)
    assert dialogue.events() == []
    dialogue.passes(0.1)

    assert dialogue.events() == [SetupTimedOut()]
    assert dialogue.engine.next_deadline() is None


def test_second_set_up_done_is_ignored() -> None:
    dialogue = ControlDialogue()
    dialogue.set_up()

    dialogue.hears("setup.done")

    assert dialogue.events() == []


def test_notified_session_is_claimed_made_ready_and_delivered() -> None:
    dialogue = ControlDialogue()
    dialogue.set_up()

    dialogue.hears("session.notify", sessionId="s1")
    assert dialogue.said() == [
        {"type": "session.open", "sessionId": "s1", "reqId": "request-1"},
    ]
    dialogue.hears("response", reqId="request-1", ok=True, content={"session": {"id": "s1"}})
    assert dialogue.said() == [{"type": "session.ready", "sessionId": "s1"}]
    dialogue.call_in()

    (event,) = dialogue.events()
    assert isinstance(event, CallOffered)
    assert (event.call.call_id, event.call.caller, event.call.callee) == ("c1", "", "1")


@pytest.mark.parametrize("field", ["from", "to", "orgUuid"])
def test_null_field_does_not_lose_the_call(field: str) -> None:
    """Flaw 11 of the published client."""
    dialogue = ControlDialogue()
    dialogue.set_up()
    dialogue.hears("session.notify", sessionId="s1", remoteAddress=None, createdAt=None)
    dialogue.hears("response", reqId="request-1", ok=True)

    dialogue.call_in("s1", **{field: None})

    assert len(dialogue.events()) == 1


def test_nothing_is_claimed_until_somebody_handles_calls() -> None:
    dialogue = ControlDialogue(accepting=False)
    dialogue.set_up()
    dialogue.hears("session.notify", sessionId="s1")
    dialogue.hears("session.notify", sessionId="s2")
    assert dialogue.said() == []

    dialogue.engine.accept_calls(dialogue.now)

    assert [claim["sessionId"] for claim in dialogue.said()] == ["s1", "s2"]


def test_waiting_session_that_closes_is_not_claimed_later() -> None:
    dialogue = ControlDialogue(accepting=False)
    dialogue.set_up()
    dialogue.hears("session.notify", sessionId="s1")
    dialogue.hears("session.closed", sessionId="s1", reason="no_agent")

    dialogue.engine.accept_calls(dialogue.now)

    assert dialogue.said() == []
    assert dialogue.events() == []


def test_waiting_sessions_are_bounded_and_the_oldest_forgotten() -> None:
    dialogue = ControlDialogue(accepting=False)
    dialogue.set_up()
    for number in range(1_005):
        dialogue.hears("session.notify", sessionId=f"s{number}")

    dialogue.engine.accept_calls(dialogue.now)

    claims = dialogue.said()
    assert len(claims) == 1_000
    assert claims[-1]["sessionId"] == "s1004"


def test_second_handler_claims_nothing_twice() -> None:
    dialogue = ControlDialogue()
    dialogue.set_up()
    dialogue.hears("session.notify", sessionId="s1")
    dialogue.said()

    dialogue.engine.accept_calls(dialogue.now)

    assert dialogue.said() == []


@pytest.mark.parametrize(
    "code", ["SESSION_BUSY", "SESSION_CLOSED", "SESSION_NOT_FOUND", "CALL_ENDED"]
)
def test_losing_a_session_to_another_process_is_quiet(
    code: str, caplog: pytest.LogCaptureFixture
) -> None:
    dialogue = ControlDialogue()
    dialogue.set_up()
    dialogue.hears("session.notify", sessionId="s1")

    with caplog.at_level(logging.INFO):
        dialogue.hears("response", reqId="request-1", ok=False, errorCode=code)

    assert caplog.records == []
    assert dialogue.events() == []


def test_other_refusals_of_a_claim_are_logged_and_it_may_be_notified_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    dialogue = ControlDialogue()
    dialogue.set_up()
    dialogue.hears("session.notify", sessionId="s1")
    dialogue.said()

    dialogue.hears("response", reqId="request-1", ok=False, errorCode="INTERNAL_ERROR")
    dialogue.hears("session.notify", sessionId="s1")

    assert "INTERNAL_ERROR" in caplog.text
    assert [claim["reqId"] for claim in dialogue.said()] == ["request-2"]


def test_response_to_nothing_is_ignored() -> None:
    dialogue = ControlDialogue()
    dialogue.set_up()

    dialogue.hears("response", reqId="unknown", ok=True)

    assert dialogue.said() == []


def test_duplicates_are_ignored() -> None:
    dialogue = ControlDialogue()
    dialogue.set_up()
    dialogue.deliver()
    assert len(dialogue.events()) == 1

    dialogue.hears("session.notify", sessionId="s1")
    dialogue.call_in()
    dialogue.hears("response", reqId="request-1", ok=True)

    assert dialogue.said() == []
    assert dialogue.events() == []


def test_call_of_a_session_that_is_not_ours_is_ignored() -> None:
    dialogue = ControlDialogue()
    dialogue.set_up()

    dialogue.call_in("s9")

    assert dialogue.events() == []


def test_claim_without_an_answer_times_out(caplog: pytest.LogCaptureFixture) -> None:
    dialogue = ControlDialogue()
    dialogue.set_up()
    dialogue.hears("session.notify", sessionId="s1")
    dialogue.said()
    assert dialogue.engine.next_deadline() == dialogue.now + CLAIM_TIMEOUT_S

    dialogue.passes(CLAIM_TIMEOUT_S - 1)
    dialogue.hears("session.notify", sessionId="s2")
    dialogue.said()
    dialogue.passes(1)

    assert "s1" in caplog.text
    dialogue.hears("response", reqId="request-1", ok=True)
    assert dialogue.said() == []
    dialogue.hears("response", reqId="request-2", ok=True)
    assert dialogue.said() == [{"type": "session.ready", "sessionId": "s2"}]


def test_lost_link_forgets_pending_claims_at_once_and_keeps_calls() -> None:
    """Flaws 7 and 10 of the published client."""
    dialogue = ControlDialogue()
    dialogue.set_up()
    dialogue.deliver("s1")
    dialogue.hears("session.notify", sessionId="s2")
    dialogue.events()
    dialogue.said()

    dialogue.engine.link_lost()
    assert dialogue.engine.next_deadline() is None
    assert dialogue.events() == []

    dialogue.set_up()
    dialogue.hears("session.notify", sessionId="s1")  # held: ignored
    dialogue.hears("session.notify", sessionId="s2")  # never delivered: claimed anew
    assert [claim["sessionId"] for claim in dialogue.said()] == ["s2"]


def test_what_was_not_sent_before_the_link_was_lost_is_not_sent_after() -> None:
    dialogue = ControlDialogue()
    dialogue.engine.link_opened(dialogue.now)

    dialogue.engine.link_lost()

    assert len(dialogue.open()) == 1


def test_closed_session_of_a_call_is_reported_once() -> None:
    dialogue = ControlDialogue()
    dialogue.set_up()
    dialogue.deliver()
    dialogue.events()

    dialogue.hears("session.closed", sessionId="s1", reason="caller_hung_up")
    dialogue.hears("session.closed", sessionId="s1", reason=None)

    assert dialogue.events() == [SessionEnded("s1", "caller_hung_up")]


def test_closed_session_cancels_its_claim() -> None:
    dialogue = ControlDialogue()
    dialogue.set_up()
    dialogue.hears("session.notify", sessionId="s1")
    dialogue.hears("session.notify", sessionId="s2")
    dialogue.said()

    dialogue.hears("session.closed", sessionId="s1")
    dialogue.hears("response", reqId="request-1", ok=True)

    assert dialogue.said() == []
    assert dialogue.events() == []
    dialogue.hears("response", reqId="request-2", ok=True)
    assert len(dialogue.said()) == 1


def test_ended_call_is_forgotten() -> None:
    dialogue = ControlDialogue()
    dialogue.set_up()
    dialogue.deliver()
    dialogue.events()

    dialogue.engine.forget_session("s1")
    dialogue.engine.forget_session("s1")
    dialogue.hears("session.closed", sessionId="s1", reason="agent_closed")

    assert dialogue.events() == []


def test_four_hundred_events_are_all_handled() -> None:
    """Flaw 1 of the published client: deaf after 100."""
    dialogue = ControlDialogue()
    dialogue.set_up()

    for number in range(400):
        dialogue.deliver(f"s{number}")
        dialogue.hears("session.closed", sessionId=f"s{number}", reason="caller_hung_up")

    assert len(dialogue.events()) == 800


def test_error_of_the_servers_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    dialogue = ControlDialogue()
    dialogue.set_up()

    dialogue.hears("error", errorCode="MALFORMED_MESSAGE")

    assert "MALFORMED_MESSAGE" in caplog.text


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b"{}",
        b'{"type": "from.the.future", "x": 1}',
        b'{"type": "session.notify"}',
        b'{"type": "session.notify", "sessionId": 5}',
        b'{"type": "response", "reqId": null, "ok": true}',
        b"\xff\xfe",
        b"[" * 60_000,
    ],
)
def test_what_is_not_understood_is_ignored(message: bytes) -> None:
    dialogue = ControlDialogue()
    dialogue.set_up()

    dialogue.engine.receive_message(message, dialogue.now)

    assert dialogue.said() == []
    assert dialogue.events() == []


@given(messages=st.lists(st.binary(max_size=60)))
def test_no_bytes_raise_anything(messages: list[bytes]) -> None:
    dialogue = ControlDialogue()
    for message in messages:
        dialogue.engine.receive_message(message, dialogue.now)


STEPS = st.sampled_from(
    ["notify", "ok", "busy", "call.in", "closed", "lost", "opened", "forget", "expire"]
)


@given(steps=st.lists(st.tuples(STEPS, st.sampled_from(["s1", "s2"])), max_size=40))
def test_any_order_of_events_delivers_a_call_once_per_claim(steps: list[tuple[str, str]]) -> None:
    dialogue = ControlDialogue()
    claims: dict[str, str] = {}
    offered: dict[str, int] = {"s1": 0, "s2": 0}
    ready: dict[str, int] = {"s1": 0, "s2": 0}
    for step, session_id in steps:
        match step:
            case "notify":
                dialogue.hears("session.notify", sessionId=session_id)
            case "ok" | "busy":
                answer = {"ok": step == "ok", "errorCode": "SESSION_BUSY"}
                dialogue.hears("response", reqId=claims.get(session_id, ""), **answer)
            case "call.in":
                dialogue.call_in(session_id, callId=session_id)
            case "closed":
                dialogue.hears("session.closed", sessionId=session_id)
            case "lost":
                dialogue.engine.link_lost()
            case "opened":
                dialogue.engine.link_opened(dialogue.now)
            case "forget":
                dialogue.engine.forget_session(session_id)
            case _:
                dialogue.passes(11)
        for message in dialogue.said():
            if message["type"] == "session.open":
                claims[message["sessionId"]] = message["reqId"]
            elif message["type"] == "session.ready":
                ready[message["sessionId"]] += 1
        for event in dialogue.events():
            if isinstance(event, CallOffered):
                offered[event.call.session_id] += 1
        assert all(offered[key] <= ready[key] for key in offered)
