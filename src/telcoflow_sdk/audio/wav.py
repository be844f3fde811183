"""The header of a WAV file: where its samples start and what they are.

Not here: conversion; the SDK sends what it is given or says what to do.
Implements the WAV rule of docs/reference/sdk.md. Source: Microsoft RIFF/WAVE, RFC 2361.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from telcoflow_sdk.audio.format import BYTES_PER_SAMPLE, AudioFormat

_PCM = 0x0001
_EXTENSIBLE = 0xFFFE

_FORMAT_CHUNK = struct.Struct("<HHIIHH")
_CHUNK_HEADER = struct.Struct("<4sI")
_RIFF_HEADER_BYTES = 12


MAX_HEADER_BYTES = 64 * 1024
"""What is read of a file to find its first sample; headers with cover pictures are longer."""


class WavError(ValueError):
    """The bytes begin like a WAV file but cannot be read as one."""


@dataclass(frozen=True, slots=True)
class WavHeader:
    """What a WAV header says.

    Attributes:
        is_pcm: Whether samples are plain integers, not compressed or floating point.
        channels: How many samples belong to one moment.
        sample_rate_hz: Moments per second.
        sample_bits: Size of one sample.
        data_start: Offset of the first sample.
        data_bytes: What the header says it holds; 0 or huge when the writer did not know yet.
    """

    is_pcm: bool
    channels: int
    sample_rate_hz: int
    sample_bits: int
    data_start: int
    data_bytes: int

    def require(self, audio_format: AudioFormat) -> None:
        """Return if the samples are PCM of this format, one channel; else say what to do.

        Raises:
            ValueError: they are not.
        """
        wanted = (True, 1, audio_format.sample_rate_hz, 8 * BYTES_PER_SAMPLE)
        if (self.is_pcm, self.channels, self.sample_rate_hz, self.sample_bits) != wanted:
            raise ValueError(
                f"this WAV is {self.sample_rate_hz} Hz, {self.channels} channel(s), "
                f"{self.sample_bits}-bit{'' if self.is_pcm else ', not PCM'}: convert it and "
                f"{wanted_of(audio_format)}, or connect with another sample_rate"
            )

    def samples_in(self, data: bytes) -> bytes:
        """Return the audio in `data`, without the header and without chunks after the samples.

        A streaming writer leaves the size at 0 or at its maximum: then everything is audio.
        """
        end = self.data_start + self.data_bytes
        if self.data_bytes == 0 or end > len(data):
            end = len(data)
        return data[self.data_start : end]


def wanted_of(audio_format: AudioFormat) -> str:
    """Return, as part of an error, what an application should send."""
    rate_hz = audio_format.sample_rate_hz
    return f"send raw PCM: signed 16-bit little-endian, mono, {rate_hz} Hz, without a header"


def begins_like_wav(data: bytes) -> bool:
    """Return whether `data` starts with the mark of a WAV file."""
    return data[:4] == b"RIFF" and data[8:12] == b"WAVE"


def parse_wav_header(data: bytes) -> WavHeader:
    """Read the header at the start of `data`.

    Args:
        data: Must hold the whole header, up to the first sample.

    Raises:
        WavError: not a WAV header, cut short, or without format or samples.
    """
    if not begins_like_wav(data):
        raise WavError("not a WAV file")
    encoding: tuple[int, int, int, int] | None = None
    at = _RIFF_HEADER_BYTES
    while at + _CHUNK_HEADER.size <= len(data):
        name, size = _CHUNK_HEADER.unpack_from(data, at)
        at += _CHUNK_HEADER.size
        if name == b"fmt ":
            encoding = _parse_format(data, at, size)
        elif name == b"data":
            if encoding is None:
                raise WavError("the WAV header has samples before their format")
            tag, channels, sample_rate_hz, sample_bits = encoding
            return WavHeader(
                is_pcm=tag == _PCM,
                channels=channels,
                sample_rate_hz=sample_rate_hz,
                sample_bits=sample_bits,
                data_start=at,
                data_bytes=size,
            )
        at += size + (size & 1)  # chunks are padded to even sizes
    raise WavError("the WAV header is cut short")


def _parse_format(data: bytes, at: int, size: int) -> tuple[int, int, int, int]:
    if size < _FORMAT_CHUNK.size or at + _FORMAT_CHUNK.size > len(data):
        raise WavError("the WAV header is cut short")
    tag, channels, sample_rate_hz, _, _, sample_bits = _FORMAT_CHUNK.unpack_from(data, at)
    if tag == _EXTENSIBLE and size >= 26 and at + 26 <= len(data):
        # WAVE_FORMAT_EXTENSIBLE: the true tag is the start of the sub-format's GUID.
        (tag,) = struct.unpack_from("<H", data, at + 24)
    return tag, channels, sample_rate_hz, sample_bits
