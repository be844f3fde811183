"""The audio of a SIP phone that a test holds: RTP on real sockets, a packet every 20 ms.

Not here: its signalling (`sip_phone.py`). Written apart from the server's RTP: it numbers, places
and decodes by itself, and plays nothing out; what came is put where its timestamp says.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telcoflow_server.codec.stream import Decoder, Encoder
from telcoflow_server.codec.table import PCMU, Codec
from telcoflow_server.ticker import Ticker
from tests.support.sip_phone import PATIENCE_S

Samples = NDArray[np.int16]

_HEADER = struct.Struct("!BBHII")
DIGITS_PT = 101


@dataclass(frozen=True, slots=True)
class Heard:
    """A packet that came."""

    pt: int
    seq: int
    ts: int
    ssrc: int
    payload: bytes
    source: tuple[str, int]


class RtpPhone:
    """A phone's RTP: says what it is given, or silence, from `start` on.

    Attributes:
        packets: Everything that came.
        remote: Where it sends to; None: nowhere.
        is_sending: Whether it sends at all.
    """

    def __init__(self, own: socket.socket, codec: Codec) -> None:
        self.packets: list[Heard] = []
        self.remote: tuple[str, int] | None = None
        self.is_sending = True
        self.host, self.port = own.getsockname()[:2]
        self._socket = own
        self._speech = np.zeros(0, np.int16)
        self._digits: list[bytes] = []
        self._seq, self._ts, self._ssrc = 65_500, 2**32 - 1_600, 0x5EED
        self._digit_ts = 0
        self.speak(codec)

    def speak(self, codec: Codec) -> None:
        """Speak this codec from now on, and understand it."""
        self.codec = codec
        self.pt = 96 if codec.static_pt is None else codec.static_pt
        self._encoder: Encoder = codec.encoder()
        self._decoder: Decoder = codec.decoder()

    def say(self, speech: Samples) -> None:
        """Say this from now on, at the codec's rate, then nothing."""
        self._speech = speech

    def press(self, digit: str, ticks: int = 5) -> None:
        """Press a key for some ticks, as telephone-events (RFC 4733)."""
        code = "0123456789*#ABCD".index(digit)
        units = [(number + 1) * 160 for number in range(ticks)]
        self._digits += [struct.pack("!BBH", code, 10, one) for one in units]
        self._digits += [struct.pack("!BBH", code, 0x8A, units[-1])] * 3

    def offer(self, *, direction: str = "sendrecv", digits: bool = True, host: str = "") -> str:
        """Return its SDP."""
        codec, address = self.codec, host or self.host
        channels = f"/{codec.channels}" if codec.channels > 1 else ""
        formats = f"{self.pt} {DIGITS_PT}" if digits else str(self.pt)
        event = f"a=rtpmap:{DIGITS_PT} telephone-event/8000\r\n" if digits else ""
        family = "IP6" if ":" in address else "IP4"
        return (
            f"v=0\r\no=- 1 1 IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\n"
            f"m=audio {self.port} RTP/AVP {formats}\r\n"
            f"a=rtpmap:{self.pt} {codec.encoding}/{codec.clock_rate_hz}{channels}\r\n"
            f"{event}a=ptime:20\r\na={direction}\r\n"
        )

    def obey(self, sdp: str) -> None:
        """Send where the far end's SDP says."""
        lines = sdp.split("\r\n")
        host = next(line for line in lines if line.startswith("c=")).split()[-1]
        port = int(next(line for line in lines if line.startswith("m=audio")).split()[1])
        self.remote = host, port

    @property
    def heard(self) -> Samples:
        """What came in the codec it speaks now, each packet in its place; 0 where none came."""
        audio = [packet for packet in self.packets if packet.pt == self.pt]
        if not audio:
            return np.zeros(0, np.int16)
        ratio = self.codec.sample_rate_hz // 1000, self.codec.clock_rate_hz // 1000
        first = audio[0].ts
        pieces = [
            (((one.ts - first) % 2**32) * ratio[0] // ratio[1], self._decoder.decode(one.payload))
            for one in audio
            if (one.ts - first) % 2**32 < 2**31
        ]
        sound = np.zeros(max(at + piece.size for at, piece in pieces), np.int16)
        for at, piece in pieces:
            sound[at : at + piece.size] = piece
        return sound

    def forget(self) -> None:
        """Keep only what comes from now on."""
        self.packets.clear()

    async def until_heard(self, ms: int) -> Samples:
        """Return what was heard once it is so long."""
        wanted = ms * self.codec.sample_rate_hz // 1000
        async with asyncio.timeout(PATIENCE_S + ms / 1000):
            while self.heard.size < wanted:  # noqa: ASYNC110 (packets come by themselves)
                await asyncio.sleep(0.02)
        return self.heard

    def tick(self) -> None:
        """Send a packet and read what has come."""
        self._read()
        if self.remote is None or not self.is_sending:
            return
        pt, payload, ts, marker = self._next()
        header = _HEADER.pack(0x80, pt | marker << 7, self._seq, ts, self._ssrc)
        self._socket.sendto(header + payload, self.remote)
        self._seq = (self._seq + 1) % 65_536
        self._ts = (self._ts + self.codec.clock_rate_hz // 50) % 2**32

    def _next(self) -> tuple[int, bytes, int, bool]:
        if self._digits:
            payload = self._digits.pop(0)
            is_first = payload[2:] == b"\x00\xa0"
            if is_first:
                self._digit_ts = self._ts
            return DIGITS_PT, payload, self._digit_ts, is_first
        size = self.codec.sample_rate_hz // 50
        frame = np.zeros(size, np.int16)
        said, self._speech = self._speech[:size], self._speech[size:]
        frame[: said.size] = said
        return self.pt, self._encoder.encode(frame), self._ts, False

    def _read(self) -> None:
        while True:
            try:
                data, source = self._socket.recvfrom(4096)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                continue
            _, second, seq, ts, ssrc = _HEADER.unpack_from(data)
            self.packets.append(Heard(second & 0x7F, seq, ts, ssrc, data[12:], source[:2]))


@asynccontextmanager
async def rtp_phone(codec: Codec = PCMU, host: str = "127.0.0.1") -> AsyncIterator[RtpPhone]:
    """Make a phone's audio, which ticks until the end."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as own:
        own.setblocking(False)
        own.bind((host, 0))
        phone = RtpPhone(own, codec)
        ticker = Ticker(lambda lateness_s: phone.tick())
        ticker.start()
        try:
            yield phone
        finally:
            ticker.stop()
