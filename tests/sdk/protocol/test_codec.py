from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_sdk.protocol.codec import (
    ProtocolViolation,
    decode_command,
    decode_control_event,
    decode_control_request,
    decode_media_event,
    encode,
)
from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_sdk.protocol.messages import (
    BufferRequest,
    BufferRequestData,
    CallEventData,
    CallEventMessage,
    CallIn,
    Command,
    CommandData,
    CommandResponse,
    CommandResponseData,
    ControlError,
    Response,
    SessionClosed,
    SessionNotify,
    SessionOpen,
    SessionReady,
    Setup,
    SetupData,
    SetupDone,
)

Decode = Callable[[bytes], object]

MESSAGES: list[tuple[Decode, object]] = [
    (decode_control_request, Setup(data=SetupData(sample_rate=8_000))),
    (decode_control_request, SessionOpen(session_id="s", req_id="r")),
    (decode_control_request, SessionReady(session_id="s")),
    (decode_control_event, SetupDone(sm_ws_id="w")),
    (decode_control_event, Response(req_id="r", ok=True, content={"a": 1})),
    (decode_control_event, SessionNotify(session_id="s", created_at=5)),
    (decode_control_event, CallIn("s", "c", "ws://x", "t", caller="+1", callee="+2")),
    (decode_control_event, SessionClosed(session_id="s", reason="caller_hung_up")),
    (decode_control_event, ControlError(error_code="X")),
    (decode_command, Command(data=CommandData("id", "call.answer", data={"n": 1}))),
    (decode_media_event, BufferRequest(data=BufferRequestData(960, 2, 0))),
    (decode_media_event, CommandResponse(data=CommandResponseData("id", False, None, "X", "y"))),
    (decode_media_event, CallEventMessage(data=CallEventData("call.error", "X", "y"))),
]


@pytest.mark.parametrize(("decode", "message"), MESSAGES)
def test_decode_is_the_inverse_of_encode(decode: Decode, message: object) -> None:
    assert decode(encode(message)) == message  # type: ignore[arg-type]  # all are structs


def test_names_on_the_wire_are_the_wires() -> None:
    call = json.loads(encode(CallIn("s", "c", "u", "t", caller="+1", callee="+2")))
    request = json.loads(encode(BufferRequest(data=BufferRequestData(960, 2, 1))))

    assert call["type"] == "call.in"
    assert (call["sessionId"], call["from"], call["to"]) == ("s", "+1", "+2")
    assert request["data"] == {
        "requested_bytes": 960,
        "prefer_audio_frame_bytes": 2,
        "channelId": 1,
    }


@pytest.mark.parametrize(
    ("data", "code", "reply_to", "known_type"),
    [
        (b"{", ErrorCode.MALFORMED_MESSAGE, "", True),
        (b"\xff", ErrorCode.MALFORMED_MESSAGE, "", True),
        (b"[1]", ErrorCode.MALFORMED_MESSAGE, "", True),
        (b"[" * 60_000, ErrorCode.MALFORMED_MESSAGE, "", True),
        (b"{}", ErrorCode.MALFORMED_MESSAGE, "", True),
        (b'{"type": 5, "reqId": 6}', ErrorCode.MALFORMED_MESSAGE, "", True),
        (b'{"type": "session.open", "reqId": "r"}', ErrorCode.MALFORMED_MESSAGE, "r", True),
        (b'{"type": "new", "reqId": "r"}', ErrorCode.INVALID_REQUEST, "r", False),
        (b'{"type": "new", "data": {"reqId": "r"}}', ErrorCode.INVALID_REQUEST, "r", False),
    ],
)
def test_violation_says_which_kind_of_wrong_it_is(
    data: bytes, code: ErrorCode, reply_to: str, known_type: bool
) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        decode_control_request(data)

    violation = caught.value
    assert (violation.code, violation.reply_to) == (code, reply_to)
    assert violation.known_type is known_type


def test_violation_of_a_command_names_the_command_to_answer() -> None:
    with pytest.raises(ProtocolViolation) as caught:
        decode_command(b'{"type": "command", "data": {"command_id": "c1", "command": 5}}')

    assert caught.value.reply_to == "c1"


def test_nesting_without_end_is_malformed() -> None:
    deep = b"[" * 60_000

    with pytest.raises(ProtocolViolation) as caught:
        decode_control_event(b'{"type": "response", "reqId": "r", "ok": true, "content": ' + deep)

    assert caught.value.code is ErrorCode.MALFORMED_MESSAGE


def test_violation_never_quotes_the_value() -> None:
    with pytest.raises(ProtocolViolation) as caught:
        decode_control_event(b'{"type": "session.notify", "sessionId": ["+15550100"]}')

    assert "555" not in str(caught.value)


@given(data=st.binary(max_size=200))
@pytest.mark.parametrize(
    "decode", [decode_control_request, decode_control_event, decode_command, decode_media_event]
)
def test_no_bytes_raise_anything_else(decode: Decode, data: bytes) -> None:
    try:
        decode(data)
    except ProtocolViolation:
        pass
