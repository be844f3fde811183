"""A node in virtual time: an exchange, its tick, and links in memory instead of two ports.

Not here: the links (`memory.py`), the phones (`phone.py`), the node over sockets (`app.py`).
Implements "Virtual time" of docs/how-to/test-your-agent.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from itertools import count

from telcoflow_sdk.audio.format import TICK_MS
from telcoflow_sdk.protocol.codec import ProtocolViolation
from telcoflow_sdk.protocol.codes import CloseCode
from telcoflow_sdk.protocol.link import Link, LinkEvents, LinkRefused
from telcoflow_sdk.protocol.positions import SUBPROTOCOL
from telcoflow_server.api.admission import MEDIA_PATH, admit, offers_v2
from telcoflow_server.api.auth import KeyRing, Refused, TokenMint
from telcoflow_server.app import CONTROL_PATH
from telcoflow_server.call.call import Call
from telcoflow_server.call.exchange import Exchange
from telcoflow_server.call.ports import Dialer, LinkBroken
from telcoflow_server.call.reception import Reception
from telcoflow_server.call.session import Client, Session
from telcoflow_server.keys import digest_of
from telcoflow_server.settings import ConnectorSettings
from telcoflow_server.testing.memory import LinkEnd, MemoryLink
from telcoflow_server.testing.virtual import VirtualLoop

TICK_S = TICK_MS / 1000

_SECRET = bytes(32)
"""Signs tokens that nobody outside this loop can use."""


class VirtualNode:
    """Serves a virtual loop's links at one address.

    Args:
        loop: Its time is the node's.
        connector: Whose agents may come.
        dialer: The way to people who are called.
        ring_timeout_s: How long an unanswered call rings.

    Attributes:
        exchange: The calls.
        links: The links that are open at the server, oldest first.
        address: Host and port, while it runs.
        media_port: None: there are no sockets.
    """

    def __init__(
        self,
        loop: VirtualLoop,
        connector: ConnectorSettings,
        dialer: Dialer,
        ring_timeout_s: float,
    ) -> None:
        ids = count(1)
        self.exchange = Exchange(
            self._media_address,
            lambda: f"virtual-{next(ids)}",
            ring_timeout_s=ring_timeout_s,
            dialer=dialer,
        )
        self.links: list[MemoryLink] = []
        self.media_port = 0
        self._loop = loop
        self._keys = KeyRing()
        assert connector.api_key is not None, "a sandbox's connector has a key"
        self._keys.replace([(connector.connector_uuid, digest_of(connector.api_key))], {})
        self._tokens = TokenMint(_SECRET)
        self.address = ""
        self._start_s = 0.0
        self._ticks = 0
        self._tick_handle: asyncio.TimerHandle | None = None

    async def start(self) -> str:
        """Take an address and start to tick; return the base of its links' addresses."""
        port = 8080  # where an agent looks that was told nothing
        while f"127.0.0.1:{port}" in self._loop.servers:
            port += 1
        self.address = f"127.0.0.1:{port}"
        self._loop.servers[self.address] = self
        self._start_s = self._loop.time()
        self._arm()
        return f"ws://{self.address}"

    async def stop(self) -> None:
        """End the calls, close the links, free the address; returns when both ends are gone."""
        del self._loop.servers[self.address]
        self.exchange.shut_down()
        for link in list(self.links):
            await link.server.wait_closed()
            await link.agent.wait_closed()
        if self._tick_handle is not None:
            self._tick_handle.cancel()

    async def open_link(self, path: str, events: LinkEvents, headers: Mapping[str, str]) -> Link:
        """See `LinkServer`."""
        link = MemoryLink(self._loop, path)
        given = {name.lower(): value for name, value in headers.items()}
        try:
            if path == CONTROL_PATH:
                self._join(link, given)
            else:
                self._take_call(link, given)
        except Refused as refused:
            raise LinkRefused(refused.status, refused.code) from None
        self.links.append(link)
        link.agent.attach(events)
        events.link_opened(link.agent)
        return link.agent

    def since_tick_ms(self) -> float:
        """Return how long ago the last tick was."""
        return (self._loop.time() - self._start_s) * 1000 - self._ticks * TICK_MS

    def forget(self, link: MemoryLink) -> None:
        """The server's end of this link is gone."""
        self.links.remove(link)

    def _join(self, link: MemoryLink, headers: Mapping[str, str]) -> None:
        connector_uuid = self._keys.connector(
            headers.get("x-api-key"), headers.get("x-connector-uuid")
        )
        ClientLine(self, link, connector_uuid)

    def _take_call(self, link: MemoryLink, headers: Mapping[str, str]) -> None:
        call = admit(
            self.exchange,
            self._tokens,
            link.path,
            headers.get("authorization"),
            self._loop.time(),
        )
        is_v2 = offers_v2(headers.get("sec-websocket-protocol"))
        AgentLine(self, link, call, is_v2=is_v2)
        link.agent.subprotocol = SUBPROTOCOL if is_v2 else None

    def _media_address(self, session: Session, client: Client) -> tuple[str, str]:
        token = self._tokens.issue(session.call_id, self._loop.time())
        return f"ws://{client.reached_at}{MEDIA_PATH}{session.call_id}", token

    def _arm(self) -> None:
        # From the start and not from the tick before: nothing adds up.
        next_s = self._start_s + (self._ticks + 1) * TICK_S
        self._tick_handle = self._loop.call_at(next_s, self._tick)

    def _tick(self) -> None:
        self._ticks += 1
        self.exchange.tick(0.0)
        self._arm()


