"""Packet loss concealment: what was heard last goes on, pitch period by pitch period, and fades.

Not here: what counts as lost (`jitter.py`).
Implements the method of ITU-T G.711 Appendix I at any telephone rate, without its delay: see
"What is heard instead" of docs/explanation/jitter-buffer.md.

The Appendix holds all audio back by 3.75 ms, so that at a loss it can still blend the last
quarter period into the repetition. Here nothing is held back: what is received is played at once
and exactly, and the repetition is bent at its beginning so that it continues the last sample.

It also knows only the past. Behind a jitter buffer what comes after a loss is mostly there, so the
same method is applied to that, backwards, and the one is faded into the other.
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
HISTORY_S = 3.25 * MAX_PERIOD_S
"""What of the past a loss may need: three periods and a quarter."""
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
class Lengths:
    """The Appendix's times in samples of one rate."""

    min_period: int
    max_period: int
    history: int  # three periods and a quarter: 48.75 ms
    step: int  # after each, the repetition takes in one period more
    faded: int
    least_following: int
    max_overlap: int
    decimation: int
    gain: NDArray[np.float64]  # shape (faded,)


@cache
def lengths_at(rate_hz: int) -> Lengths:
    """Return the lengths for a sample rate."""
    max_period = round(MAX_PERIOD_S * rate_hz)
    step = round(FULL_S * rate_hz)
    faded = round(FADED_S * rate_hz)
    fading = 1 - np.arange(1, faded - step + 1) / (faded - step)
    return Lengths(
        min_period=round(MIN_PERIOD_S * rate_hz),
        max_period=max_period,
        history=3 * max_period + max_period // 4,
        step=step,
        faded=faded,
        least_following=max_period + max_period // 4,
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
        self._lengths = lengths_at(sample_rate_hz)
        history = self._lengths.history
        # What was played, written forward; its end is moved to the front when there is no room.
        self._line = np.zeros(4 * history, dtype=np.int16)
        self._end = history
        self._repetition: NDArray[np.float64] | None = None  # of the loss in progress
        self._concealed = 0  # samples of it that were played
        self._period = 0  # that is repeated

    @property
    def is_concealing(self) -> bool:
        """Whether what is received next will be blended in."""
        return self._repetition is not None

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
        begin = self._end
        end = begin + samples.size
        if end > self._line.size:
            self._keep(samples)
        else:  # the same, where there is room
            self._line[begin:end] = samples
            self._end = end
        return samples

    def conceal(self, length_samples: int, following: Samples | None = None) -> Samples:
        """Return what to play instead of so many samples that are lost: int16, shape (n,).

        Args:
            length_samples: How many.
            following: What was received of the time right after them, if any: int16, shape (m,),
                to be played next. The loss then leads into it, and it passes unchanged. Less
                than 18.75 ms, the longest period and a quarter, is of no use.
        """
        lengths = self._lengths
        if self._repetition is None:
            past = self._line[self._end - lengths.history : self._end].astype(np.float64)
            self._period = find_period(past, lengths)
            self._repetition = _repeat(past, self._period, lengths)
            self._concealed = 0
        wave = self._upcoming(self._repetition, length_samples)
        self._concealed += length_samples
        if following is not None and following.size >= lengths.least_following:
            leading = self._lead_into(following, length_samples)
            rise = _rise(length_samples)
            wave = (1 - rise) * wave + rise * leading
            self._repetition = None
        samples = _to_int16(wave)
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

    def _lead_into(self, following: Samples, length: int) -> NDArray[np.float64]:
        """Return what may have been before `following`: the same method, backwards in time."""
        lengths = self._lengths
        future = np.zeros(lengths.history)
        known = following[: lengths.history]
        future[lengths.history - known.size :] = known[::-1]
        period = find_period(future, lengths)
        back = _repeat(future[lengths.history - known.size :], period, lengths)[:length]
        return np.concatenate((np.zeros(length - back.size), back[::-1]))

    def _blend_in(self, repetition: NDArray[np.float64], samples: Samples) -> Samples:
        """Fade from the repetition to what is received."""
        lengths = self._lengths
        quarter = self._period // 4
        overlap = quarter + round((self._concealed - lengths.step) * _OVERLAP_GROWTH)
        overlap = min(max(overlap, quarter), lengths.max_overlap, samples.size)
        rise = _rise(overlap)
        blended = samples.copy()
        blended[:overlap] = _to_int16(
            (1 - rise) * self._upcoming(repetition, overlap) + rise * samples[:overlap]
        )
        return blended


def _repeat(past: NDArray[np.float64], period: int, lengths: Lengths) -> NDArray[np.float64]:
    """Return all that a loss may need: one, then two, then three periods repeated, fading.

    More periods in turn make a long repetition less of a buzz. A period ends in a blend with
    what led to its beginning, so that it can be repeated without a step.

    Args:
        past: What went before: a period and a quarter, or more.
        period: Of the repetition, samples.
        lengths: Those of the rate.
    """
    quarter = period // 4
    rise = _rise(quarter)
    signal = np.zeros(lengths.faded)
    for count, start in ((1, 0), (2, lengths.step), (3, 2 * lengths.step)):
        span = count * period
        first = past.size - span
        if first < quarter:
            break
        cycle = past[first:].copy()
        cycle[-quarter:] = (1 - rise) * cycle[-quarter:] + rise * past[first - quarter : first]
        # The phase within a period goes on from where the shorter cycle was.
        at = (start % period + np.arange(lengths.faded - start)) % span
        before = signal[start : start + quarter].copy()
        signal[start:] = cycle[at]
        if start:
            signal[start : start + quarter] = (1 - rise) * before + rise * cycle[at[:quarter]]
    # The step from the last sample played to the repetition is spread over a quarter period.
    signal[:quarter] += (past[-1] - past[-period - 1]) * (1 - rise)
    return signal * lengths.gain


def find_period(past: NDArray[np.float64], lengths: Lengths) -> int:
    """Return the lag at which the last 20 ms resemble what was before, best by correlation.

    Source: ITU-T G.711 Appendix I §I.2.3: normalised cross-correlation, first at every second
    sample, then around the best. Deviation: means of neighbours instead of every second sample,
    against aliasing at the higher rates.

    Args:
        past: 48.75 ms.
        lengths: Those of the rate.
    """
    step = lengths.decimation
    coarse = past[past.size % step :].reshape(-1, step).mean(axis=1)
    around = step * _best_lag(coarse, lengths.min_period // step, lengths.max_period // step)
    return _best_lag(
        past,
        max(around - step + 1, lengths.min_period),
        min(around + step - 1, lengths.max_period),
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
