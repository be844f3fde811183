"""A sandbox in the test's own process, and strangers that talk to it byte by byte.

The strangers use `websockets` and `aiohttp`, so that no mistake of ours is made on both ends.
"""

from __future__ import annotations

import asyncio
import io
import json
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import aiohttp
import numpy as np
import websockets
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection, connect

from telcoflow_server.app import CONTROL_PATH, Server
from telcoflow_server.media.lead import MAX_LEAD_MS
from telcoflow_server.settings import (
    CallSettings,
    ConnectorSettings,
    LimitSettings,
    ServerSettings,
    Settings,
)

KEY, CONNECTOR = "test-key", "c1"
HEADERS = {"x-api-key": KEY, "x-connector-uuid": CONNECTOR}
OTHER_HEADERS = {"x-api-key": "other-key", "x-connector-uuid": "c2"}
BYSTANDER_HEADERS = {"x-api-key": "bystander-key", "x-connector-uuid": "c3"}


@asynccontextmanager
async def sandbox(
    *,
    messages_per_second: int = 500,
    ring_timeout_s: float = 60.0,
    media_grace_s: float = 10.0,
) -> AsyncIterator[Server]:
    """Run a sandbox on free ports."""
    settings = Settings(
        server=ServerSettings(port=0, drain_timeout_s=1.0),
        connectors=(
            ConnectorSettings(connector_uuid=CONNECTOR, api_key=KEY),
            ConnectorSettings(connector_uuid="c2", api_key="other-key"),
            ConnectorSettings(connector_uuid="c3", api_key="bystander-key"),
        ),
        calls=CallSettings(ring_timeout_s=ring_timeout_s, media_grace_s=media_grace_s),
        limits=LimitSettings(messages_per_second=messages_per_second),
    )
    server = Server(settings, sandbox=True)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def http_url(server: Server, path: str) -> str:
    """Return the address of a path on the control port."""
    return f"http://127.0.0.1:{server.control_port}{path}"


def control_url(server: Server) -> str:
    """Return the control link's address."""
    return f"ws://127.0.0.1:{server.control_port}{CONTROL_PATH}"


def noise(samples: int, seed: int = 1) -> NDArray[np.int16]:
    """Return sound that resembles itself at no other position, and never is zero."""
    sound = np.random.default_rng(seed).integers(1, 8000, samples, dtype=np.int16)
    return sound


def wav_bytes(samples: NDArray[np.int16], sample_rate_hz: int = 24_000) -> bytes:
    """Return a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        writer.setsampwidth(2)
        writer.setframerate(sample_rate_hz)
        writer.writeframes(samples.tobytes())
    return file.getvalue()


def wav_samples(data: bytes) -> NDArray[np.int16]:
    """Return a WAV file's samples, shape (n,) or (n, 2)."""
    with wave.open(io.BytesIO(data)) as reader:
        samples = np.frombuffer(reader.readframes(reader.getnframes()), np.int16)
        return samples if reader.getnchannels() == 1 else samples.reshape(-1, 2)


class Caller:
    """A simulated phone, over REST."""

    def __init__(
        self,
        server: Server,
        http: aiohttp.ClientSession,
        headers: dict[str, str] = HEADERS,
    ) -> None:
        self._base = http_url(server, "/sandbox/v1/calls")
        self._http = http
        self._headers = headers
        self.call_id = ""

    async def dial(self, *sounds: NDArray[np.int16], **script: Any) -> Self:
        """Place a call that plays these sounds one after the other."""
        script.setdefault("plays", [{"sound": number} for number in range(len(sounds))])
        form = aiohttp.FormData()
        form.add_field("script", json.dumps(script), content_type="application/json")
        for sound in sounds:
            form.add_field("sound", io.BytesIO(wav_bytes(sound)), content_type="audio/wav")
        async with self._http.post(self._base, data=form, headers=self._headers) as response:
            body = await response.json()
            assert response.status == 201, body
            self.call_id = body["call_id"]
        return self

    async def hang_up(self) -> None:
        """Put the phone down."""
        url = f"{self._base}/{self.call_id}/hang-up"
        async with self._http.post(url, headers=self._headers) as response:
            assert response.status == 202

    async def events(self) -> list[dict[str, Any]]:
        """Return every line of the call's event stream, once the call has ended."""
        url = f"{self._base}/{self.call_id}/events"
        async with self._http.get(url, headers=self._headers) as response:
            return [json.loads(line) async for line in response.content]

    async def ended(self) -> dict[str, Any]:
        """Wait for the call's end; return its report."""
        report: dict[str, Any] = (await self.events())[-1]["report"]
        return report

    async def recording(self, name: str) -> NDArray[np.int16]:
        """Return `heard.wav` or `call.wav`."""
        async with self._http.get(
            f"{self._base}/{self.call_id}/{name}", headers=self._headers
        ) as got:
            assert got.status == 200, await got.text()
            return wav_samples(await got.read())


