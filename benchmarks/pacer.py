"""A load server that speaks media protocol v1, or v2: paced frames out, echoes in, lateness.

Not here: a telephone network. It does as little as it can, so that the client under test is
what gets slow first; it says how late it was itself. Implements docs/reference/wire.md, and
docs/reference/wire-v2.md for clients that offer it.

Each call gets one frame of 20 ms, every 20 ms; calls are spread evenly over these 20 ms. As
our server, it keeps three frames requested. A frame's lateness is the time from when it was sent
to when its echo arrived.

Argument: 2 for protocol v2, where the client offers it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from array import array
from collections import deque
from typing import Any

import picows

from benchmarks import lines
from benchmarks.numbers import percentile
from telcoflow_sdk.protocol.positions import (
    ACKNOWLEDGEMENT,
    AUDIO_HEADER_BYTES,
    SUBPROTOCOL,
    Position,
    build_audio,
    build_position,
)
from telcoflow_server.api.framing import BINARY, TEXT, header

FRAME_BYTES = 960
TICK_S = 0.020
SLOTS = 20
LEAD_FRAMES = 3
RINGING_AT_ONCE = 16
"""How many calls are being set up at a time while their number is raised."""


def framed(opcode: int, message: bytes) -> bytes:
    """Return a message as the server's sockets send it."""
    return header(opcode, len(message)) + message


PCM = bytes(range(1, 241)) * 4
AUDIO = framed(BINARY, b"\0" + PCM)
REQUEST = framed(
    TEXT,
    b'{"type":"buffer_request","data":'
    b'{"requested_bytes":960,"prefer_audio_frame_bytes":2,"channelId":0}}',
)

ANSWER_TIMEOUT_S = 20.0


class Pacer:
    """All calls, their pace, and what was measured."""

    def __init__(self) -> None:
        self.url = ""
        self.control: list[ControlLink] = []
        self.joined = asyncio.Semaphore(0)
        self.answered = asyncio.Semaphore(0)
        self.calls: list[CallLink] = []
        self.is_measuring = False
        self.lateness_s = array("d")
        self._own_lateness_s = array("d")
        self._slots: list[list[CallLink]] = [[] for _ in range(SLOTS)]
        self._ids = itertools.count()

    def add(self, call: CallLink) -> None:
        """A call was answered: frames flow."""
        self._slots[len(self.calls) % SLOTS].append(call)
        self.calls.append(call)
        self.answered.release()

    def remove(self, call: CallLink) -> None:
        """A call has lost its link."""
        if call in self.calls:
            self.calls.remove(call)
            for slot in self._slots:
                if call in slot:
                    slot.remove(call)

    async def pace(self) -> None:
        """Send frames, slot by slot, for ever; deadlines do not drift."""
        start_s = time.monotonic()
        for number in itertools.count():
            due_s = start_s + number * TICK_S / SLOTS
            early_s = due_s - time.monotonic()
            if early_s > 0:
                await asyncio.sleep(early_s)
            elif number % SLOTS == 0:
                await asyncio.sleep(0)  # late: echoes must be read all the same
            now_s = time.monotonic()
            if self.is_measuring:
                self._own_lateness_s.append(now_s - due_s)
            for call in self._slots[number % SLOTS]:
                call.send_frame()

    async def join(self, links: int) -> str:
        """Wait until the client has so many control links."""
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            for _ in range(links):
                await self.joined.acquire()
        return "joined"

    async def raise_to(self, calls: int) -> int:
        """Place calls until so many run, on the control links in turn."""
        ringing = 0
        for number in range(len(self.calls), calls):
            self.control[number % len(self.control)].notify(f"s{next(self._ids)}")
            ringing += 1
            if ringing >= RINGING_AT_ONCE:
                await self._answer()
                ringing -= 1
        for _ in range(ringing):
            await self._answer()
        return len(self.calls)

    async def _answer(self) -> None:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await self.answered.acquire()

    async def measure(self, seconds: float) -> dict[str, float]:
        """Measure for so long.

        Echoes that are still missing at the end count with the time they are missing for.
        """
        self.lateness_s, self._own_lateness_s = array("d"), array("d")
        self.is_measuring = True
        await asyncio.sleep(seconds)
        self.is_measuring = False
        now_s = time.monotonic()
        missing = [now_s - call.sent_s[0] for call in self.calls if call.sent_s]
        self.lateness_s.extend(missing)
        return {
            "calls": len(self.calls),
            "echoes": len(self.lateness_s),
            "p50_ms": percentile(self.lateness_s, 50) * 1000,
            "p99_ms": percentile(self.lateness_s, 99) * 1000,
            "own_p99_ms": percentile(self._own_lateness_s, 99) * 1000,
        }


