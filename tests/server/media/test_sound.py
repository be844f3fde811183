"""Sound files: what is played, how well it is converted, and what each refusal says."""

from __future__ import annotations

import io
import struct
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from telcoflow_server.media.sound import MAX_FILE_BYTES, MAX_SOUND_S, SoundError, load_sound


def wav(samples: ArrayLike, rate_hz: int, channels: int = 1) -> bytes:
    """Return a file as Python's own writer makes it."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate_hz)
        writer.writeframes(np.asarray(samples).astype("<i2").tobytes())
    return file.getvalue()


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(
        name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
        for name, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WAVE" + body


def form(
    tag: int = 1, channels: int = 1, rate_hz: int = 24_000, bits: int = 16, tail: bytes = b""
) -> tuple[bytes, bytes]:
    block = channels * bits // 8
    return b"fmt ", struct.pack("<HHIIHH", tag, channels, rate_hz, 0, block, bits) + tail


NOISE = np.random.default_rng(1).integers(-32768, 32768, 1_000).astype(np.int16)


def test_mono_at_24_khz_is_played_sample_for_sample() -> None:
    assert (load_sound(wav(NOISE, 24_000)) == NOISE).all()


def test_stereo_becomes_the_mean_of_both_sides() -> None:
    sides = [[100, 200], [-300, 100], [32_767, 32_767], [-32_768, -32_768]]

    assert load_sound(wav(sides, 24_000, channels=2)).tolist() == [150, -100, 32_767, -32_768]


@pytest.mark.parametrize("rate_hz", [4_000, 8_000, 11_025, 16_000, 22_050, 44_100, 44_101, 48_000])
@pytest.mark.parametrize("of_band", [0.1, 0.5, 0.8])
def test_tone_keeps_its_level_and_phase(rate_hz: int, of_band: float) -> None:
    hz = of_band * min(rate_hz, 24_000) / 2
    tone = np.rint(12_000 * np.sin(2 * np.pi * hz * np.arange(rate_hz // 2) / rate_hz))

    sound = load_sound(wav(tone, rate_hz))

    expected = 12_000 * np.sin(2 * np.pi * hz * np.arange(sound.size) / 24_000)
    inside = slice(1_500, -1_500)
    noise = sound[inside] - expected[inside]
    snr_db = 10 * np.log10(np.sum(expected[inside] ** 2) / np.sum(noise**2))
    assert snr_db > 75


@pytest.mark.parametrize("rate_hz", [44_100, 48_000, 192_000])
def test_tone_above_the_band_leaves_no_alias(rate_hz: int) -> None:
    tone = 12_000 * np.sin(2 * np.pi * 14_000 * np.arange(rate_hz // 4) / rate_hz)

    sound = load_sound(wav(np.rint(tone), rate_hz))

    assert np.abs(sound[1_000:-1_000]).max() <= 2


@pytest.mark.parametrize(("rate_hz", "samples"), [(8_000, 801), (44_100, 4_410), (48_000, 7)])
def test_length_is_kept_rounded_up_to_a_sample(rate_hz: int, samples: int) -> None:
    assert load_sound(wav(np.ones(samples), rate_hz)).size == -(-samples * 24_000 // rate_hz)


def test_overshoot_saturates() -> None:
    square = np.where(np.arange(800) // 20 % 2, 32_767, -32_768)

    sound = load_sound(wav(square, 8_000)).astype(np.int64)

    assert (sound.max(), sound.min()) == (32_767, -32_768)
    assert np.abs(np.diff(sound)).max() < 45_000


def test_extensible_format_is_read() -> None:
    tail = struct.pack("<HHI", 22, 16, 4) + b"\x01\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"

    assert (load_sound(riff(form(0xFFFE, tail=tail), (b"data", NOISE.tobytes()))) == NOISE).all()


def test_other_chunks_are_passed_over() -> None:
    data = riff((b"LIST", b"odd"), form(), (b"data", NOISE.tobytes()), (b"note", b"sung"))

    assert (load_sound(data) == NOISE).all()


@pytest.mark.parametrize("length", [0, 0x7FFF_F000, 0xFFFF_FFFF])
def test_length_unknown_to_its_writer_means_the_rest_of_the_file(length: int) -> None:
    data = bytearray(wav(NOISE, 24_000))
    data[40:44] = struct.pack("<I", length)

    assert (load_sound(bytes(data) + b"\x01") == NOISE).all()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "not a WAV file; export it again as 16-bit PCM WAV"),
        (b"OggS" + bytes(40), "this is an Ogg file; convert with: sox in.wav -b 16 out.wav"),
        (b"RIFF\0\0\0\0WAVE", "the WAV header is cut short"),
        (riff((b"data", b"\0\0")), "samples before their format"),
        (riff(form(bits=8), (b"data", b"\0")), "8-bit PCM; convert with: sox in.wav -b 16 out"),
        (riff(form(bits=24), (b"data", b"\0\0\0")), "24-bit PCM; convert with"),
        (riff(form(tag=3, bits=32), (b"data", bytes(4))), "32-bit samples that are not PCM"),
        (riff(form(channels=6), (b"data", bytes(12))), "6 channels, not 1 or 2; .* -c 1 out.wav"),
        (riff(form(channels=0), (b"data", bytes(12))), "0 channels"),
        (riff(form(rate_hz=2_000), (b"data", b"\0\0")), "rate of 2000 Hz.* -r 24000 out.wav"),
        (riff(form(rate_hz=384_000), (b"data", b"\0\0")), "rate of 384000 Hz"),
        (wav(NOISE, 24_000)[:-7], "cut short: 2000 bytes of sound announced, 1993 found"),
        (riff(form(), (b"data", b"")), "no sound in it"),
        (riff(form(channels=2), (b"data", b"\0\0\0")), "no sound in it"),
    ],
)
def test_refusal_says_what_was_found_and_what_to_do(data: bytes, text: str) -> None:
    with pytest.raises(SoundError, match=text):
        load_sound(data)


def test_sound_longer_than_the_limit_is_refused() -> None:
    samples = np.zeros((MAX_SOUND_S + 1) * 4_000, dtype=np.int16)

    with pytest.raises(SoundError, match=r"601 s long, more than 600 s; .* trim 0 600"):
        load_sound(wav(samples, 4_000))


def test_file_larger_than_the_limit_is_refused_unread() -> None:
    with pytest.raises(SoundError, match=f"more than {MAX_FILE_BYTES}"):
        load_sound(bytes(MAX_FILE_BYTES + 1))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_in_the_documented_way(data: bytes) -> None:
    with pytest.raises(SoundError):
        load_sound(data)


@given(
    cut=st.integers(0, 120),
    changes=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=4),
)
def test_damaged_file_is_played_or_refused_in_the_documented_way(
    cut: int, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(wav(NOISE[:38], 16_000, channels=2))
    for at, value in changes:
        data[at] = value

    try:
        sound = load_sound(bytes(data[: len(data) - cut]))
    except SoundError:
        return

    assert sound.dtype == np.int16
    assert sound.size > 0
