"""What an agent's engine does on the control link to place a call."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_sdk.exceptions import (
    WSSAuthenticationError,
    WSSCallClosedError,
    WSSCallCommandError,
    WSSCallCommandTimeoutError,
    WSSConnectionError,
    WSSError,
)
from telcoflow_sdk.protocol.control import CallOffered, CreationFailed, SessionEnded
from telcoflow_sdk.protocol.placing import CREATE_TIMEOUT_S
from tests.support.engines import ControlDialogue

NUMBER = "+15550142"


def set_up() -> ControlDialogue:
    dialogue = ControlDialogue(accepting=False)
    dialogue.set_up()
    return dialogue


def creates(dialogue: ControlDialogue) -> str:
    request_id = dialogue.engine.create_session(NUMBER, 45, dialogue.now)
    (message,) = dialogue.said()
    assert message == {
        "type": "session.create",
        "channel": "TELCO",
        "remoteAddress": NUMBER,
        "reqId": request_id,
        "data": {"ringTimeSeconds": 45},
    }
    return request_id


def is_created(dialogue: ControlDialogue, request_id: str, session_id: str = "s1") -> str:
    """Let the server make the session; return the id of the claim that follows."""
    dialogue.hears(
        "response", reqId=request_id, ok=True, content={"sessionId": session_id, "created": True}
    )
    (claim,) = dialogue.said()
    assert (claim["type"], claim["sessionId"]) == ("session.open", session_id)
    return str(claim["reqId"])


def is_claimed(dialogue: ControlDialogue, claim_id: str, session_id: str = "s1") -> None:
    dialogue.hears("response", reqId=claim_id, ok=True)
    assert dialogue.said() == [{"type": "session.ready", "sessionId": session_id}]


def failure(dialogue: ControlDialogue, request_id: str) -> WSSError:
    (event,) = dialogue.events()
    assert isinstance(event, CreationFailed)
    assert event.request_id == request_id
    return event.error


def outcomes(dialogue: ControlDialogue) -> list[str]:
    """Return which calls were delivered or failed since the last look."""
    return [
        event.request_id
        for event in dialogue.events()
        if isinstance(event, CallOffered | CreationFailed) and event.request_id is not None
    ]


def test_call_is_created_claimed_made_ready_and_delivered() -> None:
    dialogue = set_up()

    request_id = creates(dialogue)
    is_claimed(dialogue, is_created(dialogue, request_id))
    dialogue.call_in()

    (event,) = dialogue.events()
    assert isinstance(event, CallOffered)
    assert (event.request_id, event.call.call_id) == (request_id, "c1")
    assert dialogue.engine.next_deadline() is None


def test_calls_placed_together_are_told_apart() -> None:
    dialogue = set_up()
    first, second = creates(dialogue), creates(dialogue)
    first_claim = is_created(dialogue, first, "s1")
    is_claimed(dialogue, is_created(dialogue, second, "s2"), "s2")

    dialogue.call_in("s2")
    assert outcomes(dialogue) == [second]
    is_claimed(dialogue, first_claim, "s1")
    dialogue.call_in("s1")

    assert outcomes(dialogue) == [first]


def test_call_that_came_in_carries_no_request() -> None:
    dialogue = ControlDialogue()
    dialogue.set_up()
    dialogue.deliver()

    (event,) = dialogue.events()

    assert isinstance(event, CallOffered)
    assert event.request_id is None


def test_end_of_a_delivered_call_is_told_as_of_any() -> None:
    dialogue = set_up()
    is_claimed(dialogue, is_created(dialogue, creates(dialogue)))
    dialogue.call_in()
    dialogue.events()

    dialogue.hears("session.closed", sessionId="s1", reason="callee_busy")

    assert dialogue.events() == [SessionEnded("s1", "callee_busy")]


def test_notification_of_our_own_session_is_ignored() -> None:
    dialogue = ControlDialogue()
    dialogue.set_up()
    is_created(dialogue, creates(dialogue))

    dialogue.hears("session.notify", sessionId="s1")

    assert dialogue.said() == []


@pytest.mark.parametrize(
    "code",
    ["QUOTA_EXCEEDED", "OUTBOUND_OVERFLOW", "CHANNEL_NOT_CONFIGURED", "INVALID_REQUEST",
     "CALLEE_UNREACHABLE", "FORBIDDEN", "FROM_THE_FUTURE"],
)  # fmt: skip
def test_refusal_carries_the_code_and_never_the_number(code: str) -> None:
    dialogue = set_up()
    request_id = creates(dialogue)

    dialogue.hears(
        "response", reqId=request_id, ok=False, errorCode=code, errorContent={"message": "why"}
    )

    error = failure(dialogue, request_id)
    assert isinstance(error, WSSCallCommandError)
    assert (error.command, error.error_code, error.error_message) == ("session.create", code, "why")
    assert NUMBER not in str(error)
    assert dialogue.engine.next_deadline() is None


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("UNAUTHORIZED", WSSAuthenticationError),
        ("CALL_ENDED", WSSCallClosedError),
        ("SESSION_CLOSED", WSSCallClosedError),
        ("TIMEOUT", WSSCallCommandTimeoutError),
        (None, WSSCallCommandError),
    ],
)
@pytest.mark.parametrize("content", [None, "text", {"message": 5}])
def test_refusals_that_mean_something_else_are_that(
    code: str | None, kind: type[WSSError], content: Any
) -> None:
    dialogue = set_up()
    request_id = creates(dialogue)

    dialogue.hears("response", reqId=request_id, ok=False, errorCode=code, errorContent=content)

    error = failure(dialogue, request_id)
    assert type(error) is kind
    if isinstance(error, WSSCallCommandError):
        assert (error.error_code, error.error_message) == ("", "")


def test_refused_claim_is_the_refusal_of_the_call() -> None:
    dialogue = set_up()
    request_id = creates(dialogue)

    dialogue.hears(
        "response", reqId=is_created(dialogue, request_id), ok=False, errorCode="SESSION_BUSY"
    )

    error = failure(dialogue, request_id)
    assert isinstance(error, WSSCallCommandError)
    assert error.error_code == "SESSION_BUSY"
    dialogue.call_in()
    assert dialogue.events() == []


def test_session_there_was_already_is_not_a_second_call() -> None:
    dialogue = set_up()
    request_id = creates(dialogue)

    dialogue.hears(
        "response", reqId=request_id, ok=True, content={"sessionId": "s1", "created": False}
    )

    error = failure(dialogue, request_id)
    assert isinstance(error, WSSCallCommandError)
    assert error.error_code == "SESSION_BUSY"
    assert dialogue.said() == []


@pytest.mark.parametrize("content", [None, {}, {"sessionId": 5}, []])
def test_answer_without_a_session_is_no_call(content: Any) -> None:
    dialogue = set_up()
    request_id = creates(dialogue)

    dialogue.hears("response", reqId=request_id, ok=True, content=content)

    assert isinstance(failure(dialogue, request_id), WSSConnectionError)


def test_second_answer_to_one_request_is_ignored() -> None:
    dialogue = set_up()
    request_id = creates(dialogue)
    is_created(dialogue, request_id)

    dialogue.hears("response", reqId=request_id, ok=True, content={"sessionId": "s2"})

    assert dialogue.said() == []
    assert dialogue.events() == []


def test_without_a_link_that_is_set_up_nothing_is_asked_for() -> None:
    dialogue = ControlDialogue()

    with pytest.raises(WSSConnectionError):
        dialogue.engine.create_session(NUMBER, 45, dialogue.now)
    dialogue.open()
    with pytest.raises(WSSConnectionError):
        dialogue.engine.create_session(NUMBER, 45, dialogue.now)

    assert dialogue.said() == []


@pytest.mark.parametrize("stage", ["created", "claimed", "ready"])
def test_lost_link_fails_the_call_at_once(stage: str) -> None:
    dialogue = set_up()
    request_id = creates(dialogue)
    if stage != "created":
        claim_id = is_created(dialogue, request_id)
        if stage == "ready":
            is_claimed(dialogue, claim_id)

    dialogue.engine.link_lost()

    assert isinstance(failure(dialogue, request_id), WSSConnectionError)
    assert dialogue.engine.next_deadline() is None
    with pytest.raises(WSSConnectionError):
        dialogue.engine.create_session(NUMBER, 45, dialogue.now)


@pytest.mark.parametrize("stage", ["created", "claimed", "ready"])
def test_silence_of_the_servers_has_a_limit(stage: str) -> None:
    dialogue = set_up()
    request_id = creates(dialogue)
    assert dialogue.engine.next_deadline() == dialogue.now + CREATE_TIMEOUT_S
    if stage != "created":
        claim_id = is_created(dialogue, request_id)
        if stage == "ready":
            is_claimed(dialogue, claim_id)

    dialogue.passes(CREATE_TIMEOUT_S - 0.1)
    assert dialogue.events() == []
    dialogue.passes(0.1)

    assert isinstance(failure(dialogue, request_id), WSSCallCommandTimeoutError)
    dialogue.call_in()
    assert dialogue.events() == []
    assert dialogue.engine.next_deadline() is None


@pytest.mark.parametrize("stage", ["claimed", "ready"])
def test_session_that_closes_on_the_way_is_a_call_that_ended(stage: str) -> None:
    dialogue = set_up()
    request_id = creates(dialogue)
    claim_id = is_created(dialogue, request_id)
    if stage == "ready":
        is_claimed(dialogue, claim_id)

    dialogue.hears("session.closed", sessionId="s1", reason="x")

    assert isinstance(failure(dialogue, request_id), WSSCallClosedError)
    assert dialogue.engine.next_deadline() is None


@pytest.mark.parametrize("stage", ["created", "claimed", "ready"])
def test_call_nobody_wants_any_more_leaves_nothing(stage: str) -> None:
    dialogue = set_up()
    request_id = creates(dialogue)
    claim_id = ""
    if stage != "created":
        claim_id = is_created(dialogue, request_id)
        if stage == "ready":
            is_claimed(dialogue, claim_id)

    dialogue.engine.abandon_creation(request_id)
    dialogue.engine.abandon_creation(request_id)

    assert dialogue.engine.next_deadline() is None
    dialogue.hears("response", reqId=request_id, ok=True, content={"sessionId": "s1"})
    dialogue.hears("response", reqId=claim_id, ok=True)
    dialogue.call_in()
    dialogue.hears("session.closed", sessionId="s1")
    dialogue.engine.link_lost()
    assert dialogue.events() == []
    assert dialogue.said() == []


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("create"), st.just(0)),
            st.tuples(
                st.sampled_from(["created", "refused", "claimed", "abandon", "call", "closed"]),
                st.integers(0, 6),
            ),
            st.tuples(st.sampled_from(["lose", "wait"]), st.just(0)),
        ),
        max_size=40,
    )
)
def test_every_call_asked_for_is_delivered_or_fails_once(steps: list[tuple[str, int]]) -> None:
    dialogue = set_up()
    asked: list[str] = []
    abandoned: set[str] = set()
    settled: list[str] = []
    for step, number in steps:
        request_id = asked[number % len(asked)] if asked else "none"
        session_id = f"session-of-{request_id}"
        if step == "create":
            try:
                asked.append(dialogue.engine.create_session(NUMBER, 45, dialogue.now))
            except WSSConnectionError:
                dialogue.set_up()
        elif step == "created":
            content = {"sessionId": session_id}
            dialogue.hears("response", reqId=request_id, ok=True, content=content)
        elif step == "refused":
            dialogue.hears("response", reqId=request_id, ok=False, errorCode="QUOTA_EXCEEDED")
        elif step == "claimed":
            for claim in range(20):
                dialogue.hears("response", reqId=f"request-{claim}", ok=True)
        elif step == "abandon":
            dialogue.engine.abandon_creation(request_id)
            abandoned.add(request_id)
        elif step == "call":
            dialogue.call_in(session_id)
        elif step == "closed":
            dialogue.hears("session.closed", sessionId=session_id)
        elif step == "lose":
            dialogue.engine.link_lost()
        else:
            dialogue.passes(CREATE_TIMEOUT_S / 2)
        settled += outcomes(dialogue)
        dialogue.said()
    dialogue.engine.link_lost()
    settled += outcomes(dialogue)

    assert len(settled) == len(set(settled))
    assert set(asked) - set(settled) <= abandoned
