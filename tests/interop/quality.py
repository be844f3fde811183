"""How good recorded speech is: run in `.venv-interop`, `python quality.py SAID.wav HEARD.wav`.

Prints JSON: PESQ (ITU-T P.862, narrow band), STOI, how late it is, by how much the delay drifts
between the first third and the last, and the longest time in which something is said and nothing
heard. Mono, 16 bits, any rate; compared at 8 kHz.
"""

from __future__ import annotations

import json
import sys
import wave
from math import gcd

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 8_000
WINDOW = RATE_HZ // 200  # 5 ms

SPOKEN = 800
"""A window of what was said with a peak from here on is speech..."""
SILENT = 40
"""...and one of what was heard with a peak below this is silence."""

MOST_DRIFT = 800

Samples = NDArray[np.float64]


def load(file: str) -> Samples:
    """Return a recording at 8 kHz, in units of 16-bit samples."""
    from scipy.signal import resample_poly  # type: ignore[import-not-found, import-untyped, unused-ignore]

    with wave.open(file) as recording:
        rate_hz = recording.getframerate()
        data = recording.readframes(recording.getnframes())
        channels = recording.getnchannels()
    sound = np.frombuffer(data, "<i2").reshape(-1, channels)[:, 0].astype(np.float64)
    common = gcd(rate_hz, RATE_HZ)
    if rate_hz == RATE_HZ:
        return sound
    resampled: Samples = resample_poly(sound, RATE_HZ // common, rate_hz // common)
    return resampled


def delay_of(said: Samples, heard: Samples) -> int:
    """Return by how many samples `heard` is late; it must hold all of `said`."""
    size = said.size + heard.size
    spectrum = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(said, size))
    return int(np.argmax(np.fft.irfft(spectrum, size)[: heard.size]))


def longest_gap_ms(said: Samples, heard: Samples) -> int:
    """Return for how long nothing was heard of what was said."""

    def peaks(sound: Samples) -> Samples:
        whole = sound[: sound.size // WINDOW * WINDOW]
        found: Samples = np.abs(whole.reshape(-1, WINDOW)).max(axis=1)
        return found

    longest = run = 0
    for is_missing in (peaks(said) >= SPOKEN) & (peaks(heard) < SILENT):
        run = run + 1 if is_missing else 0
        longest = max(longest, run)
    return longest * 5


def main() -> None:
    """Compare two recordings."""
    from pesq import pesq  # type: ignore[import-not-found, import-untyped, unused-ignore]
    from pystoi import stoi  # type: ignore[import-not-found, import-untyped, unused-ignore]

    said, heard = load(sys.argv[1]), load(sys.argv[2])
    # As loud as each other where they overlap: levels are no matter of quality here.
    delay = delay_of(said, heard)
    heard = heard[delay : delay + said.size]
    said = said[: heard.size]
    third = said.size // 3

    def local(first: int) -> int:
        part = said[first : first + third - MOST_DRIFT]
        around = heard[max(0, first - MOST_DRIFT) : first + third]
        return delay_of(part, around) - min(first, MOST_DRIFT)

    drift = local(2 * third) - local(0)
    result = {
        "pesq": float(pesq(RATE_HZ, said / 32768, heard / 32768, "nb")),
        "stoi": float(stoi(said, heard, RATE_HZ)),
        "delay_ms": delay * 1000 / RATE_HZ,
        "drift_ms": drift * 1000 / RATE_HZ,
        "longest_gap_ms": longest_gap_ms(said, heard),
        "seconds": said.size / RATE_HZ,
    }
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main()
