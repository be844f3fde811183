"""What is said in calls with phones of others, and how good it was when it was heard."""

from __future__ import annotations

import asyncio
import wave
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from tests.support.speech import speech

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-interop" / "bin" / "python"

LEAD_IN_S = 2
"""Silence before it is spoken, in which jitter buffers find their depth."""
TAIL_S = 30
"""Silence behind it: some phones hang up where their file ends."""

Samples = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Quality:
    """See `quality.py`."""

    pesq: float
    stoi: float
    delay_ms: float
    drift_ms: float
    longest_gap_ms: int
    seconds: float


def sentence(rate_hz: int) -> Samples:
    """Return what is said: 7 s."""
    return speech(rate_hz)


def padded(sound: Samples, rate_hz: int) -> Samples:
    """Return it with silence before and behind."""
    whole = np.zeros(LEAD_IN_S * rate_hz + sound.size + TAIL_S * rate_hz, np.int16)
    whole[LEAD_IN_S * rate_hz :][: sound.size] = sound
    return whole


def write(file: Path, sound: Samples, rate_hz: int) -> Path:
    """Write a WAV file."""
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate_hz)
        out.writeframes(sound.astype("<i2").tobytes())
    return file


async def compare(said: Path, heard: Path) -> Quality:
    """Return how good `heard` is; both are WAV files."""
    process = await asyncio.create_subprocess_exec(
        *(str(PYTHON), str(Path(__file__).parent / "quality.py"), str(said), str(heard)),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, "quality.py has failed"
    return msgspec.json.decode(output, type=Quality)


def check_clean(quality: Quality) -> None:
    """What G.711 permits, and nothing less."""
    assert quality.seconds >= 6.5, quality
    assert quality.pesq >= 3.9, quality
    assert quality.stoi >= 0.99, quality
    assert quality.longest_gap_ms <= 40, quality
    assert quality.drift_ms == 0, quality
