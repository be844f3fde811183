"""What recordings of a call say about it: delays and stops, to the sample.

Not here: making the call (`demo.py`), drawing it (`picture.py`). Pure arithmetic on samples;
recordings start at tick 0 of the call, so that their times are the call's times.
"""

from __future__ import annotations

import io
import wave
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telcoflow_server.call.report import ClearReport

Samples = NDArray[np.int16]

AUDIBLE = 104
"""The smallest sample that counts as sound: -50 dBFS."""

PULSE_MS, PULSE_EVERY_MS = 100, 600
"""A probe's pulses are far enough apart that the echo of one is over before the next."""

STOP_WINDOW_MS = 500
"""After a clear, sound within this time is the rest of what was cleared, not a new utterance."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording's channels, each int16, shape (n,)."""

    sample_rate_hz: int
    channels: tuple[Samples, ...]


@dataclass(frozen=True, slots=True)
class Interruption:
    """The caller talked over the agent: three moments on the call's time axis."""

    onset_ms: float
    """The caller's first sound."""
    clear_ms: float
    """The agent's `clear` reached the server."""
    silent_ms: float
    """The agent's last sound at the caller's phone; not before the clear."""

    @property
    def detector_ms(self) -> float:
        """How long the agent took to notice: its own delay."""
        return self.clear_ms - self.onset_ms

    @property
    def stop_ms(self) -> float:
        """How long the agent was heard after it wanted to be silent: our delay."""
        return self.silent_ms - self.clear_ms


def read_recording(data: bytes) -> Recording:
    """Return the channels of a 16-bit WAV file as the sandbox writes them."""
    with wave.open(io.BytesIO(data)) as file:
        count = file.getnchannels()
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16)
        rate_hz = file.getframerate()
    return Recording(rate_hz, tuple(samples[channel::count] for channel in range(count)))


def probe(pulses: int, sample_rate_hz: int = 24_000) -> bytes:
    """Return a WAV file of short rising tones: each is found in an echo to the sample."""
    time_s = np.arange(PULSE_MS * sample_rate_hz // 1000) / sample_rate_hz
    rising = np.sin(2 * np.pi * (300 + 14_000 * time_s) * time_s) * np.hanning(len(time_s))
    one = np.zeros(PULSE_EVERY_MS * sample_rate_hz // 1000, np.int16)
    one[: len(rising)] = np.round(rising * 16_000)
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setparams((1, 2, sample_rate_hz, 0, "NONE", "not compressed"))
        file.writeframes(np.tile(one, pulses).astype("<i2").tobytes())
    return data.getvalue()


def echo_delays_ms(said: Samples, heard: Samples, sample_rate_hz: int) -> list[float]:
    """Return after what time each pulse of a probe was heard again.

    Args:
        said: What the caller said, with the pulses of `probe`.
        heard: What the caller heard, from the same moment on.
        sample_rate_hz: Of both.

    Returns:
        One delay for each pulse of which an echo was found.
    """
    pulse, every = (ms * sample_rate_hz // 1000 for ms in (PULSE_MS, PULSE_EVERY_MS))
    delays: list[float] = []
    at = _first_sound(said, 0)
    while at is not None:
        shape = said[at : at + pulse].astype(np.float64)
        window = heard[at : at + every].astype(np.float64)
        if len(window) >= len(shape) and np.abs(window).max() > AUDIBLE:
            lag = int(np.argmax(np.correlate(window, shape, "valid")))
            delays.append(lag * 1000 / sample_rate_hz)
        at = _first_sound(said, at + every // 2)
    return delays


def interruption(
    said: Samples,
    heard: Samples,
    sample_rate_hz: int,
    after_ms: float,
    clears: Sequence[ClearReport],
) -> Interruption | None:
    """Find when the agent was talked over, noticed, and was silent.

    Args:
        said: What the caller said, from tick 0.
        heard: What the caller heard, from tick 0.
        sample_rate_hz: Of both.
        after_ms: When the script had the caller interrupt.
        clears: The call's clears.

    Returns:
        None if the caller said nothing after that time or the agent did not clear.
    """
    onset = _first_sound(said, round(after_ms * sample_rate_hz / 1000))
    if onset is None:
        return None
    onset_ms = onset * 1000 / sample_rate_hz
    clear_ms = next((clear.at_ms for clear in clears if clear.at_ms >= onset_ms), None)
    if clear_ms is None:
        return None
    start = round(clear_ms * sample_rate_hz / 1000)
    rest = heard[start : start + STOP_WINDOW_MS * sample_rate_hz // 1000]
    audible = np.flatnonzero(np.abs(rest.astype(np.int32)) > AUDIBLE)
    last_ms = (int(audible[-1]) + 1) * 1000 / sample_rate_hz if len(audible) else 0.0
    return Interruption(onset_ms, clear_ms, clear_ms + last_ms)


def _first_sound(samples: Samples, start: int) -> int | None:
    audible = np.flatnonzero(np.abs(samples[start:].astype(np.int32)) > AUDIBLE)
    return start + int(audible[0]) if len(audible) else None