class RawClient:
    """A client process that says just what the test tells it, on its control link."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    @classmethod
    @asynccontextmanager
    async def joined(
        cls, server: Server, *, headers: dict[str, str] = HEADERS, sample_rate_hz: int = 24_000
    ) -> AsyncIterator[Self]:
        """Connect and set up."""
        async with connect(control_url(server), additional_headers=headers) as socket:
            client = cls(socket)
            await client.say(
                type="setup", data={"sampleRate": sample_rate_hz, "audioMode": "mixed"}
            )
            assert (await client.hear())["type"] == "setup.done"
            yield client

    async def say(self, **message: Any) -> None:
        """Send a JSON message."""
        await self.socket.send(json.dumps(message))

    async def hear(self, kind: str | None = None) -> dict[str, Any]:
        """Return the next message, or the next of one type."""
        while True:
            message: dict[str, Any] = json.loads(await self.socket.recv())
            if kind in (None, message["type"]):
                return message

    async def take_call(self) -> dict[str, Any]:
        """Claim the next session that is announced; return its `call.in`."""
        session_id = (await self.hear("session.notify"))["sessionId"]
        await self.say(type="session.open", sessionId=session_id, reqId="open")
        assert (await self.hear("response"))["ok"] is True
        await self.say(type="session.ready", sessionId=session_id)
        return await self.hear("call.in")


class RawAgent:
    """An agent that does just what the test tells it, on its media link."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.heard = bytearray()
        self.queue = bytearray()
        self.messages: list[dict[str, Any]] = []
        self._credit = 0

    @classmethod
    @asynccontextmanager
    async def on(cls, call_in: dict[str, Any]) -> AsyncIterator[Self]:
        """Open the media link of a call."""
        headers = {"Authorization": f"Bearer {call_in['token']}"}
        async with connect(call_in["url"], additional_headers=headers) as socket:
            yield cls(socket)

    async def command(self, name: str, command_id: str = "cmd", **arguments: Any) -> None:
        """Send a command."""
        data: dict[str, Any] = {"command_id": command_id, "command": name, "timeout_ms": 10_000}
        if arguments:
            data["data"] = arguments
        await self.socket.send(json.dumps({"type": "command", "data": data}))

    async def serve(self) -> None:
        """Answer credit from `queue` and keep what is heard, until the link closes."""
        try:
            async for message in self.socket:
                await self.handle(message)
        except websockets.ConnectionClosed:
            return

    async def handle(self, message: str | bytes) -> None:
        """Act on one message of the server's."""
        if isinstance(message, bytes):
            self.heard += message[1:]
            return
        fields = json.loads(message)
        if fields["type"] != "buffer_request":
            self.messages.append(fields)
            return
        self._credit += fields["data"]["requested_bytes"]
        while self._credit > 0 and self.queue:
            piece = bytes(self.queue[: min(self._credit, 960)])
            del self.queue[: len(piece)]
            self._credit -= len(piece)
            await self.socket.send(b"\x00" + piece)

    async def hear(self, what: str) -> dict[str, Any]:
        """Serve until a message of this type, or a call event of this name, comes."""
        while True:
            await self.handle(await self.socket.recv())
            if self.messages:
                last = self.messages.pop()
                if what in (last["type"], last["data"].get("event")):
                    data: dict[str, Any] = last["data"]
                    return data


class Bystander:
    """A live call whose audio, both ways, must not change by a sample whatever others do."""

    SECONDS = 0.6

    def __init__(self, caller: Caller, agent: RawAgent) -> None:
        self._caller = caller
        self._agent = agent

    @classmethod
    @asynccontextmanager
    async def talking(cls, server: Server, http: aiohttp.ClientSession) -> AsyncIterator[Self]:
        """Have a call going on inside the block; check it at the end of the block."""
        said = noise(int(24_000 * cls.SECONDS), seed=7)
        answered = noise(int(24_000 * cls.SECONDS), seed=8)
        async with RawClient.joined(server, headers=BYSTANDER_HEADERS) as client:
            caller = await Caller(server, http, BYSTANDER_HEADERS).dial(said)
            async with RawAgent.on(await client.take_call()) as agent:
                agent.queue += answered.tobytes()
                await agent.command("call.answer")
                serving = asyncio.create_task(agent.serve())
                yield cls(caller, agent)
                while len(np.trim_zeros(np.frombuffer(agent.heard, np.int16))) < len(said):
                    await asyncio.wait([serving], timeout=0.1)
                while agent.queue:
                    await asyncio.wait([serving], timeout=0.1)
                await caller.hang_up()
                await caller.ended()
                await serving
        recorded = await caller.recording("call.wav")
        assert np.array_equal(_sounding(recorded[:, 0]), said), "the caller's side changed"
        # What the server has but has not played is lost when the caller hangs up, as on any phone.
        right = _sounding(recorded[:, 1])
        assert len(right) >= len(answered) - MAX_LEAD_MS * 24_000 // 1000
        assert np.array_equal(right, answered[: len(right)]), "the agent's side changed"


def _sounding(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    sounding: NDArray[np.int16] = samples[samples != 0]
    return sounding
