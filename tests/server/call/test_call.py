"""One call in virtual time: commands, hang-ups, audio to the sample, and every ending."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from telcoflow_sdk.protocol.codec import ProtocolViolation
from telcoflow_sdk.protocol.codes import CloseCode, EndReason, ErrorCode
from telcoflow_sdk.protocol.states import CallState
from telcoflow_server.call.call import Call
from telcoflow_server.call.history import LISTED
from telcoflow_server.media.routing import Slot
from tests.support.exchange import MemoryAgent, MemoryPhone, Node

FRAME = 480


def noise(samples: int, seed: int = 1) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-8000, 8000, samples, dtype=np.int16)


def states(call: Call, node: Node) -> list[str]:
    return [entered.name for entered in call.report(node.exchange.lateness(call)).states]


def test_the_agent_hears_the_caller_bit_exactly() -> None:
    node, speech = Node(), noise(FRAME * 50)
    _, agent = node.answered_call(MemoryPhone(speech))

    node.run(50)

    assert bytes(agent.link.audio) == speech.tobytes()


def test_the_caller_hears_the_agent_bit_exactly_and_without_a_gap() -> None:
    node, phone, speech = Node(), MemoryPhone(), noise(FRAME * 50)
    call, agent = node.answered_call(phone)
    agent.say(speech.tobytes())

    node.run(60)

    start = int(np.flatnonzero(phone.heard)[0])
    assert start <= 2 * FRAME, "answer to first audio within 40 ms"
    assert np.array_equal(phone.heard[start : start + len(speech)], speech)
    assert not phone.heard[start + len(speech) :].any()
    assert call.report(node.exchange.lateness(call)).gaps == ()


def test_nothing_flows_before_the_answer() -> None:
    node, phone = Node(), MemoryPhone(noise(FRAME * 10))
    call = node.place(phone)
    agent = node.agent(call)
    agent.say(b"\x01\x01" * FRAME)

    node.run(10)

    assert not agent.link.audio
    assert agent.link.requested_bytes == 0
    assert not phone.heard.any()


def test_answer_is_confirmed_and_timed() -> None:
    node, phone = Node(), MemoryPhone()
    call = node.place(phone)
    agent = node.agent(call)
    node.run(7)

    command = agent.command("call.answer")

    assert agent.response(command) == {"command_id": command, "success": True}
    assert call.state is CallState.ANSWERED
    assert phone.answered_at == 7
    report = call.report(node.exchange.lateness(call))
    assert [(entered.name, entered.at_ms) for entered in report.states] == [
        ("PENDING", 0),
        ("ANSWERED", 140),
    ]
    assert report.answered


@pytest.mark.parametrize(
    ("command", "code"),
    [("call.answer", ErrorCode.INVALID_STATE), ("agent.dance", ErrorCode.INVALID_COMMAND)],
)
def test_a_refused_command_gets_its_code_and_changes_nothing(command: str, code: ErrorCode) -> None:
    node = Node()
    call, agent = node.answered_call(MemoryPhone())

    refused = agent.response(agent.command(command))

    assert refused is not None
    assert refused["success"] is False
    assert refused["error_code"] == code
    assert call.state is CallState.ANSWERED


def test_interrupt_silences_the_agent_on_the_next_tick() -> None:
    node, phone = Node(), MemoryPhone()
    call, agent = node.answered_call(phone)
    agent.say(noise(FRAME * 100).tobytes())
    node.run(20)
    heard_before = len(phone.heard)

    response = agent.response(agent.command("agent.interrupt"))
    agent.link.log.clear()  # the agent, too, drops what it had
    node.agents.clear()
    node.run(20)

    assert not phone.heard[heard_before:].any()
    assert response is not None
    assert response["result"]["dropped_ms"] > 0
    assert response["result"]["heard_ms"] == pytest.approx(heard_before / 24 - 20, abs=20)
    (clear,) = call.report(node.exchange.lateness(call)).clears
    assert clear.at_ms == 385, "5 ms into the frame that began at 380"
    assert clear.dropped_ms == response["result"]["dropped_ms"]


def test_interrupt_while_ringing_drops_nothing() -> None:
    node = Node()
    call = node.place(MemoryPhone())
    agent = node.agent(call)

    response = agent.response(agent.command("agent.interrupt"))

    assert response is not None
    assert response["success"] is True
    assert response["result"]["dropped_bytes"] == 0
    assert call.report(node.exchange.lateness(call)).clears == ()


def test_only_so_many_clears_are_listed() -> None:
    node = Node()
    call, agent = node.answered_call(MemoryPhone())

    for _ in range(LISTED + 1):
        agent.command("agent.interrupt")

    assert len(call.report(node.exchange.lateness(call)).clears) == LISTED


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("call.close", EndReason.AGENT_CLOSED),
        ("call.disconnect", EndReason.AGENT_DISCONNECTED),
    ],
)
def test_a_goodbye_that_the_server_holds_is_played_before_the_end(
    command: str, reason: EndReason
) -> None:
    node, phone, goodbye = Node(), MemoryPhone(), noise(FRAME * 2 + 100)
    call, agent = node.answered_call(phone)
    node.run(1)
    agent.say(goodbye.tobytes())
    agent.serve()

    closing = agent.command(command)
    node.run(10)

    assert call.end_reason is reason
    assert phone.end is not None
    assert phone.end[1] is reason
    heard = np.trim_zeros(phone.heard)
    assert np.array_equal(heard, np.trim_zeros(goodbye))
    assert agent.response(closing) == {"command_id": closing, "success": True}


def test_the_end_comes_in_the_order_that_clients_rely_on() -> None:
    node = Node()
    call = node.place(MemoryPhone())
    (notification,) = node.client_link.take()
    node.tell(type="session.open", sessionId=notification["sessionId"], reqId="r1")
    node.client_link.take()
    agent = node.agent(call)
    agent.command("call.answer")
    agent.link.log.clear()

    closing = agent.command("call.close")
    node.run(3)

    order = [
        entry
        if isinstance(entry, tuple)
        else entry["data"].get("event") or entry["data"]["command_id"]
        for entry in agent.link.log
    ]
    assert order == [closing, "call.terminated", ("close", CloseCode.NORMAL)]
    assert [message["type"] for message in node.client_link.take()] == ["session.closed"]
    assert call.is_over


def test_two_closes_are_both_confirmed() -> None:
    node = Node()
    call, agent = node.answered_call(MemoryPhone())

    closing, disconnecting = agent.command("call.close"), agent.command("call.disconnect")
    node.run(3)

    assert call.end_reason is EndReason.AGENT_CLOSED
    for command in (closing, disconnecting):
        response = agent.response(command)
        assert response is not None
        assert response["success"] is True


@pytest.mark.parametrize("command", ["call.close", "call.disconnect"])
def test_a_ringing_call_that_is_closed_is_rejected_at_once(command: str) -> None:
    node, phone = Node(), MemoryPhone()
    call = node.place(phone)
    agent = node.agent(call)

    response = agent.response(agent.command(command))

    assert response is not None
    assert response["success"] is True
    assert call.end_reason is EndReason.AGENT_REJECTED
    assert phone.end == (0, EndReason.AGENT_REJECTED)


@pytest.mark.parametrize("stage", ["ringing", "claimed", "answered", "closing"])
def test_the_caller_hangs_up_at_any_stage(stage: str) -> None:
    node, phone = Node(), MemoryPhone()
    call = node.place(phone)
    agent: MemoryAgent | None = None
    if stage != "ringing":
        agent = node.agent(call)
    if agent and stage in ("answered", "closing"):
        agent.command("call.answer")
        agent.say(noise(FRAME * 10).tobytes())
        node.run(2)
    if agent and stage == "closing":
        agent.command("call.close")

    phone.has_hung_up = True
    node.run(1)

    assert call.end_reason is EndReason.CALLER_HUNG_UP
    assert node.exchange.call_count == 0
    if agent:
        assert agent.link.messages[-1]["data"] == {"event": "call.terminated"}
        assert agent.link.closed_with is CloseCode.NORMAL


def test_an_unclaimed_call_rings_out_as_no_agent() -> None:
    node, phone = Node(ring_timeout_s=2.0), MemoryPhone()
    node.place(phone)

    node.run(100)

    assert phone.end == (100, EndReason.NO_AGENT)


def test_a_claimed_call_rings_out_as_no_answer() -> None:
    node, phone = Node(ring_timeout_s=2.0), MemoryPhone()
    call = node.place(phone)
    (notification,) = node.client_link.take()
    node.tell(type="session.open", sessionId=notification["sessionId"], reqId="r1")
    agent = node.agent(call)

    node.run(100)

    assert phone.end == (100, EndReason.NO_ANSWER)
    assert agent.link.closed_with is CloseCode.NORMAL


def test_the_agent_s_link_lost_ends_the_call() -> None:
    node, phone = Node(), MemoryPhone()
    _, agent = node.answered_call(phone)
    node.run(5)
    agent.link.log.clear()

    agent.lose()

    assert phone.end == (5, EndReason.AGENT_LOST)
    assert agent.link.log == [], "nothing is sent to a link that is gone"


def test_a_link_lost_after_close_is_the_end_that_was_asked_for() -> None:
    node, phone = Node(), MemoryPhone()
    call, agent = node.answered_call(phone)
    agent.say(noise(FRAME * 10).tobytes())
    node.run(3)

    agent.command("call.close")
    agent.lose()

    assert call.end_reason is EndReason.AGENT_CLOSED


def test_an_agent_that_never_reads_is_cut_off_after_five_seconds() -> None:
    node, phone = Node(), MemoryPhone(noise(FRAME * 500))
    call, agent = node.answered_call(phone)
    agent.link.is_stuck = True

    node.run(400)

    assert call.end_reason is EndReason.AGENT_LOST
    assert agent.link.closed_with is CloseCode.SLOW_READER
    assert agent.link.unsent_bytes() < 48_000, "what waits is bounded"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", ErrorCode.MALFORMED_MESSAGE),
        (b"{", ErrorCode.MALFORMED_MESSAGE),
        (b"\xff\xfe", ErrorCode.MALFORMED_MESSAGE),
        (b"[]", ErrorCode.MALFORMED_MESSAGE),
        (b'{"type": "command", "data": null}', ErrorCode.MALFORMED_MESSAGE),
        (b'{"type": "song"}', ErrorCode.INVALID_REQUEST),
    ],
)
def test_a_malformed_message_is_answered_and_the_call_goes_on(data: bytes, code: ErrorCode) -> None:
    node = Node()
    call, agent = node.answered_call(MemoryPhone())

    agent.send_raw(data)

    assert agent.errors() == [code]
    assert call.state is CallState.ANSWERED


def test_a_malformed_command_is_answered_by_its_id() -> None:
    node = Node()
    _, agent = node.answered_call(MemoryPhone())

    agent.send_raw(b'{"type": "command", "data": {"command_id": "x", "command": 7}}')

    response = agent.response("x")
    assert response is not None
    assert response["error_code"] == ErrorCode.MALFORMED_MESSAGE


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"", ErrorCode.MALFORMED_AUDIO),
        (b"\x00", ErrorCode.MALFORMED_AUDIO),
        (b"\x01\x00\x00", ErrorCode.INVALID_CHANNEL),
    ],
)
def test_unusable_audio_is_answered_with_a_code(message: bytes, code: ErrorCode) -> None:
    node = Node()
    _, agent = node.answered_call(MemoryPhone())

    with pytest.raises(ProtocolViolation):
        agent.send_audio(message)

    assert agent.errors() == [code]


def test_an_odd_byte_is_half_a_sample_and_waits_for_the_rest() -> None:
    node, phone, speech = Node(), MemoryPhone(), noise(FRAME * 4)
    _, agent = node.answered_call(phone)
    data = speech.tobytes()
    node.run(1)

    agent.send_audio(b"\x00" + data[:961])
    agent.send_audio(b"\x00" + data[961:962])
    agent.send_audio(b"\x00" + data[962:])
    node.run(10)

    assert np.array_equal(np.trim_zeros(phone.heard), np.trim_zeros(speech))


def test_a_flood_is_discarded_reported_once_and_the_rest_is_played() -> None:
    node, phone = Node(), MemoryPhone()
    _, agent = node.answered_call(phone)
    flood = noise(24_000 * 3).tobytes()

    for start in range(0, len(flood), 48_000):
        agent.send_audio(b"\x00" + flood[start : start + 48_000])
    node.run(200)

    assert agent.errors() == [ErrorCode.AUDIO_OVERRUN]
    heard = np.trim_zeros(phone.heard)
    assert 20_000 <= len(heard) <= 30_000


def test_nothing_is_taken_after_the_end() -> None:
    node, phone = Node(), MemoryPhone()
    call, agent = node.answered_call(phone)
    call.end(EndReason.CALLER_HUNG_UP)
    agent.link.log.clear()

    call.end(EndReason.SERVER_ERROR)
    call.advance()
    agent.send_audio(b"\x00\x00\x00")
    call.seat.receive_message(agent.link, msgspec.json.encode({"type": "command"}), 0.0)

    assert agent.link.log == []
    assert call.end_reason is EndReason.CALLER_HUNG_UP
    assert states(call, node) == ["PENDING", "ANSWERED", "DISCONNECTED"]


def test_a_leg_that_fails_ends_its_own_call_only() -> None:
    node, broken, fine = Node(), MemoryPhone(), MemoryPhone()
    call, _ = node.answered_call(broken)
    other, agent = node.answered_call(fine)
    agent.say(noise(FRAME * 20).tobytes())
    node.run(3)

    call.leg_failed(Slot.AGENT, RuntimeError("broken"))
    node.run(30)

    assert call.end_reason is EndReason.SERVER_ERROR
    assert not other.is_over
    assert len(np.trim_zeros(fine.heard)) > FRAME * 19


def test_a_ten_minute_call_is_bit_exact() -> None:
    node, speech = Node(), noise(FRAME * 30_000)
    phone = MemoryPhone(speech)
    _, agent = node.answered_call(phone)
    agent.say(speech.tobytes())

    node.run(30_010)

    assert bytes(agent.link.audio[: speech.nbytes]) == speech.tobytes()
    start = int(np.flatnonzero(phone.heard)[0])
    assert np.array_equal(phone.heard[start : start + len(speech)], speech)


def test_what_waits_to_be_played_can_be_seen() -> None:
    node = Node()
    call = node.place(MemoryPhone())
    assert (call.seat.audio.queued_ms, call.seat.agent) == (0.0, None)
    agent = node.agent(call)
    agent.command("call.answer")
    agent.say(noise(FRAME * 100).tobytes())

    node.run(10)

    assert call.seat.agent is not None
    assert 0 < call.seat.audio.queued_ms <= 60
