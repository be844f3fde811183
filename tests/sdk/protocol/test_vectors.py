"""Both ends of media protocol v2 against docs/reference/wire-v2-vectors.json."""

from __future__ import annotations

import contextlib
import json
from itertools import count
from typing import Any

import msgspec
import pytest

from telcoflow_sdk.audio.format import AudioFormat
from telcoflow_sdk.audio.outbox import Outbox
from telcoflow_sdk.audio.positioned import PositionedOutbox
from telcoflow_sdk.protocol.codec import (
    MEDIA_EVENT_TYPES,
    ProtocolViolation,
    decode_command,
    decode_hello,
    decode_media_event,
    encode,
)
from telcoflow_sdk.protocol.codes import CloseCode, ErrorCode
from telcoflow_sdk.protocol.commands import CallEventName, CommandName, DialProgress, GapCause
from telcoflow_sdk.protocol.media import MediaEngine
from telcoflow_sdk.protocol.media_events import (
    Answered,
    CommandSettled,
    EndCause,
    Ended,
    ErrorReported,
    GapHeard,
    LinkViolated,
    MarkReached,
    Progressed,
)
from telcoflow_sdk.protocol.messages import InterruptResult
from telcoflow_sdk.protocol.positions import (
    Acknowledgement,
    AudioMessage,
    Position,
    build_acknowledgement,
    build_audio,
    build_position,
    parse_acknowledgement,
    parse_audio,
    parse_position,
)
from telcoflow_sdk.protocol.resuming import ResumingLink
from telcoflow_sdk.protocol.sequence import SentMessages
from telcoflow_server.call.ports import LinkBroken
from telcoflow_server.call.reception import Reception
from tests.support.exchange import SINCE_TICK_MS, MemoryPhone, Node
from tests.support.pages import REFERENCE

RATE_HZ = 24_000
NOW = 100.0

VECTORS = json.loads((REFERENCE / "wire-v2-vectors.json").read_text(encoding="utf-8"))
BINARY: list[dict[str, Any]] = VECTORS["binary"]
REFUSED: list[dict[str, Any]] = VECTORS["refused"]


def text(sender: str) -> list[dict[str, Any]]:
    return [vector["message"] for vector in VECTORS["text"] if vector["from"] == sender]


def name(vector: dict[str, Any]) -> str:
    return f"{vector.get('to', vector.get('from'))}: {vector['name']}"


def bytes_of(vector: dict[str, Any]) -> bytes:
    return bytes.fromhex(vector["hex"]) + bytes(vector.get("zeros", 0))


