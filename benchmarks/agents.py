"""Echo agents that cost as little as possible, so that the server is what gets slow first.

Not here: the SDK; this speaks just enough of protocol v1 (docs/reference/wire.md), or of v2
(docs/reference/wire-v2.md), on bare picows.

Arguments: base URL, media protocol.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from typing import Any

import picows

from benchmarks import lines
from telcoflow_sdk.protocol.positions import (
    AUDIO_HEADER_BYTES,
    POSITION,
    SUBPROTOCOL,
    Acknowledgement,
    build_acknowledgement,
    build_audio,
    parse_position,
)

_ANSWER = {
    "type": "command",
    "data": {"command_id": "1", "command": "call.answer", "timeout_ms": 10_000},
}


class ControlLink(picows.WSListener):
    """Claims every session and opens the media link of every call."""

    def __init__(self, protocol: str) -> None:
        super().__init__()
        self._protocol = protocol
        self._opening: set[asyncio.Task[Any]] = set()
        self._transport: picows.WSTransport | None = None

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Called by picows."""
        self._transport = transport
        self._say({"type": "setup", "data": {"sampleRate": 24_000, "audioMode": "mixed"}})

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Called by picows."""
        if frame.msg_type != picows.WSMsgType.TEXT:
            return
        message = json.loads(frame.get_payload_as_bytes())
        match message["type"]:
            case "session.notify":
                session_id = message["sessionId"]
                self._say({"type": "session.open", "sessionId": session_id, "reqId": session_id})
            case "response":
                self._say({"type": "session.ready", "sessionId": message["reqId"]})
            case "call.in":
                headers = {"Authorization": f"Bearer {message['token']}"}
                link: type[picows.WSListener] = EchoLink
                if self._protocol == "2":
                    headers["Sec-WebSocket-Protocol"] = SUBPROTOCOL
                    link = PositionedEchoLink
                opening = asyncio.create_task(
                    picows.ws_connect(link, message["url"], extra_headers=headers)
                )
                self._opening.add(opening)
                opening.add_done_callback(self._opening.discard)

    def _say(self, message: dict[str, Any]) -> None:
        assert self._transport is not None, "connected"
        self._transport.send(picows.WSMsgType.TEXT, json.dumps(message).encode())


class EchoLink(picows.WSListener):
    """Sends back every frame for which there is a request."""

    def __init__(self) -> None:
        super().__init__()
        self._requests = 0
        self._frames: deque[bytes] = deque()

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Called by picows."""
        transport.send(picows.WSMsgType.TEXT, json.dumps(_ANSWER).encode())

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Called by picows."""
        if frame.msg_type == picows.WSMsgType.BINARY:
            self._frames.append(frame.get_payload_as_bytes())
        elif frame.msg_type == picows.WSMsgType.TEXT:
            self._requests += b"buffer_request" in frame.get_payload_as_bytes()
        while self._requests and self._frames:
            self._requests -= 1
            transport.send(picows.WSMsgType.BINARY, self._frames.popleft())


class PositionedEchoLink(picows.WSListener):
    """The same on protocol v2: sends back as far as the window allows."""

    def __init__(self) -> None:
        super().__init__()
        self._sent = self._limit = 0
        self._frames: deque[bytes] = deque()
        self._positions = 0

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Called by picows."""
        hello = {"type": "hello", "data": {"epoch": 1, "seen": 0, "received": [0]}}
        transport.send(picows.WSMsgType.TEXT, json.dumps(hello).encode())
        transport.send(picows.WSMsgType.TEXT, json.dumps({**_ANSWER, "seq": 1}).encode())

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Called by picows."""
        if frame.msg_type != picows.WSMsgType.BINARY:
            return
        message = frame.get_payload_as_bytes()
        if message[0] == POSITION:
            position = parse_position(message)
            self._limit = position.played + position.window
            self._positions += 1
            if self._positions % 25 == 0:
                acknowledgement = Acknowledgement(seen=0, received=2**62, loop_lag_ms=0)
                transport.send(picows.WSMsgType.BINARY, build_acknowledgement(acknowledgement))
        else:
            self._frames.append(message[AUDIO_HEADER_BYTES:])
        while self._frames and self._sent + len(self._frames[0]) // 2 <= self._limit:
            pcm = self._frames.popleft()
            transport.send(picows.WSMsgType.BINARY, build_audio(0, 0, 0, 0, self._sent, pcm))
            self._sent += len(pcm) // 2


async def main(base_url: str, protocol: str = "1") -> None:
    """Take calls until the input ends."""
    await picows.ws_connect(
        lambda: ControlLink(protocol),
        f"{base_url}/v1/agent/session-manager",
        extra_headers={"x-api-key": "sandbox", "x-connector-uuid": "sandbox"},
    )
    await lines.serve({})


if __name__ == "__main__":
    lines.run(main(*sys.argv[1:]), "uvloop")
