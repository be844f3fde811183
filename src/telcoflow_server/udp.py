"""The sockets of all RTP legs: a fixed range of ports, read together once a tick.

Not here: what is in the packets (`legs/rtp.py`). Implements "Ports" of docs/explanation/phones.md.
Nothing wakes the event loop for a packet: it is played by the tick, so it is read by the tick. When
it came, the kernel has noted (SO_TIMESTAMPNS), so that jitter is measured all the same.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telcoflow_server.legs.rtp_parts import Datagrams
from telcoflow_server.legs.rtp_terms import Address

MAX_DATAGRAM_BYTES = 4096
"""60 ms of 24 kHz PCM have 2880 bytes; of what is longer the rest is lost."""

READ_AT_ONCE = 16
"""Packets of one socket that one tick reads: 320 ms of a phone's, and a bound for a flood's."""

RECEIVE_BUFFER_BYTES = 64 * 1024
"""What the kernel holds of one socket: about 300 packets of G.711."""

REST_S = 5.0
"""A port is not given to the next call at once: the last one's phone may still be sending."""

_TIMESPEC = struct.Struct("@ll")  # seconds, nanoseconds
_NS = 1_000_000_000
_ANCILLARY_BYTES = socket.CMSG_SPACE(_TIMESPEC.size)
_SO_TIMESTAMPNS = 35  # the socket module has no name for it; Linux, asm-generic/socket.h
_BUSY_POLL = 0.0

ReceivedRtcp = Callable[[bytes, Address, float], None]
"""Told of a datagram: its bytes, where from, and when it came, monotonic seconds."""


class NoPortFree(Exception):
    """Every pair of ports of the range is in use, or was until just now."""


@dataclass(frozen=True, slots=True)
class PortRange:
    """Where RTP is received.

    Args:
        host: Numeric address to bind.
        first: Lowest port, even.
        last: Highest port; 0 with `first` 0: any that is free, for tests and one machine.
    """

    host: str
    first: int
    last: int

    def __post_init__(self) -> None:
        if self.first == 0 and self.last == 0:
            return
        if self.first % 2 or not 1024 <= self.first < self.last <= 65535:
            raise ValueError(
                f"RTP ports must be an even number from 1024 on to a higher one, not "
                f"{self.first} to {self.last}"
            )


class PortPair:
    """One leg's two sockets: RTP, and RTCP one above.

    Attributes:
        port: Of RTP; to be read only.
        received_rtcp: Told of what comes on the other.
    """

    def __init__(self, pool: PortPool, rtp: socket.socket, rtcp: socket.socket) -> None:
        self._pool = pool
        self._rtp, self._rtcp = rtp, rtcp
        self.port: int = rtp.getsockname()[1]
        self.received_rtcp: ReceivedRtcp = _ignore

    def send(self, data: bytes, destination: Address) -> None:
        """Send RTP; what cannot be sent is lost, as on any network."""
        try:
            self._rtp.sendto(data, destination)
        except OSError:
            pass  # full, unreachable, of the other family, or closed: lost, as on any network

    def send_rtcp(self, data: bytes, destination: Address) -> None:
        """Send RTCP; likewise."""
        try:
            self._rtcp.sendto(data, destination)
        except OSError:
            pass

    def close(self) -> None:
        """Give both ports back. Idempotent."""
        self._pool.give_back(self, (self._rtp, self._rtcp))


