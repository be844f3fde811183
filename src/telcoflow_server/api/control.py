"""The control link: one WebSocket per client process, on the control port.

Not here: what the messages do (`call/session.py`), HTTP (`http.py`).
Implements docs/reference/wire.md §1.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from aiohttp import WSMsgType, web

from telcoflow_sdk.protocol.codec import MAX_MESSAGE_BYTES, ProtocolViolation
from telcoflow_sdk.protocol.codes import CloseCode
from telcoflow_server.api.budget import LinkBudget
from telcoflow_server.api.tally import Port, Tally
from telcoflow_server.call.session import Client, SessionBoard

logger = logging.getLogger(__name__)

SETUP_TIMEOUT_S = 10.0
"""A client that has not said `setup` by then is closed: it may be no client at all."""

PING_INTERVAL_S = 15.0
"""A half-open link is noticed after this and half as much again."""

QUEUED_LIMIT_BYTES = 128 * 1024
"""A client that does not read is closed when more than this waits for it."""

CLOSE_TIMEOUT_S = 2.0
"""A peer that does not answer a close, or does not even read it, is cut after this."""


class ClientSocket:
    """A `ControlLink` over one WebSocket.

    Args:
        transport: Under the WebSocket; cut when a close is not answered.
        tally: Counts the close.

    Concurrency: loop thread only.
    """

    def __init__(self, transport: asyncio.Transport, tally: Tally) -> None:
        self._transport = transport
        self._tally = tally
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._queued_bytes = 0
        self._closing: tuple[CloseCode, str] | None = None

    @property
    def is_closing(self) -> bool:
        """Whether the server has decided to close this link."""
        return self._closing is not None

    def send(self, message: bytes) -> None:
        """See `ControlLink`."""
        if self._closing is not None:
            return
        self._queued_bytes += len(message)
        if self._queued_bytes > QUEUED_LIMIT_BYTES:
            self.close(CloseCode.SLOW_READER, "messages are not read")
        else:
            self._queue.put_nowait(message)

    def close(self, code: CloseCode, reason: str) -> None:
        """See `ControlLink`. A slow reader loses what it did not read."""
        if self._closing is None:
            self._closing = (code, reason)
            self._tally.closes[Port.CONTROL, code] += 1
            self._queue.put_nowait(None)
            # Also after the handler has returned: a transport that closes first writes what it
            # holds, which a peer that does not read keeps it from for ever.
            asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S, self._transport.abort)

    async def write_to(self, socket: web.WebSocketResponse) -> None:
        """Write what is queued until the link is closed, then close the socket."""
        while True:
            message = await self._queue.get()
            if message is None:
                break
            self._queued_bytes -= len(message)
            await socket.send_str(message.decode())
        assert self._closing is not None, "only close() queues None"
        code, reason = self._closing
        await socket.close(code=code, message=reason.encode())


class ControlPort:
    """Accepts control links on an HTTP server's route.

    Args:
        board: Where the sessions are.
        connector_of: Checks a request's credentials; raises `Refused`.
        messages_per_second: The budget of each link.
        tally: Counts the links it closes.
    """

    def __init__(
        self,
        board: SessionBoard,
        connector_of: Callable[[web.Request], str],
        messages_per_second: float,
        tally: Tally,
    ) -> None:
        self._tally = tally
        self._board = board
        self._connector_of = connector_of
        self._messages_per_second = messages_per_second

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Handle one control link from its handshake to its end."""
        connector_uuid = self._connector_of(request)
        socket = web.WebSocketResponse(
            heartbeat=PING_INTERVAL_S,
            max_msg_size=MAX_MESSAGE_BYTES,
            compress=False,
            timeout=CLOSE_TIMEOUT_S,
        )
        await socket.prepare(request)
        assert request.transport is not None, "the handshake was answered on it just now"
        link = ClientSocket(request.transport, self._tally)
        client = self._board.join(connector_uuid, link, request.url.host or "127.0.0.1")
        logger.info("client %s joined connector %s", client.client_id, connector_uuid)
        setup_timer = asyncio.get_running_loop().call_later(
            SETUP_TIMEOUT_S, _close_unless_set_up, client, link
        )
        writer = asyncio.create_task(link.write_to(socket), name=f"control {client.client_id}")
        try:
            await self._read(socket, link, lambda data: self._board.receive(client, data))
        finally:
            setup_timer.cancel()
            self._board.leave(client)
            if not link.is_closing:
                writer.cancel()
            # A closing writer ends by itself: the close frame goes out once reading has ended.
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await writer
            logger.info("client %s left", client.client_id)
        return socket

    async def _read(
        self, socket: web.WebSocketResponse, link: ClientSocket, receive: Callable[[str], None]
    ) -> None:
        budget = LinkBudget(self._messages_per_second)
        async for message in socket:
            code = budget.spend(time.monotonic())
            if code is not None:
                link.close(code, "more messages per second than allowed")
            if link.is_closing:
                continue  # deaf to what it still says until the close is through
            if message.type is WSMsgType.ERROR:
                break
            # Binary JSON is JSON, too; anything else in it is answered as malformed.
            data = message.data if isinstance(message.data, str) else message.data.decode("latin-1")
            try:
                receive(data)
            except ProtocolViolation:
                code = budget.malformed()
                if code is not None:
                    link.close(code, "too many malformed messages")


def _close_unless_set_up(client: Client, link: ClientSocket) -> None:
    if client.audio is None:
        link.close(CloseCode.SETUP_TIMEOUT, "no `setup` within 10 seconds")
