"""`connect()`: somebody is rung, comes or does not, and what everybody hears meanwhile."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from telcoflow_sdk.protocol.codes import EndReason, ErrorCode
from telcoflow_sdk.protocol.states import CallState
from telcoflow_server.call.call import Call
from telcoflow_server.call.ports import CalleeProgress
from tests.support.exchange import (
    CALLEE,
    CALLER,
    MemoryAgent,
    MemoryCallee,
    MemoryDialer,
    MemoryPhone,
    Node,
)

FRAME = 480


def noise(samples: int, seed: int = 1) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(1, 4000, samples, dtype=np.int16)


class Scene:
    """A caller, an agent on the line, and one callee or more who can be rung."""

    def __init__(self, *callees: MemoryCallee, is_answered: bool = True) -> None:
        self.callee = callees[0] if callees else MemoryCallee()
        self.dialer = MemoryDialer(*(callees or (self.callee,)))
        self.node = Node(dialer=self.dialer)
        self.caller = MemoryPhone(noise(FRAME * 3000, seed=5))
        self.call: Call = self.node.place(self.caller)
        (notification,) = self.node.client_link.take()
        self.node.tell(type="session.open", sessionId=notification["sessionId"], reqId="r")
        self.node.client_link.take()
        self.agent: MemoryAgent = self.node.agent(self.call)
        if is_answered:
            self.agent.command("call.answer")
        self.node.run(2)

    def connect(self, ring_s: int = 60) -> str:
        command = self.agent.command("call.connect", ringTimeSeconds=ring_s)
        self.node.run(2)
        return command

    def failure(self, command: str) -> str:
        response = self.agent.response(command)
        assert response is not None
        assert response["success"] is False
        code: str = response["error_code"]
        return code

    def succeeded(self, command: str) -> bool:
        response = self.agent.response(command)
        return response is not None and response["success"]

    def connected(self) -> str:
        command = self.connect()
        self.callee.progress = CalleeProgress.ANSWERED
        self.node.run(1)
        assert self.succeeded(command)
        return command

    def progress(self) -> list[str]:
        return [
            message["data"]["state"]
            for message in self.agent.link.messages
            if message["data"].get("event") == "call.progress"
        ]

    def session_closed(self) -> bool:
        return [m["type"] for m in self.node.client_link.take()] == ["session.closed"]


@pytest.mark.parametrize("is_answered", [True, False])
def test_a_callee_who_answers_makes_three(is_answered: bool) -> None:
    scene = Scene(is_answered=is_answered)

    scene.connected()

    assert scene.call.state is CallState.CONNECTED
    assert scene.callee.answered_at is not None
    assert scene.caller.answered_at is not None
    assert scene.progress() == ["ringing", "answered"]
    (request,) = scene.dialer.requests
    assert (request.number, request.caller, request.connector_uuid) == (CALLEE, CALLER, "c1")
    report = scene.node.exchange.report(scene.call)
    before = ["ANSWERED"] if is_answered else []
    assert [entered.name for entered in report.states] == ["PENDING", *before, "CONNECTED"]


def test_all_three_hear_each_other_bit_exactly() -> None:
    scene = Scene(MemoryCallee(noise(FRAME * 200, seed=6)))
    scene.connected()
    joined = scene.call.tick
    scene.agent.say(noise(FRAME * 50, seed=7).tobytes())
    heard_by_agent = len(scene.agent.link.audio)

    scene.node.run(100)

    caller_said = noise(FRAME * 3000, seed=5)[(joined - 1) * FRAME :].astype(int)
    callee_said = noise(FRAME * 200, seed=6).astype(int)
    agent_heard = np.frombuffer(scene.agent.link.audio[heard_by_agent:], np.int16)
    caller_heard = scene.caller.heard[joined * FRAME :]
    agent_said = caller_heard - callee_said[: len(caller_heard)]
    assert np.array_equal(np.trim_zeros(agent_said), noise(FRAME * 50, seed=7))
    both = caller_said[FRAME:][: len(agent_heard)] + callee_said[: len(agent_heard)]
    offset = _offset(agent_heard.astype(int), both)
    assert offset == 0
    callee_heard = scene.callee.heard[: len(agent_said)].astype(int)
    assert np.array_equal(
        callee_heard - agent_said[: len(callee_heard)], caller_said[FRAME:][: len(callee_heard)]
    )


def _offset(left: NDArray[np.int_], right: NDArray[np.int_]) -> int:
    length = min(len(left), len(right))
    return int(np.abs(left[:length] - right[:length]).max())


def test_the_caller_hears_ringback_until_the_callee_answers() -> None:
    scene = Scene()
    scene.connect()
    ringing_from = scene.call.tick - 1

    scene.node.run(350)
    scene.callee.progress = CalleeProgress.ANSWERED
    scene.node.run(50)

    heard = np.abs(scene.caller.heard[ringing_from * FRAME :].astype(int)).reshape(-1, FRAME)
    loud = heard.max(axis=1) > 100
    assert loud[1:100].all(), "two seconds on"
    assert not loud[101:300].any(), "four seconds off"
    assert loud[301:350].all(), "and on again"
    assert not loud[352:].any(), "and gone with the answer"
    agent_heard = np.frombuffer(scene.agent.link.audio, np.int16)
    assert np.array_equal(agent_heard[: FRAME * 300], noise(FRAME * 3000, seed=5)[: FRAME * 300]), (
        "the agent hears the caller alone"
    )


def test_what_the_agent_said_before_is_heard_before_it_rings() -> None:
    scene, speech = Scene(), noise(FRAME * 3, seed=8)
    scene.agent.say(speech.tobytes())
    scene.agent.serve()

    scene.connect()
    assert scene.dialer.requests == []
    scene.node.run(8)

    assert len(scene.dialer.requests) == 1
    heard = scene.caller.heard
    start = int(np.flatnonzero(heard)[0])
    assert np.array_equal(heard[start : start + len(speech)], speech)
    assert heard[start + len(speech) + FRAME :].any(), "then the ringback"


def test_an_agent_that_talks_without_a_pause_does_not_hold_up_the_ringing() -> None:
    scene = Scene()
    scene.agent.say(noise(FRAME * 500).tobytes())
    scene.node.run(5)

    scene.connect()
    scene.node.run(5)

    assert len(scene.dialer.requests) == 1


@pytest.mark.parametrize("is_answered", [True, False])
@pytest.mark.parametrize(
    ("progress", "code"),
    [
        (CalleeProgress.BUSY, ErrorCode.CALL_BUSY),
        (CalleeProgress.DECLINED, ErrorCode.CALL_DECLINED),
        (CalleeProgress.RINGING, ErrorCode.CALL_UNANSWERED),
    ],
)
def test_a_callee_who_does_not_come_leaves_the_call_as_it_was_and_may_be_tried_again(
    progress: CalleeProgress, code: ErrorCode, is_answered: bool
) -> None:
    first, second = MemoryCallee(), MemoryCallee()
    scene = Scene(first, second, is_answered=is_answered)
    state = scene.call.state
    command = scene.connect(ring_s=2)

    first.progress = progress
    scene.node.run(101)

    assert scene.failure(command) == code
    assert scene.call.state is state
    assert scene.progress() == ["ringing", "failed"]
    assert first.end is not None
    silent_from = len(scene.caller.heard)
    scene.node.run(100)
    assert not scene.caller.heard[silent_from:].any(), "the ringback has stopped"
    second.progress = CalleeProgress.ANSWERED
    assert scene.succeeded(scene.connect())
    assert scene.call.state is CallState.CONNECTED


def test_a_number_that_cannot_be_reached_is_an_error_at_once() -> None:
    scene = Scene()
    scene.dialer.dial = lambda request: None  # type: ignore[method-assign]

    command = scene.connect()

    assert scene.failure(command) == ErrorCode.CALLEE_UNREACHABLE
    assert scene.call.state is CallState.ANSWERED


def test_a_node_without_phones_reaches_nobody() -> None:
    node = Node()
    _, agent = node.answered_call(MemoryPhone())

    command = agent.command("call.connect")
    node.run(2)

    response = agent.response(command)
    assert response is not None
    assert response["error_code"] == ErrorCode.CALLEE_UNREACHABLE


def test_a_pending_caller_gets_the_whole_ring_time_again_after_a_failed_connect() -> None:
    scene = Scene(is_answered=False)
    scene.node.run(2000)
    scene.connect(ring_s=120)
    scene.node.run(1500)
    assert not scene.call.is_over, "a ringing callee keeps the caller waiting"

    scene.callee.progress = CalleeProgress.BUSY
    scene.node.run(2900)
    assert not scene.call.is_over
    scene.node.run(200)

    assert scene.call.end_reason is EndReason.NO_ANSWER


@pytest.mark.parametrize("ring_s", [0, 121, -1, "60", None, 1.5])
def test_a_ring_time_out_of_range_is_refused(ring_s: object) -> None:
    scene = Scene()

    command = scene.agent.command("call.connect", ringTimeSeconds=ring_s)

    assert scene.failure(command) == ErrorCode.INVALID_REQUEST
    assert scene.dialer.requests == []


@pytest.mark.parametrize("name", ["call.answer", "call.connect", "agent.whisper"])
def test_what_cannot_be_done_while_it_rings_is_refused(name: str) -> None:
    scene = Scene(is_answered=False)
    command = scene.connect()

    assert scene.failure(scene.agent.command(name)) == ErrorCode.INVALID_STATE

    scene.callee.progress = CalleeProgress.ANSWERED
    scene.node.run(1)
    assert scene.succeeded(command)


def test_an_interrupt_while_it_rings_goes_on_ringing() -> None:
    scene = Scene()
    command = scene.connect()

    assert scene.succeeded(scene.agent.command("agent.interrupt"))

    scene.callee.progress = CalleeProgress.ANSWERED
    scene.node.run(1)
    assert scene.succeeded(command)


@pytest.mark.parametrize("is_answered", [True, False])
def test_a_caller_who_hangs_up_cancels_the_ringing(is_answered: bool) -> None:
    scene = Scene(is_answered=is_answered)
    command = scene.connect()

    scene.caller.hang_up()
    scene.node.run(1)

    assert scene.failure(command) == ErrorCode.CALL_ENDED
    assert scene.callee.end is not None
    assert scene.callee.answered_at is None
    assert scene.call.end_reason is EndReason.CALLER_HUNG_UP


@pytest.mark.parametrize("name", ["call.close", "call.disconnect"])
def test_an_agent_that_hangs_up_cancels_the_ringing(name: str) -> None:
    scene = Scene()
    command = scene.connect()

    closing = scene.agent.command(name)
    scene.node.run(3)

    assert scene.failure(command) == ErrorCode.CALL_ENDED
    assert scene.succeeded(closing)
    assert scene.callee.end is not None
    assert scene.call.is_over


@pytest.mark.parametrize("is_answered", [True, False])
def test_connect_then_close_hands_the_call_over(is_answered: bool) -> None:
    scene = Scene(MemoryCallee(noise(FRAME * 3000, seed=6)), is_answered=is_answered)
    scene.connected()

    closing = scene.agent.command("call.close")
    scene.node.run(3)

    assert scene.succeeded(closing)
    assert scene.agent.link.messages[-1]["data"] == {"event": "call.terminated"}
    assert scene.agent.link.closed_with is not None
    assert scene.session_closed()
    assert scene.call.state is CallState.CONNECTED
    handed_over = len(scene.callee.heard)
    scene.node.run(2000)
    assert np.all(scene.caller.heard[-FRAME * 1900 :] != 0), "the two go on talking"
    assert np.all(scene.callee.heard[handed_over:] != 0)
    scene.callee.hang_up()
    scene.node.run(1)
    assert scene.call.end_reason is EndReason.CALLEE_HUNG_UP
    assert not scene.session_closed(), "that was said before"


def test_an_agent_that_is_lost_leaves_the_two_talking() -> None:
    scene = Scene()
    scene.connected()

    scene.agent.lose()
    scene.agent.lose()
    scene.node.run(100)

    assert scene.call.state is CallState.CONNECTED
    assert scene.session_closed()


def test_an_agent_that_does_not_read_leaves_the_two_talking() -> None:
    scene = Scene()
    scene.connected()
    scene.agent.link.is_stuck = True

    scene.node.run(400)

    assert scene.agent.link.closed_with is not None
    assert scene.call.state is CallState.CONNECTED


@pytest.mark.parametrize("first", [None, "call.close"])
def test_disconnect_ends_it_for_all(first: str | None) -> None:
    scene = Scene()
    scene.connected()
    if first is not None:
        scene.agent.say(noise(FRAME * 10).tobytes())
        scene.node.run(2)
        scene.agent.command(first)

    closing = scene.agent.command("call.disconnect")
    scene.node.run(20)

    assert scene.succeeded(closing)
    assert scene.call.end_reason is EndReason.AGENT_DISCONNECTED
    assert scene.caller.end is not None
    assert scene.callee.end is not None


@pytest.mark.parametrize(
    ("who", "reason"),
    [("caller", EndReason.CALLER_HUNG_UP), ("callee", EndReason.CALLEE_HUNG_UP)],
)
def test_either_person_ends_a_connected_call(who: str, reason: EndReason) -> None:
    scene = Scene()
    scene.connected()

    getattr(scene, who).hang_up()
    scene.node.run(1)

    assert scene.call.end_reason is reason
    assert scene.caller.end == scene.callee.end
    assert scene.agent.link.messages[-1]["data"] == {"event": "call.terminated"}


def test_a_callee_with_early_media_is_told_to_the_agent() -> None:
    scene = Scene()
    scene.connect()

    scene.callee.progress = CalleeProgress.EARLY
    scene.node.run(2)

    assert scene.progress() == ["ringing", "early"]


def test_a_call_ends_when_it_has_lasted_too_long() -> None:
    node, phone = Node(call_duration_s=1.0), MemoryPhone()
    call, _ = node.answered_call(phone)

    node.run(60)

    assert call.end_reason is EndReason.MAX_DURATION
    assert phone.end == (50, EndReason.MAX_DURATION)
