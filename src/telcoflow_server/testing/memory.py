"""Links in memory: two ends, whole messages, in order, as late as the way makes them.

Not here: who serves them (`node.py`). Stands in for two WebSockets and what is between them, with
the same rules for closing, for silence, and for a peer that does not read.
Implements "Links in virtual time" of docs/how-to/test-your-agent.md.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from telcoflow_sdk.protocol.codes import CloseCode

KEEPALIVE_S = 20.0
"""An end that hears nothing for so long, pings included, takes the link for lost."""

KERNEL_BYTES = 128 * 1024
"""What the buffers of both kernels hold of a direction before the sender's own fills."""

AGENT_CLOSE_TIMEOUT_S = 1.0
SERVER_CLOSE_TIMEOUT_S = 2.0
"""How long either end waits for the other's answer to a close."""


class Kind(Enum):
    """What passes through a pipe."""

    TEXT = auto()
    BINARY = auto()
    CLOSE = auto()  # two bytes of code, then the reason, as in RFC 6455 §5.5.1
    END = auto()  # the socket is closed


class LinkOwner(Protocol):
    """Whom an end tells what happens; `LinkEvents` but for the beginning."""

    def text_received(self, data: bytes) -> None:
        """A text message arrived."""

    def binary_received(self, data: bytes) -> None:
        """A binary message arrived."""

    def link_lost(self, code: int | None, reason: str) -> None:
        """The link is gone; the last call."""


class Pipe:
    """One direction of a link. Without being told otherwise, it delivers in the loop's next turn.

    Args:
        loop: Whose time messages take.

    Attributes:
        rate_bytes_per_s: How fast it is; None: it takes no time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.rate_bytes_per_s: float | None = None
        self._loop = loop
        self._queue: deque[tuple[Kind, bytes]] = deque()
        self._deliver: Callable[[Kind, bytes], None] | None = None
        self._fall_silent: Callable[[], None] | None = None
        self._handle: asyncio.Handle | None = None
        self._silence: asyncio.TimerHandle | None = None
        self._is_held = False
        self.queued_bytes = 0

    def lead_to(
        self, deliver: Callable[[Kind, bytes], None], fall_silent: Callable[[], None]
    ) -> None:
        """Say where messages go, and who is told when none can come any more."""
        self._deliver, self._fall_silent = deliver, fall_silent

    def send(self, kind: Kind, data: bytes) -> None:
        """Queue a message."""
        self._queue.append((kind, data))
        self.queued_bytes += len(data)
        self._go_on()

    def hold(self) -> None:
        """Deliver nothing until `release`."""
        if self._is_held:
            return
        self._is_held = True
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        assert self._fall_silent is not None, "a pipe leads somewhere before it is used"
        self._silence = self._loop.call_later(KEEPALIVE_S, self._fall_silent)

    def release(self) -> None:
        """Go on where `hold` stopped."""
        self._is_held = False
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
        self._go_on()

    def empty(self) -> None:
        """Nobody reads any more: drop what is queued."""
        self._queue.clear()
        self.queued_bytes = 0
        for handle in (self._handle, self._silence):
            if handle is not None:
                handle.cancel()

    def _go_on(self) -> None:
        if self._handle is not None or self._is_held or not self._queue:
            return
        if self.rate_bytes_per_s is None:
            self._handle = self._loop.call_soon(self._deliver_all)
        else:
            delay_s = len(self._queue[0][1]) / self.rate_bytes_per_s
            self._handle = self._loop.call_later(delay_s, self._deliver_one)

    def _deliver_all(self) -> None:
        self._handle = None
        try:
            while self._queue and not self._is_held and self.rate_bytes_per_s is None:
                self._pop()
        finally:
            self._go_on()

    def _deliver_one(self) -> None:
        self._handle = None
        try:
            self._pop()
        finally:
            self._go_on()

    def _pop(self) -> None:
        kind, data = self._queue.popleft()
        self.queued_bytes -= len(data)
        assert self._deliver is not None, "a pipe leads somewhere before it is used"
        self._deliver(kind, data)


class LinkEnd:
    """One end of a link: a `Link` to whoever opened it.

    Args:
        loop: Runs both ends.
        inward: What comes.
        outward: Where what is sent goes.
        close_timeout_s: How long a close may go unanswered.

    Attributes:
        subprotocol: As agreed in the handshake.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        inward: Pipe,
        outward: Pipe,
        close_timeout_s: float,
    ) -> None:
        self.subprotocol: str | None = None
        self._loop = loop
        self._inward = inward
        self._outward = outward
        self._close_timeout_s = close_timeout_s
        self._owner: LinkOwner | None = None
        self._closed: asyncio.Future[None] = loop.create_future()
        self._close_timer: asyncio.TimerHandle | None = None
        inward.lead_to(self._receive, self.abort)

    def attach(self, owner: LinkOwner) -> None:
        """Tell `owner` what happens from now on."""
        self._owner = owner

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent: nobody has said goodbye here."""
        return self._close_timer is None and not self._closed.done()

    @property
    def unsent_bytes(self) -> int:
        """What the sender itself holds because the other end does not read."""
        return max(0, self._outward.queued_bytes - KERNEL_BYTES)

    def send_text(self, data: bytes) -> None:
        """See `Link`."""
        if self.is_open:
            self._outward.send(Kind.TEXT, data)

    def send_binary(self, data: bytes) -> None:
        """See `Link`."""
        if self.is_open:
            self._outward.send(Kind.BINARY, data)

    def close(self, code: CloseCode = CloseCode.NORMAL, reason: str = "") -> None:
        """See `Link`."""
        if self.is_open:
            self._outward.send(Kind.CLOSE, int(code).to_bytes(2, "big") + reason.encode())
            self._close_timer = self._loop.call_later(self._close_timeout_s, self.abort)

    def abort(self) -> None:
        """See `Link`."""
        if not self._closed.done():
            self._outward.send(Kind.END, b"")
            self.vanish()

    async def wait_closed(self) -> None:
        """See `Link`."""
        await asyncio.shield(self._closed)

    def vanish(self, code: int | None = None, reason: str = "") -> None:
        """Be gone without a word to the other end. Idempotent."""
        if self._closed.done():
            return
        self._closed.set_result(None)
        self._inward.empty()
        if self._close_timer is not None:
            self._close_timer.cancel()
        if self._owner is not None:
            self._owner.link_lost(code, reason)

    def _receive(self, kind: Kind, data: bytes) -> None:
        if self._closed.done() or self._owner is None:
            return
        match kind:
            case Kind.TEXT:
                self._owner.text_received(data)
            case Kind.BINARY:
                self._owner.binary_received(data)
            case Kind.CLOSE:
                if self.is_open:
                    self._outward.send(Kind.CLOSE, data)
                self.vanish(int.from_bytes(data[:2], "big"), data[2:].decode())
            case Kind.END:
                self.vanish()


class MemoryLink:
    """Both ends of a link, and the two pipes between them.

    Attributes:
        path: What was opened.
        agent: The end of whoever opened it.
        server: The other.
        up: From the agent to the server.
        down: From the server to the agent.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, path: str) -> None:
        self.path = path
        self.up, self.down = Pipe(loop), Pipe(loop)
        self.agent = LinkEnd(loop, self.down, self.up, AGENT_CLOSE_TIMEOUT_S)
        self.server = LinkEnd(loop, self.up, self.down, SERVER_CLOSE_TIMEOUT_S)

    def cut(self) -> None:
        """Break the link: both ends notice at once."""
        self.server.vanish()
        self.agent.vanish()
