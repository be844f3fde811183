"""Two RTP legs over bad networks: what is heard, and that every packet is accounted for."""

from __future__ import annotations

import numpy as np
import pytest

from telcoflow_server.codec.table import L16_CODECS, PCMU, Codec
from tests.server.legs.test_rtp import G722, OPUS
from tests.support.network import Bursts, Impairment
from tests.support.rtp_legs import RIGHT, Samples, Wire, terms
from tests.support.speech import longest_gap_ms, voiced

LINEAR = L16_CODECS[2]

NETWORKS = {
    "1 % loss": Impairment(loss=0.01),
    "3 % loss and jitter": Impairment(loss=0.03, jitter_ms=30),
    "5 % loss": Impairment(loss=0.05),
    "bursts": Impairment(bursts=Bursts(begin=0.01, end=0.5)),
    "jitter of 30 ms": Impairment(jitter_ms=30),
    "reordered": Impairment(reorder=0.05),
    "duplicates": Impairment(duplicate=0.1),
    "fast clock": Impairment(drift_ppm=200),
    "slow clock": Impairment(drift_ppm=-200),
}
each_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)

SECONDS = 8


def talk(network: Impairment, codec: Codec = PCMU, ptime_ms: int = 20) -> tuple[Wire, Samples]:
    """Let the right end talk to the left without a pause; return what was said."""
    wire = Wire(terms(RIGHT, codec, ptime_ms=ptime_ms), back=network, seed=3)
    rate_hz = codec.sample_rate_hz
    said: Samples = np.resize(voiced(rate_hz), SECONDS * rate_hz)
    wire.run(55 * ptime_ms // 20)
    wire.right.say(said)
    wire.left.forget()
    wire.run(SECONDS * 50)
    return wire, said


@pytest.mark.slow
@each_network
def test_every_packet_is_accounted_for(network: Impairment) -> None:
    wire, _ = talk(network)
    wire.right.address = ("192.0.2.99", 1)  # the rest of it is nobody's
    wire.run(10)

    statistics = wire.left.leg.statistics()
    received, jitter = statistics.received, statistics.jitter
    assert statistics.malformed == statistics.undecodable == 0
    assert statistics.latch.admitted == (
        received.packets + received.duplicates + received.unproven + received.foreign
    )
    assert received.packets == jitter.received
    # Every unit of time was filled: with audio, by concealment, or with silence.
    assert wire.left.heard.size == (SECONDS * 50 + 10) * 160


@pytest.mark.slow
@each_network
def test_speech_has_no_gap(network: Impairment) -> None:
    wire, _ = talk(network)

    assert longest_gap_ms(wire.left.heard[8_000:], 8_000) <= 60


@pytest.mark.slow
@pytest.mark.parametrize("codec", [G722, OPUS, LINEAR], ids=lambda one: one.encoding)
@pytest.mark.parametrize("name", ["3 % loss and jitter", "bursts"])
def test_speech_of_other_codecs_has_no_gap(codec: Codec, name: str) -> None:
    wire, _ = talk(NETWORKS[name], codec)

    rate_hz = codec.sample_rate_hz
    assert longest_gap_ms(wire.left.heard[rate_hz:], rate_hz) <= 60


@pytest.mark.slow
@pytest.mark.parametrize("ptime_ms", [40, 60])
def test_speech_in_long_packets_has_no_gap(ptime_ms: int) -> None:
    wire, _ = talk(Impairment(loss=0.01, jitter_ms=30), ptime_ms=ptime_ms)

    assert longest_gap_ms(wire.left.heard[8_000:], 8_000) <= 60


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jitter of 30 ms", "reordered", "duplicates"])
def test_what_is_not_lost_is_heard_to_the_sample(name: str) -> None:
    wire, said = talk(NETWORKS[name], LINEAR)

    # In windows: where the depth grew, what follows is later.
    heard = wire.left.heard.tobytes()
    window = 160
    found = sum(
        said[at : at + window].tobytes() in heard for at in range(window, said.size - 8_000, window)
    )
    total = len(range(window, said.size - 8_000, window))
    assert found >= total * 0.97


@pytest.mark.slow
@pytest.mark.parametrize("name", ["3 % loss and jitter", "5 % loss", "bursts"])
def test_digits_come_through_loss_once_and_in_order(name: str) -> None:
    wire = Wire(terms(RIGHT), back=NETWORKS[name], seed=11)
    wire.run(50)

    wire.right.leg.press("1234567890*#ABCD")
    wire.run(16 * 11 + 50)

    assert "".join(one.digit for one in wire.left.leg.take_digits()) == "1234567890*#ABCD"


@pytest.mark.slow
@pytest.mark.parametrize("drift_ppm", [200, -200])
def test_a_wrong_clock_is_followed_for_minutes(drift_ppm: float) -> None:
    """At 200 ppm a frame is gained or lost every 100 s."""
    wire = Wire(terms(RIGHT), back=Impairment(drift_ppm=drift_ppm))
    rate_hz = 8_000
    # A second of speech, half a second of pause: drift is made good in pauses.
    sentence = np.concatenate([voiced(rate_hz)[:rate_hz], np.zeros(rate_hz // 2, np.int16)])
    wire.right.say(np.resize(sentence, 200 * rate_hz))

    wire.run(200 * 50)

    jitter = wire.left.leg.statistics().jitter
    assert jitter.late + jitter.lost + jitter.discarded == 0
    assert jitter.depth_ms <= 100
