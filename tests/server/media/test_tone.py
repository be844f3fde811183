"""Ringback: the right tones, in the right cadence, without a click."""

from __future__ import annotations

import numpy as np

from telcoflow_server.media.tone import Ringback

FRAME = 480


def ringback(ticks: int, first_tick: int = 0) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    tone = Ringback(first_tick)
    frames = np.zeros((ticks, FRAME), np.int16)
    for tick in range(ticks):
        sounded = tone.take(first_tick + tick, frames[tick])
        assert sounded == bool(frames[tick].any())
        tone.put(tick, frames[tick])
    return frames.reshape(-1)


def test_ringback_is_two_tones() -> None:
    one_second = ringback(50).astype(float)

    spectrum = np.abs(np.fft.rfft(one_second))

    assert set(np.argsort(spectrum)[-2:]) == {440, 480}
    others = np.delete(spectrum, [440, 480])
    assert others.max() < spectrum[440] / 1000


def test_ringback_is_two_seconds_on_and_four_off_from_its_first_tick() -> None:
    loud = np.abs(ringback(620, first_tick=7).astype(int)).reshape(-1, FRAME).max(axis=1) > 0

    assert loud[:100].all()
    assert not loud[100:300].any()
    assert loud[300:400].all()
    assert not loud[400:600].any()
    assert loud[600:].all()


def test_ringback_begins_and_ends_without_a_click() -> None:
    sound = ringback(101).astype(int)

    steepest = np.abs(np.diff(sound[: 99 * FRAME])).max()
    assert abs(sound[0]) <= steepest
    assert abs(sound[100 * FRAME - 1]) <= steepest