class PortPool:
    """All RTP ports of a node. One thread; nothing waits.

    Args:
        ports: Which.
    """

    def __init__(self, ports: PortRange) -> None:
        self._range = ports
        self._family = socket.AF_INET6 if ":" in ports.host else socket.AF_INET
        self._free: deque[int] = deque(range(ports.first, ports.last, 2) if ports.first else ())
        self._resting: deque[tuple[float, int]] = deque()
        self._epoll = select.epoll()
        self._by_descriptor: dict[int, tuple[PortPair, socket.socket, bool]] = {}
        self._clock_offset_s = time.time() - time.monotonic()
        # The kernel begins to time packets a moment after the first socket asks for it.
        self._timed = self._socket()
        self.flooded_ticks = 0
        """Ticks in which some socket had `READ_AT_ONCE` packets, and perhaps more for the next."""

    @property
    def used(self) -> int:
        """How many pairs are in use."""
        return len(self._by_descriptor) // 2

    def open(self) -> PortPair:
        """Bind a pair of ports.

        Raises:
            NoPortFree: there is none.
        """
        rtp, rtcp = self._bind()
        pair = PortPair(self, rtp, rtcp)
        for one, is_rtcp in ((rtp, False), (rtcp, True)):
            self._epoll.register(one.fileno(), select.EPOLLIN)
            self._by_descriptor[one.fileno()] = (pair, one, is_rtcp)
        return pair

    def read(self) -> Iterator[Datagrams]:
        """Read what has come on all ports: RTP as long as there is some, RTCP is told at once.

        A packet of each port in turn: to ask whether any has another costs one call for all of
        them, and to try each one in vain would cost one for each.
        """
        # Wall-clock time may be set meanwhile; packets are seconds old at most.
        self._clock_offset_s = time.time() - time.monotonic()
        for _ in range(READ_AT_ONCE):
            if not self._by_descriptor:
                return
            ready = self._epoll.poll(_BUSY_POLL, 2 * len(self._by_descriptor))
            if not ready:
                return
            yield self._read(ready)
        self.flooded_ticks += 1

    def close(self) -> None:
        """Close everything."""
        for pair, _, _ in list(self._by_descriptor.values()):
            pair.close()
        self._timed.close()
        self._epoll.close()

    def give_back(self, pair: PortPair, sockets: tuple[socket.socket, socket.socket]) -> None:
        """Close a pair's sockets; for the pair."""
        if sockets[0].fileno() < 0:
            return
        for one in sockets:
            self._epoll.unregister(one.fileno())
            del self._by_descriptor[one.fileno()]
            one.close()
        if self._range.first:
            self._resting.append((time.monotonic() + REST_S, pair.port))

    def _read(self, ready: list[tuple[int, int]]) -> Datagrams:
        """Read one datagram of each descriptor that has one; tell of RTCP."""
        ports: list[int] = []
        data: list[bytes] = []
        sources: list[Address] = []
        stamps: list[bytes] = []
        for descriptor, _ in ready:
            known = self._by_descriptor.get(descriptor)
            if known is None:
                continue  # closed since, by what was told of RTCP
            pair, one, is_rtcp = known
            try:
                payload, ancillary, _, source = one.recvmsg(MAX_DATAGRAM_BYTES, _ANCILLARY_BYTES)
            except OSError:
                continue  # an earlier packet of ours met a closed port: not this socket's fault
            # The time is all that was asked for.
            stamp = ancillary[0][2] if ancillary else _TIMESPEC.pack(*divmod(time.time_ns(), _NS))
            if len(source) > 2:  # of IPv6: scope and flow are of no interest
                source = source[:2]
            if is_rtcp:
                pair.received_rtcp(payload, source, float(self._arrivals_s(stamp)[0]))
                continue
            ports.append(pair.port)
            data.append(payload)
            sources.append(source)
            stamps.append(stamp)
        return Datagrams(ports, data, sources, self._arrivals_s(b"".join(stamps)))

    def _arrivals_s(self, stamps: bytes) -> NDArray[np.float64]:
        """Return the kernel's times as monotonic seconds."""
        times = np.frombuffer(stamps, np.dtype("l")).reshape(-1, 2)
        arrived_s: NDArray[np.float64] = times[:, 0] + times[:, 1] / _NS - self._clock_offset_s
        return arrived_s

    def _bind(self) -> tuple[socket.socket, socket.socket]:
        now_s = time.monotonic()
        while self._resting and self._resting[0][0] <= now_s:
            self._free.append(self._resting.popleft()[1])
        if self._range.first == 0:
            return self._bind_any()
        for _ in range(len(self._free)):
            port = self._free.popleft()
            pair = self._bind_at(port)
            if pair is not None:
                return pair
            self._free.append(port)  # somebody else has it now
        raise NoPortFree(
            f"no pair of RTP ports from {self._range.first} to {self._range.last} is free: "
            f"{self.used} are in use, {len(self._resting)} rest after their calls"
        )

    def _bind_any(self) -> tuple[socket.socket, socket.socket]:
        for _ in range(100):
            first = self._socket()
            first.bind((self._range.host, 0))
            port = first.getsockname()[1]
            first.close()
            pair = self._bind_at(port & ~1)
            if pair is not None:
                return pair
        raise NoPortFree("the system gives no two ports that follow each other")

    def _bind_at(self, port: int) -> tuple[socket.socket, socket.socket] | None:
        made: list[socket.socket] = []
        try:
            for number in (port, port + 1):
                one = self._socket()
                made.append(one)
                one.bind((self._range.host, number))
        except OSError:
            for one in made:
                one.close()
            return None
        return made[0], made[1]

    def _socket(self) -> socket.socket:
        one = socket.socket(self._family, socket.SOCK_DGRAM)
        one.setblocking(False)
        one.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        if self._family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return one


def _ignore(data: bytes, source: Address, arrived_s: float) -> None:
    """Until somebody wants it, what comes is nobody's."""
