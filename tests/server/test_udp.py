"""RTP ports over real loopback sockets."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator

import pytest

from telcoflow_server import udp
from telcoflow_server.udp import (
    MAX_DATAGRAM_BYTES,
    READ_AT_ONCE,
    NoPortFree,
    PortPair,
    PortPool,
    PortRange,
)

HOST = "127.0.0.1"
ANY = PortRange(HOST, 0, 0)


@pytest.fixture
def pool() -> Iterator[PortPool]:
    made = PortPool(ANY)
    yield made
    made.close()


@pytest.fixture
def sender() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind((HOST, 0))
        yield made


@pytest.fixture(scope="module")
def timed() -> Iterator[None]:
    """The kernel times packets when they come.

    It begins to a moment after the first socket asks for it; until then it times what is read, when
    it is read. A pool asks from its beginning on, so that its first call finds it so.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        probe.setsockopt(socket.SOL_SOCKET, udp._SO_TIMESTAMPNS, 1)
        is_timed = False
        while not is_timed:
            probe.sendto(b"", probe.getsockname())
            sent_s = time.time()
            time.sleep(0.01)
            _, ((_, _, stamp),), _, _ = probe.recvmsg(1, 64)
            seconds, nanoseconds = udp._TIMESPEC.unpack(stamp)
            is_timed = seconds + nanoseconds / 1e9 < sent_s + 0.005
        yield


class Ear:
    """What has come for a pair."""

    def __init__(self, pair: PortPair) -> None:
        self.pair = pair
        self.rtp: list[bytes] = []
        self.rtcp: list[bytes] = []
        self.sources: list[tuple[str, int]] = []
        self.arrivals_s: list[float] = []
        pair.received_rtcp = lambda data, source, at_s: self.rtcp.append(data)


def read(pool: PortPool, *ears: Ear) -> int:
    """Read what has come, and note what is whose; return how often the pool looked."""
    by_port = {ear.pair.port: ear for ear in ears}
    looks = 0
    for came in pool.read():
        looks += 1
        assert len(set(came.ports)) == len(came.ports), "one of each port at a time"
        for port, data, source, arrived_s in zip(
            came.ports, came.data, came.sources, came.arrived_s, strict=True
        ):
            ear = by_port.get(port)
            if ear is not None:
                ear.rtp.append(data)
                ear.sources.append(source)
                ear.arrivals_s.append(float(arrived_s))
    return looks


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def free_range(pairs: int) -> PortRange:
    """Return a range of so many pairs that nobody uses now."""
    for first in range(42_000, 60_000, 2 * pairs):
        pool = PortPool(PortRange(HOST, first, first + 2 * pairs - 1))
        try:
            for _ in range(pairs):
                pool.open()
        except NoPortFree:
            continue
        finally:
            pool.close()
        return PortRange(HOST, first, first + 2 * pairs - 1)
    raise AssertionError("every port is in use")


# --- reading and writing -----------------------------------------------------------------


def test_what_comes_is_read_when_it_is_asked_for(pool: PortPool, sender: socket.socket) -> None:
    pair = pool.open()
    ear = Ear(pair)
    sender.sendto(b"audio", (HOST, pair.port))
    sender.sendto(b"report", (HOST, pair.port + 1))
    before = list(ear.rtp)

    read(pool, ear)

    assert (before, ear.rtp, ear.rtcp) == ([], [b"audio"], [b"report"])
    assert ear.sources == [sender.getsockname()]


def test_what_is_sent_comes_from_the_port_it_is_answered_to(
    pool: PortPool, sender: socket.socket
) -> None:
    pair = pool.open()
    sender.settimeout(5)

    pair.send(b"audio", sender.getsockname())
    audio = sender.recvfrom(100)
    pair.send_rtcp(b"report", sender.getsockname())
    report = sender.recvfrom(100)

    assert audio == (b"audio", (HOST, pair.port))
    assert report == (b"report", (HOST, pair.port + 1))


def test_a_packet_came_when_the_kernel_got_it_and_not_when_it_was_read(
    timed: None, pool: PortPool, sender: socket.socket
) -> None:
    pair = pool.open()
    ear = Ear(pair)
    before_s = time.monotonic()
    sender.sendto(b"1", (HOST, pair.port))
    after_s = time.monotonic()
    time.sleep(0.05)  # the read comes later than the packet

    read(pool, ear)

    assert before_s - 0.005 <= ear.arrivals_s[0] <= after_s + 0.005


