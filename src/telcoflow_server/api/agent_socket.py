"""One agent's media link: a WebSocket on this side, a `MediaLink` on the call's.

Not here: how it is opened (`media.py`), what the messages do (`call/reception.py`), flow control
(`legs/agent.py`). Implements docs/reference/wire.md §2.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from typing import cast

import picows

from telcoflow_sdk.protocol.codec import ProtocolViolation
from telcoflow_sdk.protocol.codes import CloseCode
from telcoflow_sdk.protocol.fragments import Assembler, FragmentError
from telcoflow_server.api.budget import LinkBudget
from telcoflow_server.api.framing import BINARY, PONG, TEXT, Holding, flush_all, header
from telcoflow_server.api.tally import Port, Tally
from telcoflow_server.call.ports import LinkBroken
from telcoflow_server.call.reception import Reception
from telcoflow_server.legs.agent_parts import TogetherAgents

logger = logging.getLogger(__name__)

HELLO_TIMEOUT_S = 5.0
"""Protocol v2: how long a link may be open before it says who it is."""

CLOSE_TIMEOUT_S = 2.0
"""A peer that does not answer a close is cut after this."""

SEND_BUFFER_BYTES = 64 * 1024
"""What the kernel may hold for a link: about 1.3 s of 24 kHz audio. Its default is megabytes,
which would keep stale audio for an agent that stopped reading."""

UNSENT_LIMIT_BYTES = 256 * 1024
"""What we hold for a peer that does not read. Audio stops at 250 ms of it (`legs/agent.py`), so
only a peer that makes us talk, by pings or commands, gets here."""

_TEXT, _BINARY, _CLOSE = picows.WSMsgType.TEXT, picows.WSMsgType.BINARY, picows.WSMsgType.CLOSE


class AgentSocket(picows.WSListener):
    """One agent's media link: a `JointLink` towards the call, a listener towards the socket.

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
        self._together: TogetherAgents | None = None  # takes what comes, if it can
        self._row = 0  # there
        self._untaken: list[bytes] = []  # what it did not take
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
        together = self._together
        if together is not None:
            # Not counted against the budget: there is a limit there, and it is lower.
            if (
                kind == _BINARY
                and frame.fin
                and together.receive(self._row, frame.get_payload_as_bytes())
            ):
                return
            together.part(self._row)
        if self._untaken:
            self.catch_up()
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
        if self._together is not None:
            self._together.part(self._row)
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

    # --- JointLink -------------------------------------------------------------------------

    def framing(self, size_bytes: int) -> bytes:
        """See `JointLink`."""
        return header(BINARY, size_bytes)

    def send_framed(self, messages: bytes) -> bool:
        """See `JointLink`."""
        raw = self._raw
        if raw is None or self._held or self._is_closing or raw.get_write_buffer_size():
            return False
        try:
            raw.write(messages)
        except Exception:  # as in `flush_all`
            logger.exception("a media link cannot be written to")
            return False
        return True

    def join(self, together: TogetherAgents, row: int) -> None:
        """See `JointLink`. Nothing comes in pieces then: pieces are not taken."""
        self._together, self._row = together, row

    def part(self, untaken: list[bytes]) -> None:
        """See `JointLink`."""
        self._together = None
        if untaken:
            self._untaken += untaken
            # Not in the middle of what the call is doing right now.
            self._loop.call_soon(self.catch_up)

    def catch_up(self) -> None:
        """See `JointLink`."""
        untaken, self._untaken = self._untaken, []
        for message in untaken:
            if self._is_closing:
                return
            try:
                self._receive(False, message)
            except Exception:  # what the library does with one of `on_ws_frame`
                logger.exception("a media link failed")
                self._cut(CloseCode.INTERNAL_ERROR, "internal error")

    # --- the end ---------------------------------------------------------------------------

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