def fields_of(vector: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = dict(vector["fields"])
    if "pcm" in fields:
        fields["pcm"] = bytes.fromhex(fields["pcm"])
    return fields


class Client:
    """The SDK's engine, in a call for which it has opened its first link."""

    def __init__(self) -> None:
        numbers = count(1)
        requested = Outbox(AudioFormat(RATE_HZ), 1_000_000)
        self.engine = MediaEngine(requested, lambda: f"k{next(numbers)}")
        self.outbox = PositionedOutbox(requested.intake)
        self.engine.agree_on_v2(ResumingLink(self.outbox, 1, RATE_HZ))
        self.engine.link_opened()
        self.hello = self.said()

    def said(self) -> list[dict[str, Any]]:
        return [json.loads(message) for message in self.engine.take_messages()]

    def hears(self, message: dict[str, Any]) -> None:
        self.engine.receive_message(json.dumps(message).encode(), NOW)

    def receives(self, vector: dict[str, Any]) -> None:
        if "hex" in vector:
            self.engine.receive_binary(bytes_of(vector), NOW, 0.0)
        else:
            self.engine.receive_message(vector["text"].encode(), NOW)


class AgentLink:
    """A `MediaLink` that keeps what it is sent."""

    def __init__(self) -> None:
        self.texts: list[dict[str, Any]] = []
        self.positions: list[Position] = []

    def send_text(self, message: bytes) -> None:
        self.texts.append(json.loads(message))

    def send_binary(self, message: bytes) -> None:
        self.positions.append(parse_position(message))

    def unsent_bytes(self) -> int:
        return 0

    def close(self, code: CloseCode, reason: str) -> None:
        """The call is over."""


class Server:
    """The server's side of one media link, in a call that rings."""

    def __init__(self) -> None:
        self.node = Node(sample_rate_hz=RATE_HZ)
        call = self.node.place(MemoryPhone())
        self.link = AgentLink()
        self._reception = Reception(self.node.exchange, call, self.link, is_v2=True)
        self._reception.opened()

    def receives(self, vector: dict[str, Any]) -> None:
        if "hex" in vector:
            self._reception.binary(bytes_of(vector))
        else:
            self._reception.text(vector["text"].encode(), SINCE_TICK_MS)

    def hears(self, message: dict[str, Any]) -> None:
        self._reception.text(json.dumps(message).encode(), SINCE_TICK_MS)


# --- binary messages -----------------------------------------------------------------------------


@pytest.mark.parametrize("vector", BINARY, ids=name)
def test_binary_message_is_built_as_shown(vector: dict[str, Any]) -> None:
    fields = fields_of(vector)

    match vector["kind"]:
        case "audio":
            built = build_audio(**fields)
        case "position":
            built = build_position(Position(**fields))
        case _:
            built = build_acknowledgement(Acknowledgement(**fields))

    assert built.hex() == vector["hex"]


@pytest.mark.parametrize("vector", BINARY, ids=name)
def test_binary_message_is_read_as_shown(vector: dict[str, Any]) -> None:
    data, fields = bytes_of(vector), fields_of(vector)

    match vector["kind"]:
        case "audio":
            assert parse_audio(data) == AudioMessage(**fields)
        case "position":
            assert parse_position(data) == Position(**fields)
        case _:
            assert parse_acknowledgement(data) == Acknowledgement(**fields)


def test_every_flag_and_every_edge_is_shown() -> None:
    shown = [fields_of(vector) for vector in BINARY]
    audio = [fields for fields in shown if "flags" in fields]

    assert {fields["flags"] for fields in audio} == {0, 1, 2, 4, 5}
    assert {fields["channel"] for fields in audio} == {0, 1, 2}
    assert {2**32 - 1} <= {fields.get("generation") for fields in shown}
    assert {2**64 - 1} <= {fields.get("received") for fields in shown}
    assert any(not fields["pcm"] for fields in audio)


def test_server_takes_the_first_samples() -> None:
    server = Server()
    server.hears(text("client")[0])

    server.receives(BINARY[0])
    server.receives(next(v for v in BINARY if v["kind"] == "acknowledgement"))
    server.node.run(50)  # what has only arrived is told with the next that is due

    assert server.link.positions[0] == Position(**fields_of(_vector("the first one")))
    assert server.link.positions[-1].received == 4


def _vector(begin: str) -> dict[str, Any]:
    return next(vector for vector in BINARY if vector["name"].startswith(begin))


# --- text messages -------------------------------------------------------------------------------


@pytest.mark.parametrize("sender", ["client", "server"])
def test_text_message_is_read_and_built_as_shown(sender: str) -> None:
    sent = SentMessages()
    for message in text(sender):
        data = json.dumps(message).encode()
        if message["type"] == "hello":
            decoded: msgspec.Struct = decode_hello(data)
        else:
            decoded = (decode_command if sender == "client" else decode_media_event)(data)
        built = encode(decoded)
        if "seq" in message:
            built = sent.add(built)

        assert json.loads(built) == message


def test_every_message_command_and_event_is_shown() -> None:
    client, server = text("client"), text("server")
    events = {message["data"].get("event") for message in server}
    causes = {message["data"].get("cause") for message in server}

    assert {message["type"] for message in client} == {"hello", "command"}
    assert {message["type"] for message in server} == MEDIA_EVENT_TYPES - {"buffer_request"}
    assert {message["data"].get("command") for message in client} == {None, *CommandName}
    assert events == {None, *CallEventName}
    assert causes == {None, *set(GapCause) - {GapCause.UNKNOWN}}


def test_client_says_what_is_shown() -> None:
    hello, _, *commands = text("client")
    client, second = Client(), b"\x01\x00" * RATE_HZ
    engine, outbox = client.engine, client.outbox
    answers = count(1)

    def send(command: CommandName, **more: Any) -> None:
        engine.send_command(command, NOW, **more)

    def succeeds(command_id: str) -> None:
        data = {"command_id": command_id, "success": True}
        client.hears({"type": "command_response", "seq": next(answers), "data": data})

    client.hears(text("server")[0])
    send(CommandName.ANSWER)
    succeeds("k1")
    outbox.write(second * 2)
    send(CommandName.MARK, mark="sentence-1")
    send(CommandName.CONNECT, ring_time_s=30)
    succeeds("k3")
    send(CommandName.WHISPER)
    outbox.write(second)
    for command in (CommandName.SPY, CommandName.BARGE, CommandName.PAUSE, CommandName.RESUME):
        send(command)
    outbox.clear()
    send(CommandName.INTERRUPT)
    send(CommandName.CLOSE)
    outbox.write(second)
    send(CommandName.DISCONNECT)

    assert client.hello == [hello]
    assert client.said() == commands


def test_client_understands_what_is_shown() -> None:
    welcome, _, *messages = text("server")
    client = Client()
    client.hears(welcome)
    client.engine.send_command(CommandName.ANSWER, NOW)

    for message in messages:
        client.hears(message)

    events = [e for e in client.engine.take_events() if not isinstance(e, CommandSettled)]
    assert events == [
        Answered(),
        MarkReached("sentence-1", 4211.5),
        MarkReached("sentence-2", None),
        GapHeard(5120.0, 40.0, GapCause.AGENT_SILENT),
        GapHeard(6120.0, 20.0, GapCause.CLIENT_LATE),
        GapHeard(7120.0, 60.0, GapCause.NETWORK_LATE),
        ErrorReported("MALFORMED_AUDIO", "half a sample"),
        Progressed(DialProgress.RINGING),
        Progressed(DialProgress.FAILED),
        Ended(EndCause.TERMINATED),
    ]
    assert client.engine.ignored_messages == 0


def test_what_an_interruption_did_is_read_as_shown() -> None:
    shown = next(m["data"] for m in text("server") if "result" in m["data"])

    result = msgspec.convert(shown["result"], InterruptResult)

    assert result == InterruptResult(dropped_bytes=1920, heard_ms=1260.0, played=30_240)


def test_server_understands_what_is_shown() -> None:
    hello, _, *commands = text("client")
    server = Server()
    server.hears(hello)

    for message in commands:
        server.hears(message)

    welcome, *rest = server.link.texts
    assert welcome["data"] | {"secret": ""} == text("server")[0]["data"] | {"secret": ""}
    assert [message["seq"] for message in rest] == list(range(1, len(rest) + 1))
    refusals = {m["data"]["command_id"]: m["data"] for m in rest if not m["data"].get("success")}
    # Nobody could be called, so the modes are refused: in the words shown.
    shown = next(m["data"] for m in text("server") if m["data"].get("success") is False)
    assert refusals.pop("k4") == shown
    # And the hang-up ended the ringing.
    assert refusals.pop("k3")["error_code"] == ErrorCode.CALL_ENDED
    assert {data["error_code"] for data in refusals.values()} <= {ErrorCode.INVALID_STATE}


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("vector", [v for v in REFUSED if v["to"] == "server"], ids=name)
def test_server_refuses(vector: dict[str, Any]) -> None:
    server = Server()
    if not vector.get("before_hello"):
        server.hears(text("client")[0])
    for before in vector.get("after", []):
        server.receives(before)

    if "close" in vector:
        with pytest.raises(LinkBroken) as caught:
            server.receives(vector)
        assert caught.value.code == vector["close"]
        return
    with contextlib.suppress(ProtocolViolation):  # of form: twenty of them end the link
        server.receives(vector)

    assert server.link.texts[-1]["data"]["error_code"] == vector["error"]


@pytest.mark.parametrize("vector", [v for v in REFUSED if v["to"] == "client"], ids=name)
def test_client_refuses(vector: dict[str, Any]) -> None:
    client = Client()
    for before in vector.get("after", []):
        client.receives(before)

    client.receives(vector)

    events = client.engine.take_events()
    if "close" in vector:
        assert events == [LinkViolated(CloseCode(vector["close"])), Ended(EndCause.LINK_LOST)]
    else:
        assert (events, client.engine.ignored_messages) == ([], 1)
