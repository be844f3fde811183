"""What goes wrong between two ends of a link: over sockets by a proxy, in virtual time by hand.

The proxy forwards bytes; nothing is reordered and none is lost, unless a connection is.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol, Self

from telcoflow_server.testing.memory import MemoryLink
from telcoflow_server.testing.virtual import LinkServer, VirtualLoop

BYTEWISE_BYTES_PER_S = 200_000
"""How fast bytes come one by one: the work of a read for each of them."""

SLOW_BYTES_PER_S = 24_000
"""Half of what the audio of one direction needs."""

FREEZE_S = 3.0

PACE_S = 0.02
PROXY_BYTES = 64 * 1024
"""What the proxy holds for a side that cannot be told."""


class Fault(StrEnum):
    CUT = "cut"
    FREEZE = "freeze"  # nothing passes for three seconds
    STALL = "stall"  # nothing passes any more
    SLOW = "slow"
    BYTEWISE = "byte at a time"
    AGENT_LEFT_OPEN = "half-open, the agent is not told"
    SERVER_LEFT_OPEN = "half-open, the server is not told"
    GONE = "cut, and no way back"


class Line(Protocol):
    """What is between the two ends of links."""

    def cut(self) -> None:
        """Break every link; both ends notice."""

    def hold(self) -> None:
        """Let nothing pass, either way."""

    def slow_down(self, bytes_per_s: float) -> None:
        """Let so much pass, each way."""

    def go_bytewise(self) -> None:
        """Let every byte pass by itself."""

    def lose_server(self) -> None:
        """Break every link; only the server notices."""

    def lose_agent(self) -> None:
        """Break every link; only the agent notices."""

    def refuse(self) -> None:
        """Let no link be opened."""

    def heal(self) -> None:
        """Let everything pass again, first what was held, and links be opened."""


def begin(fault: Fault, line: Line) -> None:
    """Let it happen; the freeze ends by itself."""
    match fault:
        case Fault.CUT:
            line.cut()
        case Fault.FREEZE:
            line.hold()
            asyncio.get_running_loop().call_later(FREEZE_S, line.heal)
        case Fault.STALL:
            line.hold()
        case Fault.SLOW:
            line.slow_down(SLOW_BYTES_PER_S)
        case Fault.BYTEWISE:
            line.go_bytewise()
        case Fault.AGENT_LEFT_OPEN:
            line.lose_server()
        case Fault.SERVER_LEFT_OPEN:
            line.lose_agent()
        case Fault.GONE:
            line.cut()
            line.refuse()


class MemoryLine:
    """Links in virtual time.

    Args:
        links: Those that are open when the fault begins.
    """

    def __init__(self, links: Sequence[MemoryLink]) -> None:
        self._links = list(links)
        self._pipes = [pipe for link in links for pipe in (link.up, link.down)]
        self._refused: dict[str, LinkServer] = {}

    def cut(self) -> None:
        for link in self._links:
            link.cut()

    def hold(self) -> None:
        for pipe in self._pipes:
            pipe.hold()

    def slow_down(self, bytes_per_s: float) -> None:
        for pipe in self._pipes:
            pipe.rate_bytes_per_s = bytes_per_s

    def go_bytewise(self) -> None:
        # A message is whole with its last byte: all that its bytes can do is to take time.
        self.slow_down(BYTEWISE_BYTES_PER_S)

    def lose_server(self) -> None:
        for link in self._links:
            link.server.vanish()
        self.hold()

    def lose_agent(self) -> None:
        for link in self._links:
            link.agent.vanish()
        self.hold()

    def refuse(self) -> None:
        servers = _virtual_loop().servers
        self._refused |= servers
        servers.clear()

    def heal(self) -> None:
        _virtual_loop().servers.update(self._refused)
        self._refused.clear()
        for pipe in self._pipes:
            pipe.rate_bytes_per_s = None
            pipe.release()


def _virtual_loop() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


class FaultProxy:
    """A TCP port in front of another one.

    Faults hold for the connections there are and for those to come, until `heal`.
    """

    def __init__(self) -> None:
        self.port = 0
        self._target_port = 0
        self._listening: asyncio.Server | None = None
        self._ways: set[_Way] = set()
        self.is_held = False
        self.is_bytewise = False
        self.is_refusing = False
        self.bytes_per_s: float | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(lambda: self._way(None), "127.0.0.1", 0)
        self.port = self._listening.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listening is not None
        self._listening.close()
        self.cut()
        await self._listening.wait_closed()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def lead_to(self, port: int) -> None:
        """Forward new connections there."""
        self._target_port = port

    def cut(self) -> None:
        for way in list(self._ways):
            way.abort()

    def hold(self) -> None:
        self.is_held = True

    def slow_down(self, bytes_per_s: float) -> None:
        self.bytes_per_s = bytes_per_s

    def go_bytewise(self) -> None:
        self.is_bytewise = True

    def refuse(self) -> None:
        self.is_refusing = True

    def lose_server(self) -> None:
        self._lose(is_agents=False)

    def lose_agent(self) -> None:
        self._lose(is_agents=True)

    def heal(self) -> None:
        self.is_held = False
        self.is_bytewise = False
        self.is_refusing = False
        self.bytes_per_s = None
        for way in list(self._ways):
            way.go_on()

    def _lose(self, *, is_agents: bool) -> None:
        self.is_held = True
        for way in list(self._ways):
            if way.is_agents is is_agents:
                way.abandon()

    def _way(self, other: _Way | None) -> _Way:
        return _Way(self, other)

    async def connect(self, agent: _Way) -> None:
        """Reach the target for an agent that has connected."""
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self._way(agent), "127.0.0.1", self._target_port)
        except OSError:
            agent.abort()

    def opened(self, way: _Way) -> None:
        self._ways.add(way)

    def closed(self, way: _Way) -> None:
        self._ways.discard(way)


class _Way(asyncio.Protocol):
    """One connection, and what came in on it and has not gone out on the other."""

    def __init__(self, proxy: FaultProxy, other: _Way | None) -> None:
        self._proxy = proxy
        self.other = other
        self.is_agents = other is None
        self._waiting = bytearray()
        self._has_ended = False
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.Handle | None = None
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._proxy.opened(self)
        if self._proxy.is_refusing:
            self.abort()
        elif self.other is None:
            self._connecting = asyncio.get_running_loop().create_task(self._proxy.connect(self))
        else:
            self.other.other = self
            self.other.go_on()

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        self.go_on()

    def eof_received(self) -> bool:
        self._has_ended = True
        self.go_on()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._proxy.closed(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        self._transport = None
        if self.other is not None:
            self.other.other = None
            self.other.abort()

    def abandon(self) -> None:
        """Break this side; the other one is not told."""
        if self.other is not None:
            self.other.other = None
            self.other = None
        self.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def go_on(self) -> None:
        """Forward what may pass now, and read on if there is room for more."""
        while self._may_forward:
            self._forward()
        if self._transport is not None:
            if len(self._waiting) >= PROXY_BYTES:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    @property
    def _may_forward(self) -> bool:
        is_anything = bool(self._waiting) or self._has_ended
        has_way = self.other is not None and self.other._transport is not None
        return is_anything and has_way and self._timer is None and not self._proxy.is_held

    def _forward(self) -> None:
        assert self.other is not None
        assert self.other._transport is not None
        if not self._waiting:
            self._has_ended = False
            self.other._transport.close()
            return
        size, loop = PROXY_BYTES, asyncio.get_running_loop()
        if self._proxy.is_bytewise:
            size, self._timer = 1, loop.call_later(0, self._due)
        elif self._proxy.bytes_per_s is not None:
            size = max(1, int(self._proxy.bytes_per_s * PACE_S))
            self._timer = loop.call_later(PACE_S, self._due)
        self.other._transport.write(bytes(self._waiting[:size]))
        del self._waiting[:size]

    def _due(self) -> None:
        self._timer = None
        self.go_on()
