from __future__ import annotations

import io
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_server.call.report import ClearReport
from telcoflow_server.cli.measure import (
    Samples,
    echo_delays_ms,
    interruption,
    probe,
    read_recording,
)

RATE_HZ = 24_000


def silence(ms: int) -> Samples:
    return np.zeros(ms * RATE_HZ // 1000, np.int16)


def tone(ms: int) -> Samples:
    return np.full(ms * RATE_HZ // 1000, 5000, np.int16)


def clear(at_ms: int) -> ClearReport:
    return ClearReport(at_ms=at_ms, dropped_ms=40.0, heard_ms=0.0)


@given(delay=st.integers(0, 400 * RATE_HZ // 1000), gain=st.floats(0.1, 1.0))
def test_delay_of_an_echo_is_found_to_the_sample(delay: int, gain: float) -> None:
    said = read_recording(probe(2)).channels[0]
    heard = np.concatenate((np.zeros(delay, np.int16), said))[: len(said)]

    delays_ms = echo_delays_ms(said, np.round(heard * gain).astype(np.int16), RATE_HZ)

    assert delays_ms == [delay * 1000 / RATE_HZ] * 2


def test_silence_has_no_echo() -> None:
    said = read_recording(probe(2)).channels[0]

    assert echo_delays_ms(said, np.zeros_like(said), RATE_HZ) == []


def test_recording_is_split_into_its_channels() -> None:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((2, 2, RATE_HZ, 0, "NONE", "not compressed"))
        writer.writeframes(np.array([1, -1, 2, -2], "<i2").tobytes())

    recording = read_recording(file.getvalue())

    assert recording.sample_rate_hz == RATE_HZ
    assert [channel.tolist() for channel in recording.channels] == [[1, 2], [-1, -2]]


def test_interruption_is_measured_from_onset_over_clear_to_the_last_sound() -> None:
    said = np.concatenate((tone(200), silence(800), tone(500)))
    heard = np.concatenate((silence(300), tone(783), silence(600)))

    found = interruption(said, heard, RATE_HZ, 900, [clear(40), clear(1060)])

    assert found is not None
    assert found.onset_ms == 1000
    assert found.detector_ms == 60
    assert found.stop_ms == pytest.approx(23, abs=0.1)


def test_agent_that_was_silent_already_stops_in_no_time() -> None:
    said = np.concatenate((silence(1000), tone(500)))

    found = interruption(said, silence(1500), RATE_HZ, 0, [clear(1060)])

    assert found is not None
    assert found.stop_ms == 0


def test_next_utterance_does_not_count_as_the_rest_of_the_cleared_one() -> None:
    said = np.concatenate((silence(1000), tone(500)))
    heard = np.concatenate((silence(900), tone(170), silence(600), tone(500)))

    found = interruption(said, heard, RATE_HZ, 0, [clear(1060)])

    assert found is not None
    assert found.stop_ms == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize(
    ("said", "clears"),
    [(silence(1000), [clear(500)]), (tone(1000), []), (tone(1000), [clear(0)])],
    ids=["nothing said", "no clear", "clear before"],
)
def test_without_speech_or_clear_there_is_no_interruption(
    said: Samples, clears: list[ClearReport]
) -> None:
    assert interruption(said, silence(1000), RATE_HZ, 500, clears) is None