def test_a_packet_without_a_time_came_now(
    pool: PortPool, sender: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(udp, "_SO_TIMESTAMPNS", 6)  # SO_BROADCAST: no time comes with a packet
    pair = pool.open()
    ear = Ear(pair)
    sender.sendto(b"1", (HOST, pair.port))

    read(pool, ear)

    assert ear.arrivals_s[0] == pytest.approx(time.monotonic(), abs=1.0)


def test_a_flood_is_read_little_by_little_and_delays_nobody_else(
    pool: PortPool, sender: socket.socket
) -> None:
    flooded, other = pool.open(), pool.open()
    flood, calm = Ear(flooded), Ear(other)
    for _ in range(READ_AT_ONCE * 4):
        sender.sendto(b"flood", (HOST, flooded.port))
    sender.sendto(b"calm", (HOST, other.port))

    read(pool, flood, calm)

    assert (len(flood.rtp), calm.rtp) == (READ_AT_ONCE, [b"calm"])
    assert pool.flooded_ticks == 1
    for _ in range(3):
        read(pool, flood, calm)
    assert len(flood.rtp) == READ_AT_ONCE * 4


def test_what_the_kernel_holds_of_a_flood_is_bounded(pool: PortPool, sender: socket.socket) -> None:
    pair = pool.open()
    ear = Ear(pair)
    for _ in range(5_000):
        sender.sendto(bytes(172), (HOST, pair.port))

    for _ in range(5_000 // READ_AT_ONCE):
        read(pool, ear)

    assert 0 < len(ear.rtp) < 1_000


def test_a_datagram_that_is_too_long_is_cut(pool: PortPool, sender: socket.socket) -> None:
    pair = pool.open()
    ear = Ear(pair)
    sender.sendto(bytes(MAX_DATAGRAM_BYTES + 100), (HOST, pair.port))

    read(pool, ear)

    assert [len(one) for one in ear.rtp] == [MAX_DATAGRAM_BYTES]


def test_a_port_that_answers_with_an_error_is_read_all_the_same(
    pool: PortPool, sender: socket.socket
) -> None:
    """A phone that is gone has its host send ICMP errors, which come out of our socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind((HOST, 0))
        closed = gone.getsockname()
    pair = pool.open()
    ear = Ear(pair)
    pair.send(b"x", closed)
    sender.sendto(b"audio", (HOST, pair.port))

    read(pool, ear)

    assert ear.rtp == [b"audio"]


@pytest.mark.parametrize(
    "destination", [("::1", 9), ("127.0.0.1", 0), ("255.255.255.255", 9), ("not an address", 9)]
)
def test_what_cannot_be_sent_is_lost(pool: PortPool, destination: tuple[str, int]) -> None:
    pool.open().send(b"x", destination)


def test_reports_that_nobody_listens_to_are_lost(pool: PortPool, sender: socket.socket) -> None:
    pair = pool.open()
    sender.sendto(b"x", (HOST, pair.port + 1))
    read(pool)
    ear = Ear(pair)

    read(pool, ear)

    assert ear.rtcp == []


def test_a_report_that_ends_its_call_is_the_last_that_is_read_of_it(
    pool: PortPool, sender: socket.socket
) -> None:
    pair = pool.open()
    heard: list[bytes] = []

    def hang_up(data: bytes, source: tuple[str, int], at_s: float) -> None:
        heard.append(data)
        pair.close()

    pair.received_rtcp = hang_up
    for data in (b"1", b"2"):
        sender.sendto(data, (HOST, pair.port))
        sender.sendto(data, (HOST, pair.port + 1))

    looks = read(pool)

    assert heard == [b"1"]
    assert looks == 1
    assert pool.used == 0


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_ipv6_is_a_range_of_its_own() -> None:
    pool = PortPool(PortRange("::1", 0, 0))
    try:
        pair = pool.open()
        ear = Ear(pair)
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
            sender.bind(("::1", 0))
            sender.sendto(b"six", ("::1", pair.port))
            source = sender.getsockname()[:2]
        read(pool, ear)
    finally:
        pool.close()

    assert (ear.rtp, ear.sources) == ([b"six"], [source])


# --- which ports -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "last"),
    [(0, 2), (1023, 1030), (2001, 2010), (4000, 4000), (4000, 70_000), (0, 40_000)],
)
def test_a_range_that_is_none_is_refused(first: int, last: int) -> None:
    with pytest.raises(ValueError, match="even number"):
        PortRange(HOST, first, last)


def test_rtp_has_the_even_port_and_rtcp_the_next(pool: PortPool) -> None:
    pairs = [pool.open() for _ in range(5)]

    assert all(pair.port % 2 == 0 for pair in pairs)
    assert len({pair.port for pair in pairs}) == 5
    assert pool.used == 5


def test_a_range_that_is_used_up_says_so_and_goes_on_when_ports_have_rested(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ports = free_range(2)
    pool = PortPool(ports)
    try:
        first, second = pool.open(), pool.open()
        assert {first.port, second.port} == {ports.first, ports.first + 2}
        with pytest.raises(NoPortFree, match="2 are in use, 0 rest"):
            pool.open()
        second.close()
        with pytest.raises(NoPortFree, match="1 are in use, 1 rest"):
            pool.open()

        later_s = time.monotonic() + udp.REST_S
        monkeypatch.setattr(time, "monotonic", lambda: later_s)

        assert pool.open().port == second.port
    finally:
        pool.close()


def test_ports_are_taken_in_turn_so_that_one_rests_for_as_long_as_it_can() -> None:
    pool = PortPool(free_range(3))
    try:
        first = pool.open()
        first.close()

        assert pool.open().port != first.port
    finally:
        pool.close()


@pytest.mark.parametrize("above", [0, 1])
def test_a_port_that_somebody_else_has_is_left_out(above: int) -> None:
    ports = free_range(2)
    pool = PortPool(ports)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((HOST, ports.first + above))
        try:
            assert pool.open().port == ports.first + 2
            with pytest.raises(NoPortFree):
                pool.open()
        finally:
            pool.close()


def test_a_system_without_ports_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = PortPool(ANY)
    monkeypatch.setattr(PortPool, "_bind_at", lambda self, port: None)

    with pytest.raises(NoPortFree, match="follow each other"):
        pool.open()
    pool.close()


def test_nothing_is_left() -> None:
    before = descriptors()
    pool = PortPool(ANY)
    pairs = [pool.open() for _ in range(10)]
    pairs[0].close()
    pairs[0].close()

    pool.close()
    read(pool)
    pairs[1].close()
    pairs[1].send(b"x", (HOST, 9))

    assert descriptors() == before
    assert pool.used == 0
