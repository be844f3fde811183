"""What the parts of one dialog share: its far end, and the ways to ask it and to tell of it.

Not here: what they ask (`dialog.py`, `renegotiation.py`, `transfer.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from telcoflow_server.sip.events import DialogId, Event
from telcoflow_server.sip.exchange import Exchange, Login
from telcoflow_server.sip.message import Body, Headers, OutgoingRequest, Response, Stack
from telcoflow_server.sip.peer import Peer

ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO, REFER, NOTIFY"
CAPABILITIES: Headers = (("allow", ALLOW), ("supported", "timer"))

GONE = (408, 481)
"""RFC 3261 §12.2.1.2: with these the far end says that there is no dialog any more."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all dialogs share."""

    stack: Stack
    emit: Callable[[Event], None]
    random_text: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Party:
    """Whom a dialog is with.

    Attributes:
        origin: Name of a trunk or an extension, or empty.
        login: What we show when asked; None: nothing.
        domain: Host and port in the addresses it is referred to.
    """

    origin: str
    is_trunk: bool
    login: Login | None
    domain: str


@dataclass(frozen=True, slots=True)
class Line:
    """One dialog's far end.

    Attributes:
        gone: Called when a response says that the far end knows no such dialog.
    """

    dialog_id: DialogId
    peer: Peer
    party: Party
    around: Surroundings
    gone: Callable[[], None]

    @property
    def headers(self) -> Headers:
        """What stands in all responses that make or change the dialog."""
        return (("contact", self.peer.contact), *CAPABILITIES)

    def emit(self, event: Event) -> None:
        """Say something."""
        self.around.emit(event)

    def ask(
        self,
        method: str,
        headers: Headers,
        body: Body | None,
        hear: Callable[[Response, float], None],
    ) -> Exchange:
        """Send a request, with credentials where they are wanted; `hear` hears its responses."""

        def build(credentials: Headers) -> OutgoingRequest:
            return self.peer.request(method, (*headers, *credentials), body)

        around = self.around
        return Exchange(around.stack, build, self.party.login, around.random_text, hear)

    def send(self, method: str, headers: Headers = (), body: Body | None = None) -> None:
        """Send a request whose response matters only if it says that the dialog is gone."""

        def hear(response: Response, now_s: float) -> None:
            if response.status in GONE and method != "BYE":
                self.gone()

        self.ask(method, headers, body, hear)
