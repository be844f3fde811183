"""What phones say and hear: sounds from files, bytes or samples, and recordings to assert on.

Not here: the phones (`phone.py`), reading WAV files (`media/sound.py`).
Implements "Phones" of docs/how-to/test-your-agent.md.
"""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telcoflow_sdk.audio.format import TICK_MS, AudioFormat, BytesLike
from telcoflow_server.legs.simulated import SILENCE_DB, level_db
from telcoflow_server.media.plane import MIX_RATE_HZ
from telcoflow_server.media.sound import Sound, SoundError, load_sound

FRAME_SAMPLES = AudioFormat(MIX_RATE_HZ).frame_samples

Speech = str | Path | BytesLike | NDArray[np.int16]
"""A WAV file (its path or its bytes), raw PCM (24 kHz, little-endian, 16 bits), or samples."""


def read_speech(speech: Speech) -> Sound:
    """Return a sound for a phone: int16, shape (n,), mono, 24 kHz.

    Args:
        speech: See `Speech`; samples are int16, shape (n,), 24 kHz.

    Raises:
        SoundError: it is none of these; the text says what is wrong.
        OSError: the file cannot be read.
    """
    if isinstance(speech, str | Path):
        return load_sound(Path(speech).read_bytes())
    if isinstance(speech, np.ndarray):
        return _checked(speech)
    data = bytes(speech)
    if data.startswith(b"RIFF"):
        return load_sound(data)
    if len(data) % 2:
        raise SoundError("raw PCM has two bytes for each sample; this ends in the middle of one")
    return np.frombuffer(data, dtype="<i2").astype(np.int16)


def _checked(samples: NDArray[Any]) -> Sound:
    if samples.dtype != np.int16 or samples.ndim != 1:
        raise SoundError(
            f"samples are int16 of shape (n,), not {samples.dtype} of shape {samples.shape}"
        )
    return samples.copy()


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What a phone heard over some time.

    Attributes:
        samples: int16, shape (n,), mono, 24 kHz.
    """

    samples: Sound

    @property
    def duration_s(self) -> float:
        """How long it is, seconds."""
        return self.samples.size / MIX_RATE_HZ

    @property
    def pcm(self) -> bytes:
        """Raw PCM: little-endian, 16 bits, 24 kHz."""
        return self.samples.astype("<i2").tobytes()

    @property
    def level_db(self) -> float:
        """How loud it is on average, dB of full scale: 0 at most, -96 for digital silence."""
        return level_db(self.samples) if self.samples.size else level_db(np.zeros(1, np.int16))

    @property
    def sounding(self) -> NDArray[np.bool_]:
        """For each 20 ms whether there was sound, -50 dB or more; shape (n,)."""
        frames = np.array_split(
            self.samples, range(FRAME_SAMPLES, self.samples.size, FRAME_SAMPLES)
        )
        return np.array([bool(one.size) and level_db(one) >= SILENCE_DB for one in frames])

    @property
    def sounding_s(self) -> float:
        """For how long there was sound, seconds."""
        return float(self.sounding.sum()) * TICK_MS / 1000

    @property
    def is_silent(self) -> bool:
        """Whether there was no sound in it."""
        return not self.sounding.any()

    def save(self, path: str | Path) -> None:
        """Write it as a WAV file. Raises OSError."""
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(MIX_RATE_HZ)
            file.writeframes(self.pcm)
