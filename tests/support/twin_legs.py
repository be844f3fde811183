"""The same phones twice: each with a leg that is by itself, and one that is kept with the others.

Whatever happens to both must come to the same. Virtual time; everything follows from the seeds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from numpy.typing import NDArray

from telcoflow_server.legs.rtp import RtpLeg
from telcoflow_server.legs.rtp_array import RtpArray
from telcoflow_server.legs.rtp_parts import Datagrams
from telcoflow_server.legs.rtp_terms import Address, RtpTerms
from tests.support.network import Impairment, Network
from tests.support.rtp_legs import LEFT, RIGHT, TICK_S, WALL_S, seed, terms

FRAME = 160

Sent = tuple[str, bytes, Address]
"""RTP or RTCP, and where it went."""


@dataclass(order=True)
class Arrival:
    """A datagram on its way."""

    at_s: float
    order: int
    data: bytes = field(compare=False)
    source: Address = field(compare=False)
    is_rtcp: bool = field(compare=False)


class Phone:
    """One phone, its network, and its two legs at our side.

    Args:
        number: Seeds everything.
        now_s: When it begins.
        impairment: Of its network.
        near: Our terms with it.
        far: Its own.

    Attributes:
        alone: The leg that is by itself.
        other: Its twin.
        far: The phone's own.
        sent: What each of the two has sent.
        source: Whence the phone sends.
        last: The last datagram it sent.
        ssrc: In place of its own; None: its own.
        marks: Whether all its packets are marked.
        skips: Ticks for which it says nothing.
        stalled_until_s: Nothing comes before.
        left_out: Ticks in which nobody takes what its legs say.
    """

    def __init__(
        self, number: int, now_s: float, impairment: Impairment, near: RtpTerms, far: RtpTerms
    ) -> None:
        self.number = number
        self.port = 30_000 + 2 * number
        self.now_s = now_s
        self.far_terms = far
        self.source = RIGHT
        self.last = b""
        self.ssrc: int | None = None
        self.marks = False
        self.skips = 0
        self.stalled_until_s = 0.0
        self.left_out = 0
        self.sent: tuple[list[Sent], list[Sent]] = ([], [])
        self._arrivals: list[Arrival] = []
        self._order = count()
        self._network: Network = Network(impairment, number)
        self._generator = np.random.default_rng(number)
        self.far = RtpLeg(far, seed(number + 500), now_s, self._say, self._say_rtcp)
        self.alone, self.other = (
            RtpLeg(near, seed(number), now_s, noting(sent, "RTP"), noting(sent, "RTCP"))
            for sent in self.sent
        )
        self.alone.expect_media()
        self.other.expect_media()

    def speak(self, now_s: float) -> None:
        """Say one frame, now loud, now silent."""
        self.now_s = now_s
        self.far.advance(now_s, WALL_S + now_s)
        if self.skips:
            self.skips -= 1
            return
        loud = 8_000 if int(now_s / 1.3 + self.number) % 3 else 4
        self.far.put(0, self._generator.integers(-loud, loud, FRAME).astype(np.int16))

    def arrive(self, at_s: float, data: bytes, source: Address, *, is_rtcp: bool = False) -> None:
        """Let a datagram come to both legs."""
        self._arrivals.append(Arrival(at_s, next(self._order), data, source, is_rtcp))

    def due(self, now_s: float) -> list[Arrival]:
        """Return what has come by now, in order."""
        if now_s < self.stalled_until_s:
            return []
        self._arrivals.sort()
        due = [one for one in self._arrivals if one.at_s <= now_s]
        del self._arrivals[: len(due)]
        return due

    def _say(self, data: bytes, destination: Address) -> None:
        if self.ssrc is not None:
            data = data[:8] + self.ssrc.to_bytes(4, "big") + data[12:]
        if self.marks:
            data = data[:1] + bytes([data[1] | 0x80]) + data[2:]
        self.last = data
        for delivery in self._network.send(self.now_s, data):
            self.arrive(delivery.at_s, data, self.source)

    def _say_rtcp(self, data: bytes, destination: Address) -> None:
        for delivery in self._network.send(self.now_s, data):
            self.arrive(delivery.at_s, data, (self.source[0], self.source[1] + 1), is_rtcp=True)


def noting(sent: list[Sent], kind: str) -> Callable[[bytes, Address], None]:
    """Return what notes what is sent."""
    return lambda data, destination: sent.append((kind, data, destination))


class Twins:
    """Many phones, and the array that one leg of each is in.

    Args:
        phones: How many.
        impairment: Of the network of each, by its number.
        near: Our terms with each, by its number.

    Attributes:
        together: Ticks of legs that were kept together, all added up.
    """

    def __init__(
        self,
        phones: int,
        impairment: Callable[[int], Impairment],
        near: Callable[[int], RtpTerms] = lambda number: terms(RIGHT, noise_pt=13),
    ) -> None:
        self.array = RtpArray()
        self.tick = 0
        self.together = 0
        self.phones: list[Phone] = []
        for number in range(phones):
            ours = near(number)
            far = terms(LEFT, ours.codec, ptime_ms=ours.ptime_ms)
            phone = Phone(number, self.now_s, impairment(number), ours, far)
            self.phones.append(phone)
            self.array.add(phone.port, phone.other)

    @property
    def now_s(self) -> float:
        """When the tick that comes next is due."""
        return 100.0 + self.tick * TICK_S

    def run(
        self,
        ticks: int,
        happens: Callable[[Phone, int], None] | None = None,
        *,
        before_take: Callable[[Phone], None] | None = None,
        before_put: Callable[[Phone], None] | None = None,
        after_put: Callable[[Phone], None] | None = None,
    ) -> None:
        """Let time pass, and see that twins do the same.

        Args:
            ticks: How many.
            happens: Called for each phone and tick, before what has come is read.
            before_take: Called for each phone in the middle of the tick.
            before_put: Likewise.
            after_put: Likewise.
        """
        for _ in range(ticks):
            self.begin(happens)
            for phone in self.phones:
                _call(before_take, phone)
                self._hear(phone)
                _call(before_put, phone)
                frame = speech_of(phone.number, self.tick)
                phone.alone.put(self.tick, frame)
                phone.other.put(self.tick, frame)
                _call(after_put, phone)
            self.array.finish()
            for phone in self.phones:
                ours, theirs = phone.sent
                assert ours == theirs, f"phone {phone.number} at tick {self.tick}"
                ours.clear()
                theirs.clear()
            self.tick += 1

    def stall(self, ticks: int) -> None:
        """Let time pass in which our side stands still, and phones go on."""
        for _ in range(ticks):
            for phone in self.phones:
                phone.speak(self.now_s)
            self.tick += 1

    def begin(self, happens: Callable[[Phone, int], None] | None = None) -> None:
        """Begin a tick: up to where what legs say can be taken."""
        for phone in self.phones:
            for leg in (phone.alone, phone.other):
                leg.advance(self.now_s, WALL_S + self.now_s)
            phone.speak(self.now_s)
            if happens is not None:
                happens(phone, self.tick)
        self.deliver(self.phones)
        self.array.begin(self.now_s)
        self.together += self.array.together

    def deliver(self, phones: list[Phone]) -> None:
        """Give both legs of these what has come."""
        waiting: list[tuple[Phone, deque[Arrival]]] = []
        for phone in phones:
            came: deque[Arrival] = deque()
            for one in phone.due(self.now_s):
                if one.is_rtcp:
                    for leg in (phone.alone, phone.other):
                        leg.receive_rtcp(one.data, one.source, one.at_s, WALL_S + one.at_s)
                else:
                    phone.alone.receive(one.data, one.source, one.at_s)
                    came.append(one)
            waiting.append((phone, came))
        while any(came for _, came in waiting):
            batch = [(phone.port, came.popleft()) for phone, came in waiting if came]
            self.array.receive(
                Datagrams(
                    [port for port, _ in batch],
                    [one.data for _, one in batch],
                    [one.source for _, one in batch],
                    np.array([one.at_s for _, one in batch]),
                )
            )

    def compare(self) -> None:
        """See that twins have counted the same."""
        for phone in self.phones:
            assert phone.alone.statistics() == phone.other.statistics(), f"phone {phone.number}"

    def _hear(self, phone: Phone) -> None:
        if phone.left_out:
            phone.left_out -= 1
            return
        where = f"phone {phone.number} at tick {self.tick}"
        ours, theirs = (np.full(FRAME, 12_345, np.int16) for _ in range(2))
        is_heard = phone.alone.take(self.tick, ours), phone.other.take(self.tick, theirs)
        assert is_heard[0] == is_heard[1], where
        assert ours.tobytes() == theirs.tobytes(), where
        assert phone.alone.is_dead == phone.other.is_dead, where
        assert phone.alone.take_digits() == phone.other.take_digits(), where


def _call(one: Callable[[Phone], None] | None, phone: Phone) -> None:
    if one is not None:
        one(phone)


def speech_of(number: int, tick: int) -> NDArray[np.int16]:
    """Return what a phone is given to hear."""
    return np.random.default_rng((number, tick)).integers(-9_000, 9_000, FRAME).astype(np.int16)
