from __future__ import annotations

import io
import logging
import wave

import pytest

from telcoflow_sdk.audio.format import AudioFormat
from telcoflow_sdk.audio.intake import Intake
from telcoflow_sdk.exceptions import BufferClosedError, BufferFullError

PCM = bytes(range(200))


def intake(capacity_bytes: int = 10_000) -> Intake:
    return Intake(AudioFormat(24_000), capacity_bytes)


def queued(into: Intake) -> bytes:
    return into.buffer.read(100_000)


def wav(pcm: bytes, *, sample_rate_hz: int = 24_000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(sample_rate_hz)
        writer.writeframes(pcm)
    return file.getvalue()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_anything_like_bytes_is_taken(kind: type[bytes]) -> None:
    into = intake()

    into.write(kind(PCM))

    assert queued(into) == PCM


def test_what_is_not_like_bytes_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        intake().write("text")  # type: ignore[arg-type]


def test_samples_of_another_type_are_taken_as_their_bytes() -> None:
    into = intake()

    into.write(memoryview(PCM).cast("h"))

    assert queued(into) == PCM


def test_the_header_of_a_wav_file_is_left_out_and_that_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    into = intake()

    with caplog.at_level(logging.WARNING):
        into.write(wav(PCM))
        into.write(wav(PCM))

    assert queued(into) == PCM + PCM
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (wav(PCM, sample_rate_hz=8_000), "8000 Hz"),
        (b"RIFF\x00\x00\x00\x00WAVE", "cut short"),
    ],
)
def test_a_wav_file_that_cannot_be_played_as_it_is_says_what_to_do(data: bytes, why: str) -> None:
    into = intake()

    with pytest.raises(ValueError, match=why) as caught:
        into.write(data)

    assert "send raw PCM" in str(caught.value)
    assert queued(into) == b""


def test_audio_that_begins_by_chance_as_a_wav_file_does_is_audio() -> None:
    into = intake()

    into.write(b"RIFF" + PCM)

    assert queued(into) == b"RIFF" + PCM


def test_what_does_not_fit_changes_nothing() -> None:
    into = intake(capacity_bytes=300)
    into.write(PCM)

    with pytest.raises(BufferFullError):
        into.write(PCM)

    assert queued(into) == PCM


def test_after_the_end_nothing_is_taken() -> None:
    into = intake()
    into.buffer.close()

    with pytest.raises(BufferClosedError):
        into.write(PCM)