class ClientLine:
    """A client's control link, at the server: a `ControlLink`."""

    def __init__(self, node: VirtualNode, link: MemoryLink, connector_uuid: str) -> None:
        self._node = node
        self._link = link
        self._board = node.exchange.board
        self._client = self._board.join(connector_uuid, self, node.address)
        link.server.attach(self)

    def send(self, message: bytes) -> None:
        """See `ControlLink`."""
        self._link.server.send_text(message)

    def close(self, code: CloseCode, reason: str) -> None:
        """See `ControlLink`."""
        self._link.server.close(code, reason)

    def text_received(self, data: bytes) -> None:
        """Act on a message; the client was told what is wrong with it."""
        if not self._link.server.is_open:
            return
        try:
            self._board.receive(self._client, data)
        except ProtocolViolation:
            pass  # over sockets it is counted

    def binary_received(self, data: bytes) -> None:
        """Binary JSON is JSON, too."""
        self.text_received(data)

    def link_lost(self, code: int | None, reason: str) -> None:
        """The client has left."""
        self._board.leave(self._client)
        self._node.forget(self._link)


class AgentLine:
    """An agent's media link, at the server: a `MediaLink`."""

    def __init__(self, node: VirtualNode, link: MemoryLink, call: Call, *, is_v2: bool) -> None:
        self._node = node
        self._link = link
        self._end: LinkEnd = link.server
        self._reception = Reception(node.exchange, call, self, is_v2=is_v2)
        self._close_code: int | None = None  # with which we closed it
        self._end.attach(self)
        self._reception.opened()

    def send_binary(self, message: bytes) -> None:
        """See `MediaLink`."""
        self._end.send_binary(message)

    def send_text(self, message: bytes) -> None:
        """See `MediaLink`."""
        self._end.send_text(message)

    def unsent_bytes(self) -> int:
        """See `MediaLink`."""
        return self._end.unsent_bytes

    def close(self, code: CloseCode, reason: str) -> None:
        """See `MediaLink`."""
        if self._end.is_open:
            self._close_code = code
            self._end.close(code, reason)

    def text_received(self, data: bytes) -> None:
        """Pass a message on."""
        self._receive(lambda: self._reception.text(data, self._node.since_tick_ms()))

    def binary_received(self, data: bytes) -> None:
        """Pass audio on."""
        self._receive(lambda: self._reception.binary(data))

    def link_lost(self, code: int | None, reason: str) -> None:
        """The call has lost its agent, for now or for good, unless it has let it go."""
        self._reception.lost(self._close_code or code)
        self._node.forget(self._link)

    def _receive(self, take: Callable[[], None]) -> None:
        if not self._end.is_open:
            return
        try:
            take()
        except LinkBroken as broken:
            self.close(broken.code, str(broken))
            self._reception.lost(broken.code)
        except ProtocolViolation:
            pass  # the agent was told what is wrong; over sockets it is counted, too
