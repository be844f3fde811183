"""Echo agents that cost as little as possible, so that the server is what gets slow first.

Not here: the SDK; this speaks just enough of protocol v1 (docs/reference/wire.md) on bare picows.

Argument: base URL.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from typing import Any

import picows

from benchmarks import lines

_ANSWER = {
    "type": "command",
    "data": {"command_id": "1", "command": "call.answer", "timeout_ms": 10_000},
}


class ControlLink(picows.WSListener):
    """Claims every session and opens the media link of every call."""

    def __init__(self) -> None:
        super().__init__()
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
                opening = asyncio.create_task(
                    picows.ws_connect(EchoLink, message["url"], extra_headers=headers)
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


async def main(base_url: str) -> None:
    """Take calls until the input ends."""
    await picows.ws_connect(
        ControlLink,
        f"{base_url}/v1/agent/session-manager",
        extra_headers={"x-api-key": "sandbox", "x-connector-uuid": "sandbox"},
    )
    await lines.serve({})


if __name__ == "__main__":
    lines.run(main(sys.argv[1]), "uvloop")
