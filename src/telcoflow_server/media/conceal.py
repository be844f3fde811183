"""Packet loss concealment: what was heard last goes on, pitch period by pitch period, and fades.

Not here: what counts as lost (`jitter.py`).
Implements the method of ITU-T G.711 Appendix I at any telephone rate, without its delay: see
"What is heard instead" of docs/explanation/jitter-buffer.md.

The Appendix holds all audio back by 3.75 ms, so that at a loss it can still blend the last
quarter period into the repetition. Here nothing is held back: what is received is played at once
and exactly, and the repetition is bent at its beginning so that it continues the last sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]

MIN_PERIOD_S = 0.005
MAX_PERIOD_S = 0.015
"""A voice's pitch, 200 to 66 Hz; a higher voice is found at a multiple of its period."""
FULL_S = 0.010
"""Repeated at full level for so long; speech hardly changes in that time."""
FADED_S = 0.060
"""From there on nothing: a longer repetition is heard as a buzz."""

_COARSE_HZ = 4_000
"""Rate of the first search; speech has most of its energy below half of it."""
_OVERLAP_GROWTH = 0.4
"""The blend into what is received again is longer after a longer loss: by 4 ms for 10."""
_MAX_OVERLAP_S = 0.010
_LEAST_POWER = 250.0
"""Of 20 ms, as in the Appendix: where there is no sound there is no pitch."""


@dataclass(frozen=True, slots=True)
class _Lengths:
    """The Appendix's times in samples of one rate."""

    min_period: int
    max_period: int
    history: int  # three periods and a quarter: 48.75 ms
    step: int  # after each, the repetition takes in one period more
    faded: int
    max_overlap: int
    decimation: int
    gain: NDArray[np.float64]  # shape (faded,)


@cache
def _lengths(rate_hz: int) -> _Lengths:
    max_period = round(MAX_PERIOD_S * rate_hz)
    step = round(FULL_S * rate_hz)
    faded = round(FADED_S * rate_hz)
    fading = 1 - np.arange(1, faded - step + 1) / (faded - step)
    return _Lengths(
        min_period=round(MIN_PERIOD_S * rate_hz),
        max_period=max_period,
        history=3 * max_period + max_period // 4,
        step=step,
        faded=faded,
        max_overlap=round(_MAX_OVERLAP_S * rate_hz),
        decimation=rate_hz // _COARSE_HZ,
        gain=np.concatenate((np.ones(step), fading)),
    )


