"""Accepts connections: by the limits of their address, with the newest TLS files.

Not here: the protocols above (`http.py`, `media.py`), the counting (`limits.py`).
Implements the limits by address of docs/reference/wire.md §4.

Accepting is done here and not by `loop.create_server` because that has one TLS context for ever,
and speaks TLS with everybody before anyone is asked whether the address may connect.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, cast

import msgspec

from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_server.api.limits import AddressLimits, Verdict
from telcoflow_server.api.tls import alert_sent

logger = logging.getLogger(__name__)

RECEIVE_BUFFER_BYTES = 64 * 1024
"""What the kernel holds for a connection. Its default is megabytes, and the event loop reads all
of it before anybody has looked at the first line: a bad request would cost that much memory."""

BACKLOG = 1024

TLS_HANDSHAKE_TIMEOUT_S = 5.0
TLS_SHUTDOWN_TIMEOUT_S = 2.0

REFUSAL_TIMEOUT_S = 5.0
"""A refused peer that sends no request is closed without an answer after this."""

RETRY_S = 1.0
"""Without descriptors or memory, nothing is accepted for so long."""

_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_BODY = msgspec.json.encode(
    {"code": ErrorCode.RATE_LIMITED, "message": "too many connections from this address"}
)
_REFUSAL = (
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(_BODY) + _BODY
)

ProtocolFactory = Callable[[], asyncio.BaseProtocol]


async def connect_accepted(
    loop: asyncio.AbstractEventLoop, factory: ProtocolFactory, sock: socket.socket, **tls: Any
) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
    """Put a protocol on an accepted socket, with the event loop's own transport."""
    return await loop.connect_accepted_socket(factory, sock, **tls)


class Acceptor:
    """Listens on one port.

    Args:
        factory: Makes the protocol of a connection.
        limits: Shared by all ports: an address has one account.
        tls: Returns the context for a new connection, None for none.
        on_refused: Called for each connection over a limit.
        connect: Puts a protocol on a socket; takes loop, factory, socket and TLS arguments.

    Concurrency: loop thread only.
    """

    def __init__(
        self,
        factory: ProtocolFactory,
        limits: AddressLimits,
        tls: Callable[[], ssl.SSLContext | None],
        on_refused: Callable[[], None],
        connect: Callable[..., Awaitable[tuple[Any, Any]]] = connect_accepted,
    ) -> None:
        self._factory = factory
        self._limits = limits
        self._tls = tls
        self._on_refused = on_refused
        self._connect = connect
        self._loop = asyncio.get_running_loop()
        self._listening: socket.socket | None = None
        self._opening: set[asyncio.Task[None]] = set()
        self._open: dict[AcceptedSocket, asyncio.Transport | None] = {}
        self._none_open = asyncio.Event()
        self._none_open.set()

    def listen(self, host: str, port: int) -> int:
        """Start to accept; return the port. Raises `OSError` when it is taken."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
        # Accepted sockets inherit it.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        listening.setblocking(False)
        self._listening = listening
        self._loop.add_reader(listening, self._accept_all)
        taken: int = listening.getsockname()[1]
        return taken

    def close(self) -> None:
        """Accept no more; connections stay."""
        if self._listening is not None:
            self._loop.remove_reader(self._listening)
            self._listening.close()
            self._listening = None

    async def wait_closed(self) -> None:
        """Cut the connections that are still open; return when all are gone."""
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for transport in list(self._open.values()):
            if transport is not None:
                transport.abort()
        await self._none_open.wait()

    def _accept_all(self) -> None:
        for _ in range(BACKLOG):
            if self._listening is None:
                return
            try:
                raw, address = self._listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if error.errno not in _OUT_OF_RESOURCES:
                    raise
                logger.error("cannot accept connections: %s", error.strerror)
                self._pause()
                return
            self._accept(raw, address[0])

    def _pause(self) -> None:
        # The listening socket stays readable, so asking it again at once would be a busy loop.
        assert self._listening is not None, "an error came from it just now"
        self._loop.remove_reader(self._listening)
        self._loop.call_later(RETRY_S, self._resume)

    def _resume(self) -> None:
        if self._listening is not None:
            self._loop.add_reader(self._listening, self._accept_all)

    def _accept(self, raw: socket.socket, address: str) -> None:
        verdict = self._limits.admit(address, self._loop.time())
        if verdict is not Verdict.ADMIT:
            self._on_refused()
        if verdict is Verdict.DROP:
            raw.close()
            return
        sock = AcceptedSocket(raw, lambda: self._gone(sock, address))
        sock.setblocking(False)
        self._open[sock] = None
        self._none_open.clear()
        factory = self._factory if verdict is Verdict.ADMIT else _Refusal
        task = self._loop.create_task(self._connected(sock, factory), name="accept")
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _connected(self, sock: AcceptedSocket, factory: ProtocolFactory) -> None:
        context = self._tls()
        try:
            if context is None:
                transport, _ = await self._connect(self._loop, factory, sock)
            else:
                async with alert_sent(sock):
                    transport, _ = await self._connect(
                        self._loop, factory, sock, ssl=context, **_TLS_TIMEOUTS
                    )
        except asyncio.CancelledError:
            sock.close()
            raise
        except OSError as error:
            # Of TLS: a peer without it, or with a certificate that is refused. Its alert says
            # which to the peer; the reason is for whoever runs the server.
            sock.close()
            logger.info("TLS handshake failed: %s", _reason_of(error))
            return
        if sock in self._open:
            self._open[sock] = transport

    def _gone(self, sock: AcceptedSocket, address: str) -> None:
        self._open.pop(sock, None)
        self._limits.release(address)
        if not self._open:
            self._none_open.set()


_TLS_TIMEOUTS = {
    "ssl_handshake_timeout": TLS_HANDSHAKE_TIMEOUT_S,
    "ssl_shutdown_timeout": TLS_SHUTDOWN_TIMEOUT_S,
}


class AcceptedSocket(socket.socket):
    """A socket that tells when it is gone.

    Protocols of two libraries run above it, on transports of three; the descriptor's end is the
    one thing that all have in common. uvloop detaches it and closes the descriptor itself.

    Args:
        raw: The socket as accepted; its descriptor is taken over.
        on_gone: Called once.
    """

    def __init__(self, raw: socket.socket, on_gone: Callable[[], None]) -> None:
        super().__init__(raw.family, raw.type, raw.proto, fileno=raw.detach())
        self._on_gone: Callable[[], None] | None = on_gone

    def close(self) -> None:
        """Close the descriptor."""
        self._tell()
        super().close()

    def detach(self) -> int:
        """Hand the descriptor to somebody who closes it."""
        self._tell()
        return super().detach()

    def _tell(self) -> None:
        on_gone, self._on_gone = self._on_gone, None
        if on_gone is not None:
            on_gone()


class _Refusal(asyncio.Protocol):
    """Answers the first bytes with 429.

    Answering before they came would lose the answer: a socket that is closed with unread bytes
    resets the connection.
    """

    _transport: asyncio.Transport
    _timer: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Of the fast libraries' own classes, which only behave like asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(REFUSAL_TIMEOUT_S, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(_REFUSAL)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()


def _reason_of(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason
    return error.strerror or type(error).__name__
