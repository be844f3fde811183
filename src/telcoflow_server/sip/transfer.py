"""Blind transfer: what REFER asks for, and how its progress is told.

Not here: calling who is referred to. Implements RFC 3515.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from telcoflow_server.sip.accounts import Private
from telcoflow_server.sip.events import TransferProgress, TransferRequested
from telcoflow_server.sip.line import Line
from telcoflow_server.sip.message import Body, Headers, Request, Response, ServerTransaction
from telcoflow_server.sip.reasons import reason_of
from telcoflow_server.sip.uri import SipError, parse_name_address, parse_uri

SIPFRAG_TYPE = "message/sipfrag;version=2.0"
SUBSCRIPTION_S = 60
"""How long we promise to tell of progress; as long as a phone may ring."""

_STATUS_LINE = re.compile(r"SIP/2\.0 +(\d{3})\b", re.ASCII | re.IGNORECASE)


def number_to_refer_to(request: Request) -> str:
    """Return whom a REFER wants called.

    Raises:
        SipError: nobody, an address we cannot call (416), or the party of another dialog, which is
            an attended transfer (501).
    """
    text = request.header("refer-to")
    if text is None:
        raise SipError("a REFER to nobody")
    uri = parse_name_address(text).uri
    if not uri.user:
        raise SipError("a REFER to an address without a user")
    if uri.headers is not None and "replaces=" in uri.headers.lower():
        raise SipError("an attended transfer", 501)
    if uri.parameter("method") not in (None, "INVITE"):
        raise SipError("a REFER to something else than a call", 501)
    return uri.user


def notice(status: int) -> tuple[Headers, Body]:
    """Return headers and body of the NOTIFY that tells how far a transfer has come."""
    state = f"active;expires={SUBSCRIPTION_S}" if status < 200 else "terminated;reason=noresource"
    headers = (("event", "refer"), ("subscription-state", state))
    return headers, Body(f"SIP/2.0 {status} {reason_of(status)}\r\n", SIPFRAG_TYPE)


def noticed_status(request: Request) -> int:
    """Return how far a NOTIFY says the transfer has come.

    Raises:
        SipError: it is about something else (489), or cannot be read.
    """
    event = (request.header("event") or "").partition(";")[0].strip().lower()
    if event != "refer":
        raise SipError("a NOTIFY of something else than a transfer", 489)
    found = _STATUS_LINE.match(request.body.text.strip()) if request.body is not None else None
    is_over = (request.header("subscription-state") or "").strip().lower().startswith("terminated")
    if found is None:
        if is_over:
            return 500  # over, and nobody said how
        raise SipError("a NOTIFY without a status")
    status = int(found[1])
    return 500 if is_over and status < 200 else status


class Transfers:
    """The transfers of one dialog that is confirmed: theirs to us, and ours to them.

    Args:
        line: The far end.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self._is_asked = False
        self._is_asking = False

    def receive(self, request: Request, transaction: ServerTransaction) -> None:
        """Take a REFER; one at a time."""
        if self._is_asked:
            transaction.respond(491)
            return
        try:
            number = number_to_refer_to(request)
        except SipError as error:
            transaction.respond(error.status)
            return
        transaction.respond(202, self._line.headers)
        self._is_asked = True
        self.report(100)  # RFC 3515 §2.4.4: at once
        self._line.emit(TransferRequested(dialog=self._line.dialog_id, number=Private(number)))

    def report(self, status: int) -> bool:
        """Tell how far we have come; False: nobody asked, or was told of the end."""
        if not self._is_asked:
            return False
        self._is_asked = status < 200
        self._line.send("NOTIFY", *notice(status))
        return True

    def ask(self, number: str) -> bool:
        """Ask the far end to call somebody else; False: it is being asked already."""
        if self._is_asking:
            return False
        self._is_asking = True
        uri = parse_uri(f"sip:{quote(number, safe='+*')}@{self._line.party.domain}")
        headers = (
            ("refer-to", f"<{uri}>"),
            ("referred-by", self._line.peer.ours.partition(";tag=")[0]),
        )
        self._line.ask("REFER", headers, None, self._hear)
        return True

    def notified(self, request: Request, transaction: ServerTransaction) -> None:
        """Take a NOTIFY of how far the far end has come."""
        try:
            status = noticed_status(request)
        except SipError as error:
            transaction.respond(error.status)
            return
        if not self._is_asking:
            transaction.respond(481)
            return
        transaction.respond(200)
        self._came_to(status)

    def close(self) -> None:
        """The dialog is over."""
        self._is_asked = self._is_asking = False

    def _hear(self, response: Response, now_s: float) -> None:
        if response.status >= 300 and self._is_asking:
            self._came_to(response.status)

    def _came_to(self, status: int) -> None:
        self._is_asking = status < 200
        self._line.emit(TransferProgress(dialog=self._line.dialog_id, status=status))
