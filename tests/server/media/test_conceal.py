"""Concealment, heard: what goes on, how it fades, and that nothing clicks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from telcoflow_server.media.conceal import Concealer, find_period, lengths_at
from tests.support.speech import Samples, longest_gap_ms, snr_db, speech, voiced

RATES_HZ = (8_000, 16_000, 24_000, 48_000)
TICK_MS = 20


def voice(period_s: float, duration_s: float, rate_hz: int) -> Samples:
    """Return a steady vowel: harmonics of a pitch up to 3 kHz."""
    at = np.arange(round(duration_s * rate_hz)) / rate_hz
    harmonics = range(1, int(3_000 * period_s))
    wave = sum(np.cos(2 * np.pi * n * at / period_s + n * n) / n for n in harmonics)
    samples: Samples = np.rint(4_000 * np.asarray(wave)).astype(np.int16)
    return samples


def lose(samples: Samples, rate_hz: int, ticks: set[int]) -> Samples:
    """Return what is heard of a signal, a frame at a time, when some frames are lost."""
    length = rate_hz * TICK_MS // 1000
    concealer = Concealer(rate_hz)
    heard = [
        concealer.conceal(length) if tick in ticks else concealer.play(frame)
        for tick, frame in enumerate(samples.reshape(-1, length))
    ]
    return np.concatenate(heard)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_without_losses_everything_passes_as_it_is_and_at_once(rate_hz: int) -> None:
    samples = speech(rate_hz)

    assert np.array_equal(lose(samples, rate_hz, set()), samples)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_of_what_is_received_only_the_first_10_ms_after_a_loss_are_touched(rate_hz: int) -> None:
    samples = speech(rate_hz)
    length = rate_hz * TICK_MS // 1000

    heard = lose(samples, rate_hz, set(range(10, 300, 10)))

    touched = np.flatnonzero(heard != samples) % (10 * length)
    assert touched.max() < length + rate_hz // 100


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("period_ms", [5.25, 8.5, 12.75])
def test_steady_vowel_goes_on_as_if_nothing_were_missing(rate_hz: int, period_ms: float) -> None:
    samples = voice(period_ms / 1000, 0.2, rate_hz)
    length = rate_hz * TICK_MS // 1000

    heard = lose(samples, rate_hz, {5})

    full = slice(5 * length, 5 * length + length // 2)
    assert snr_db(samples[full], heard[full]) > 25
    frame = slice(5 * length, 6 * length)
    assert snr_db(samples[frame], heard[frame]) > 13  # it has begun to fade


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("lag_ms", [5.0, 6.25, 9.75, 13.0, 15.0])
def test_period_of_a_voice_is_found_to_the_sample(rate_hz: int, lag_ms: float) -> None:
    lag = round(lag_ms * rate_hz / 1000)
    cycle = np.random.default_rng(lag).standard_normal(lag)
    smooth = np.convolve(np.tile(cycle, 40), np.ones(rate_hz // 1_500), "same")
    past = 1000 * smooth[-round(0.04875 * rate_hz) :]

    found = find_period(past, lengths_at(rate_hz))

    assert found % lag == 0  # a multiple of the period is as good a repetition


def test_sound_is_full_for_10_ms_and_gone_after_60() -> None:
    samples = voice(0.010, 0.2, 8_000)
    concealer = Concealer(8_000)
    concealer.play(samples)

    heard = concealer.conceal(800).astype(np.float64)

    levels = np.sqrt(np.mean(heard.reshape(-1, 80) ** 2, axis=1))
    before = np.sqrt(np.mean(samples[-80:].astype(np.float64) ** 2))
    assert levels[0] == pytest.approx(before, rel=0.15)
    assert (np.diff(levels[:7]) < 0).all()
    assert levels[3] == pytest.approx(before * 0.5, rel=0.2)
    assert not heard[480:].any()


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_concealed_speech_has_no_step_that_speech_does_not_have(rate_hz: int) -> None:
    samples = voiced(rate_hz)
    losses = set(range(5, samples.size * 50 // rate_hz, 7))
    losses |= {tick + 1 for tick in losses if tick % 3 == 0}

    heard = lose(samples, rate_hz, losses)

    largest = np.abs(np.diff(samples.astype(np.int32))).max()
    assert np.abs(np.diff(heard.astype(np.int32))).max() <= largest


def test_edges_of_a_loss_are_as_smooth_as_the_speech_around_them() -> None:
    samples = voiced(8_000)
    frames = samples.size // 160
    losses = set(range(5, frames - 1, 4))

    heard = lose(samples, 8_000, losses).astype(np.int32)

    steps = np.abs(np.diff(heard))
    for tick in losses:
        for edge in (tick * 160, (tick + 1) * 160):
            around = np.abs(np.diff(samples[edge - 160 : edge + 160].astype(np.int32))).max()
            assert steps[edge - 1] <= 1.2 * around + 50


@pytest.mark.parametrize("phase", range(0, 400, 50))
def test_what_has_no_period_to_repeat_is_bent_rather_than_broken(phase: int) -> None:
    """A tone of 20 Hz rises by thousands in any period tried; no step of that may be heard."""
    tone = np.rint(10_000 * np.sin(2 * np.pi * (np.arange(1_600) + phase) / 400)).astype(np.int16)

    heard = lose(tone, 8_000, {8}).astype(np.int32)

    assert np.abs(np.diff(tone.astype(np.int32))).max() < 160
    assert np.abs(np.diff(heard[1_200:1_440])).max() < 1_100


def test_silence_is_concealed_by_silence() -> None:
    concealer = Concealer(8_000)

    assert not concealer.conceal(1_000).any()
    concealer.play(np.zeros(160, dtype=np.int16))
    assert not concealer.conceal(160).any()


def test_full_scale_does_not_wrap_around() -> None:
    square = np.where(np.arange(1_600) // 40 % 2, 32_767, -32_768).astype(np.int16)
    square[-37:] = 32_767

    heard = lose(np.concatenate((square, square)), 8_000, {10, 13, 14})

    assert heard.min() >= -32_768
    assert heard.max() <= 32_767
    concealed = heard[1_600:1_680].astype(np.int32)
    assert np.abs(np.diff(concealed)).max() <= 65_535


def test_losses_up_to_two_frames_leave_no_gap_in_a_voice() -> None:
    samples = voiced(8_000)
    losses = set(range(5, samples.size // 160 - 2, 6))
    losses |= {tick + 1 for tick in losses}

    assert longest_gap_ms(lose(samples, 8_000, losses), 8_000) <= 20


def test_long_loss_is_silent_in_the_end_and_audio_comes_back_within_10_ms() -> None:
    samples = voiced(8_000)
    losses = set(range(20, 35))

    heard = lose(samples, 8_000, losses)

    assert not heard[20 * 160 + 480 : 35 * 160].any()
    assert np.array_equal(heard[35 * 160 + 80 :], samples[35 * 160 + 80 :])
    assert abs(int(heard[35 * 160])) < 1_000


def test_second_loss_repeats_what_was_heard_last() -> None:
    samples = voice(0.010, 0.4, 8_000)

    heard = lose(samples, 8_000, {8, 10})

    assert snr_db(samples[1_600:1_680], heard[1_600:1_680]) > 20


def test_short_pieces_are_blended_as_far_as_they_go() -> None:
    samples = voiced(8_000)
    concealer = Concealer(8_000)
    concealer.play(samples[:1_600])
    concealer.conceal(320)

    blended = concealer.play(samples[1_920:1_930])

    assert blended.size == 10
    assert np.array_equal(concealer.play(samples[1_930:2_000]), samples[1_930:2_000])
    assert concealer.play(samples[:0]).size == 0


def lose_with_a_view(samples: Samples, ticks: set[int], view_samples: int = 160) -> Samples:
    """Return what is heard at 8 kHz when so much of what follows each loss is known."""
    concealer = Concealer(8_000)
    heard = []
    for tick, frame in enumerate(samples.reshape(-1, 160)):
        if tick not in ticks:
            heard.append(concealer.play(frame))
        elif tick + 1 in ticks:
            heard.append(concealer.conceal(160))
        else:
            at = (tick + 1) * 160
            heard.append(concealer.conceal(160, samples[at : at + view_samples]))
    return np.concatenate(heard)


def test_loss_leads_into_what_follows_and_that_passes_as_it_is() -> None:
    samples = voiced(8_000)
    losses = set(range(5, samples.size // 160 - 1, 5))

    heard = lose_with_a_view(samples, losses).reshape(-1, 160)

    whole = (heard == samples.reshape(-1, 160)).all(axis=1)
    assert {tick for tick, is_whole in enumerate(whole) if not is_whole} <= losses


def test_known_future_makes_concealed_speech_much_more_like_what_was_said() -> None:
    samples = voiced(8_000)
    losses = set(range(5, samples.size // 160 - 1, 5))
    lost = np.isin(np.arange(samples.size) // 160, sorted(losses))

    blind = lose(samples, 8_000, losses)
    seeing = lose_with_a_view(samples, losses)

    assert snr_db(samples[lost], seeing[lost]) > snr_db(samples[lost], blind[lost]) + 1.5


def test_word_that_begins_in_a_loss_begins_before_it_is_received() -> None:
    samples = np.concatenate((np.zeros(1_600, dtype=np.int16), voice(0.010, 0.2, 8_000)))

    heard = lose_with_a_view(samples, {10})

    assert np.abs(heard[1_680:1_760]).max() > 2_000


def test_both_edges_are_smooth_with_a_view() -> None:
    samples = voiced(8_000)
    losses = set(range(5, samples.size // 160 - 2, 4))
    losses |= {tick + 1 for tick in losses if tick % 8 == 1}

    steps = np.abs(np.diff(lose_with_a_view(samples, losses).astype(np.int32)))

    for tick in losses:
        for edge in (tick * 160, (tick + 1) * 160):
            around = np.abs(np.diff(samples[edge - 160 : edge + 160].astype(np.int32))).max()
            assert steps[edge - 1] <= 1.2 * around + 50


def test_too_little_of_what_follows_is_of_no_use() -> None:
    samples = voiced(8_000)

    assert np.array_equal(lose_with_a_view(samples, {20}, 149), lose(samples, 8_000, {20}))
    assert not np.array_equal(lose_with_a_view(samples, {20}, 150), lose(samples, 8_000, {20}))


def test_long_loss_with_a_view_comes_back_only_at_its_end() -> None:
    samples = voiced(8_000)
    concealer = Concealer(8_000)
    concealer.play(samples[:1_600])

    heard = concealer.conceal(1_600, samples[3_200:3_360])

    assert not heard[480 : 1_600 - 480].any()
    assert heard[-80:].any()


def test_input_is_left_as_it_is() -> None:
    concealer = Concealer(8_000)
    concealer.play(voice(0.01, 0.1, 8_000))
    concealer.conceal(160)
    frame = np.full(160, 5_000, dtype=np.int16)

    blended = concealer.play(frame)

    assert (frame == 5_000).all()
    assert (blended != frame).any()


@pytest.mark.parametrize("rate_hz", [0, 4_000, 11_025, 22_050, -8_000])
def test_rate_must_be_one_of_a_telephone(rate_hz: int) -> None:
    with pytest.raises(ValueError, match="multiple of 4000 Hz"):
        Concealer(rate_hz)


cuts = st.lists(st.integers(1, 700), min_size=1, max_size=12)


def in_parts(samples: NDArray[np.int16], sizes: list[int]) -> list[Samples]:
    edges = [min(edge, samples.size) for edge in np.cumsum(sizes)]
    return np.split(samples, edges)


@given(cuts)
def test_any_cutting_of_what_is_received_conceals_the_same(sizes: list[int]) -> None:
    samples = voiced(8_000)[4_000:8_000]
    whole, parts = Concealer(8_000), Concealer(8_000)

    whole.play(samples)
    for part in in_parts(samples, sizes):
        parts.play(part)

    assert np.array_equal(whole.conceal(300), parts.conceal(300))


@pytest.mark.parametrize("ticks", range(4, 16))
def test_only_the_last_50_ms_before_a_loss_tell_what_is_heard_instead(ticks: int) -> None:
    frames = voiced(8_000)[4_000 : 4_000 + 160 * ticks].reshape(-1, 160)
    long, short = Concealer(8_000), Concealer(8_000)

    for frame in frames:
        long.play(frame)
    short.play(frames[-4:].ravel())

    assert np.array_equal(long.conceal(300), short.conceal(300))


@given(cuts)
def test_any_cutting_of_a_loss_conceals_the_same(sizes: list[int]) -> None:
    samples = voiced(8_000)[4_000:8_000]
    whole, parts = Concealer(8_000), Concealer(8_000)
    whole.play(samples)
    parts.play(samples)

    expected = whole.conceal(sum(sizes))
    concealed = [parts.conceal(size) for size in sizes]

    assert np.array_equal(np.concatenate(concealed), expected)
    assert np.array_equal(whole.play(samples[:160]), parts.play(samples[:160]))
