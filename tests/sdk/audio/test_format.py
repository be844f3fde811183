from __future__ import annotations

import pytest

from telcoflow_sdk.audio.format import SAMPLE_RATES_HZ, AudioFormat


@pytest.mark.parametrize(
    ("sample_rate_hz", "frame_bytes"), [(8_000, 320), (16_000, 640), (24_000, 960)]
)
def test_frame_is_one_tick_of_samples(sample_rate_hz: int, frame_bytes: int) -> None:
    audio_format = AudioFormat(sample_rate_hz)

    assert audio_format.frame_bytes == frame_bytes
    assert audio_format.frame_samples * 2 == frame_bytes
    assert audio_format.bytes_per_second == 50 * frame_bytes


@pytest.mark.parametrize("sample_rate_hz", [0, -8_000, 44_100, 48_000])
def test_other_rates_are_refused_with_the_allowed_ones(sample_rate_hz: int) -> None:
    with pytest.raises(ValueError, match="8000, 16000, 24000"):
        AudioFormat(sample_rate_hz)


@pytest.mark.parametrize("sample_rate_hz", SAMPLE_RATES_HZ)
def test_bytes_and_milliseconds_convert_both_ways(sample_rate_hz: int) -> None:
    audio_format = AudioFormat(sample_rate_hz)

    assert audio_format.bytes_to_ms(audio_format.frame_bytes) == 20
    assert audio_format.ms_to_bytes(20) == audio_format.frame_bytes


def test_parts_of_samples_are_left_out() -> None:
    assert AudioFormat(8_000).ms_to_bytes(0.2) == 2