class ControlLink(picows.WSListener):
    """The client's control link: sessions are announced, claimed, and become calls."""

    def __init__(self, pacer: Pacer) -> None:
        super().__init__()
        self._pacer = pacer
        self._transport: picows.WSTransport | None = None

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Called by picows."""
        self._transport = transport

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Called by picows."""
        if frame.msg_type == picows.WSMsgType.CLOSE:
            transport.disconnect()
        elif frame.msg_type == picows.WSMsgType.TEXT:
            self._told(json.loads(frame.get_payload_as_bytes()))

    def _told(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "setup":
                self._say({"type": "setup.done", "smWsId": "bench"})
                self._pacer.control.append(self)
                self._pacer.joined.release()
            case "session.open":
                session = {"id": message["sessionId"], "channel": "TELCO"}
                self._say(
                    {
                        "type": "response",
                        "reqId": message["reqId"],
                        "ok": True,
                        "content": {"session": session},
                    }
                )
            case "session.ready":
                self._say(
                    {
                        "type": "call.in",
                        "sessionId": message["sessionId"],
                        "callId": message["sessionId"],
                        "orgUuid": "bench",
                        "from": "+1",
                        "to": "+2",
                        "url": f"{self._pacer.url}/call",
                        "token": "token",
                    }
                )

    def notify(self, session_id: str) -> None:
        """Announce a session."""
        self._say(
            {
                "type": "session.notify",
                "sessionId": session_id,
                "channel": "TELCO",
                "remoteAddress": "+1",
                "localAddress": "+2",
                "activity": "call",
                "createdAt": 0,
            }
        )

    def _say(self, message: dict[str, Any]) -> None:
        assert self._transport is not None, "messages come after the connection"
        self._transport.send(picows.WSMsgType.TEXT, json.dumps(message).encode())


class CallLink(picows.WSListener):
    """One call's media link."""

    def __init__(self, pacer: Pacer) -> None:
        super().__init__()
        self._pacer = pacer
        self._transport: picows.WSTransport | None = None
        self._raw: asyncio.Transport | None = None
        self._due_requests = LEAD_FRAMES
        self._part_bytes = 0
        self.sent_s: deque[float] = deque()

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Called by picows."""
        self._transport = transport
        self._raw = transport.underlying_transport

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Called by picows."""
        if frame.msg_type == picows.WSMsgType.BINARY:
            self._echoed(frame.payload_size - 1)
        elif frame.msg_type == picows.WSMsgType.TEXT:
            self._told(json.loads(frame.get_payload_as_bytes()))
        elif frame.msg_type == picows.WSMsgType.CLOSE:
            transport.disconnect()

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        """Called by picows."""
        self._raw = None
        self._pacer.remove(self)

    def _told(self, message: dict[str, Any]) -> None:
        self._say(answer_to(message))
        self._pacer.add(self)

    def _say(self, message: dict[str, Any]) -> None:
        assert self._transport is not None, "messages come after the connection"
        self._transport.send(picows.WSMsgType.TEXT, json.dumps(message).encode())

    def send_frame(self) -> None:
        """Send one frame and the requests that are due, in one write."""
        if self._raw is None:
            return
        self.sent_s.append(time.monotonic())
        self._raw.write(AUDIO + REQUEST * self._due_requests)
        self._due_requests = 0

    def _echoed(self, size: int) -> None:
        self._part_bytes += size
        now_s = time.monotonic()
        while self._part_bytes >= FRAME_BYTES:
            self._part_bytes -= FRAME_BYTES
            self._due_requests += 1
            lateness_s = now_s - self.sent_s.popleft()
            if self._pacer.is_measuring:
                self._pacer.lateness_s.append(lateness_s)


class PositionedCallLink(CallLink):
    """The same on protocol v2: frames with their place, and a position in place of requests."""

    def __init__(self, pacer: Pacer) -> None:
        super().__init__(pacer)
        self._offset = 0
        self._received = 0

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Called by picows."""
        if frame.msg_type == picows.WSMsgType.BINARY:
            if frame.get_payload_as_memoryview()[0] == ACKNOWLEDGEMENT:
                return
            size = frame.payload_size - AUDIO_HEADER_BYTES
            self._received += size // 2
            self._echoed(size)
        else:
            super().on_ws_frame(transport, frame)

    def _told(self, message: dict[str, Any]) -> None:
        if message["type"] == "command":
            self._say({**answer_to(message), "seq": 1})
            self._pacer.add(self)
            return
        welcome = {"epoch": 1, "seen": 0, "generation": 0, "received": 0, "continues": [0]}
        self._say({"type": "welcome", "data": {**welcome, "secret": "s", "grace_ms": 10_000}})

    def send_frame(self) -> None:
        """Send one frame and the position, in one write."""
        if self._raw is None:
            return
        self.sent_s.append(time.monotonic())
        audio = build_audio(0, 0, 0, 0, self._offset, PCM)
        self._offset += FRAME_BYTES // 2
        window = LEAD_FRAMES * FRAME_BYTES // 2
        received = self._received
        position = Position(0, received, received, window, received, 1, is_paused=False)
        self._raw.write(framed(BINARY, audio) + framed(BINARY, build_position(position)))


def answer_to(command: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to any command: it succeeded."""
    command_id = command["data"]["command_id"]
    return {"type": "command_response", "data": {"command_id": command_id, "success": True}}


async def main(protocol: str = "1") -> None:
    """Serve clients, one after the other."""
    pacer = Pacer()
    v2 = picows.WSUpgradeResponse.create_101_response({"Sec-WebSocket-Protocol": SUBPROTOCOL})

    def link(
        request: picows.WSUpgradeRequest,
    ) -> picows.WSListener | picows.WSUpgradeResponseWithListener:
        if not request.path.startswith(b"/call"):
            return ControlLink(pacer)
        if protocol == "2" and request.headers.get("Sec-WebSocket-Protocol") == SUBPROTOCOL:
            return picows.WSUpgradeResponseWithListener(v2, PositionedCallLink(pacer))
        return CallLink(pacer)

    server = await picows.ws_create_server(link, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    pacer.url = f"ws://127.0.0.1:{port}"
    pacing = asyncio.create_task(pacer.pace())

    async def url() -> str:
        return pacer.url

    await lines.serve(
        {
            "url": url,
            "join": pacer.join,
            "raise_to": pacer.raise_to,
            "measure": pacer.measure,
        }
    )
    pacing.cancel()


if __name__ == "__main__":
    lines.run(main(*sys.argv[1:]), "uvloop")
