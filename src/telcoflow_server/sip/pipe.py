"""Events and commands on the stream between the server and its SIP process.

Not here: the sockets (`edge.py`, `child.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import msgspec

from telcoflow_server.sip.commands import Command
from telcoflow_server.sip.events import Event

MAX_MESSAGE_BYTES = 1 << 26
"""Room for the settings of millions of numbers; what is longer is a fault of ours."""

LENGTH_BYTES = 4

_encoder = msgspec.msgpack.Encoder()
_event_decoder = msgspec.msgpack.Decoder(Event)
_command_decoder = msgspec.msgpack.Decoder(Command)


T = TypeVar("T")


class BadMessage(ValueError):
    """Bytes that are no message of ours: the two sides are of different versions."""


def encode(message: Event | Command) -> bytes:
    """Return a message with its length in front, ready for a stream."""
    payload = _encoder.encode(message)
    assert len(payload) <= MAX_MESSAGE_BYTES, "made of one datagram, or of settings"
    return len(payload).to_bytes(LENGTH_BYTES, "big") + payload


class _Frames:
    """Cuts a stream into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def cut(self, chunk: bytes) -> Iterator[bytes]:
        self._buffer += chunk
        while len(self._buffer) >= LENGTH_BYTES:
            length = int.from_bytes(self._buffer[:LENGTH_BYTES], "big")
            if length > MAX_MESSAGE_BYTES:
                raise BadMessage(f"a message of {length} bytes")
            if len(self._buffer) < LENGTH_BYTES + length:
                return
            payload = bytes(self._buffer[LENGTH_BYTES : LENGTH_BYTES + length])
            del self._buffer[: LENGTH_BYTES + length]
            yield payload


class EventReader:
    """Turns the stream of the process into events, in whatever chunks it comes."""

    def __init__(self) -> None:
        self._frames = _Frames()

    def read(self, chunk: bytes) -> list[Event]:
        """Return the events that are complete now.

        Raises:
            BadMessage: the stream cannot be read; nothing more of it can.
        """
        return [_decoded(_event_decoder, payload) for payload in self._frames.cut(chunk)]


class CommandReader:
    """Turns the stream towards the process into commands."""

    def __init__(self) -> None:
        self._frames = _Frames()

    def read(self, chunk: bytes) -> list[Command]:
        """Return the commands that are complete now.

        Raises:
            BadMessage: the stream cannot be read; nothing more of it can.
        """
        return [_decoded(_command_decoder, payload) for payload in self._frames.cut(chunk)]


def _decoded(decoder: msgspec.msgpack.Decoder[T], payload: bytes) -> T:
    try:
        return decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise BadMessage(type(error).__name__) from None
