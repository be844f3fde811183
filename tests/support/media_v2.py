"""A scripted server that speaks media protocol v2, and a call with a client on it.

Not here: a server that behaves by itself; the script says everything but the numbers.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import picows

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, TelcoflowClient
from telcoflow_sdk.protocol.positions import (
    ACKNOWLEDGEMENT,
    SUBPROTOCOL,
    Acknowledgement,
    AudioMessage,
    Position,
    build_audio,
    build_position,
    parse_acknowledgement,
    parse_audio,
)
from tests.support.agent import Session, connected
from tests.support.scripted_server import Peer, Refusal, ScriptedServer

WINDOW = 4_800
"""Samples: 200 ms."""


class Numbers:
    """What one call's text messages are numbered with, over all its links."""

    def __init__(self) -> None:
        self.told = 0
        self.seen = 0


class PositionedPeer(Peer):
    """The server's end of one media link of protocol v2.

    Attributes:
        hello: What the client said first, once it was taken.
        acknowledgements: All that came.
    """

    def __init__(self, request: picows.WSUpgradeRequest, numbers: Numbers) -> None:
        super().__init__(request)
        self.hello: dict[str, Any] = {}
        self.acknowledgements: asyncio.Queue[Acknowledgement] = asyncio.Queue()
        self._numbers = numbers

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type is picows.WSMsgType.BINARY:
            message = frame.get_payload_as_bytes()
            if message[0] == ACKNOWLEDGEMENT:
                self.acknowledgements.put_nowait(parse_acknowledgement(message))
                return
        super().on_ws_frame(transport, frame)

    def send(self, kind: str, **fields: Any) -> None:
        self._numbers.told += 1
        self.send_raw(json.dumps({"type": kind, "seq": self._numbers.told, **fields}).encode())

    async def take(self) -> dict[str, Any]:
        message = await super().take()
        if "seq" in message:
            assert message["seq"] <= self._numbers.seen + 1, "a number was left out"
            self._numbers.seen = max(self._numbers.seen, message["seq"])
        return message

    async def welcome(self, **fields: Any) -> None:
        """Take the client's `hello`, and welcome it."""
        self.hello = (await self.expect("hello"))["data"]
        data = {
            "epoch": self.hello["epoch"],
            "seen": self._numbers.seen,
            "generation": 0,
            "received": 0,
            "continues": self.hello["received"],
            "secret": f"secret-{self.hello['epoch']}",
            "grace_ms": 10_000,
        }
        self.send_raw(json.dumps({"type": "welcome", "data": data | fields}).encode())

    def has(
        self,
        received: int,
        played: int | None = None,
        *,
        generation: int = 0,
        window: int = WINDOW,
        heard: int = 0,
        paused: bool = False,
    ) -> None:
        """Say how far the agent's audio has come."""
        played = received if played is None else played
        position = Position(generation, received, played, window, heard, self._numbers.seen, paused)
        self._send_binary(build_position(position))

    def send_audio_at(self, offset: int, pcm: bytes, channel: int = 0) -> None:
        self._send_binary(build_audio(channel, 0, 0, 0, offset, pcm))

    async def take_audio_message(self) -> AudioMessage:
        """Return the next message, which must be audio."""
        message = await self._received.get()
        assert isinstance(message, bytes), f"{message} instead of audio"
        return parse_audio(message)

    async def expect_placed(self, name: str) -> tuple[str, tuple[int, int]]:
        """Return the id and the place of the next message, which must be this command."""
        message = await self.expect("command")
        data = message["data"]
        assert data["command"] == name
        return data["command_id"], (data["position"]["generation"], data["position"]["offset"])

    def _send_binary(self, message: bytes) -> None:
        assert self.transport is not None
        self.transport.send(picows.WSMsgType.BINARY, message)


class PositionedServer(ScriptedServer):
    """Speaks protocol v2 with whom offers it.

    Attributes:
        speaks_v2: False: it was replaced by an older one.
        links: Every media link of protocol v2, in order of arrival.
    """

    def __init__(self) -> None:
        super().__init__()
        self.speaks_v2 = True
        self.links: asyncio.Queue[PositionedPeer] = asyncio.Queue()
        self._numbers = Numbers()

    def _media(
        self, request: picows.WSUpgradeRequest
    ) -> Peer | picows.WSUpgradeResponseWithListener:
        if not self.speaks_v2:
            return super()._media(request)
        assert request.headers["Sec-WebSocket-Protocol"] == SUBPROTOCOL
        peer = PositionedPeer(request, self._numbers)
        self._accepted(peer)
        self.links.put_nowait(peer)
        answer = picows.WSUpgradeResponse.create_101_response(
            {"Sec-WebSocket-Protocol": SUBPROTOCOL}
        )
        return picows.WSUpgradeResponseWithListener(answer, peer)


@dataclass(frozen=True, slots=True)
class PositionedSession:
    """Both ends of one call.

    Attributes:
        media: The server's end of its first media link.
    """

    server: PositionedServer
    client: TelcoflowClient
    control: Peer
    media: PositionedPeer
    call: ActiveCall

    async def resume(self, **fields: Any) -> PositionedPeer:
        """Welcome the client over the next link; return the server's end of it."""
        media = await self.server.links.get()
        await media.welcome(**fields)
        return media


@asynccontextmanager
async def in_positioned_call(
    *, with_callee: bool = False, window: int = WINDOW, **more: Any
) -> AsyncIterator[PositionedSession]:
    """Start a server and a client, and put a call through."""
    incoming: asyncio.Queue[ActiveCall] = asyncio.Queue()
    async with PositionedServer() as server, connected(server, **more) as (client, control):
        client.on(events.INCOMING_CALL)(incoming.put_nowait)
        await server.offer(control)
        media = await server.links.get()
        await media.welcome()
        media.has(0, window=window)
        call = await incoming.get()
        session = Session(server, client, control, media, call)
        await session.answer()
        if with_callee:
            await session.connect()
        await media.sync()
        try:
            yield PositionedSession(server, client, control, media, call)
        finally:
            # The client hangs up on leaving, and would wait for a server that says nothing.
            server.refuse_media = Refusal(404)
            while not server.medias.empty():
                peer = server.medias.get_nowait()
                peer.close()
                peer.drop()
                await peer.closed
