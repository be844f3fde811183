from __future__ import annotations

import io
import struct
import wave

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_sdk.audio.wav import WavError, begins_like_wav, parse_wav_header


def wav(
    pcm: bytes = b"\x01\x02\x03\x04",
    *,
    sample_rate_hz: int = 24_000,
    channels: int = 1,
    sample_bytes: int = 2,
) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(sample_bytes)
        writer.setframerate(sample_rate_hz)
        writer.writeframes(pcm)
    return file.getvalue()


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(
        name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) & 1)
        for name, content in chunks
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


PLAIN = struct.pack("<HHIIHH", 1, 1, 24_000, 48_000, 2, 16)
EXTENSIBLE = (
    struct.pack("<HHIIHH", 0xFFFE, 1, 24_000, 48_000, 2, 16)
    + struct.pack("<HHI", 22, 16, 4)
    + struct.pack("<H", 1)
    + b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"
)


def test_header_says_what_the_samples_are() -> None:
    header = parse_wav_header(wav(sample_rate_hz=8_000, channels=2))

    assert (header.is_pcm, header.channels) == (True, 2)
    assert (header.sample_rate_hz, header.sample_bits) == (8_000, 16)
    assert (header.data_start, header.data_bytes) == (44, 4)


def test_samples_are_cut_out_between_header_and_trailing_chunks() -> None:
    data = riff((b"fmt ", PLAIN), (b"data", b"\x01\x02\x03\x04"), (b"LIST", b"made by"))

    assert parse_wav_header(data).samples_in(data) == b"\x01\x02\x03\x04"


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 1_000])
def test_everything_is_audio_when_the_writer_did_not_know_the_size(size: int) -> None:
    start = riff((b"fmt ", PLAIN))
    data = start + b"data" + struct.pack("<I", size) + b"abcdef"

    assert parse_wav_header(data).samples_in(data) == b"abcdef"


def test_chunks_before_the_samples_are_skipped_with_their_padding() -> None:
    data = riff((b"LIST", b"odd"), (b"fmt ", PLAIN), (b"data", b"abcd"))

    assert parse_wav_header(data).samples_in(data) == b"abcd"


def test_extensible_format_is_looked_into() -> None:
    assert parse_wav_header(riff((b"fmt ", EXTENSIBLE), (b"data", b"ab"))).is_pcm


def test_compressed_format_is_not_pcm() -> None:
    mulaw = struct.pack("<HHIIHH", 7, 1, 8_000, 8_000, 1, 8)

    assert not parse_wav_header(riff((b"fmt ", mulaw), (b"data", b"ab"))).is_pcm


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RIFF\0\0\0\0AVI ",
        riff((b"fmt ", PLAIN)),
        riff((b"fmt ", PLAIN[:10]), (b"data", b"ab")),
        riff((b"data", b"ab"), (b"fmt ", PLAIN)),
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0",
    ],
)
def test_what_is_no_whole_header_is_an_error(data: bytes) -> None:
    with pytest.raises(WavError):
        parse_wav_header(data)


def test_pcm_does_not_begin_like_a_wav() -> None:
    assert not begins_like_wav(b"RIFF")
    assert not begins_like_wav(b"RIFFxxxxABCD")
    assert begins_like_wav(wav())


@given(data=st.binary(max_size=80))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    try:
        parse_wav_header(b"RIFF\0\0\0\0WAVE" + data)
    except WavError:
        pass


@given(pcm=st.binary(max_size=50).map(lambda data: data[: len(data) & ~1]), cut=st.integers(0, 60))
def test_every_cut_of_a_file_parses_or_is_an_error(pcm: bytes, cut: int) -> None:
    data = wav(pcm)[:cut]
    try:
        assert parse_wav_header(data).samples_in(data) == pcm[: max(0, cut - 44)]
    except WavError:
        assert cut < 44
