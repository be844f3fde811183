"""Tones that tell who is heard: each party its own, found again window by window.

A window is a tick, 20 ms. Tones are multiples of 50 Hz, so that each has a bin of its own in a
window's spectrum and none spills into another's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WINDOW_MS = 20
BIN_HZ = 1000 // WINDOW_MS

Samples = NDArray[np.int16]


def tone(hz: int, duration_ms: int, rate_hz: int = 24_000, amplitude: int = 6000) -> Samples:
    """Return a tone, int16, shape (n,)."""
    assert hz % BIN_HZ == 0, "not in the middle of a bin"
    at = np.arange(rate_hz * duration_ms // 1000)
    samples: Samples = np.rint(amplitude * np.sin(2 * np.pi * hz * at / rate_hz)).astype(np.int16)
    return samples


def amplitudes(samples: Samples, hz: int, rate_hz: int = 24_000) -> NDArray[np.float64]:
    """Return a tone's amplitude in each window of a recording, shape (windows,)."""
    length = rate_hz * WINDOW_MS // 1000
    windows = samples[: len(samples) // length * length].reshape(-1, length)
    spectrum = np.abs(np.fft.rfft(windows.astype(np.float64), axis=1)) * 2 / length
    return np.asarray(spectrum[:, hz // BIN_HZ], dtype=np.float64)
