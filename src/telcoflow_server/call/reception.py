"""What comes over one media link, from its first message on: the same for every kind of link.

Not here: the socket (`api/agent_socket.py`), what messages do (`seat.py`). Implements "A link,
from its first message to its last" of docs/reference/wire-v2.md.
"""

from __future__ import annotations

from telcoflow_sdk.protocol.codec import ProtocolViolation, decode_hello
from telcoflow_sdk.protocol.codes import RESUMABLE_CLOSES, CloseCode
from telcoflow_server.call.call import Call
from telcoflow_server.call.exchange import Exchange
from telcoflow_server.call.ports import LinkBroken, MediaLink
from telcoflow_server.call.resumption import Superseded


class Reception:
    """Hands what an agent sends over one link to its call.

    Args:
        exchange: Where the call is.
        call: Which.
        link: The way back.
        is_v2: Whether protocol v2 was agreed: then nothing flows before its `hello`.

    Attributes:
        is_greeted: Whether the agent is on the line; to be read only.
    """

    def __init__(self, exchange: Exchange, call: Call, link: MediaLink, *, is_v2: bool) -> None:
        self.is_greeted = False
        self._exchange = exchange
        self._call = call
        self._link = link
        self._is_v2 = is_v2

    def opened(self) -> None:
        """The handshake is done: on v1 the agent is on the line now.

        Raises:
            LinkBroken: the call has ended, or got another link, meanwhile.
        """
        self._check_call()
        if self._is_v2:
            return
        if self._call.seat.agent is not None:
            raise LinkBroken(CloseCode.SUPERSEDED, "the call got its media link meanwhile")
        self.is_greeted = True
        self._exchange.attach(self._call, self._link)

    def text(self, data: bytes, since_tick_ms: float) -> None:
        """Take a text message; `since_tick_ms` as in `AgentSeat.receive_message`.

        Raises:
            ProtocolViolation: it was not understood; the agent has been told.
            LinkBroken: the link must be closed.
        """
        if self.is_greeted:
            self._call.seat.receive_message(self._link, data, since_tick_ms)
            return
        self._check_call()
        try:
            hello = decode_hello(data).data
        except ProtocolViolation as violation:
            raise LinkBroken(CloseCode.BAD_MESSAGES, f"hello comes first: {violation}") from None
        try:
            self._exchange.greet(self._call, self._link, hello)
        except Superseded:
            raise LinkBroken(CloseCode.SUPERSEDED, "a later attempt has been here") from None
        self.is_greeted = True

    def binary(self, data: bytes) -> None:
        """Take a binary message. Raises as `text`."""
        if not self.is_greeted:
            raise LinkBroken(CloseCode.BAD_MESSAGES, "hello comes first")
        self._call.seat.receive_audio(self._link, data)

    def lost(self, code: int | None) -> None:
        """The link is gone.

        Args:
            code: With which the agent, or we, closed it; None: it broke.
        """
        is_final = code is not None and code not in RESUMABLE_CLOSES
        self._call.seat.detach(self._link, is_final=is_final)

    def _check_call(self) -> None:
        if self._call.is_over or self._call.seat.was_left:
            raise LinkBroken(CloseCode.CALL_ENDED, "the call has ended")
