from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from telcoflow_server.media.sound import SoundError
from telcoflow_server.testing.sound import Heard, Speech, read_speech
from tests.support.server import noise, wav_bytes
from tests.support.tones import tone

SAMPLES = noise(1_000)


def test_speech_is_a_file_its_bytes_pcm_or_samples(tmp_path: Path) -> None:
    file = tmp_path / "hello.wav"
    file.write_bytes(wav_bytes(SAMPLES))
    pcm = SAMPLES.astype("<i2").tobytes()

    for speech in (file, str(file), wav_bytes(SAMPLES), pcm, bytearray(pcm), memoryview(pcm)):
        assert read_speech(speech).tolist() == SAMPLES.tolist()
    assert read_speech(SAMPLES).tolist() == SAMPLES.tolist()


def test_samples_are_copied() -> None:
    samples = SAMPLES.copy()
    sound = read_speech(samples)

    samples[:] = 0

    assert sound.tolist() == SAMPLES.tolist()


@pytest.mark.parametrize(
    ("speech", "problem"),
    [
        (b"abc", "the middle of one"),
        (np.zeros(3), r"not float64 of shape \(3,\)"),
        (np.zeros((2, 2), np.int16), r"not int16 of shape \(2, 2\)"),
        (b"RIFF....WAVE", "WAV"),
    ],
)
def test_what_is_no_speech_is_refused(speech: Speech, problem: str) -> None:
    with pytest.raises(SoundError, match=problem):
        read_speech(speech)


def test_what_was_heard_tells_how_long_and_how_loud() -> None:
    heard = Heard(np.concatenate((np.zeros(4_800, np.int16), tone(1_000, 100, amplitude=3277))))

    assert heard.duration_s == 0.3
    assert heard.sounding.tolist() == [False] * 10 + [True] * 5
    assert heard.sounding_s == 0.1
    assert not heard.is_silent
    assert heard.level_db == pytest.approx(-20 - 3 - 4.8, abs=0.1)
    assert heard.pcm == heard.samples.tobytes()


@pytest.mark.parametrize("samples", [0, 100, 480])
def test_silence_is_silent(samples: int) -> None:
    heard = Heard(np.zeros(samples, np.int16))

    assert heard.is_silent
    assert heard.level_db == -96.0
    assert heard.sounding_s == 0.0


def test_it_can_be_saved_and_said_again(tmp_path: Path) -> None:
    Heard(SAMPLES).save(tmp_path / "heard.wav")

    assert read_speech(tmp_path / "heard.wav").tolist() == SAMPLES.tolist()
