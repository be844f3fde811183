"""Which source address is the far end's, and where media may be sent: symmetric RTP (RFC 4961).

Not here: which packets of that address make up the stream (`receiver.py`).
Follows RFC 4961, and RFC 7362 on latching and its dangers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from telcoflow_server.rtp.packet import SEQ_MODULUS

LEARNING_PACKETS = 50
"""How many packets of an allowed source make it final: one second. Until then a better source
takes its place, such as the announced one that comes after the tail of an earlier call."""

Address = tuple[str, int]
"""Numeric host and port, as sockets give them; what follows in IPv6 tuples is to be left out."""


class _Trust(IntEnum):
    """How good a source is; a better one takes the place of a lesser one while learning."""

    STRANGER = 0
    FORMER = 1  # latched before signalling named another address
    ALLOWED = 2  # a host that signalling knows, at whatever port a NAT gave it
    ANNOUNCED = 3  # exactly the address in the far end's SDP


@dataclass(frozen=True, slots=True)
class LatchStatistics:
    """Who sent.

    Attributes:
        source: The latched address; None before there is one.
        announced: The address in the far end's SDP, if it can be one.
        admitted: Packets of latched addresses.
        strangers: Packets of all others.
        last_stranger: Where the last of those came from: when nobody is heard, this tells why.
    """

    source: Address | None
    announced: Address | None
    admitted: int
    strangers: int
    last_stranger: Address | None


class Latch:
    """Believes one source address, chosen among those that signalling allows by who sends first.

    Allowed are the host in the far end's SDP and the host that signals, at any port: a NAT in
    between gives ports as it likes. Nobody else is ever believed, and once the source is final
    nobody takes its place until signalling names another address. RTP and RTCP on ports of their
    own have a latch each.

    Args:
        announced: Where the far end's SDP wants media; None on hold or when it names none.
        peer_host: Numeric host from which signalling comes.
        is_peer_trusted: Whether the signalling peer is known, as a trunk or by a password, so
            that media may be sent to any other machine it names before anything comes from
            there.

    Attributes:
        destination: Where to send; None while nothing justifies sending anywhere. Asked for
            every tick and changed seldom, so it is chosen when it changes. To be read only.
    """

    def __init__(
        self, announced: Address | None, peer_host: str, *, is_peer_trusted: bool = False
    ) -> None:
        self._is_peer_trusted = is_peer_trusted
        self._source: Address | None = None
        self._former: Address | None = None
        self._trust = _Trust.STRANGER
        self._packets_of_source = 0
        self._admitted = 0
        self._strangers = 0
        self._last_stranger: Address | None = None
        self._announced = _usable(announced)
        self._peer = _host(peer_host)
        self.destination = self._choose()

    def admit(self, source: Address) -> bool:
        """Return whether a packet from this address is the far end's.

        Args:
            source: Whence came a datagram that has been parsed as RTP (or RTCP): what is
                neither must not be given here, or garbage would latch.

        Returns:
            False: a stranger's. It is counted and must not be played.
        """
        if source == self._source:
            self._packets_of_source += 1
            self._admitted += 1
            return True
        trust = self._trust_in(source)
        # A former source is never final: signalling said that media moves.
        is_learning = self._packets_of_source < LEARNING_PACKETS or self._trust is _Trust.FORMER
        if is_learning and trust > self._trust:
            self._latch(source, trust)
            return True
        self._strangers += 1
        self._last_stranger = source
        return False

    @property
    def final(self) -> Address | None:
        """The source, once nobody takes its place but by signalling."""
        is_final = self._packets_of_source >= LEARNING_PACKETS and self._trust is not _Trust.FORMER
        return self._source if is_final else None

    def note_admitted(self, packets: int) -> None:
        """Note that so many came of the source that is final."""
        self._packets_of_source += packets
        self._admitted += packets

    def renew(self, announced: Address | None, peer_host: str) -> None:
        """Take what a new offer or answer says; latch anew only if it brings another address.

        A refresh of the session changes nothing, and hold (None) leaves the announced address as
        it is. A phone that signals from elsewhere has changed networks, whatever its SDP says.
        Until the new source is heard, the former one goes on, unless signalling no longer knows
        its host.
        """
        peer = _host(peer_host)
        usable = _usable(announced) or self._announced
        if (usable, peer) == (self._announced, self._peer):
            return
        self._announced, self._peer = usable, peer
        if self._source is not None and usable is not None and self._same(self._source, usable):
            self._trust = _Trust.ANNOUNCED  # it sends from there already
        else:
            self._former = self._source or self._former
            self._source = None
            self._trust = _Trust.STRANGER
            self._packets_of_source = 0
        self.destination = self._choose()

    def statistics(self) -> LatchStatistics:
        """Return who sent."""
        return LatchStatistics(
            source=self._source,
            announced=self._announced,
            admitted=self._admitted,
            strangers=self._strangers,
            last_stranger=self._last_stranger,
        )

    def _choose(self) -> Address | None:
        """Return where to send.

        The latched source, or before there is one the announced address, if it is the signalling
        peer's own or the peer is trusted. Thus nobody can point our media at a third party.
        """
        if self._trust > _Trust.FORMER:
            return self._source
        if self._announced is not None and self._is_justified(self._announced):
            return self._announced
        return self._source

    def _is_justified(self, announced: Address) -> bool:
        """Whether signalling alone is reason enough to send there."""
        host = _host(announced[0])
        if host is None or host == self._peer:
            return host is not None
        # Loopback in the SDP of another machine means that machine; here it would reach whatever
        # else listens beside us.
        return self._is_peer_trusted and not host.is_loopback

    def _latch(self, source: Address, trust: _Trust) -> None:
        self._source = source
        self._trust = trust
        # The announced address is final at once: there is none better.
        self._packets_of_source = 1
        self._admitted += 1
        self.destination = self._choose()

    def _trust_in(self, source: Address) -> _Trust:
        host = _host(source[0])
        announced = self._announced
        if announced is not None and self._same(source, announced):
            return _Trust.ANNOUNCED
        is_known = host is not None and (
            host == self._peer or (announced is not None and host == _host(announced[0]))
        )
        if not is_known:
            return _Trust.STRANGER
        # The former one may be about to stop: good only until something better comes.
        return _Trust.FORMER if source == self._former else _Trust.ALLOWED

    @staticmethod
    def _same(one: Address, other: Address) -> bool:
        return one[1] == other[1] and _host(one[0]) == _host(other[0])


# Parsing takes a hundred times as long as finding it again, and a flood is mostly one address.
@lru_cache(maxsize=1_024)
def _host(text: str) -> IPv4Address | IPv6Address | None:
    """Return an address in the one form in which it can be compared; None for a name.

    A socket of both families gives IPv4 addresses as `::ffff:192.0.2.1` (RFC 4291 §2.5.5.2), and
    the scope of a link-local address is known to one side only.
    """
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or address
    return address


def _usable(announced: Address | None) -> Address | None:
    """Return the announced address if one party can have it.

    Not `0.0.0.0`, which is an old way to say hold (RFC 3264 §8.4), not port 0, not a name, not a
    group of receivers.
    """
    if announced is None:
        return None
    host = _host(announced[0])
    is_one_party = (
        host is not None
        and not host.is_unspecified
        and not host.is_multicast
        and host != IPv4Address("255.255.255.255")
    )
    return announced if is_one_party and 0 < announced[1] < SEQ_MODULUS else None
