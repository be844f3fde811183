"""Two RTP legs that talk to each other over a network in virtual time.

What one end sends the other one receives, late, out of order, twice or never, as the network of
that direction has it. Everything follows from the seeds.
"""

from __future__ import annotations

import heapq
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telcoflow_server.codec.table import PCMU, Codec
from telcoflow_server.legs.rtp import RtpLeg
from telcoflow_server.legs.rtp_terms import Address, RtpSeed, RtpTerms
from telcoflow_server.rtp.packet import RtpPacket
from tests.support.network import Impairment, Network

Samples = NDArray[np.int16]

TICK_S = 0.02
WALL_S = 1_700_000_000.0
"""The wall-clock time of virtual time 0."""

PERFECT = Impairment(delay_ms=5.0)

LEFT: Address = ("192.0.2.1", 40_000)
RIGHT: Address = ("198.51.100.2", 50_000)
STRANGER: Address = ("203.0.113.66", 6_666)


def terms(remote: Address | None, codec: Codec = PCMU, **more: Any) -> RtpTerms:
    """Return terms with somebody whose SDP named `remote`, and who signals from there."""
    usual: dict[str, Any] = {
        "codec": codec,
        "pt": 96 if codec.static_pt is None else codec.static_pt,
        "digits_pt": 101,
        "digits_clock_hz": 8_000,
        "noise_pt": None,
        "remote": remote,
        "remote_rtcp": None if remote is None else (remote[0], remote[1] + 1),
        "peer_host": RIGHT[0] if remote is None else remote[0],
        "is_peer_trusted": False,
        "sends": True,
        "receives": True,
        "ptime_ms": 20,
    }
    return RtpTerms(**{**usual, **more})


def seed(number: int) -> RtpSeed:
    """Return a start just before all wraps: of sequence numbers, and of timestamps."""
    return RtpSeed(
        ssrc=0xFFFF0000 + number,
        seq=65_530,
        ts=2**32 - 800,
        cname=f"leg{number}",
        generator=np.random.default_rng(number),
    )


class Party:
    """One end: a leg, what it says, what it hears, and what it was sent.

    Attributes:
        address: Where it sends from; a test may change it.
        sent: Every RTP datagram it sent, with the destination.
        ssrc: In place of its own, to be another source; None: its own.
    """

    def __init__(self, wire: Wire, address: Address, terms: RtpTerms, number: int) -> None:
        self.address = address
        self.sent: list[tuple[bytes, Address]] = []
        self.sent_rtcp: list[tuple[bytes, Address]] = []
        self.ssrc: int | None = None
        self._wire = wire
        self._speech = np.zeros(0, np.int16)
        self._heard: list[Samples] = []
        self.flags: list[bool] = []
        self.leg = RtpLeg(terms, seed(number), wire.now_s, self._send, self._send_rtcp)

    def say(self, speech: Samples) -> None:
        """Say this from now on, then nothing."""
        self._speech = speech

    @property
    def heard(self) -> Samples:
        """Everything heard since the beginning, or since `forget`."""
        return np.concatenate(self._heard) if self._heard else np.zeros(0, np.int16)

    def forget(self) -> None:
        """Keep only what is heard and sent from now on."""
        self._heard.clear()
        self.flags.clear()
        self.sent.clear()
        self.sent_rtcp.clear()

    @property
    def packets(self) -> list[RtpPacket]:
        """What was sent, parsed."""
        return [RtpPacket.parse(data) for data, _ in self.sent]

    def hear(self, tick: int) -> None:
        """Take one frame."""
        frame = np.full(self.leg.sample_rate_hz // 50, 12_345, np.int16)
        self.flags.append(self.leg.take(tick, frame))
        self._heard.append(frame)

    def speak(self, tick: int) -> None:
        """Put one frame."""
        size = self.leg.sample_rate_hz // 50
        frame = np.zeros(size, np.int16)
        said, self._speech = self._speech[:size], self._speech[size:]
        frame[: said.size] = said
        self.leg.put(tick, frame)

    def _send(self, data: bytes, destination: Address) -> None:
        if self.ssrc is not None:
            data = data[:8] + self.ssrc.to_bytes(4, "big") + data[12:]
        self.sent.append((data, destination))
        self._wire.carry(self, data, destination, is_rtcp=False)

    def _send_rtcp(self, data: bytes, destination: Address) -> None:
        self.sent_rtcp.append((data, destination))
        self._wire.carry(self, data, destination, is_rtcp=True)


class Wire:
    """Two parties and their network.

    Args:
        left: Terms of the one end, with RIGHT.
        right: Of the other, with LEFT; None: the same but for the address.
        impairment: Of the way from left to right.
        back: Of the way back.
    """

    def __init__(
        self,
        left: RtpTerms,
        right: RtpTerms | None = None,
        impairment: Impairment = PERFECT,
        back: Impairment = PERFECT,
        seed: int = 1,
    ) -> None:
        self.tick = 0
        self._order = count()
        self._under_way: list[tuple[float, int, Party, bytes, Address, bool]] = []
        if right is None:
            right = replace(
                left, remote=LEFT, remote_rtcp=(LEFT[0], LEFT[1] + 1), peer_host=LEFT[0]
            )
        self.left = Party(self, LEFT, left, 1)
        self.right = Party(self, RIGHT, right, 2)
        self._networks = {
            id(self.left): Network(impairment, seed),
            id(self.right): Network(back, seed + 1),
        }

    @property
    def now_s(self) -> float:
        """When the tick that comes next is due."""
        return 100.0 + self.tick * TICK_S

    def carry(self, sender: Party, data: bytes, destination: Address, *, is_rtcp: bool) -> None:
        """Take a datagram; it is lost unless it is for the other end."""
        receiver = self.right if sender is self.left else self.left
        host, port = destination
        if (host, port - is_rtcp) != receiver.address:
            return
        source = (sender.address[0], sender.address[1] + is_rtcp)
        for delivery in self._networks[id(sender)].send(self.now_s, data):
            self.deliver(receiver, data, source, delivery.at_s, is_rtcp=is_rtcp)

    def deliver(
        self, to: Party, data: bytes, source: Address, at_s: float, *, is_rtcp: bool = False
    ) -> None:
        """Let a datagram arrive at a moment."""
        heapq.heappush(self._under_way, (at_s, next(self._order), to, data, source, is_rtcp))

    def run(self, ticks: int) -> None:
        """Let time pass."""
        for _ in range(ticks):
            for party in (self.left, self.right):
                party.leg.advance(self.now_s, WALL_S + self.now_s)
            while self._under_way and self._under_way[0][0] <= self.now_s:
                at_s, _, party, data, source, is_rtcp = heapq.heappop(self._under_way)
                if is_rtcp:
                    party.leg.receive_rtcp(data, source, at_s, WALL_S + at_s)
                else:
                    party.leg.receive(data, source, at_s)
            for party in (self.left, self.right):
                party.hear(self.tick)
            for party in (self.left, self.right):
                party.speak(self.tick)
            self.tick += 1


def aligned(said: Samples, heard: Samples, max_delay_samples: int) -> tuple[int, Samples]:
    """Return by how many samples `heard` is late, and the part of it that is `said`."""
    probe = said.astype(np.float64)
    at = heard.astype(np.float64)
    length = min(probe.size, at.size - max_delay_samples)
    spectrum = np.fft.rfft(at, 2 * at.size) * np.conj(np.fft.rfft(probe[:length], 2 * at.size))
    delay = int(np.argmax(np.fft.irfft(spectrum)[: max_delay_samples + 1]))
    return delay, heard[delay : delay + length]
