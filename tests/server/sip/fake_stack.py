"""A stack in a test's hand: what the switchboard sends is kept, what it hears is made up."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from telcoflow_server.sip.accounts import EdgeSettings, Private
from telcoflow_server.sip.commands import Accept, Command
from telcoflow_server.sip.events import Event, IncomingCall
from telcoflow_server.sip.message import (
    Body,
    Headers,
    InviteEvents,
    OutgoingRequest,
    Request,
    Response,
    first,
)
from telcoflow_server.sip.switchboard import Switchboard
from tests.support.sip_phone import ANSWER, OFFER

E = TypeVar("E")

PHONE = ("192.0.2.9", 5060)


@dataclass(slots=True)
class Sent:
    """A request that was sent; a `ClientTransaction`."""

    request: OutgoingRequest
    hear: Callable[[Response, float], None]
    is_cancelled: bool = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def answer(
        self, status: int, now_s: float = 0.0, headers: Headers = (), sdp: str | None = None
    ) -> None:
        own = (("to", f"{self.request.to};tag=far"), ("contact", "<sip:far@192.0.2.9>"))
        body = None if sdp is None else Body(sdp)
        self.hear(Response(status, (*headers, *own), body, PHONE), now_s)


@dataclass(slots=True)
class Received:
    """A request that is answered; a `ServerTransaction`."""

    tag: str = "ours"
    responses: list[tuple[int, Headers, Body | None]] = field(default_factory=list)

    def respond(self, status: int, headers: Headers = (), body: Body | None = None) -> None:
        if not self.statuses or self.statuses[-1] < 200:
            self.responses.append((status, headers, body))

    @property
    def statuses(self) -> list[int]:
        return [status for status, _, _ in self.responses]

    def header(self, name: str) -> str | None:
        return first(self.responses[-1][1], name)


class Desk:
    """A switchboard between a stack and a server that are both the test."""

    def __init__(self, **settings: object) -> None:
        self.sent: list[Sent] = []
        self.said: list[Event] = []
        self._numbers = itertools.count(1)
        whole = EdgeSettings(**{"unauthenticated_calls": True, **settings})  # type: ignore[arg-type]
        self.board = Switchboard(
            whole,
            self,
            self.said.append,
            "192.0.2.1:5060",
            lambda: f"random{next(self._numbers)}",
            b"secret",
        )

    def send(
        self, request: OutgoingRequest, on_response: Callable[[Response, float], None]
    ) -> Sent:
        """See `Stack`."""
        self.sent.append(Sent(request, on_response))
        return self.sent[-1]

    def obey(self, command: Command, now_s: float = 0.0) -> None:
        self.board.obey(command, now_s)

    @property
    def methods(self) -> list[str]:
        """What was sent."""
        return [one.request.method for one in self.sent]

    def of_kind(self, kind: type[E]) -> list[E]:
        return [one for one in self.said if isinstance(one, kind)]

    def receive(
        self,
        method: str,
        headers: Headers = (),
        body: Body | None = None,
        *,
        cseq: int = 1,
        to_tag: str | None = None,
        source: tuple[str, int] = PHONE,
        now_s: float = 0.0,
    ) -> tuple[Received, InviteEvents | None]:
        """Let a request of the phone's arrive."""
        to = "<sip:100@192.0.2.1>" + ("" if to_tag is None else f";tag={to_tag}")
        own = {
            "from": "<sip:alice@192.0.2.9>;tag=theirs",
            "to": to,
            "contact": "<sip:alice@192.0.2.9>",
        }
        replaced = {name for name, _ in headers}
        whole = (*((k, v) for k, v in own.items() if k not in replaced), *headers)
        request = Request(method, "sip:100@192.0.2.1", "call", cseq, whole, body, source)
        transaction = Received()
        return transaction, self.board.receive(request, transaction, now_s)

    def connect(self, headers: Headers = ()) -> IncomingCall:
        """Let a call arrive and be answered."""
        _, events = self.receive("INVITE", headers, Body(OFFER))
        incoming = self.of_kind(IncomingCall)[-1]
        self.obey(Accept(dialog=incoming.dialog, sdp=Private(ANSWER)))
        assert events is not None
        events.acknowledged(None, 0.0)
        return incoming
