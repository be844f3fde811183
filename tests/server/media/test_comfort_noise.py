"""Comfort noise: as loud and of the colour that the far end describes (RFC 3389)."""

from __future__ import annotations

import numpy as np
import pytest

from telcoflow_server.media.comfort_noise import (
    ComfortNoise,
    lattice_response,
    reflection_coefficients,
)


def noise(payload: bytes, samples: int = 80_000, seed: int = 1) -> np.ndarray[tuple[int], np.dtype]:
    source = ComfortNoise(np.random.default_rng(seed))
    source.describe(payload)
    return np.concatenate([source.make(160) for _ in range(samples // 160)]).astype(np.float64)


def level_dbov(samples: np.ndarray[tuple[int], np.dtype]) -> float:
    return float(10 * np.log10(np.mean(samples**2) / 32_768**2))


@pytest.mark.parametrize("level", [20, 40, 60])
@pytest.mark.parametrize("spectrum", [b"", bytes([200]), bytes([40, 180, 127, 90]), bytes(12)])
def test_level_is_what_the_first_byte_says(level: int, spectrum: bytes) -> None:
    assert level_dbov(noise(bytes([level]) + spectrum)) == pytest.approx(-level, abs=0.7)


def test_nothing_described_is_silent() -> None:
    source = ComfortNoise(np.random.default_rng(1))

    assert not source.make(160).any()
    source.describe(b"\x28")
    assert source.make(160).any()
    source.describe(b"")
    assert not source.make(160).any()


def test_least_level_is_silent() -> None:
    assert not noise(b"\x7f").any()


def test_top_bit_of_the_level_is_not_part_of_it() -> None:
    assert np.array_equal(noise(b"\x28"), noise(b"\xa8"))


def test_same_seed_is_the_same_noise_and_another_is_not() -> None:
    assert np.array_equal(noise(b"\x28", seed=4), noise(b"\x28", seed=4))
    assert not np.array_equal(noise(b"\x28", seed=4), noise(b"\x28", seed=5))


def test_description_repeated_changes_nothing() -> None:
    once, again = (ComfortNoise(np.random.default_rng(1)) for _ in range(2))
    once.describe(b"\x28\x50")
    again.describe(b"\x28\x50")
    once.make(160)
    again.make(160)
    again.describe(b"\x28\x50")

    assert np.array_equal(once.make(160), again.make(160))


def test_without_a_spectrum_noise_is_white() -> None:
    power = np.abs(np.fft.rfft(noise(b"\x28").reshape(-1, 160))) ** 2
    by_band = power.mean(axis=0)[1:].reshape(8, -1).mean(axis=1)

    assert 10 * np.log10(by_band.max() / by_band.min()) < 1


@pytest.mark.parametrize(("byte", "is_low"), [(20, True), (234, False)])
def test_spectrum_tilts_as_the_first_coefficient_says(byte: int, is_low: bool) -> None:
    """A(z) = 1 + k z^-1: a negative k makes low frequencies strong."""
    power = np.mean(np.abs(np.fft.rfft(noise(bytes([40, byte])).reshape(-1, 160))) ** 2, axis=0)
    tilt_db = 10 * np.log10(power[1:20].mean() / power[60:].mean())

    assert tilt_db > 12 if is_low else tilt_db < -12


def test_coefficients_are_as_the_standard_has_them() -> None:
    coefficients = reflection_coefficients(bytes([0, 127, 254, 255]))

    assert coefficients == pytest.approx([-0.99994, 0.0, 0.99994, 0.99994], abs=1e-5)


def test_response_of_a_lattice_is_that_of_its_direct_form() -> None:
    first, second = -0.6, 0.3
    a1, a2 = first * (1 + second), second  # Levinson's step up
    direct = [1.0, -a1]
    for _ in range(126):
        direct.append(-a1 * direct[-1] - a2 * direct[-2])

    assert lattice_response([first, second]) == pytest.approx(direct)


def test_more_coefficients_than_anybody_needs_are_ignored() -> None:
    spectrum = bytes(range(100, 120))

    assert np.array_equal(noise(b"\x28" + spectrum, 800), noise(b"\x28" + spectrum + b"\x01", 800))


@pytest.mark.parametrize("seed", range(20))
def test_any_payload_is_some_noise_and_no_error(seed: int) -> None:
    random = np.random.default_rng(seed)
    payload = random.bytes(int(random.integers(1, 40)))

    samples = noise(payload, 3_200)

    assert np.isfinite(samples).all()
    assert np.abs(samples).max() <= 32_768
