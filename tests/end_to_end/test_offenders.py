"""A server in its own process under abuse: what each offender may cost in memory, at the most.

The codes that offenders get, and that nobody else notices, are shown in `tests/server/api`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aiohttp
import pytest
import websockets
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket
from websockets.typing import Subprotocol

from telcoflow_sdk.protocol.codec import MAX_MESSAGE_BYTES
from telcoflow_sdk.protocol.positions import SUBPROTOCOL

MIB = 1024 * 1024
ALLOWED_BYTES = 2 * MIB
"""Per offender."""

ALLOWED_SILENT_BYTES = 64 * 1024
"""Per connection that never speaks: there may be thousands of them."""

TAKES_LONG = (pytest.mark.long, pytest.mark.timeout(60))

OFFENDERS = 5
"""At the same time."""

connect = partial(websocket, close_timeout=0.1)
"""An offender does not wait for a polite end."""

KEYS = {"x-api-key": "sandbox", "x-connector-uuid": "sandbox"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc"),
]


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A running `telcoflow sandbox`."""

    pid: int
    address: str
    media_port: int

    @property
    def control_port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def resident_bytes(self) -> int:
        """Return the memory it holds now."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * 4096


@asynccontextmanager
async def sandbox() -> AsyncIterator[Sandbox]:
    media_port = await _free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "telcoflow_server.cli", "sandbox", "--port", "0"),
        *("--media-port", str(media_port), "--log-level", "error"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        ready = (await process.stdout.readline()).decode().split()
        assert ready[0] == "ready"
        yield Sandbox(process.pid, ready[1], media_port)
    finally:
        process.kill()
        await process.wait()


async def _free_port() -> int:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


async def wrong_keys(server: Sandbox) -> None:
    headers = {"x-api-key": "k" * 4000, "x-connector-uuid": "sandbox"}
    with contextlib.suppress(websockets.InvalidStatus):
        await connect(f"{server.address}/v1/agent/session-manager", additional_headers=headers)


async def flood_of_requests(server: Sandbox) -> None:
    url = f"{server.address}/v1/agent/session-manager"
    with contextlib.suppress(websockets.ConnectionClosed):
        async with connect(url, additional_headers=KEYS) as socket:
            for _ in range(600):
                await socket.send('{"type": "session.open", "sessionId": "x", "reqId": "y"}')


async def huge_messages(server: Sandbox) -> None:
    url = f"{server.address}/v1/agent/session-manager"
    with contextlib.suppress(websockets.ConnectionClosed):
        async with connect(url, additional_headers=KEYS) as socket:
            for _ in range(10):
                await socket.send("x" * (8 * MIB))


async def endless_headers(server: Sandbox) -> None:
    for port in (server.control_port, server.media_port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            writer.write(b"GET / HTTP/1.1\r\n")
            for _ in range(64):
                writer.write(b"X-Padding: " + b"x" * 60_000 + b"\r\n")
                await writer.drain()
            await reader.read()
        writer.close()


async def upload_without_a_key(server: Sandbox) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.control_port)
    with contextlib.suppress(ConnectionError):
        writer.write(
            b"POST /sandbox/v1/calls HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        )
        for _ in range(160):
            writer.write(bytes(65_536))
            await writer.drain()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await reader.read()


async def push_of_audio(server: Sandbox) -> None:
    async with _answered_call(server) as socket:
        with contextlib.suppress(websockets.ConnectionClosed):
            for _ in range(400):
                await socket.send(bytes(MAX_MESSAGE_BYTES))


async def ping_flood(server: Sandbox) -> None:
    """Asks for pongs, and never reads them."""
    async with _answered_call(server) as socket:
        socket.transport.pause_reading()
        with contextlib.suppress(websockets.ConnectionClosed):
            for number in range(4000):
                await socket.ping(number.to_bytes(125, "big"))
        socket.transport.abort()


async def talkative_deaf_agent(server: Sandbox) -> None:
    """Has every command refused at length, and never reads it."""
    async with _answered_call(server) as socket:
        socket.transport.pause_reading()
        refused = {"command_id": "i" * 128, "command": "x" * 128, "timeout_ms": 1}
        with contextlib.suppress(websockets.ConnectionClosed):
            for _ in range(2000):
                await socket.send(json.dumps({"type": "command", "data": refused}))
        socket.transport.abort()


async def deaf_agent(server: Sandbox) -> None:
    """Reads nothing of two seconds of a call."""
    async with _answered_call(server) as socket:
        socket.transport.pause_reading()
        await asyncio.sleep(2)
        socket.transport.abort()


async def push_beyond_the_window(server: Sandbox) -> None:
    """Protocol v2: sends audio whatever was granted."""
    async with _answered_call(server, is_v2=True) as socket:
        with contextlib.suppress(websockets.ConnectionClosed):
            for number in range(400):
                samples = (MAX_MESSAGE_BYTES - 16) // 2
                await socket.send(
                    struct.pack("<BBHIQ", 0, 4, 0, 0, number * samples) + bytes(samples * 2)
                )


async def marks_without_end(server: Sandbox) -> None:
    """Sets marks where audio will never come, acknowledges nothing, and reads nothing."""
    async with _answered_call(server, is_v2=True) as socket:
        socket.transport.pause_reading()
        with contextlib.suppress(websockets.ConnectionClosed):
            for number in range(2, 6_000):
                mark = {"command_id": "i" * 128, "command": "agent.mark", "timeout_ms": 1}
                mark |= {"position": {"generation": 0, "offset": 2**40}}
                mark |= {"data": {"name": "m" * 128}}
                await socket.send(json.dumps({"type": "command", "seq": number, "data": mark}))
                if number % 100 == 0:
                    await asyncio.sleep(0.2)  # within the budget of a link
        socket.transport.abort()


async def deaf_client_of_v2(server: Sandbox) -> None:
    """Reads nothing and acknowledges nothing of six seconds of a call, and lets it freeze."""
    async with _answered_call(server, is_v2=True) as socket:
        socket.transport.pause_reading()
        await asyncio.sleep(6)
        socket.transport.abort()


@asynccontextmanager
async def _answered_call(
    server: Sandbox, *, is_v2: bool = False
) -> AsyncIterator[ClientConnection]:
    base = server.address.replace("ws://", "http://")
    url = f"{server.address}/v1/agent/session-manager"
    async with aiohttp.ClientSession(headers=KEYS) as http, AsyncExitStack() as stack:
        control = await stack.enter_async_context(connect(url, additional_headers=KEYS))

        offered: list[str] = []  # other offenders' calls are offered here, too

        async def hear(kind: str) -> dict[str, str]:
            while True:
                message: dict[str, str] = json.loads(await control.recv())
                if message["type"] == "session.notify":
                    offered.append(message["sessionId"])
                if message["type"] == kind:
                    return message

        await control.send('{"type": "setup", "data": {"sampleRate": 24000}}')
        form = aiohttp.FormData(
            {"script": '{"hang_up_after_ms": 60000}'}, default_to_multipart=True
        )
        async with http.post(f"{base}/sandbox/v1/calls", data=form) as response:
            assert response.status == 201, await response.text()
        is_claimed = False
        while not is_claimed:
            if not offered:
                await hear("session.notify")
            session_id = offered.pop()
            await control.send(
                json.dumps({"type": "session.open", "sessionId": session_id, "reqId": "r"})
            )
            is_claimed = bool((await hear("response"))["ok"])
        await control.send(json.dumps({"type": "session.ready", "sessionId": session_id}))
        call_in = await hear("call.in")
        headers = {"Authorization": f"Bearer {call_in['token']}"}
        offers = [Subprotocol(SUBPROTOCOL)] if is_v2 else None
        async with connect(
            call_in["url"], additional_headers=headers, subprotocols=offers
        ) as socket:
            assert (socket.subprotocol is not None) is is_v2
            if is_v2:
                hello = {"epoch": 1, "seen": 0, "received": [0]}
                await socket.send(json.dumps({"type": "hello", "data": hello}))
            answer = {"command_id": "a", "command": "call.answer", "timeout_ms": 10_000}
            await socket.send(json.dumps({"type": "command", "seq": 1, "data": answer}))
            yield socket


@pytest.mark.parametrize(
    "offend",
    [
        wrong_keys,
        flood_of_requests,
        huge_messages,
        endless_headers,
        upload_without_a_key,
        push_of_audio,
        pytest.param(ping_flood, marks=TAKES_LONG),
        talkative_deaf_agent,
        pytest.param(deaf_agent, marks=TAKES_LONG),
        push_beyond_the_window,
        pytest.param(marks_without_end, marks=TAKES_LONG),
        pytest.param(deaf_client_of_v2, marks=TAKES_LONG),
    ],
)
async def test_an_offender_costs_at_most_two_mebibytes(
    offend: Callable[[Sandbox], Coroutine[None, None, None]],
) -> None:
    async with sandbox() as server:
        await offend(server)  # what is loaded and allocated once, for the first of its kind
        before = peak = server.resident_bytes()
        offending = [asyncio.create_task(offend(server)) for _ in range(OFFENDERS)]

        while not all(task.done() for task in offending):
            await asyncio.wait(offending, timeout=0.05)
            peak = max(peak, server.resident_bytes())
        await asyncio.gather(*offending)

        assert peak - before <= OFFENDERS * ALLOWED_BYTES


@pytest.mark.long
@pytest.mark.timeout(60)
async def test_a_thousand_connections_that_never_speak_are_closed() -> None:
    async with sandbox() as server:
        before = server.resident_bytes()
        silent = [
            await asyncio.open_connection("127.0.0.1", port)
            for port in (server.control_port, server.media_port)
            for _ in range(500)
        ]
        assert server.resident_bytes() - before <= len(silent) * ALLOWED_SILENT_BYTES

        for reader, writer in silent:
            assert await reader.read() == b"", "closed by the server"
            writer.close()
