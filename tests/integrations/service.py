"""What the stand-ins of the models' services have in common: a WebSocket server that is strict.

Not here: any vendor's messages; each stand-in is beside its tests and says which client it is for.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

import msgspec
from aiohttp import WSMsgType, web

PATIENCE_S = 10.0
"""How long a stand-in waits for what the client is to send."""


class UnknownMessageError(AssertionError):
    """The client sent what the stand-in does not know: the stand-in is to be brought up to date."""


class Session:
    """One connection of a client.

    Args:
        socket: Open.
        request: How it was opened.

    Attributes:
        audio: What the client has sent for the model's ear.
    """

    def __init__(self, socket: web.WebSocketResponse, request: web.Request) -> None:
        self.socket = socket
        self.request = request
        self.audio = bytearray()
        self.is_closed = asyncio.Event()
        self._arrived: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._reading = asyncio.Event()
        self._reading.set()

    async def serve(self) -> None:
        """Take what the client sends until it closes."""
        try:
            while True:
                await self._reading.wait()
                message = await self.socket.receive()
                if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED):
                    return
                await self.take(message.type, message.data)
        finally:
            self.is_closed.set()

    async def take(self, kind: WSMsgType, data: Any) -> None:
        """Take one message. Raises `UnknownMessageError`."""
        raise NotImplementedError

    def arrived(self, message: dict[str, Any]) -> None:
        """Keep a message for `received`."""
        self._arrived.put_nowait(message)

    async def received(self, is_wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for the next message that a test wants; those before it are passed over."""
        async with asyncio.timeout(PATIENCE_S):
            while not is_wanted(message := await self._arrived.get()):
                pass
        return message

    @property
    def not_yet_received(self) -> int:
        """How many messages nobody has asked for."""
        return self._arrived.qsize()

    async def send(self, message: dict[str, Any]) -> None:
        """Send a message as JSON text."""
        await self.socket.send_str(msgspec.json.encode(message).decode())

    def stop_reading(self) -> None:
        """Take nothing more from the socket, as a service that hangs."""
        assert self.request.transport is not None
        self.request.transport.pause_reading()
        self._reading.clear()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close as a service does."""
        self._reading.set()
        await self.socket.close(code=code, message=reason.encode())

    def drop(self) -> None:
        """Lose the connection without a word."""
        self._reading.set()
        assert self.request.transport is not None
        self.request.transport.abort()


SessionT = TypeVar("SessionT", bound=Session)


class Service(Generic[SessionT]):
    """A stand-in of a service.

    Args:
        session_type: What a connection is.

    Attributes:
        url: Where it is, without a path.
        refusal: Answered to whoever connects, if it is set.
        violations: What clients sent that is not known.
    """

    def __init__(self, session_type: type[SessionT]) -> None:
        self.url = ""
        self.refusal: Callable[[], web.Response] | None = None
        self.violations: list[str] = []
        self._session_type = session_type
        self._sessions: asyncio.Queue[SessionT] = asyncio.Queue()
        self._open: set[SessionT] = set()

    async def session(self) -> SessionT:
        """Wait for the next connection."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._sessions.get()

    @property
    def open_sessions(self) -> int:
        """How many clients are connected."""
        return len(self._open)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Serve a client."""
        if self.refusal is not None:
            return self.refusal()
        link = web.WebSocketResponse(timeout=0.5, max_msg_size=0)
        await link.prepare(request)
        session = self._session_type(link, request)
        self._open.add(session)
        self._sessions.put_nowait(session)
        try:
            await session.serve()
        except UnknownMessageError as error:
            self.violations.append(str(error))
            await link.close(code=1011, message=b"the stand-in does not know this message")
        finally:
            self._open.discard(session)
        return link


@asynccontextmanager
async def serving(
    service: Service[SessionT], *paths: str, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Service[SessionT]]:
    """Run a stand-in on a free port of this machine; fail if it was sent what it does not know."""
    listener = socket.create_server(("127.0.0.1", 0))
    # Else the kernel takes some megabytes, 40 s of a call, from a client that is not read.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1_024)
    app = web.Application()
    for path in paths:
        app.router.add_get(path, service.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.5)
    await runner.setup()
    site = web.SockSite(runner, listener, ssl_context=tls)
    await site.start()
    host, port = runner.addresses[0][:2]
    service.url = f"{'http' if tls is None else 'https'}://{host}:{port}"
    try:
        yield service
    finally:
        await runner.cleanup()
    assert not service.violations, service.violations
