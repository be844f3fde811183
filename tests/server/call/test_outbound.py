"""A call that the agent places: dialled when the agent is there, answered by the person."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from telcoflow_sdk.protocol.codes import EndReason, ErrorCode
from telcoflow_sdk.protocol.states import CallState
from telcoflow_server.call.exchange import Draining, NewCall
from telcoflow_server.call.ports import CalleeProgress
from tests.support.exchange import MemoryAgent, MemoryCallee, MemoryDialer, Node
from tests.support.links import MemoryControlLink

NUMBER = "+15550123"


class Outbound:
    """An agent that calls somebody."""

    def __init__(self, *callees: MemoryCallee, ring_time_s: float = 60.0) -> None:
        self.person = callees[0] if callees else MemoryCallee()
        self.dialer = MemoryDialer(*callees)
        self.node = Node(dialer=self.dialer)
        session = self.node.exchange.place_outbound(
            NewCall("c1", "", NUMBER, 0), ring_time_s=ring_time_s
        )
        call = self.node.exchange.find(session.call_id)
        assert call is not None
        self.call = call
        assert self.node.client_link.take() == [], "nobody is notified"
        self.node.run(5)
        self.agent: MemoryAgent | None = None

    def attach(self) -> MemoryAgent:
        self.agent = self.node.agent(self.call)
        self.node.run(2)
        return self.agent

    def progress(self) -> list[str]:
        assert self.agent is not None
        return [
            message["data"]["state"]
            for message in self.agent.link.messages
            if message["data"].get("event") == "call.progress"
        ]


def test_the_person_is_dialled_once_the_agent_is_there() -> None:
    outbound = Outbound(MemoryCallee())
    assert outbound.dialer.requests == []

    outbound.attach()

    (request,) = outbound.dialer.requests
    assert request.number == NUMBER
    assert outbound.progress() == ["ringing"]
    assert outbound.call.state is CallState.PENDING


@pytest.mark.parametrize("waits", [True, False])
def test_an_answer_joins_person_and_agent(waits: bool) -> None:
    speech = np.arange(1, 4801, dtype=np.int16)
    outbound = Outbound(MemoryCallee(speech))
    agent = outbound.attach()
    waiting = agent.command("call.answer") if waits else None
    agent.say(speech.tobytes())

    outbound.person.progress = CalleeProgress.ANSWERED
    outbound.node.run(20)

    command = waiting or agent.command("call.answer")
    response = agent.response(command)
    assert response is not None
    assert response["success"] is True
    assert outbound.call.state is CallState.ANSWERED
    assert outbound.progress() == ["ringing", "answered"]
    assert np.array_equal(np.trim_zeros(outbound.person.heard), speech)
    assert bytes(agent.link.audio[: speech.nbytes]) == speech.tobytes()


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize(
    ("progress", "code", "reason"),
    [
        (CalleeProgress.BUSY, ErrorCode.CALL_BUSY, EndReason.CALLEE_BUSY),
        (CalleeProgress.DECLINED, ErrorCode.CALL_DECLINED, EndReason.CALLEE_DECLINED),
        (CalleeProgress.RINGING, ErrorCode.CALL_UNANSWERED, EndReason.CALLEE_UNANSWERED),
    ],
)
def test_a_person_who_does_not_come_ends_the_call(
    progress: CalleeProgress, code: ErrorCode, reason: EndReason, waits: bool
) -> None:
    outbound = Outbound(MemoryCallee(), ring_time_s=1.0)
    agent = outbound.attach()
    command = agent.command("call.answer") if waits else None

    outbound.person.progress = progress
    outbound.node.run(60)

    if command is not None:
        response = agent.response(command)
        assert response is not None
        assert response["error_code"] == code
    assert outbound.call.end_reason is reason
    assert outbound.progress() == ["ringing", "failed"]
    assert outbound.person.end is not None
    assert agent.link.messages[-1]["data"] == {"event": "call.terminated"}


def test_a_number_that_cannot_be_reached_ends_the_call() -> None:
    outbound = Outbound()
    agent = outbound.attach()

    outbound.node.run(1)

    assert outbound.progress() == ["failed"]
    assert outbound.call.is_over
    assert agent.link.closed_with is not None


def test_an_agent_that_never_comes_leaves_nothing() -> None:
    outbound = Outbound(ring_time_s=1.0)

    outbound.node.run(60)

    assert outbound.call.end_reason is EndReason.NO_AGENT
    assert outbound.dialer.requests == []


@pytest.mark.parametrize("name", ["call.close", "call.disconnect"])
def test_an_agent_that_hangs_up_stops_the_ringing(name: str) -> None:
    outbound = Outbound(MemoryCallee())
    agent = outbound.attach()
    waiting = agent.command("call.answer")

    agent.command(name)

    response = agent.response(waiting)
    assert response is not None
    assert response["error_code"] == ErrorCode.CALL_ENDED
    assert outbound.person.end is not None
    assert outbound.call.end_reason is EndReason.AGENT_REJECTED


def test_an_agent_that_is_lost_stops_the_ringing() -> None:
    outbound = Outbound(MemoryCallee())
    agent = outbound.attach()

    agent.lose()

    assert outbound.person.end is not None
    assert outbound.call.end_reason is EndReason.AGENT_LOST


def test_waiting_twice_is_refused() -> None:
    outbound = Outbound(MemoryCallee())
    agent = outbound.attach()
    agent.command("call.answer")

    response = agent.response(agent.command("call.answer"))

    assert response is not None
    assert response["error_code"] == ErrorCode.INVALID_STATE


def test_waiting_for_an_answer_times_out_and_may_be_repeated() -> None:
    outbound = Outbound(MemoryCallee())
    agent = outbound.attach()
    first = agent.command("call.answer", timeout_ms=10_000)

    outbound.node.run_ms(9_980)
    assert agent.response(first) is None
    outbound.node.run_ms(40)
    expired = agent.response(first)
    second = agent.command("call.answer")
    outbound.node.run_ms(5_000)
    outbound.person.progress = CalleeProgress.ANSWERED
    outbound.node.run(2)

    assert expired is not None
    assert (expired["success"], expired["error_code"]) == (False, ErrorCode.TIMEOUT)
    response = agent.response(second)
    assert response is not None
    assert response["success"] is True
    assert outbound.call.state is CallState.ANSWERED
    assert outbound.progress() == ["ringing", "answered"]


def test_no_command_is_answered_twice_when_the_ringing_ends_with_its_patience() -> None:
    outbound = Outbound(MemoryCallee(), ring_time_s=1.0)
    agent = outbound.attach()
    command = agent.command("call.answer", timeout_ms=960)

    outbound.node.run(60)

    answers = [one for one in agent.link.messages if one["data"].get("command_id") == command]
    assert len(answers) == 1
    assert outbound.call.end_reason is EndReason.CALLEE_UNANSWERED


def test_the_person_who_is_on_the_line_is_not_rung_again() -> None:
    """Found in review: `connect()` dialled the same number a second time."""
    outbound = Outbound(MemoryCallee(), MemoryCallee())
    agent = outbound.attach()
    outbound.person.progress = CalleeProgress.ANSWERED
    outbound.node.run(2)

    response = agent.response(agent.command("call.connect"))

    assert response is not None
    assert response["error_code"] == ErrorCode.INVALID_STATE
    assert len(outbound.dialer.requests) == 1
    assert outbound.call.state is CallState.ANSWERED


def test_a_call_whose_client_leaves_before_its_media_link_is_nobody_else_s() -> None:
    """Found in review: it was offered to others as an incoming call, and dialled by them."""
    dialer = MemoryDialer(MemoryCallee())
    node = Node(dialer=dialer)
    exchange = node.exchange
    exchange.board.make_call = lambda connector, number, ring_s: exchange.place_outbound(
        NewCall(connector, "", number, 0), ring_s
    )
    node.tell(type="session.create", remoteAddress=NUMBER, reqId="r")
    (call,) = exchange.calls
    other_link = MemoryControlLink()
    other = exchange.board.join("c1", other_link, "node")
    setup = {"type": "setup", "data": {"sampleRate": 24_000, "audioMode": "mixed"}}
    exchange.board.receive(other, msgspec.json.encode(setup))

    exchange.board.leave(node.client)
    node.run(50)

    assert [message["type"] for message in other_link.take()] == ["setup.done"]
    assert call.end_reason is EndReason.NO_AGENT
    assert exchange.call_count == 0
    assert dialer.requests == []


def test_a_draining_node_calls_nobody() -> None:
    node = Node(dialer=MemoryDialer())
    node.exchange.is_draining = True

    with pytest.raises(Draining):
        node.exchange.place_outbound(NewCall("c1", "", NUMBER, 0), ring_time_s=60)
