"""Messages to bytes and back: the one place that parses and builds the wire.

Not here: the types (`messages.py`), what they cause (`control.py`, `media.py`).
Implements docs/reference/wire.md §1 and §2. Nothing but `ProtocolViolation` is raised.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_sdk.protocol.messages import (
    MAX_ID_LENGTH,
    Command,
    ControlEvent,
    ControlRequest,
    Hello,
    MediaEvent,
)

MAX_MESSAGE_BYTES = 64 * 1024
"""The largest message either end accepts; a larger one closes the link with 1009."""

T = TypeVar("T")

_encoder = msgspec.json.Encoder()
_control_requests: msgspec.json.Decoder[ControlRequest] = msgspec.json.Decoder(ControlRequest)
_control_events: msgspec.json.Decoder[ControlEvent] = msgspec.json.Decoder(
    ControlEvent, strict=False
)
_commands: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)
_hellos: msgspec.json.Decoder[Hello] = msgspec.json.Decoder(Hello)
_media_events: msgspec.json.Decoder[MediaEvent] = msgspec.json.Decoder(MediaEvent, strict=False)


class ProtocolViolation(Exception):
    """The peer sent something that is not the protocol.

    Attributes:
        code: What to answer.
        reply_to: The request or command id found in the message, or "": whom to answer.
        known_type: False when the message has a `type` this end does not know. A client
            ignores those, so that a newer server may say more.
    """

    def __init__(
        self, code: ErrorCode, message: str, *, reply_to: str = "", known_type: bool = True
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reply_to = reply_to
        self.known_type = known_type


def encode(message: msgspec.Struct) -> bytes:
    """Return `message` as UTF-8 JSON."""
    return _encoder.encode(message)


def decode_control_request(data: bytes | str) -> ControlRequest:
    """Parse what a client sent on the control link. Raises `ProtocolViolation`."""
    return _decode(_control_requests, data, CONTROL_REQUEST_TYPES)


def decode_control_event(data: bytes | str) -> ControlEvent:
    """Parse what a server sent on the control link. Raises `ProtocolViolation`."""
    return _decode(_control_events, data, CONTROL_EVENT_TYPES)


def decode_command(data: bytes | str) -> Command:
    """Parse what a client sent on the media link. Raises `ProtocolViolation`."""
    return _decode(_commands, data, frozenset({"command"}))


def decode_hello(data: bytes | str) -> Hello:
    """Parse a client's first message on a media link of v2. Raises `ProtocolViolation`."""
    return _decode(_hellos, data, frozenset({"hello"}))


def decode_media_event(data: bytes | str) -> MediaEvent:
    """Parse what a server sent on the media link. Raises `ProtocolViolation`."""
    return _decode(_media_events, data, MEDIA_EVENT_TYPES)


CONTROL_REQUEST_TYPES = frozenset({"setup", "session.open", "session.ready", "session.create"})
CONTROL_EVENT_TYPES = frozenset(
    {"setup.done", "response", "session.notify", "call.in", "session.closed", "error"}
)
MEDIA_EVENT_TYPES = frozenset({"buffer_request", "command_response", "call_event", "welcome"})


def _decode(decoder: msgspec.json.Decoder[T], data: bytes | str, types: frozenset[str]) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError) as error:
        # msgspec says where and what in words fit for the peer ("Expected `int`, got `str` -
        # at `$.data.sampleRate`"), and never quotes the value.
        raise _violation(data, types, str(error)) from None
    except RecursionError:
        raise ProtocolViolation(ErrorCode.MALFORMED_MESSAGE, "nested too deeply") from None


def _violation(data: bytes | str, types: frozenset[str], problem: str) -> ProtocolViolation:
    """Look into a message that did not parse, to say which kind of wrong it is."""
    try:
        fields: Any = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return ProtocolViolation(ErrorCode.MALFORMED_MESSAGE, f"not JSON: {problem}")
    if not isinstance(fields, dict):
        return ProtocolViolation(ErrorCode.MALFORMED_MESSAGE, "not a JSON object")
    data_field = fields.get("data")
    inner = data_field if isinstance(data_field, dict) else {}
    reply_to = fields.get("reqId") or inner.get("reqId") or inner.get("command_id")
    if not isinstance(reply_to, str) or len(reply_to) > MAX_ID_LENGTH:
        reply_to = ""
    kind = fields.get("type")
    if isinstance(kind, str) and kind not in types:
        return ProtocolViolation(
            ErrorCode.INVALID_REQUEST, "unknown message type", reply_to=reply_to, known_type=False
        )
    return ProtocolViolation(ErrorCode.MALFORMED_MESSAGE, problem, reply_to=reply_to)
