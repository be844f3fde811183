"""The binary messages of media protocol v2: audio, positions, acknowledgements.

Not here: text messages (`messages.py`), what positions cause (`audio/positioned.py`, and the
server's `media/credit.py`). Implements "Binary messages" of docs/reference/wire-v2.md. All are
little-endian.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

import msgspec

from telcoflow_sdk.protocol.codec import ProtocolViolation
from telcoflow_sdk.protocol.codes import ErrorCode

SUBPROTOCOL = "telcoflow.media.v2"
"""What a client offers in the WebSocket handshake, and a server that speaks it repeats."""

POSITION = 240
ACKNOWLEDGEMENT = 241
"""First bytes of what is no audio; below are channels."""

END, DISCONTINUITY, MORE = 1, 2, 4
"""Flags of an audio message."""

PAUSED = 1
"""The flag of a position."""

MAX_DELAY_MS = 0xFFFF
"""What the delay of a later frame is told as."""

_AUDIO = Struct("<BBHIQ")
_POSITION = Struct("<BBHIQQIIQ")
_ACKNOWLEDGEMENT = Struct("<BBHIQ")

AUDIO_HEADER_BYTES = _AUDIO.size

_KNOWN_FLAGS = END | DISCONTINUITY | MORE


class AudioMessage(msgspec.Struct, frozen=True, gc=False):
    """PCM and where it belongs. Like `Position` of the kind that is made fastest: for every frame.

    Attributes:
        channel: Which party is heard; from the client 0.
        flags: `END`, `DISCONTINUITY`, `MORE`, added up.
        delay_ms: From the client: between the credit and this message.
        generation: From the client: how many interruptions came before this audio.
        offset: Of the first sample, in the generation or on the call's time axis.
        pcm: Whole samples.
    """

    channel: int
    flags: int
    delay_ms: int
    generation: int
    offset: int
    pcm: bytes


class Position(msgspec.Struct, frozen=True, gc=False):
    """How far the server has come with the agent's audio, in samples of one generation.

    Attributes:
        generation: Which.
        received: What has arrived, without a hole.
        played: What the call's mix was given.
        window: How far beyond `played` audio is taken.
        heard: What was audible since the utterance began.
        seen: The last text message of the client's that arrived.
        is_paused: Whether playback is paused.
    """

    generation: int
    received: int
    played: int
    window: int
    heard: int
    seen: int
    is_paused: bool


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """How far the client has come with what it is sent.

    Attributes:
        seen: The last text message of the server's that arrived.
        received: Up to where the audio of every channel has arrived, samples of the call's axis.
        loop_lag_ms: The longest that the client's event loop was blocked since the last one.
    """

    seen: int
    received: int
    loop_lag_ms: int


def build_audio(
    channel: int, flags: int, delay_ms: int, generation: int, offset: int, pcm: bytes
) -> bytes:
    """Return an audio message; the arguments are those of `AudioMessage`."""
    return _AUDIO.pack(channel, flags, delay_ms, generation, offset) + pcm


def parse_audio(data: bytes) -> AudioMessage:
    """Parse an audio message; whether it fits in its place is for others to say.

    Raises:
        ProtocolViolation: `MALFORMED_AUDIO`.
    """
    if len(data) < AUDIO_HEADER_BYTES:
        raise _malformed(f"{len(data)} bytes are less than the header of {AUDIO_HEADER_BYTES}")
    channel, flags, delay_ms, generation, offset = _AUDIO.unpack_from(data)
    if flags & ~_KNOWN_FLAGS:
        raise _malformed(f"flags {flags:#x} are not known")
    size = len(data) - AUDIO_HEADER_BYTES
    if size & 1:
        raise _malformed(f"{size} bytes of PCM end in the middle of a sample")
    if size == 0 and not flags & END:
        raise _malformed("there is no PCM, and no utterance ends")
    return AudioMessage(channel, flags, delay_ms, generation, offset, data[AUDIO_HEADER_BYTES:])


def build_position(position: Position) -> bytes:
    """Return a position message."""
    return _POSITION.pack(
        POSITION,
        PAUSED if position.is_paused else 0,
        0,
        position.generation,
        position.received,
        position.played,
        position.window,
        position.seen,
        position.heard,
    )


def parse_position(data: bytes) -> Position:
    """Parse a message that begins with `POSITION`; unknown flags are ignored.

    Raises:
        ProtocolViolation: it has another size.
    """
    if len(data) != _POSITION.size:
        raise _malformed(f"a position has {_POSITION.size} bytes, not {len(data)}")
    _, flags, _, generation, received, played, window, seen, heard = _POSITION.unpack(data)
    return Position(generation, received, played, window, heard, seen, bool(flags & PAUSED))


def build_acknowledgement(acknowledgement: Acknowledgement) -> bytes:
    """Return an acknowledgement message."""
    return _ACKNOWLEDGEMENT.pack(
        ACKNOWLEDGEMENT,
        0,
        acknowledgement.loop_lag_ms,
        acknowledgement.seen,
        acknowledgement.received,
    )


def parse_acknowledgement(data: bytes) -> Acknowledgement:
    """Parse a message that begins with `ACKNOWLEDGEMENT`.

    Raises:
        ProtocolViolation: it has another size.
    """
    if len(data) != _ACKNOWLEDGEMENT.size:
        raise _malformed(f"an acknowledgement has {_ACKNOWLEDGEMENT.size} bytes, not {len(data)}")
    _, _, loop_lag_ms, seen, received = _ACKNOWLEDGEMENT.unpack(data)
    return Acknowledgement(seen, received, loop_lag_ms)


def _malformed(why: str) -> ProtocolViolation:
    return ProtocolViolation(ErrorCode.MALFORMED_AUDIO, why)
