"""The media port: one WebSocket per call, between an agent and its call.

Not here: who is let in (`admission.py`), what goes over a link once it is open
(`agent_socket.py`). Implements docs/reference/wire.md §2.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from typing import cast

import aiofastnet
import msgspec
import picows
from picows.picows import WSProtocol  # type: ignore[attr-defined]  # not in picows.pyi

from telcoflow_sdk.protocol.codec import MAX_MESSAGE_BYTES
from telcoflow_sdk.protocol.codes import CloseCode, ErrorCode
from telcoflow_sdk.protocol.positions import SUBPROTOCOL
from telcoflow_server.api.accept import Acceptor
from telcoflow_server.api.admission import admit, offers_v2
from telcoflow_server.api.agent_socket import AgentSocket
from telcoflow_server.api.auth import KeyRing, Refused, TokenMint
from telcoflow_server.api.budget import LinkBudget
from telcoflow_server.api.framing import Holding
from telcoflow_server.api.limits import AddressLimits
from telcoflow_server.api.tally import Port, Tally
from telcoflow_server.api.tls import fingerprint_of
from telcoflow_server.call.call import Call
from telcoflow_server.call.exchange import Exchange
from telcoflow_server.call.reception import Reception

logger = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT_S = 5.0
PING_AFTER_S = 10.0
"""A link that was silent for so long is pinged, and cut when as much passes without an answer."""

READ_BUFFER_BYTES = 4096
"""Grows for larger messages."""

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
