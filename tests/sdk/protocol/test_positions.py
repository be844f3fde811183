"""The binary messages of protocol v2: parsed as they were built, or refused (`test_vectors.py` has
their bytes)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple

from telcoflow_sdk.protocol.codec import ProtocolViolation
from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_sdk.protocol.positions import (
    ACKNOWLEDGEMENT,
    AUDIO_HEADER_BYTES,
    DISCONTINUITY,
    END,
    MORE,
    POSITION,
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

U16, U32, U64 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
PCM = st.binary(min_size=2, max_size=960).map(lambda data: data[: len(data) & ~1])


@given(st.builds(AudioMessage, st.integers(0, 239), st.integers(0, 7), U16, U32, U64, PCM))
def test_audio_is_parsed_as_it_was_built(message: AudioMessage) -> None:
    assert parse_audio(build_audio(*astuple(message))) == message


@given(st.builds(Position, U32, U64, U64, U32, U64, U32, st.booleans()))
def test_position_is_parsed_as_it_was_built(position: Position) -> None:
    data = build_position(position)

    assert data[0] == POSITION
    assert parse_position(data) == position


@given(st.builds(Acknowledgement, U32, U64, U16))
def test_acknowledgement_is_parsed_as_it_was_built(acknowledgement: Acknowledgement) -> None:
    data = build_acknowledgement(acknowledgement)

    assert data[0] == ACKNOWLEDGEMENT
    assert parse_acknowledgement(data) == acknowledgement


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(AUDIO_HEADER_BYTES - 1),
        build_audio(0, 8, 0, 0, 0, b"\0\0"),
        build_audio(0, 128 | MORE, 0, 0, 0, b"\0\0"),
        build_audio(0, 0, 0, 0, 0, b"\0"),
        build_audio(0, 0, 0, 0, 0, bytes(961)),
        build_audio(0, MORE, 0, 0, 0, b""),
        build_audio(0, DISCONTINUITY, 0, 0, 0, b""),
    ],
)
def test_audio_that_cannot_be_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        parse_audio(data)

    assert caught.value.code is ErrorCode.MALFORMED_AUDIO


def test_end_of_an_utterance_needs_no_audio() -> None:
    assert parse_audio(build_audio(0, END, 0, 3, 480, b"")) == AudioMessage(0, END, 0, 3, 480, b"")


def test_unknown_flags_of_a_position_are_ignored() -> None:
    position = Position(1, 2, 3, 4, 5, 6, is_paused=False)
    data = bytearray(build_position(position))
    data[1] = 0xFE

    assert parse_position(bytes(data)) == position


@pytest.mark.parametrize(("parse", "size"), [(parse_position, 40), (parse_acknowledgement, 16)])
@pytest.mark.parametrize("difference", [-40, -16, -1, 1, 100])
def test_other_sizes_are_refused(
    parse: Callable[[bytes], object], size: int, difference: int
) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        parse(bytes(max(0, size + difference)))

    assert caught.value.code is ErrorCode.MALFORMED_AUDIO


@given(st.binary(max_size=64))
def test_any_bytes_are_audio_or_a_violation(data: bytes) -> None:
    try:
        message = parse_audio(data)
    except ProtocolViolation:
        return
    assert build_audio(*astuple(message)) == data