class Concealer:
    """Conceals the losses of one stream. Adds no delay.

    What is received passes unchanged, but for the first samples after a loss (at most 10 ms).
    Lengths are free; what is given to `play` and `conceal` in turn is one continuous signal.

    Args:
        sample_rate_hz: A multiple of 4000: 8000, 16000, 24000 or 48000.

    Raises:
        ValueError: another rate.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        if sample_rate_hz < 2 * _COARSE_HZ or sample_rate_hz % _COARSE_HZ:
            raise ValueError(
                f"sample rate must be a multiple of {_COARSE_HZ} Hz from {2 * _COARSE_HZ} Hz, "
                f"not {sample_rate_hz!r}"
            )
        self._lengths = _lengths(sample_rate_hz)
        history = self._lengths.history
        # What was played, written forward; its end is moved to the front when there is no room.
        self._line = np.zeros(4 * history, dtype=np.int16)
        self._end = history
        self._repetition: NDArray[np.float64] | None = None  # of the loss in progress
        self._concealed = 0  # samples of it that were played
        self._quarter = 0  # of the repeated period

    def play(self, samples: Samples) -> Samples:
        """Take what was received; return what to play, of the same length.

        Args:
            samples: int16, shape (n,). Copied; not changed.

        Returns:
            `samples` itself, or after a loss a copy that is blended in.
        """
        if self._repetition is not None:
            samples = self._blend_in(self._repetition, samples)
            self._repetition = None
        self._keep(samples)
        return samples

    def conceal(self, length_samples: int) -> Samples:
        """Return what to play instead of so many samples that are lost: int16, shape (n,)."""
        if self._repetition is None:
            self._repetition = self._repeat()
            self._concealed = 0
        samples = _to_int16(self._upcoming(self._repetition, length_samples))
        self._concealed += length_samples
        self._keep(samples)
        return samples

    def _keep(self, samples: Samples) -> None:
        """Append to the history what was played."""
        history = self._lengths.history
        samples = samples[-history:]
        if self._end + samples.size > self._line.size:
            self._line[:history] = self._line[self._end - history : self._end]
            self._end = history
        self._line[self._end : self._end + samples.size] = samples
        self._end += samples.size

    def _upcoming(self, repetition: NDArray[np.float64], length: int) -> NDArray[np.float64]:
        """Return the next part of the repetition; zeros after its end."""
        part = repetition[self._concealed : self._concealed + length]
        return np.concatenate((part, np.zeros(length - part.size)))

    def _blend_in(self, repetition: NDArray[np.float64], samples: Samples) -> Samples:
        """Fade from the repetition to what is received."""
        lengths = self._lengths
        overlap = self._quarter + round((self._concealed - lengths.step) * _OVERLAP_GROWTH)
        overlap = min(max(overlap, self._quarter), lengths.max_overlap, samples.size)
        rise = _rise(overlap)
        blended = samples.copy()
        blended[:overlap] = _to_int16(
            (1 - rise) * self._upcoming(repetition, overlap) + rise * samples[:overlap]
        )
        return blended

    def _repeat(self) -> NDArray[np.float64]:
        """Return all that a loss may need: one, then two, then three periods repeated, fading.

        More periods in turn make a long repetition less of a buzz. A period ends in a blend with
        what led to its beginning, so that it can be repeated without a step.
        """
        lengths = self._lengths
        past = self._line[self._end - lengths.history : self._end].astype(np.float64)
        period = find_period(past, lengths.min_period, lengths.max_period, lengths.decimation)
        quarter = self._quarter = period // 4
        rise = _rise(quarter)
        signal = np.zeros(lengths.faded)
        for count, start in ((1, 0), (2, lengths.step), (3, 2 * lengths.step)):
            span = count * period
            cycle = past[-span:].copy()
            cycle[-quarter:] = (1 - rise) * cycle[-quarter:] + rise * past[
                past.size - span - quarter : past.size - span
            ]
            # The phase within a period goes on from where the shorter cycle was.
            at = (start % period + np.arange(lengths.faded - start)) % span
            if start:
                old = signal[start : start + quarter].copy()
                signal[start:] = cycle[at]
                signal[start : start + quarter] = (1 - rise) * old + rise * cycle[at[:quarter]]
            else:
                signal[:] = cycle[at]
        # The step from the last sample played to the repetition is spread over a quarter period.
        signal[:quarter] += (past[-1] - past[-period - 1]) * (1 - rise)
        return signal * lengths.gain


def find_period(
    past: NDArray[np.float64], min_period: int, max_period: int, decimation: int
) -> int:
    """Return the lag at which the last 20 ms resemble what was before, best by correlation.

    Args:
        past: At least 20 ms and the largest period.
        min_period: The least lag, samples.
        max_period: The largest.
        decimation: How much coarser the first search is; the second is around its result.

    Source: ITU-T G.711 Appendix I §I.2.3: normalised cross-correlation, first at every second
    sample. Deviation: means of neighbours instead of every second sample, against aliasing.
    """
    coarse = past[past.size % decimation :].reshape(-1, decimation).mean(axis=1)
    around = decimation * _best_lag(coarse, min_period // decimation, max_period // decimation)
    return _best_lag(
        past,
        max(around - decimation + 1, min_period),
        min(around + decimation - 1, max_period),
    )


def _best_lag(past: NDArray[np.float64], least: int, largest: int) -> int:
    """Return the lag of the greatest normalised cross-correlation of the last 20 ms."""
    # 20 ms of a history of 48.75, at any rate.
    width = past.size * 16 // 39
    before = past[-width - largest : past.size - least]
    products = np.correlate(before, past[-width:], "valid")
    energies = np.cumsum(np.concatenate(((0.0,), before * before)))
    power = np.maximum(energies[width:] - energies[:-width], _LEAST_POWER)
    return largest - int(np.argmax(products / np.sqrt(power)))


@cache
def _rise(length: int) -> NDArray[np.float64]:
    """Return the weights of what is blended in, towards 1."""
    return np.arange(1, length + 1) / (length + 1)


def _to_int16(signal: NDArray[np.float64]) -> Samples:
    return np.clip(np.rint(signal), -32768, 32767).astype(np.int16)
