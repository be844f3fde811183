"""Both halves of a stream with a network between them, in virtual time, by seed."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass

import pytest

from telcoflow_server.rtp.dtmf import DigitEnded, DigitReceiver, DigitSender, DigitStarted
from telcoflow_server.rtp.latch import Latch
from telcoflow_server.rtp.packet import SEQ_MODULUS, TS_MODULUS, RtpPacket
from telcoflow_server.rtp.receiver import ReceiverStatistics, RtpReceiver, SequencedPacket
from telcoflow_server.rtp.sender import RtpSender

PCMU, EVENT = 0, 101
TICK_S = 0.02
PHONE = ("203.0.113.7", 5_004)
SECONDS = 30


@dataclass(frozen=True)
class Network:
    """What happens to a packet: chances, and a delay chosen evenly."""

    loss: float = 0.0
    burst: int = 1
    jitter_s: float = 0.0
    duplicate: float = 0.0
    drift: float = 0.0


NETWORKS = {
    "clean": Network(),
    "1 % loss": Network(loss=0.01),
    "5 % loss": Network(loss=0.05),
    "bursts": Network(loss=0.01, burst=5),
    "jitter of 30 ms": Network(jitter_s=0.03),
    "duplicates": Network(duplicate=0.1),
    "everything": Network(loss=0.03, burst=2, jitter_s=0.06, duplicate=0.02, drift=200e-6),
    "slow clock": Network(drift=-200e-6),
}


def send(digits: str) -> list[bytes]:
    """Return what a phone sends, a packet per tick; digits are pressed after a second."""
    stream = RtpSender(
        ssrc=0xABCD, seq=SEQ_MODULUS - 500, ts=TS_MODULUS - 100_000, clock_rate_hz=8_000
    )
    keys = DigitSender(8_000, 20)
    datagrams = []
    for tick in range(SECONDS * 50):
        if tick == 50:
            keys.press(digits)
        event = keys.tick(stream.ts)
        if event is None:
            datagrams.append(stream.send(PCMU, tick.to_bytes(2, "big") * 80, 20, tick * TICK_S))
        else:
            datagrams.append(
                stream.send_event(EVENT, event.payload, event.ts, is_first=event.is_first)
            )
            stream.skip(20)
    return datagrams


def carry(datagrams: list[bytes], network: Network, seed: int) -> list[tuple[float, int, bytes]]:
    """Return arrivals in order: time, number of the packet, datagram."""
    chance = random.Random(seed)
    arrivals: list[tuple[float, int, bytes]] = []
    losing = 0
    for number, datagram in enumerate(datagrams):
        if not losing and chance.random() < network.loss:
            losing = network.burst
        if losing:
            losing -= 1
            continue
        for _ in range(1 + (chance.random() < network.duplicate)):
            at_s = number * TICK_S * (1 + network.drift) + chance.random() * network.jitter_s
            heapq.heappush(arrivals, (at_s, number, datagram))
    return [heapq.heappop(arrivals) for _ in range(len(arrivals))]


class Ear:
    """Our end of it."""

    def __init__(self) -> None:
        self.latch = Latch(PHONE, PHONE[0])
        self.receiver = RtpReceiver({PCMU: 8_000, EVENT: 8_000})
        self.digits = DigitReceiver(8_000)
        self.audio: list[SequencedPacket] = []
        self.told: list[DigitStarted | DigitEnded] = []

    def hear(self, datagram: bytes, now_s: float) -> None:
        if self.digits.due_s is not None and (ended := self.digits.expire(now_s)):
            self.told.append(ended)
        packet = RtpPacket.parse(datagram)
        if not self.latch.admit(PHONE):
            return
        for one in self.receiver.receive(packet, now_s):
            if one.packet.pt == EVENT:
                self.told += self.digits.receive(one)
            else:
                self.audio.append(one)


def run(network: Network, seed: int = 1) -> tuple[Ear, list[int], ReceiverStatistics]:
    ear = Ear()
    arrivals = carry(send("123#"), network, seed)
    for at_s, _, datagram in arrivals:
        ear.hear(datagram, at_s)
    return ear, [number for _, number, _ in arrivals], ear.receiver.statistics()


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_audio_comes_once_at_the_place_it_was_sent_from(network: Network) -> None:
    ear, arrived, statistics = run(network)

    for one in ear.audio:
        number = int.from_bytes(one.packet.payload[:2], "big")
        first = ear.audio[0]
        began = int.from_bytes(first.packet.payload[:2], "big")
        assert one.seq - first.seq == number - began
        assert one.ts - first.ts == (number - began) * 160
    # What overtakes the very first packets does not prove the source; all else is heard.
    assert statistics.unproven <= (network.jitter_s > TICK_S)
    assert statistics.packets == len(set(arrived)) - statistics.unproven
    assert statistics.duplicates == len(arrived) - len(set(arrived))
    assert statistics.lost == max(arrived) - min(arrived) + 1 - statistics.packets
    assert (statistics.streams, statistics.foreign) == (1, 0)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_digits_come_once_and_in_order(network: Network) -> None:
    ear, _, _ = run(network)

    assert [type(one) for one in ear.told] == [DigitStarted, DigitEnded] * 4
    assert [one.digit for one in ear.told] == list("112233##")


def test_jitter_is_measured_as_it_is() -> None:
    """The mean of |a - b| for two delays chosen evenly from 30 ms is a third of it."""
    _, _, statistics = run(NETWORKS["jitter of 30 ms"])

    assert statistics.jitter_ms == pytest.approx(10.0, rel=0.4)


@pytest.mark.parametrize("name", ["clean", "1 % loss", "slow clock"])
def test_digits_and_loss_and_drift_are_no_jitter(name: str) -> None:
    _, _, statistics = run(NETWORKS[name])

    assert statistics.max_jitter_ms < 0.1
