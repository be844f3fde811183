"""One WebSocket to the server: whole messages in and out. The only importer of picows.

Not here: what messages mean (`protocol/`), who sends them (`control.py`, `media.py`).
Implements docs/reference/wire.md, "Transport".
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from urllib.parse import urlsplit

import msgspec
import picows
from picows.picows import WSCloseHandshake
from picows.url import WSParsedURL

from telcoflow_sdk._asyncio.tls import refusal_of
from telcoflow_sdk.protocol.codec import MAX_MESSAGE_BYTES
from telcoflow_sdk.protocol.codes import CloseCode
from telcoflow_sdk.protocol.fragments import Assembler, FragmentError
from telcoflow_sdk.protocol.link import (
    Link,
    LinkError,
    LinkEvents,
    LinkOpener,
    LinkRefused,
    LinkUntrusted,
)

__all__ = [
    "Link",
    "LinkError",
    "LinkEvents",
    "LinkRefused",
    "LinkUntrusted",
    "WebSocketLink",
    "open_link",
]

CONNECT_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 1.0
"""How long the server may take to answer a close, before the socket is cut."""

PING_IDLE_S = 10.0
PING_REPLY_S = 10.0
"""A half-open socket is noticed after the sum: 20 s without a byte."""

_BINARY = picows.WSMsgType.BINARY
_TEXT = picows.WSMsgType.TEXT
_CONTINUATION = picows.WSMsgType.CONTINUATION
_CLOSE = picows.WSMsgType.CLOSE

_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,39}")

_logger = logging.getLogger("telcoflow_sdk")

# picows logs the upgrade request, credentials included, at a level below DEBUG. It gets a logger
# outside the application's hierarchy, on which nothing can be switched on; what matters is
# logged here.
_silent = logging.Logger("telcoflow_sdk.picows", level=logging.CRITICAL + 1)


class WebSocketLink(picows.WSListener):
    """A `Link` that is an open WebSocket.

    Concurrency: the event loop's thread only. Nothing waits but `wait_closed`.
    """

    __slots__ = (
        "_assembler",
        "_close_timer",
        "_closed",
        "_events",
        "_is_closed",
        "_subprotocol",
        "_transport",
    )

    def __init__(self, events: LinkEvents) -> None:
        self._events = events
        self._transport: picows.WSTransport | None = None
        self._assembler: Assembler | None = None  # while a message comes in fragments
        self._close_timer: asyncio.TimerHandle | None = None
        self._closed: asyncio.Future[None] | None = None
        self._is_closed = False
        self._subprotocol: str | None = None

    @property
    def subprotocol(self) -> str | None:
        """See `Link`."""
        return self._subprotocol

    def send_text(self, data: bytes) -> None:
        """Queue one text message of UTF-8; does nothing once closing."""
        if self._transport is not None:
            self._transport.send(_TEXT, data)

    def send_binary(self, data: bytes) -> None:
        """Queue one binary message; does nothing once closing."""
        if self._transport is not None:
            self._transport.send(_BINARY, data)

    def close(self, code: CloseCode = CloseCode.NORMAL) -> None:
        """Say goodbye after what was queued; cut the socket if no answer comes. Idempotent."""
        if self._transport is None or self._close_timer is not None:
            return
        self._transport.send_close(picows.WSCloseCode(code))
        self._cut_off_later(self._transport)

    def abort(self) -> None:
        """Cut the socket at once. Idempotent."""
        if self._transport is not None:
            self._transport.disconnect(False)

    async def wait_closed(self) -> None:
        """Return once the socket is gone. Cancellation loses nothing."""
        if self._is_closed:
            return
        if self._closed is None:
            self._closed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._closed)

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Called by picows."""
        self._transport = transport
        self._subprotocol = transport.response.headers.get("Sec-WebSocket-Protocol")
        try:
            self._events.link_opened(self)
        except Exception:
            self._owner_failed()

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Called by picows. The frame's memory is gone afterwards, so it is copied here."""
        kind = frame.msg_type
        try:
            if self._assembler is not None and kind in (_CONTINUATION, _TEXT, _BINARY):
                self._fragment(frame)
            elif kind is _BINARY and frame.fin:
                self._events.binary_received(frame.get_payload_as_bytes())
            elif kind is _TEXT and frame.fin:
                self._events.text_received(frame.get_payload_as_bytes())
            elif kind is _CLOSE:
                self._peer_closes(transport)
            elif kind in (_CONTINUATION, _TEXT, _BINARY):
                self._fragment(frame)
        except Exception:
            self._owner_failed()

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        """Called by picows."""
        self._transport = None
        self._is_closed = True
        if self._close_timer is not None:
            self._close_timer.cancel()
        if self._closed is not None:
            self._closed.set_result(None)
        # None until either side has said goodbye, whatever picows' type stub says.
        handshake: WSCloseHandshake | None = transport.close_handshake
        received = handshake.recv if handshake else None
        # picows keeps the violation that made it close in a future nobody else looks at;
        # asyncio would complain about it when it is collected.
        asyncio.get_running_loop().create_task(_retrieve(transport))
        code = int(received.code.value) if received is not None else None
        try:
            self._events.link_lost(code, (received and received.reason) or "")
        except Exception:
            self._owner_failed()

    def pause_writing(self) -> None:
        """Called by picows. What we queue is bounded by the server's own credit."""

    def resume_writing(self) -> None:
        """Called by picows."""

    def _peer_closes(self, transport: picows.WSTransport) -> None:
        if not transport.is_close_frame_sent:
            transport.send_close(picows.WSCloseCode.OK)
        transport.disconnect()  # after what is queued, which a peer that does not read prevents
        self._cut_off_later(transport)

    def _cut_off_later(self, transport: picows.WSTransport) -> None:
        if self._close_timer is None:
            loop = asyncio.get_running_loop()
            self._close_timer = loop.call_later(CLOSE_TIMEOUT_S, transport.disconnect, False)

    def _owner_failed(self) -> None:
        """Say so: picows would swallow it, and a mistake of ours must not pass for silence."""
        _logger.exception("an event of the link could not be handled; closing it")
        self.close(CloseCode.INTERNAL_ERROR)

    def _fragment(self, frame: picows.WSFrame) -> None:
        if self._assembler is None:
            self._assembler = Assembler()
        is_text = None if frame.msg_type is _CONTINUATION else frame.msg_type is _TEXT
        try:
            message = self._assembler.add(
                frame.get_payload_as_bytes(), is_text=is_text, is_final=bool(frame.fin)
            )
        except FragmentError as error:
            self._assembler = None
            self.close(error.close_code)
            return
        if message is None:
            return
        self._assembler = None
        if message[0]:
            self._events.text_received(message[1])
        else:
            self._events.binary_received(message[1])


