"""The rim of one call on media protocol v2, over links in memory whose far end is the test.

Not here: what an application sees of it; for that there are sockets (`media_v2.py`).
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from telcoflow_sdk._asyncio.media import MediaConnection
from telcoflow_sdk._asyncio.reopening import MediaAddress
from telcoflow_sdk._asyncio.tasks import OwnedTasks
from telcoflow_sdk.audio.format import AudioFormat, CallAudio
from telcoflow_sdk.protocol.commands import CommandName
from telcoflow_sdk.protocol.link import Link, LinkEvents
from telcoflow_sdk.protocol.media_events import EndCause, MediaOutput
from telcoflow_sdk.protocol.positions import (
    ACKNOWLEDGEMENT,
    END,
    SUBPROTOCOL,
    AudioMessage,
    Position,
    build_position,
    parse_audio,
)
from telcoflow_server.testing.virtual import VirtualLoop
from tests.support.wire import Wire

URL = "ws://a-server/media"
LEAD = 4_800
"""Samples."""


class Server:
    """Hands out wires in virtual time; the test is their far end."""

    def __init__(self) -> None:
        self.wires: list[Wire] = []
        self.bearers: list[str] = []
        self.opened = asyncio.Event()
        self.subprotocol: str | None = SUBPROTOCOL

    async def open_link(self, path: str, events: LinkEvents, headers: Any) -> Link:
        wire = Wire()
        wire.subprotocol = self.subprotocol
        self.wires.append(wire)
        self.opened.set()
        self.bearers.append(headers["Authorization"])
        events.link_opened(wire)
        return wire


class Agent:
    """A call on protocol v2, open and welcome."""

    def __init__(self, *, buffer_bytes: int = 1 << 20) -> None:
        self.events: list[MediaOutput] = []
        self.server = Server()
        self.tasks = OwnedTasks()
        self.window = LEAD
        self._played = 0
        self._told = 0
        ids = iter(range(1, 10_000))
        audio = CallAudio(AudioFormat(), 1, buffer_bytes)
        self.media = MediaConnection(
            audio, lambda: f"command-{next(ids)}", None, self.events.append, self.tasks
        )

    async def open(self, *, welcome: bool = True) -> Agent:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.servers["a-server"] = self.server
        await self.media.open(MediaAddress(URL, "the-token", "1", None))
        if welcome:
            self.welcome()
            self.has(0, window=self.window)
        return self

    @property
    def wire(self) -> Wire:
        """The newest link."""
        return self.server.wires[-1]

    def welcome(self, **fields: Any) -> None:
        data = {
            "epoch": len(self.server.wires),
            "seen": 0,
            "generation": 0,
            "received": 0,
            "continues": [0],
            "secret": f"secret-{len(self.server.wires)}",
            "grace_ms": 10_000,
        }
        message = {"type": "welcome", "data": data | fields}
        self.media.text_received(json.dumps(message).encode())

    def hears(self, kind: str, **data: Any) -> None:
        self._told += 1
        message = {"type": kind, "seq": self._told, "data": data}
        self.media.text_received(json.dumps(message).encode())

    def has(self, received: int, generation: int = 0, window: int = 1 << 20) -> None:
        position = Position(generation, received, received, window, 0, 0, False)
        self.media.binary_received(build_position(position))

    def lose(self, code: int | None = None) -> None:
        self.media.link_lost(code, "")

    async def end(self) -> None:
        self.media.end(EndCause.ABANDONED)
        await self.tasks.finish(0, set())

    def audio(self) -> list[AudioMessage]:
        """Everything that was sent, over all links."""
        return [
            parse_audio(message)
            for wire in self.server.wires
            for message in wire.sent
            if isinstance(message, bytes) and message[0] != ACKNOWLEDGEMENT
        ]

    def said(self) -> bytes:
        """The same as PCM."""
        return b"".join(message.pcm for message in self.audio())

    def ends(self) -> list[int]:
        """Where utterances end."""
        return [one.offset + len(one.pcm) // 2 for one in self.audio() if one.flags & END]

    def plays(self, samples: int) -> None:
        """The server plays so much more of what it has, and takes as much."""
        sent = len(self.said()) // 2
        self._played = min(sent, self._played + samples)
        position = Position(0, sent, self._played, self.window, 0, 0, False)
        self.media.binary_received(build_position(position))

    def interrupts(self) -> asyncio.Future[object]:
        """Interrupt, as the application does."""
        self.media.audio.clear()
        return asyncio.ensure_future(self.media.command(CommandName.INTERRUPT))
