"""A telephone network in the test's own process: agents join it, phones call them.

Not here: the phones (`phone.py`), the two nodes it may run on (`app.py`, `node.py`).
Implements "Sandbox" of docs/how-to/test-your-agent.md.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self, TypedDict

from telcoflow_server.app import Server
from telcoflow_server.call.call import Call
from telcoflow_server.call.exchange import Exchange, NewCall
from telcoflow_server.call.ports import Callee, CalleeProgress, Dialer, DialRequest
from telcoflow_server.call.session import Session
from telcoflow_server.legs.behaviour import Behaviour
from telcoflow_server.settings import (
    SANDBOX_CONNECTOR,
    CallSettings,
    MediaSettings,
    ServerSettings,
    Settings,
)
from telcoflow_server.testing.line import PhoneLine, PhoneState
from telcoflow_server.testing.memory import MemoryLink
from telcoflow_server.testing.node import VirtualNode
from telcoflow_server.testing.phone import LiveCallee, LivePhone
from telcoflow_server.testing.virtual import VirtualLoop

CALLER, CALLEE = "+15550100", "+15550199"
"""Who calls, and whom, unless a test says otherwise."""

RING_TIMEOUT_S = 60.0


class Credentials(TypedDict):
    """Keyword arguments of `TelcoflowClientConfig.sandbox`."""

    api_key: str
    connector_uuid: str
    base_url: str


class PhoneDirectory:
    """Which phone a number reaches; a `Dialer`."""

    def __init__(self) -> None:
        self._phones: dict[str, LiveCallee] = {}

    def add(self, phone: LiveCallee) -> None:
        """Let the phone's number reach it."""
        self._phones[phone.number] = phone

    def dial(self, request: DialRequest) -> Callee | None:
        """See `Dialer`; a phone in a call is busy."""
        phone = self._phones.get(request.number)
        if phone is None:
            return None
        line = phone.line
        if line.state in (PhoneState.RINGING, PhoneState.TALKING):
            line = PhoneLine(PhoneState.RINGING, lambda: None)
            line.progress = CalleeProgress.BUSY
        else:
            line.begin_to_ring()
        return line


class Node(Protocol):
    """What a sandbox runs on."""

    @property
    def exchange(self) -> Exchange:
        """The calls."""

    async def start(self) -> str:
        """Start; return the base of the links' addresses."""

    async def stop(self) -> None:
        """End everything."""

    @property
    def links(self) -> Sequence[MemoryLink]:
        """The agents' open links, as far as they are in memory."""

    @property
    def media_port(self) -> int:
        """Where media links are, 0 if they are in memory."""


class SocketNode:
    """A whole server on free ports of this machine.

    Args:
        dialer: The way to people who are called.
        ring_timeout_s: How long an unanswered call rings.
        media_url: Where agents find the media port; None: where it is.
    """

    def __init__(self, dialer: Dialer, ring_timeout_s: float, media_url: str | None) -> None:
        settings = Settings(
            server=ServerSettings(port=0),
            connectors=(SANDBOX_CONNECTOR,),
            calls=CallSettings(ring_timeout_s=ring_timeout_s),
            media=MediaSettings(public_url=media_url),
        )
        self._server = Server(settings, dialer=dialer)

    @property
    def exchange(self) -> Exchange:
        """The calls."""
        return self._server.exchange

    async def start(self) -> str:
        """See `Node`."""
        await self._server.start()
        return f"ws://{self._server.host}:{self._server.control_port}"

    async def stop(self) -> None:
        """See `Node`."""
        await self._server.stop()

    @property
    def links(self) -> Sequence[MemoryLink]:
        """See `Node`: none is."""
        return ()

    @property
    def media_port(self) -> int:
        """See `Node`."""
        return self._server.media_port


class Sandbox:
    """A telephone network of phones that the test holds.

    In virtual time (`virtual_time`, `run_virtual`) links are in memory; else over sockets.

    Args:
        ring_timeout_s: How long a call rings that no agent answers.
        media_url: Where agents find the media links if something is between them and the
            sandbox. None: where the sandbox is.

    Attributes:
        base_url: Where agents connect to.

    Concurrency: the event loop that it was entered on.
    """

    def __init__(
        self, *, ring_timeout_s: float = RING_TIMEOUT_S, media_url: str | None = None
    ) -> None:
        self._ring_timeout_s = ring_timeout_s
        self._media_url = media_url
        self._phones = PhoneDirectory()
        self._node: Node | None = None
        self.base_url = ""

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        if isinstance(loop, VirtualLoop):
            self._node = VirtualNode(loop, SANDBOX_CONNECTOR, self._phones, self._ring_timeout_s)
        else:
            self._node = SocketNode(self._phones, self._ring_timeout_s, self._media_url)
        self._node.exchange.board.make_call = self._make_call
        self.base_url = await self._node.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        node, self._node = self._node, None
        assert node is not None, "entered before"
        await node.stop()

    @property
    def credentials(self) -> Credentials:
        """What `TelcoflowClientConfig.sandbox` needs to find this sandbox."""
        assert SANDBOX_CONNECTOR.api_key is not None, "the sandbox's own connector has a key"
        return {
            "api_key": SANDBOX_CONNECTOR.api_key,
            "connector_uuid": SANDBOX_CONNECTOR.connector_uuid,
            "base_url": self.base_url,
        }

    @property
    def exchange(self) -> Exchange:
        """The server's calls, for tests of the server. Raises `RuntimeError` when not running."""
        return self._running.exchange

    @property
    def links(self) -> Sequence[MemoryLink]:
        """The agents' open links, oldest first, to be cut or held; in virtual time only."""
        return tuple(self._running.links)

    @property
    def media_port(self) -> int:
        """The port that `media_url` is to lead to; 0 in virtual time."""
        return self._running.media_port

    @property
    def _running(self) -> Node:
        if self._node is None:
            raise RuntimeError("the sandbox is not running: use it in `async with Sandbox()`")
        return self._node

    async def dial(self, *, caller: str = CALLER, callee: str = CALLEE) -> LivePhone:
        """Call the agents that have joined, or join while it rings; return the caller's phone.

        Args:
            caller: Who calls; "" withholds the number.
            callee: Whom; `connect` reaches the phone that `callee` gave this number.
        """
        phone, exchange = LivePhone(), self.exchange

        def ended(call: Call) -> None:
            phone.report = exchange.report(call)

        new_call = NewCall(SANDBOX_CONNECTOR.connector_uuid, caller, callee, int(time.time()))
        exchange.place(phone.line, new_call, on_ended=ended)
        return phone

    def callee(
        self,
        number: str = CALLEE,
        *,
        answers: Behaviour | str = Behaviour.ANSWER,
        after_s: float = 1.0,
    ) -> LiveCallee:
        """Put a phone where agents can reach it; other numbers cannot be reached.

        Args:
            number: Takes the place of the phone that had it before.
            answers: What comes of its ringing: "answer", "busy", "decline", "no-answer".
            after_s: How long it rings before that.

        Raises:
            ValueError: `answers` is none of these.
        """
        phone = LiveCallee(number, Behaviour(answers), after_s)
        self._phones.add(phone)
        return phone

    def _make_call(self, connector_uuid: str, number: str, ring_time_s: int) -> Session:
        new_call = NewCall(connector_uuid, "", number, int(time.time()))
        return self.exchange.place_outbound(new_call, ring_time_s)
