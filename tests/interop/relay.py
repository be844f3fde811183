"""A network between a phone of others and our server, in user space: SIP passes, RTP suffers.

Stands in the way of an INVITE and its responses, and writes its own ports into their SDP, so that
audio comes through here: lost, late, out of order, twice, by a seed. What it delivers to the
phone it keeps, for phones that record nothing. Requests after the first go the direct way.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from telcoflow_server.codec.table import Codec
from telcoflow_server.rtp.packet import RtpError, RtpPacket
from tests.support.network import Impairment, Network

Address = tuple[str, int]

HOST = "127.0.0.1"
PERFECT = Impairment(delay_ms=0.0)

_LENGTH = re.compile(rb"^(Content-Length|l)[ \t]*:[ \t]*\d+", re.IGNORECASE | re.MULTILINE)
_MEDIA = re.compile(rb"^m=audio (\d+)", re.MULTILINE)
_CONNECTION = re.compile(rb"^c=IN IP[46] \S+", re.MULTILINE)
_RTCP = re.compile(rb"^a=(rtcp|candidate|ice-[a-z]+):.*\r\n", re.MULTILINE)


class _Port(asyncio.DatagramProtocol):
    def __init__(self, received: Callable[[bytes, Address], None]) -> None:
        self._received = received
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._received(data, addr[:2])

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there any more."""

    @property
    def number(self) -> int:
        port: int = self.transport.get_extra_info("sockname")[1]
        return port


@dataclass(frozen=True, slots=True)
class Passed:
    """A packet that was delivered to the phone."""

    at_s: float
    data: bytes


class Relay:
    """One call's network; `open` makes it.

    Args:
        server: Where our server takes SIP.
        up: What happens to audio on its way to the server.
        down: And to the phone.

    Attributes:
        passed: What was delivered to the phone, in order.
        taken: How many packets the phone has sent.
    """

    def __init__(self, server: Address, up: Impairment, down: Impairment, seed: int) -> None:
        self.passed: list[Passed] = []
        self.taken = 0
        self._server = server
        self._phone: Address | None = None
        self._networks = {"up": Network(up, seed), "down": Network(down, seed + 1)}
        self._media: dict[str, Address] = {}  # where audio goes, up and down
        self._loop = asyncio.get_running_loop()
        self._sip = _Port(self._signalled)
        self._near_phone = _Port(self._up)
        self._near_server = _Port(self._down)
        self._idle: list[socket.socket] = []

    @classmethod
    async def open(
        cls, server: Address, up: Impairment = PERFECT, down: Impairment = PERFECT, seed: int = 1
    ) -> Relay:
        """Return a network on ports of its own."""
        relay = cls(server, up, down, seed)
        loop = relay._loop
        await loop.create_datagram_endpoint(lambda: relay._sip, local_addr=(HOST, 0))
        near_phone, near_server = relay._free_pair(), relay._free_pair()
        await loop.create_datagram_endpoint(
            lambda: relay._near_phone, local_addr=(HOST, near_phone)
        )
        await loop.create_datagram_endpoint(
            lambda: relay._near_server, local_addr=(HOST, near_server)
        )
        return relay

    def close(self) -> None:
        """Close every socket."""
        for port in (self._sip, self._near_phone, self._near_server):
            port.transport.close()
        for one in self._idle:
            one.close()

    @property
    def address(self) -> Address:
        """Where the phone calls."""
        return HOST, self._sip.number

    def heard_by_phone(self, codec: Codec, pt: int) -> NDArray[np.int16]:
        """Return what the phone was sent, each packet where its timestamp says; else zeros."""
        decoder = codec.decoder()
        packets = [RtpPacket.parse(one.data) for one in self.passed]
        audio = [packet for packet in packets if packet.pt == pt]
        if not audio:
            return np.zeros(0, np.int16)
        first = audio[0].ts
        pieces = [((one.ts - first) % 2**32, decoder.decode(one.payload)) for one in audio]
        sound = np.zeros(max(at + piece.size for at, piece in pieces), np.int16)
        for at, piece in pieces:
            sound[at : at + piece.size] = piece
        return sound

    # --- signalling ------------------------------------------------------------------------

    def _signalled(self, data: bytes, source: Address) -> None:
        if source == self._server:
            if self._phone is not None:
                answer = self._through(data, "up", self._near_phone)
                self._sip.transport.sendto(answer, self._phone)
            return
        self._phone = source
        offer = self._through(data, "down", self._near_server)
        self._sip.transport.sendto(offer, self._server)

    def _through(self, data: bytes, way: str, port: _Port) -> bytes:
        """Note where the SDP wants audio, which goes that `way`; name our own port instead."""
        head, separator, body = data.partition(b"\r\n\r\n")
        found = _MEDIA.search(body)
        if found is None:
            return data
        self._media[way] = HOST, int(found[1])
        body = _MEDIA.sub(b"m=audio %d" % port.number, body)
        body = _CONNECTION.sub(b"c=IN IP4 " + HOST.encode(), body)
        body = _RTCP.sub(b"", body)
        return _LENGTH.sub(rb"\1: %d" % len(body), head) + separator + body

    # --- audio -----------------------------------------------------------------------------

    def _up(self, data: bytes, source: Address) -> None:
        self.taken += 1
        self._media["down"] = source  # whatever its SDP said
        self._carry("up", data)

    def _down(self, data: bytes, source: Address) -> None:
        self._carry("down", data)

    def _carry(self, way: str, data: bytes) -> None:
        try:
            RtpPacket.parse(data)
        except RtpError:
            return
        now_s = self._loop.time()
        for delivery in self._networks[way].send(now_s, data):
            if delivery.at_s <= now_s:
                self._deliver(way, data)
            else:
                self._loop.call_at(delivery.at_s, self._deliver, way, data)

    def _deliver(self, way: str, data: bytes) -> None:
        port = self._near_server if way == "up" else self._near_phone
        destination = self._media.get(way)
        if destination is None or port.transport.is_closing():
            return
        if way == "down":
            self.passed.append(Passed(self._loop.time(), data))
        port.transport.sendto(data, destination)

    def _free_pair(self) -> int:
        """Return an even port that is free; the one above, for RTCP, is bound and not read."""
        while True:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
                found.bind((HOST, 0))
                number = found.getsockname()[1] & ~1
            above = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                above.bind((HOST, number + 1))
            except OSError:
                above.close()
                continue
            self._idle.append(above)
            return int(number)
