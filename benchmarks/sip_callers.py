"""Phones without number, as a load: each calls by SIP, and sends a G.711 packet every 20 ms.

All of them share one socket for signalling and one for audio, and are sent to without listening:
what is measured is the server. The first one clicks, and listens for the
echo. Not here: who asks (`sip.py`).

Arguments: where the server takes SIP, host and port.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import sys
import time

import numpy as np

from benchmarks import lines
from telcoflow_server.codec.g711 import MU_LAW
from telcoflow_server.media.sound import load_sound
from telcoflow_server.speech import SENTENCE
from telcoflow_server.ticker import Ticker

HOST = "127.0.0.1"

ANSWER_TIMEOUT_S = 10.0

FRAME_BYTES = 160
BYTES_PER_MS = 8

CLICK_EVERY_TICKS = 25
"""An echo is back before the next."""
CLICK = bytes([0x80]) * FRAME_BYTES
QUIET = bytes([0xFF]) * FRAME_BYTES
LOUD = 8_000
"""A quarter of full scale: half a click after two resamplers, and no hum."""

_HEADER = struct.Struct("!BBHII")
_CALL_ID = re.compile(rb"^Call-ID: *(\S+)", re.IGNORECASE | re.MULTILINE)
_TO = re.compile(rb"^To: *(.*?)\r$", re.IGNORECASE | re.MULTILINE)
_CONTACT = re.compile(rb"^Contact: *<([^>]+)>", re.IGNORECASE | re.MULTILINE)
_MEDIA = re.compile(rb"^m=audio (\d+)", re.MULTILINE)

_REQUEST = """\
{method} {uri} SIP/2.0\r
Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{method}{number};rport\r
Max-Forwards: 70\r
From: <sip:load@{host}:{port}>;tag=load{number}\r
To: {to}\r
Call-ID: {number}\r
CSeq: 1 {method}\r
Contact: <sip:load@{host}:{port}>\r
{more}Content-Length: {length}\r
\r
{body}"""


class Callers(asyncio.DatagramProtocol):
    """The phones.

    Args:
        server: Where they call.
    """

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None
        self._port = 0
        self._answers: dict[int, asyncio.Future[bytes]] = {}
        self._destinations: list[tuple[str, int]] = []
        self._setup_ms: list[float] = []
        self._audio = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._audio.bind((HOST, 0))
        self._audio.setblocking(False)
        sentence = load_sound(SENTENCE.read_bytes())[::3]  # hissing, and as good a load
        encoded = MU_LAW.encode(sentence)
        ends = range(FRAME_BYTES, len(encoded) + 1, FRAME_BYTES)
        self._frames = [encoded[end - FRAME_BYTES : end] for end in ends]
        self._ticks = 0
        self._clicked_s = 0.0
        self._echoes_ms: asyncio.Queue[float] = asyncio.Queue()
        self._ticker = Ticker(lambda lateness_s: self._speak())

    async def start(self) -> None:
        """Begin."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(HOST, 0))
        self._port = self._transport.get_extra_info("sockname")[1]
        loop.add_reader(self._audio, self._listen)
        self._ticker.start()

    async def echo_delays(self, clicks: int) -> list[float]:
        """Click on a call of its own; tell how long each took to come back, ms.

        From the packet with the click to its first sample in a packet that comes back.
        """
        await self._call(0)
        delays_ms = [await self._echoes_ms.get() for _ in range(clicks)]
        asyncio.get_running_loop().remove_reader(self._audio)
        return delays_ms

    async def raise_to(self, calls: int) -> list[float]:
        """Call until so many calls are answered, one at a time; tell how long each took, ms."""
        before = len(self._setup_ms)
        while len(self._destinations) < calls:
            await self._call(len(self._destinations))
        return self._setup_ms[before:]

    async def _call(self, number: int) -> None:
        body = (
            f"v=0\r\no=- {number} 1 IN IP4 {HOST}\r\ns=-\r\nc=IN IP4 {HOST}\r\nt=0 0\r\n"
            f"m=audio {self._audio.getsockname()[1]} RTP/AVP 0\r\n"
        )
        answered = asyncio.get_running_loop().create_future()
        self._answers[number] = answered
        target = f"sip:100@{self._server[0]}:{self._server[1]}"
        started_s = time.monotonic()
        self._send("INVITE", number, target, f"<{target}>", body)
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            response = await answered
        self._setup_ms.append((time.monotonic() - started_s) * 1000)
        contact, to, media = (one.search(response) for one in (_CONTACT, _TO, _MEDIA))
        assert contact is not None, "a 200 has a Contact"
        assert to is not None, "and a To"
        assert media is not None, "and SDP"
        self._send("ACK", number, contact[1].decode(), to[1].decode(), "")
        self._destinations.append((HOST, int(media[1])))

    def _send(self, method: str, number: int, uri: str, to: str, body: str) -> None:
        assert self._transport is not None, "started"
        text = _REQUEST.format(
            method=method,
            uri=uri,
            to=to,
            number=number,
            host=HOST,
            port=self._port,
            more="Content-Type: application/sdp\r\n" if body else "",
            length=len(body),
            body=body,
        )
        self._transport.sendto(text.encode(), self._server)

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Called by asyncio."""
        if not data.startswith(b"SIP/2.0 200"):
            return
        call_id = _CALL_ID.search(data)
        assert call_id is not None, "a response has a Call-ID"
        answered = self._answers.pop(int(call_id[1]), None)
        if answered is not None:
            answered.set_result(data)

    def _listen(self) -> None:
        packet = self._audio.recv(2048)
        loud = np.flatnonzero(np.abs(MU_LAW.decode(packet[_HEADER.size :]).astype(int)) > LOUD)
        if loud.size and self._clicked_s:
            passed_ms = (time.monotonic() - self._clicked_s) * 1000
            self._echoes_ms.put_nowait(passed_ms + float(loud[0]) / BYTES_PER_MS)
            self._clicked_s = 0.0

    def _speak(self) -> None:
        ticks = self._ticks
        self._ticks += 1
        frame = self._frames[ticks % len(self._frames)]
        if len(self._destinations) == 1:
            is_click = ticks % CLICK_EVERY_TICKS == 0
            frame = CLICK if is_click else QUIET
            self._clicked_s = time.monotonic() if is_click else self._clicked_s
        send, pack = self._audio.sendto, _HEADER.pack
        for number, destination in enumerate(self._destinations):
            header = pack(0x80, 0, ticks & 0xFFFF, ticks * FRAME_BYTES & 0xFFFFFFFF, number + 1)
            send(header + frame, destination)


async def main(host: str, port: str) -> None:
    """Call until the input ends."""
    callers = Callers((host, int(port)))
    await callers.start()
    await lines.serve({"echo_delays": callers.echo_delays, "raise_to": callers.raise_to})


if __name__ == "__main__":
    lines.run(main(*sys.argv[1:]), "uvloop")