async def open_link(
    url: str,
    events: LinkEvents,
    *,
    headers: Mapping[str, str],
    ssl_context: ssl.SSLContext | None,
    read_buffer_bytes: int,
) -> Link:
    """Open a WebSocket.

    Redirects are not followed: they would carry the credentials elsewhere. Nothing is
    compressed: it costs more than it saves on PCM.

    Args:
        url: `ws://` or `wss://`.
        events: Hears of everything from the upgrade on; messages may arrive before this returns.
        headers: Sent with the upgrade request.
        ssl_context: For `wss://`; None means the system's authorities.
        read_buffer_bytes: Size of the receive buffer; grows for larger messages.

    Raises:
        LinkRefused: the server answered with an HTTP status.
        LinkUntrusted: the server refused our certificate.
        LinkError: no connection, no TLS, no WebSocket, or not within `CONNECT_TIMEOUT_S`.

    Cancellation: closes what was opened; nothing is left.
    """
    loop = asyncio.get_running_loop()
    if isinstance(loop, LinkOpener):
        return await loop.open_link(url, events, headers)
    sockets: list[socket.socket] = []

    async def connect(parsed: WSParsedURL) -> socket.socket:
        sockets.append(await _connect_tcp(parsed.host, parsed.port))
        return sockets[0]

    link = WebSocketLink(events)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            opened: tuple[object, object] = await picows.ws_connect(
                lambda: link,
                url,
                ssl_context=ssl_context,
                websocket_handshake_timeout=None,  # ours covers name resolution and TLS too
                logger_name=_silent,
                enable_auto_ping=True,
                auto_ping_idle_timeout=PING_IDLE_S,
                auto_ping_reply_timeout=PING_REPLY_S,
                max_frame_size=MAX_MESSAGE_BYTES,
                extra_headers=headers,
                max_redirects=0,
                read_buffer_init_size=read_buffer_bytes,
                socket_factory=connect,
            )
    except BaseException as error:
        # picows leaves the connection open when it is cancelled during the upgrade.
        _shut_down(sockets)
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLCertVerificationError):
            await _raise_if_untrusted(url, ssl_context)
        if isinstance(error, Exception):
            raise _link_error(error) from None
        raise
    if opened[1] is None:  # how picows says that the server hung up instead of answering
        await _raise_if_untrusted(url, ssl_context)
        raise LinkError("the server closed the connection without answering the upgrade request")
    return link


async def _raise_if_untrusted(url: str, context: ssl.SSLContext | None) -> None:
    """Raise `LinkUntrusted` if a `wss://` server hangs up because of our certificate."""
    parts = urlsplit(url)
    if parts.scheme != "wss" or parts.hostname is None:
        return
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            sock = await _connect_tcp(parts.hostname, parts.port or 443)
    except OSError:  # TimeoutError is one, too
        return
    refusal = await refusal_of(sock, parts.hostname, context)
    if refusal is not None:
        raise LinkUntrusted(refusal)


async def _connect_tcp(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    failure = OSError(f"no address for {host}")
    for family, kind, protocol, _, address in await loop.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    ):
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure


def _shut_down(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        # Not closed: the transport owns the descriptor, and closes it when it reads the end.
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _link_error(error: Exception) -> LinkError:
    """Translate, quoting nothing that a peer could have filled with our credentials."""
    if isinstance(error, picows.WSHandshakeError):
        response = error.response
        if response is not None and response.status != HTTPStatus.SWITCHING_PROTOCOLS:
            return LinkRefused(int(response.status), _code_of(error.raw_body))
        return LinkError("the server's answer to the upgrade request is no WebSocket")
    if isinstance(error, TimeoutError):
        return LinkError(f"no answer within {CONNECT_TIMEOUT_S:g} s")
    if isinstance(error, ssl.SSLCertVerificationError):
        return LinkError(f"the server's certificate is not trusted: {error.verify_message}")
    if isinstance(error, OSError) and error.errno and not isinstance(error, socket.gaierror):
        return LinkError(os.strerror(error.errno))  # asyncio's own text lacks the reason
    if isinstance(error, OSError) and error.strerror:
        return LinkError(error.strerror)
    return LinkError(type(error).__name__)


class _Refusal(msgspec.Struct):
    code: str = ""


def _code_of(body: bytes | None) -> str:
    try:
        code = msgspec.json.decode(body or b"{}", type=_Refusal).code
    except (msgspec.DecodeError, UnicodeError):
        return ""
    return code if _CODE.fullmatch(code) else ""


async def _retrieve(transport: picows.WSTransport) -> None:
    with suppress(Exception):
        await transport.wait_disconnected()
