"""The media port: one WebSocket per call, between an agent and its call.

Not here: who is let in (`admission.py`), what the messages do (`call/reception.py`), flow control
(`legs/agent.py`). The server's only importer of the WebSocket library. Implements
docs/reference/wire.md §2.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable
from typing import cast

import aiofastnet
import msgspec
import picows
from picows.picows import WSProtocol  # type: ignore[attr-defined]  # not in picows.pyi

from telcoflow_sdk.protocol.codec import MAX_MESSAGE_BYTES, ProtocolViolation
from telcoflow_sdk.protocol.codes import CloseCode, ErrorCode
from telcoflow_sdk.protocol.fragments import Assembler, FragmentError
from telcoflow_sdk.protocol.positions import SUBPROTOCOL
from telcoflow_server.api.accept import Acceptor
from telcoflow_server.api.admission import admit, offers_v2
from telcoflow_server.api.auth import KeyRing, Refused, TokenMint
from telcoflow_server.api.budget import LinkBudget
from telcoflow_server.api.framing import BINARY, PONG, TEXT, Holding, flush_all, header
from telcoflow_server.api.limits import AddressLimits
from telcoflow_server.api.tally import Port, Tally
from telcoflow_server.api.tls import fingerprint_of
from telcoflow_server.call.call import Call
from telcoflow_server.call.exchange import Exchange
from telcoflow_server.call.ports import LinkBroken
from telcoflow_server.call.reception import Reception

logger = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT_S = 5.0
PING_AFTER_S = 10.0
"""A link that was silent for so long is pinged, and cut when as much passes without an answer."""

HELLO_TIMEOUT_S = 5.0
"""Protocol v2: how long a link may be open before it says who it is."""

READ_BUFFER_BYTES = 4096
"""Grows for larger messages."""

CLOSE_TIMEOUT_S = 2.0
"""A peer that does not answer a close is cut after this."""

SEND_BUFFER_BYTES = 64 * 1024
"""What the kernel may hold for a link: about 1.3 s of 24 kHz audio. Its default is megabytes,
which would keep stale audio for an agent that stopped reading."""

UNSENT_LIMIT_BYTES = 256 * 1024
"""What we hold for a peer that does not read. Audio stops at 250 ms of it (`legs/agent.py`), so
only a peer that makes us talk, by pings or commands, gets here."""

_TEXT, _BINARY, _CLOSE = picows.WSMsgType.TEXT, picows.WSMsgType.BINARY, picows.WSMsgType.CLOSE

# The library logs handshakes with their headers at level 9: tokens must never get that far.
_library_logger = logging.getLogger("telcoflow_server.media_link")
_library_logger.setLevel(logging.WARNING)


class MediaPort:
    """Accepts media links and hands each to its call.

    Args:
        exchange: Where the calls are.
        tokens: Who may open a link.
        certificates: Who may open a link must have one of these, too; None for no such rule.
        messages_per_second: The budget of each link.
        since_tick_ms: Tells how long ago the last tick was.
        tally: Counts the handshakes it refuses and the links it closes.
    """

    def __init__(
        self,
        exchange: Exchange,
        tokens: TokenMint,
        certificates: KeyRing | None,
        messages_per_second: float,
        since_tick_ms: Callable[[], float],
        tally: Tally,
    ) -> None:
        self._tally = tally
        self._since_tick_ms = since_tick_ms
        self._exchange = exchange
        self._tokens = tokens
        self._certificates = certificates
        self._messages_per_second = messages_per_second
        self._acceptor: Acceptor | None = None
        self._links: set[AgentSocket] = set()
        self._due: list[Holding] = []  # those that hold frames until the loop's turn is over

    def start(
        self, host: str, port: int, limits: AddressLimits, tls: Callable[[], ssl.SSLContext | None]
    ) -> int:
        """Listen; return the port. Raises `OSError` when it is taken.

        Args:
            limits: Of addresses, shared with the control port.
            tls: Returns the context for a new connection, None for none.
        """
        refused = (Port.MEDIA, ErrorCode.RATE_LIMITED)
        acceptor = Acceptor(
            self._protocol,
            limits,
            tls,
            lambda: self._tally.refusals.update((refused,)),
            connect=aiofastnet.connect_accepted_socket,
        )
        port = acceptor.listen(host, port)
        self._acceptor = acceptor
        return port

    @property
    def link_count(self) -> int:
        """How many media links are open."""
        return len(self._links)

    async def stop(self) -> None:
        """Close the port and every link that is left; returns when all are gone."""
        if self._acceptor is None:
            return
        self._acceptor.close()
        links = list(self._links)
        for link in links:
            link.close(CloseCode.GOING_AWAY, "the server stops")
        for link in links:
            await link.wait_closed()
        await self._acceptor.wait_closed()
        self._acceptor = None

    def _protocol(self) -> asyncio.BaseProtocol:
        """Return what `picows.ws_create_server` puts on a connection.

        That function is not called because it accepts by itself; see `accept.py`.
        """

        def accept(
            request: picows.WSUpgradeRequest,
        ) -> picows.WSListener | picows.WSUpgradeResponseWithListener:
            transport: picows.WSTransport = protocol.transport
            return self._accept(request, transport.underlying_transport)

        protocol = WSProtocol(
            None,  # host and port: a client's
            None,  # path: a client's
            False,  # a server
            accept,
            _library_logger,
            True,  # disconnect when a listener raises
            HANDSHAKE_TIMEOUT_S,
            True,  # ping
            PING_AFTER_S,
            PING_AFTER_S,
            picows.WSAutoPingStrategy.PING_WHEN_IDLE,
            False,  # pings are answered by us, within the link's budget
            MAX_MESSAGE_BYTES,
            None,  # headers: a client's
            READ_BUFFER_BYTES,
        )
        return cast("asyncio.BaseProtocol", protocol)

    def _accept(
        self, request: picows.WSUpgradeRequest, transport: asyncio.Transport
    ) -> picows.WSListener | picows.WSUpgradeResponseWithListener:
        # The library sends the text of an exception raised here to the peer.
        try:
            call = self._authorize(request, transport)
        except Refused as refused:
            return self._reject(refused)
        except Exception:
            logger.exception("media handshake failed")
            return self._reject(Refused(500, ErrorCode.INTERNAL_ERROR, "internal error"))
        is_v2 = offers_v2(request.headers.get("Sec-WebSocket-Protocol"))
        budget = LinkBudget(self._messages_per_second)
        listener = AgentSocket(budget, self._since_tick_ms, self._links, self._due, self._tally)
        listener.reception = Reception(self._exchange, call, listener, is_v2=is_v2)
        if not is_v2:
            return listener
        answer = picows.WSUpgradeResponse.create_101_response(
            {"Sec-WebSocket-Protocol": SUBPROTOCOL}
        )
        return picows.WSUpgradeResponseWithListener(answer, listener)

    def _reject(self, refused: Refused) -> picows.WSUpgradeResponseWithListener:
        self._tally.refusals[Port.MEDIA, refused.code] += 1
        body = msgspec.json.encode({"code": refused.code, "message": refused.message})
        response = picows.WSUpgradeResponse.create_error_response(
            refused.status, body, {"Content-Type": "application/json"}
        )
        return picows.WSUpgradeResponseWithListener(response, None)

    def _authorize(self, request: picows.WSUpgradeRequest, transport: asyncio.Transport) -> Call:
        call = admit(
            self._exchange,
            self._tokens,
            request.path.decode("ascii", "replace").partition("?")[0],
            request.headers.get("Authorization"),
            time.time(),
        )
        if self._certificates is not None:
            self._certificates.check_certificate(
                fingerprint_of(transport), call.identity.connector_uuid
            )
        return call


class AgentSocket(picows.WSListener):
    """One agent's media link: a `MediaLink` towards the call, a listener towards the socket.

    Concurrency: loop thread only.

    Attributes:
        reception: What comes goes there; set before the socket opens.
    """

    reception: Reception

    def __init__(
        self,
        budget: LinkBudget,
        since_tick_ms: Callable[[], float],
        links: set[AgentSocket],
        due: list[Holding],
        tally: Tally,
    ) -> None:
        super().__init__()
        self._tally = tally
        self._since_tick_ms = since_tick_ms
        self._budget = budget
        self._links = links
        self._due = due
        self._transport: picows.WSTransport | None = None
        self._raw: asyncio.Transport | None = None  # below it
        self._loop = asyncio.get_running_loop()
        self._held = b""  # frames of audio that leave with whatever follows in this turn of it
        self._assembler = Assembler()
        self._is_closing = False
        self._closed: asyncio.Future[None] | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._close_code: int | None = None  # who closes first says why

    # --- from the socket -------------------------------------------------------------------

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Join the call, unless it ended or was taken during the handshake."""
        self._transport = transport
        self._raw = transport.underlying_transport
        own = self._raw.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._closed = self._loop.create_future()
        self._links.add(self)
        try:
            self.reception.opened()
        except LinkBroken as broken:
            self.close(broken.code, str(broken))
            return
        if not self.reception.is_greeted:
            self._loop.call_later(HELLO_TIMEOUT_S, self._check_greeted)

    def _check_greeted(self) -> None:
        if not self.reception.is_greeted:
            self._cut(CloseCode.SETUP_TIMEOUT, "no hello in time")

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Reassemble messages and pass them on; whatever they hold, nobody else notices."""
        kind = frame.msg_type
        if kind == _CLOSE:
            self._peer_closed(transport, frame)
            return
        if self._is_closing:
            return
        code = self._budget.spend(time.monotonic())
        if code is not None:
            self._cut(code, "more messages per second than allowed")
        elif kind in (_BINARY, _TEXT) and frame.fin and self._assembler.is_empty:
            self._receive(kind == _TEXT, frame.get_payload_as_bytes())
        elif kind == picows.WSMsgType.PING:
            self.send_binary(frame.get_payload_as_bytes(), PONG)
            self.flush()
        elif kind != picows.WSMsgType.PONG:
            self._fragment(kind, frame)

    def _fragment(self, kind: picows.WSMsgType, frame: picows.WSFrame) -> None:
        is_text = None if kind == picows.WSMsgType.CONTINUATION else kind == _TEXT
        try:
            message = self._assembler.add(
                frame.get_payload_as_bytes(), is_text=is_text, is_final=bool(frame.fin)
            )
        except FragmentError as error:
            self._cut(error.close_code, str(error))
            return
        if message is not None:
            self._receive(*message)

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        """Tell the call, unless it was the call that closed the link."""
        self._links.discard(self)
        if self._close_timer is not None:
            self._close_timer.cancel()
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)
        self._is_closing = True
        self.reception.lost(self._close_code)

    def pause_writing(self) -> None:
        """The peer does not read; `legs/agent.py` sees that in `unsent_bytes`."""

    def resume_writing(self) -> None:
        """The peer reads again."""

    def _receive(self, is_text: bool, message: bytes) -> None:
        try:
            if is_text:
                self.reception.text(message, self._since_tick_ms())
            else:
                self.reception.binary(message)
        except LinkBroken as broken:
            self._cut(broken.code, str(broken))
        except ProtocolViolation:
            code = self._budget.malformed()
            if code is not None:
                self._cut(code, "too many malformed messages")

    def _peer_closed(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if self._close_code is None:
            self._close_code = int.from_bytes(frame.get_payload_as_bytes()[:2], "big")
        if not transport.is_close_frame_sent:
            transport.send_close(picows.WSCloseCode.OK)
        transport.disconnect()

    def _cut(self, code: CloseCode, reason: str) -> None:
        """Close because of what the peer did: the call has lost its agent."""
        if self._is_closing:
            return
        logger.warning("media link closed with %d: %s", code, reason)
        self.close(code, reason)
        self.reception.lost(code)

    # --- MediaLink -------------------------------------------------------------------------

    def send_binary(self, message: bytes, opcode: int = BINARY) -> None:
        """See `MediaLink`. Leaves with the credit that mostly follows: system calls cost most."""
        raw, held = self._raw, self._held
        if raw is None or self._is_closing:
            return
        if raw.get_write_buffer_size() + len(held) > UNSENT_LIMIT_BYTES:
            # Not in the middle of what the call is doing right now.
            self._loop.call_soon(self._cut, CloseCode.SLOW_READER, "messages are not read")
            return
        if not held:
            if not self._due:
                self._loop.call_soon(flush_all, self._due)
            self._due.append(self)
        self._held = held + header(opcode, len(message)) + message

    def send_text(self, message: bytes) -> None:
        """See `MediaLink`."""
        self.send_binary(message, TEXT)
        self.flush()

    def flush(self) -> None:
        """Write what is held."""
        held, self._held = self._held, b""
        if held and self._raw is not None and not self._is_closing:
            self._raw.write(held)

    def unsent_bytes(self) -> int:
        """See `MediaLink`."""
        return self._raw.get_write_buffer_size() + len(self._held) if self._raw else 0

    def close(self, code: CloseCode, reason: str) -> None:
        """See `MediaLink`. The peer has 2 s to answer, then the socket is cut."""
        transport = self._transport
        if self._is_closing or transport is None:
            return
        self.flush()
        self._is_closing = True
        self._close_code = code
        self._tally.closes[Port.MEDIA, code] += 1
        # The library sends any number; its type names those of RFC 6455 only.
        transport.send_close(cast("picows.WSCloseCode", code), reason.encode())
        self._close_timer = self._loop.call_later(CLOSE_TIMEOUT_S, transport.disconnect, False)

    async def wait_closed(self) -> None:
        """Return when the socket is gone; cancellation loses nothing."""
        if self._closed is not None:
            await asyncio.shield(self._closed)
