"""The speech that comes with the server, at any telephone rate, for what has to do with voices."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import telcoflow_server.speech
from telcoflow_server.media.plane import MIX_RATE_HZ
from telcoflow_server.media.sound import load_sound

Samples = NDArray[np.int16]


@cache
def speech(rate_hz: int) -> Samples:
    """Return a sentence of 7 s with its pauses, whole ticks, mono int16."""
    file = Path(next(iter(telcoflow_server.speech.__path__))) / "sentence.wav"
    sound = load_sound(file.read_bytes()).astype(np.float64)
    sound = sound[: sound.size // MIX_RATE_HZ * MIX_RATE_HZ]  # whole seconds: whole bins
    spectrum = np.fft.rfft(sound)
    length = sound.size * rate_hz // MIX_RATE_HZ
    bins = np.zeros(length // 2 + 1, dtype=np.complex128)
    shared = min(bins.size, spectrum.size)
    bins[:shared] = spectrum[:shared]
    wave = np.fft.irfft(bins, length)
    samples: Samples = np.rint(wave * (16_000 / np.abs(wave).max())).astype(np.int16)
    return samples


@cache
def voiced(rate_hz: int) -> Samples:
    """Return the same without its pauses: wherever it is silent, something is missing."""
    frames = speech(rate_hz).reshape(-1, rate_hz // 50)
    levels = np.sqrt(np.mean(frames.astype(np.float64) ** 2, axis=1))
    spoken: Samples = frames[levels > 300].reshape(-1)
    return spoken


def longest_gap_ms(samples: Samples, rate_hz: int) -> int:
    """Return the longest time for which nothing is to be heard, in steps of 5 ms."""
    windows = samples[: samples.size // (rate_hz // 200) * (rate_hz // 200)]
    levels = np.abs(windows.reshape(-1, rate_hz // 200).astype(np.int32)).max(axis=1)
    longest = run = 0
    for level in levels:
        run = run + 1 if level < 40 else 0
        longest = max(longest, run)
    return longest * 5


def snr_db(signal: Samples, heard: Samples) -> float:
    """Return how far the difference is below the signal."""
    wanted = signal.astype(np.float64)
    error = heard.astype(np.float64) - wanted
    return float(10 * np.log10((wanted @ wanted + 1e-9) / (error @ error + 1e-9)))
