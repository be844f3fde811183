"""The first message of a media link, and what becomes of a call whose links come and go."""

from __future__ import annotations

import msgspec
import pytest

from telcoflow_sdk.protocol.codes import CloseCode, EndReason
from telcoflow_sdk.protocol.states import CallState
from telcoflow_server.call.ports import LinkBroken
from telcoflow_server.call.reception import Reception
from tests.support.exchange import SINCE_TICK_MS, MemoryPhone, Node
from tests.support.links import MemoryMediaLink
from tests.support.positions import PositionedAgent, PositionedLink

HELLO = msgspec.json.encode({"type": "hello", "data": {"epoch": 1, "seen": 0, "received": [0]}})
ANSWER = b'{"type":"command","seq":1,"data":{"command_id":"a","command":"call.answer"}}'


@pytest.fixture
def node() -> Node:
    return Node()


def reception(
    node: Node, *, is_v2: bool = True
) -> tuple[Reception, PositionedLink, PositionedAgent]:
    call = node.place(MemoryPhone())
    agent = PositionedAgent(node.exchange, call)
    return Reception(node.exchange, call, agent.link, is_v2=is_v2), agent.link, agent


def test_an_agent_of_v1_is_on_the_line_with_its_link(node: Node) -> None:
    call = node.place(MemoryPhone())
    v1 = Reception(node.exchange, call, MemoryMediaLink(), is_v2=False)

    v1.opened()

    assert v1.is_greeted
    assert call.seat.agent is not None
    assert call.seat.agent.resumption is None


def test_an_agent_of_v2_is_on_the_line_with_its_hello(node: Node) -> None:
    v2, _, agent = reception(node)
    v2.opened()
    before = v2.is_greeted

    v2.text(HELLO, SINCE_TICK_MS)

    assert (before, v2.is_greeted) == (False, True)
    [welcome] = agent.welcomes
    assert welcome["epoch"] == 1
    assert len(agent.positions) == 1


@pytest.mark.parametrize(
    "message",
    [
        ANSWER,
        b"",
        b"{}",
        b'{"type":"hello"}',
        b'{"type":"hello","data":{"epoch":0,"seen":0,"received":[0]}}',
        b'{"type":"hello","data":{"epoch":1,"seen":0,"received":[]}}',
        b'{"type":"hello","data":{"epoch":1,"seen":0,"received":[0,0,0,0]}}',
        b'{"type":"hello","data":{"epoch":1,"seen":-1,"received":[0]}}',
        b'{"type":"welcome","data":{}}',
    ],
)
def test_anything_else_before_hello_breaks_the_link(node: Node, message: bytes) -> None:
    v2, _, agent = reception(node)
    v2.opened()

    with pytest.raises(LinkBroken) as broken:
        v2.text(message, SINCE_TICK_MS)

    assert broken.value.code is CloseCode.BAD_MESSAGES
    assert agent.welcomes == []
    assert not v2.is_greeted


def test_audio_before_hello_breaks_the_link(node: Node) -> None:
    v2, _, _ = reception(node)
    v2.opened()

    with pytest.raises(LinkBroken) as broken:
        v2.binary(bytes(18))

    assert broken.value.code is CloseCode.BAD_MESSAGES


@pytest.mark.parametrize("is_v2", [False, True])
def test_a_link_to_a_call_that_ended_during_the_handshake_is_closed(
    node: Node, is_v2: bool
) -> None:
    call = node.place(MemoryPhone())
    late = Reception(node.exchange, call, MemoryMediaLink(), is_v2=is_v2)
    call.end(EndReason.CALLER_HUNG_UP)

    with pytest.raises(LinkBroken) as broken:
        late.opened()

    assert broken.value.code is CloseCode.CALL_ENDED


def test_a_call_that_ends_before_hello_is_not_greeted(node: Node) -> None:
    v2, _, _ = reception(node)
    v2.opened()
    node.exchange.shut_down()

    with pytest.raises(LinkBroken) as broken:
        v2.text(HELLO, SINCE_TICK_MS)

    assert broken.value.code is CloseCode.CALL_ENDED


def test_a_link_of_v1_to_a_call_that_got_another_meanwhile_is_closed(node: Node) -> None:
    call = node.place(MemoryPhone())
    late = Reception(node.exchange, call, MemoryMediaLink(), is_v2=False)
    node.agent(call)

    with pytest.raises(LinkBroken) as broken:
        late.opened()

    assert broken.value.code is CloseCode.SUPERSEDED


def test_a_hello_to_an_agent_of_v1_takes_nothing_over(node: Node) -> None:
    call = node.place(MemoryPhone())
    late = PositionedAgent(node.exchange, call)
    v2 = Reception(node.exchange, call, late.link, is_v2=True)
    v2.opened()
    first = node.agent(call)

    with pytest.raises(LinkBroken) as broken:
        v2.text(HELLO, SINCE_TICK_MS)

    assert broken.value.code is CloseCode.SUPERSEDED
    assert late.welcomes == []
    assert first.response(first.command("call.answer")) == {"command_id": "cmd-1", "success": True}


def test_a_later_attempt_that_was_here_first_wins(node: Node) -> None:
    call = node.place(MemoryPhone())
    agent = PositionedAgent(node.exchange, call)
    agent.connect(epoch=2)

    agent.connect(epoch=1)

    assert agent.link.closed_with is CloseCode.SUPERSEDED
    assert len(agent.welcomes) == 1


def test_a_link_that_never_said_hello_is_nobody_s_loss(node: Node) -> None:
    v2, _, agent = reception(node)
    v2.opened()

    v2.lost(CloseCode.SETUP_TIMEOUT)
    agent.connect()

    assert len(agent.welcomes) == 1


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (None, CallState.ANSWERED),
        (CloseCode.SLOW_READER, CallState.ANSWERED),
        (CloseCode.NORMAL, CallState.DISCONNECTED),
        (CloseCode.GOING_AWAY, CallState.ANSWERED),  # a proxy between both, perhaps
        (CloseCode.SERVICE_RESTART, CallState.ANSWERED),
        (CloseCode.FLOOD, CallState.DISCONNECTED),
        (CloseCode.BAD_POSITION, CallState.DISCONNECTED),
        (0, CallState.DISCONNECTED),
    ],
)
def test_a_loss_is_waited_out_and_a_goodbye_is_not(
    node: Node, code: int | None, state: CallState
) -> None:
    call = node.place(MemoryPhone())
    agent = PositionedAgent(node.exchange, call)
    agent.connect()
    agent.command("call.answer", placed=False)

    agent.reception.lost(code)

    assert call.state is state
    assert call.end_reason in (None, EndReason.AGENT_LOST)
