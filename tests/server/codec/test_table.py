"""What can be offered, and what a far end's names mean."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from telcoflow_server.codec.table import L16_CODECS, PCMA, PCMU, Codec, find, find_static, offered

HAS_AV = importlib.util.find_spec("av") is not None
needs_av = pytest.mark.skipif(not HAS_AV, reason="PyAV is not installed")


@pytest.fixture
def without_av(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installation that lacks PyAV: importing it fails."""
    monkeypatch.setitem(sys.modules, "telcoflow_server.codec.av", None)
    monkeypatch.delattr("telcoflow_server.codec.av", raising=False)
    offered.cache_clear()
    yield
    offered.cache_clear()


def name(codec: Codec) -> str:
    return f"{codec.encoding}/{codec.clock_rate_hz}"


def names() -> list[tuple[str, int]]:
    return [(codec.encoding, codec.clock_rate_hz) for codec in offered()]


@needs_av
def test_everything_is_offered_with_av() -> None:
    assert names() == [("opus", 48_000), ("G722", 8_000), *BUILT_IN]


BUILT_IN = [("PCMU", 8_000), ("PCMA", 8_000), ("L16", 24_000), ("L16", 16_000), ("L16", 8_000)]


def test_what_is_ours_is_offered_without_av(without_av: None) -> None:
    assert names() == BUILT_IN
    assert find("opus", 48_000, 2) is None
    assert find_static(9) is None


@pytest.mark.parametrize(
    ("pt", "encoding"), [(0, "PCMU"), (8, "PCMA"), pytest.param(9, "G722", marks=needs_av)]
)
def test_static_payload_types_are_those_of_the_standard(pt: int, encoding: str) -> None:
    """RFC 3551 §6."""
    codec = find_static(pt)

    assert codec is not None
    assert codec.encoding == encoding


@pytest.mark.parametrize("pt", [3, 10, 11, 13, 18, 96, 111])
def test_other_payload_types_mean_nothing_by_themselves(pt: int) -> None:
    assert find_static(pt) is None


def test_names_are_found_in_any_case() -> None:
    assert find("pcmu", 8_000) is PCMU
    assert find("PcmA", 8_000, 1) is PCMA


@pytest.mark.parametrize(
    ("encoding", "clock_rate_hz", "channels"),
    [("PCMU", 16_000, 1), ("PCMU", 8_000, 2), ("GSM", 8_000, 1), ("L16", 44_100, 1)],
)
def test_what_we_do_not_speak_is_not_found(
    encoding: str, clock_rate_hz: int, channels: int
) -> None:
    assert find(encoding, clock_rate_hz, channels) is None


@needs_av
def test_rates_of_g722_and_opus_are_not_their_clocks() -> None:
    """RFC 3551 §4.5.2, RFC 7587 §7."""
    g722, opus = find("G722", 8_000), find("opus", 48_000, 2)

    assert g722 is not None
    assert opus is not None
    assert (g722.clock_rate_hz, g722.sample_rate_hz) == (8_000, 16_000)
    assert (opus.clock_rate_hz, opus.sample_rate_hz, opus.channels) == (48_000, 24_000, 2)
    assert find("opus", 48_000) is None  # without the channels it is not RFC 7587
    assert find("G722", 16_000) is None


@pytest.mark.parametrize("codec", offered(), ids=name)
def test_frame_of_every_codec_comes_back_as_long_as_it_was(codec: Codec) -> None:
    encoder, decoder = codec.encoder(), codec.decoder()
    frame = np.zeros(codec.sample_rate_hz * codec.ptime_ms // 1000, dtype=np.int16)

    for _ in range(3):
        payload = encoder.encode(frame)
        samples = decoder.decode(payload)

        assert samples.shape == frame.shape
        assert samples.dtype == np.int16
        assert codec.payload_units(payload) == codec.clock_rate_hz * codec.ptime_ms // 1000


@pytest.mark.parametrize("codec", [PCMU, PCMA, *L16_CODECS], ids=name)
def test_payload_of_up_to_200_ms_is_played_and_a_longer_one_is_not(codec: Codec) -> None:
    """RFC 3551 §4.2."""
    units = codec.clock_rate_hz // 5
    longest = codec.encoder().encode(np.zeros(units, dtype=np.int16))
    too_long = codec.encoder().encode(np.zeros(units + 1, dtype=np.int16))

    assert codec.payload_units(longest) == units
    assert codec.payload_units(too_long) == 0
    assert codec.payload_units(b"") == 0


@needs_av
def test_streams_of_one_codec_do_not_share_state() -> None:
    for encoding in ("opus", "G722"):
        codec = next(codec for codec in offered() if codec.encoding == encoding)
        assert codec.encoder() is not codec.encoder()
        assert codec.decoder() is not codec.decoder()
