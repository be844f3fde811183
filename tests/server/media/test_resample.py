"""Rates: exact frames, exact arithmetic, and what the filter does to sound."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from telcoflow_server.media.resample import BLOCK_LEGS, ResampleBlock, conversion, prototype

PAIRS = [(8_000, 24_000), (24_000, 8_000), (16_000, 24_000), (24_000, 16_000)]
pairs = pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)


def stream(
    from_hz: int, to_hz: int, samples: NDArray[np.int16], seat: int = 0
) -> NDArray[np.int16]:
    """Convert whole frames of one leg that sits in `seat` of a block of its own."""
    block = ResampleBlock(from_hz, to_hz)
    taken = [block.take_seat() for _ in range(seat + 1)][-1]
    frames = []
    for frame in samples.reshape(-1, from_hz // 50):
        block.input(taken)[:] = frame
        block.run()
        frames.append(block.output(taken).copy())
    return np.concatenate(frames)


def tone(
    rate_hz: int, hz: float, seconds: float = 0.2, amplitude: float = 16_000
) -> NDArray[np.int16]:
    at = np.arange(round(rate_hz * seconds)) / rate_hz
    return np.asarray(np.rint(amplitude * np.sin(2 * np.pi * hz * at)), dtype=np.int16)


def noise(samples: int, seed: int) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-32768, 32768, samples).astype(np.int16)


def fit_db(
    signal: NDArray[np.int16], rate_hz: int, hz: float, amplitude: float
) -> tuple[float, float]:
    """Return a tone's gain and the ratio of the tone to everything else, both in dB."""
    settled = signal[len(signal) // 4 :].astype(np.float64)
    at = 2 * np.pi * hz * np.arange(settled.size) / rate_hz
    basis = np.stack([np.sin(at), np.cos(at)], axis=1)
    weights = np.linalg.lstsq(basis, settled, rcond=None)[0]
    found = basis @ weights
    rest = settled - found
    gain = float(np.hypot(*weights)) / amplitude
    return 20 * np.log10(gain), 10 * np.log10((found @ found) / max(rest @ rest, 1e-9))


@pytest.mark.parametrize(("common_hz", "lower_hz"), [(24_000, 8_000), (48_000, 16_000)])
def test_prototype_loses_little_speech_and_stops_what_would_fold(
    common_hz: int, lower_hz: int
) -> None:
    low_pass = prototype(common_hz, lower_hz)
    hz = np.arange(0, common_hz / 2, 10)
    turns = np.exp(-2j * np.pi * np.outer(hz, np.arange(low_pass.size)) / common_hz)
    gain_db = 20 * np.log10(np.abs(turns @ low_pass) + 1e-12)
    nyquist_hz = lower_hz / 2

    assert low_pass.size == 3 * common_hz // 1000  # 3 ms
    assert abs(gain_db[hz <= nyquist_hz - 1_300]).max() < 0.02
    assert gain_db[hz == nyquist_hz - 600][0] == pytest.approx(-2.4, abs=0.05)
    assert gain_db[hz >= nyquist_hz + 600].max() < -80
    assert gain_db[hz >= nyquist_hz + 700].max() < -90


@pairs
def test_delay_is_at_most_one_and_a_half_milliseconds(from_hz: int, to_hz: int) -> None:
    assert 0.0013 < conversion(from_hz, to_hz).delay_s <= 0.0015


@pairs
def test_impulse_comes_out_after_the_stated_delay(from_hz: int, to_hz: int) -> None:
    impulse = np.zeros(from_hz // 50 * 2, dtype=np.int16)
    impulse[100] = 30_000

    out = stream(from_hz, to_hz, impulse).astype(np.float64)

    centre_s = (out @ np.arange(out.size)) / out.sum() / to_hz
    expected_s = 100 / from_hz + conversion(from_hz, to_hz).delay_s
    assert centre_s == pytest.approx(expected_s, abs=0.5 / 24_000)


@pairs
def test_one_frame_in_is_one_frame_out(from_hz: int, to_hz: int) -> None:
    assert stream(from_hz, to_hz, noise(from_hz // 50 * 7, seed=1)).size == to_hz // 50 * 7


@pairs
def test_constant_passes_unchanged(from_hz: int, to_hz: int) -> None:
    out = stream(from_hz, to_hz, np.full(from_hz // 10, -12_345, dtype=np.int16))

    assert (out[to_hz // 50 :] == -12_345).all()


@pairs
@pytest.mark.parametrize("hz", [300, 1_000, 2_000])
def test_tone_in_band_keeps_its_level_and_stays_clean(from_hz: int, to_hz: int, hz: int) -> None:
    gain_db, snr_db = fit_db(stream(from_hz, to_hz, tone(from_hz, hz)), to_hz, hz, 16_000)

    assert abs(gain_db) < 0.02
    assert snr_db > 80


@pytest.mark.parametrize(("to_hz", "hz"), [(8_000, 4_700), (8_000, 9_000), (16_000, 8_700)])
def test_tone_above_the_band_leaves_no_alias(to_hz: int, hz: int) -> None:
    out = stream(24_000, to_hz, tone(24_000, hz))

    assert np.abs(out[to_hz // 50 :]).max() <= 1


def test_full_scale_square_saturates_without_wrapping() -> None:
    square = np.where(np.arange(800) // 20 % 2, 32_767, -32_768).astype(np.int16)

    out = stream(8_000, 24_000, square)

    # A band-limited square overshoots: it must stick to full scale, not jump across zero.
    assert out.max() == 32_767
    assert out.min() == -32_768
    assert np.abs(np.diff(out.astype(np.int64))).max() < 40_000


@pairs
def test_arithmetic_is_exact(from_hz: int, to_hz: int) -> None:
    form = conversion(from_hz, to_hz)
    grid = form.matrix * 2.0**30
    taps = grid.astype(np.int64)
    samples = noise(form.frame_in_samples * 3, seed=2)

    out = stream(from_hz, to_hz, samples)

    assert (taps == grid).all()
    line = np.concatenate([np.zeros(form.history_samples, np.int64), samples.astype(np.int64)])
    hop_out = taps.shape[1]
    for hop in (0, 11, 29):
        window = line[hop * form.hop_samples :][: taps.shape[0]]
        exact = [round(Fraction(int(total), 2**30)) for total in window @ taps]
        expected = np.clip(exact, -32768, 32767)
        assert (out[hop * hop_out : (hop + 1) * hop_out] == expected).all()


@pairs
def test_bytes_do_not_depend_on_the_seat(from_hz: int, to_hz: int) -> None:
    samples = noise(from_hz // 50 * 3, seed=3)
    expected = stream(from_hz, to_hz, samples)

    for seat in (1, 7, BLOCK_LEGS - 1):
        assert stream(from_hz, to_hz, samples, seat).tobytes() == expected.tobytes()


@given(
    pair=st.sampled_from(PAIRS),
    joins=st.lists(st.booleans(), min_size=6, max_size=6),
    seed=st.integers(0, 2**32 - 1),
)
def test_bytes_do_not_depend_on_neighbours_that_come_and_go(
    pair: tuple[int, int], joins: list[bool], seed: int
) -> None:
    from_hz, to_hz = pair
    random = np.random.default_rng(seed)
    samples = noise(from_hz // 50 * len(joins), seed)
    block = ResampleBlock(from_hz, to_hz)
    neighbours = [block.take_seat() for _ in range(int(random.integers(0, 8)))]
    ours = block.take_seat()
    heard = []

    for joining, frame in zip(joins, samples.reshape(len(joins), -1), strict=True):
        if joining:
            neighbours.append(block.take_seat())
        elif neighbours:
            block.leave_seat(neighbours.pop(0))
        for seat in neighbours:
            block.input(seat)[:] = random.integers(-32768, 32768, frame.size)
        block.input(ours)[:] = frame
        block.run()
        heard.append(block.output(ours).copy())

    assert np.concatenate(heard).tobytes() == stream(from_hz, to_hz, samples).tobytes()


def test_seat_that_was_left_starts_from_silence() -> None:
    block = ResampleBlock(8_000, 24_000)
    seat = block.take_seat()
    block.input(seat)[:] = 20_000
    block.run()

    block.leave_seat(seat)
    again = block.take_seat()
    block.run()

    assert again == seat
    assert not block.output(again).any()


def test_empty_block_has_room() -> None:
    block = ResampleBlock(8_000, 24_000)

    assert block.is_empty
    assert block.has_room


def test_full_block_has_room_again_when_a_leg_leaves() -> None:
    block = ResampleBlock(8_000, 24_000)
    seats = [block.take_seat() for _ in range(BLOCK_LEGS)]
    was_full = not block.has_room

    block.leave_seat(seats[3])

    assert was_full
    assert not block.is_empty
    assert block.take_seat() == seats[3]
