"""The far end of a dialog: its names, tags, counters, and the way to it.

Not here: what the dialog is about (`dialog.py`). Implements RFC 3261 §12.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from telcoflow_server.sip.message import (
    Body,
    Endpoint,
    Headers,
    OutgoingRequest,
    Request,
    Response,
    every,
)
from telcoflow_server.sip.uri import NameAddress, SipError, SipUri, parse_name_address


@dataclass(slots=True)
class Peer:
    """What a dialog remembers of its far end.

    Attributes:
        ours, theirs: Header values, with tags once they are known.
        contact: Ours.
        target: Where its Contact says it is.
        routes: Proxies on the way, first ours.
        destination: Where requests go, whatever the Contact says; None: the Contact counts.
        is_behind_nat: `destination` follows the address its messages come from.
        their_cseq: Of its last request.
    """

    call_id: str = field(repr=False)
    ours: str = field(repr=False)
    theirs: str = field(repr=False)
    contact: str = field(repr=False)
    target: SipUri
    routes: tuple[str, ...] = ()
    destination: Endpoint | None = None
    is_behind_nat: bool = False
    our_cseq: int = 0
    their_cseq: int | None = None

    @classmethod
    def of_caller(cls, request: Request, tag: str, contact: str, *, is_behind_nat: bool) -> Peer:
        """Return the peer that an INVITE comes from; `tag` is ours.

        Raises:
            SipError: what must be known of it is missing or cannot be read.
        """
        theirs, ours = request.header("from"), request.header("to")
        if theirs is None or ours is None or parse_name_address(theirs).tag is None:
            raise SipError("an INVITE without its names or its tag")
        return cls(
            call_id=request.call_id,
            ours=f"{ours};tag={tag}",
            theirs=theirs,
            contact=contact,
            target=contact_of(request.headers),
            routes=every(request.headers, "record-route"),
            destination=request.source if is_behind_nat else None,
            is_behind_nat=is_behind_nat,
            their_cseq=request.cseq,
        )

    def request(
        self, method: str, headers: Headers = (), body: Body | None = None
    ) -> OutgoingRequest:
        """Return the next request to it."""
        self.our_cseq += 1
        uri, routes = self.target, self.routes
        next_hop = uri
        if routes:
            first = parse_name_address(routes[0]).uri
            next_hop = first
            if first.parameter("lr") is None:  # RFC 3261 §12.2.1.1: a strict router
                uri, routes = first, (*routes[1:], f"<{self.target}>")
        return OutgoingRequest(
            method=method,
            uri=str(uri),
            from_=self.ours,
            to=self.theirs,
            call_id=self.call_id,
            cseq=self.our_cseq,
            target=self.destination or (next_hop.host, next_hop.transport_port),
            contact=self.contact,
            routes=routes,
            headers=headers,
            body=body,
            is_behind_nat=self.is_behind_nat,
        )

    def answered(self, response: Response) -> None:
        """Learn from the 2xx that makes the dialog (RFC 3261 §12.1.2).

        Raises:
            SipError: it does not say where to reach who sent it.
        """
        self.theirs = response.header("to") or self.theirs
        self.target = contact_of(response.headers)
        self.routes = tuple(reversed(every(response.headers, "record-route")))
        self._follow(response.source)

    def heard(self, request: Request) -> bool:
        """Note a request within the dialog; False: it is older than the last one."""
        if self.their_cseq is not None and request.cseq <= self.their_cseq:
            return False
        self.their_cseq = request.cseq
        self._follow(request.source)
        return True

    def refresh_target(self, headers: Headers) -> None:
        """Take over a Contact, if there is one that can be used (RFC 3261 §12.2.1.2)."""
        try:
            self.target = contact_of(headers)
        except SipError:
            return

    def _follow(self, source: Endpoint | None) -> None:
        if self.is_behind_nat and source is not None:
            self.destination = source


def contact_of(headers: Headers) -> SipUri:
    """Return the address of a Contact header.

    Raises:
        SipError: there is none, or it cannot be read.
    """
    contacts = every(headers, "contact")
    if not contacts:
        raise SipError("without a Contact")
    return parse_name_address(contacts[0]).uri


def tag_of(header: str | None) -> str | None:
    """Return the tag in a From or To header, if there is one."""
    try:
        return parse_name_address(header or "").tag
    except SipError:
        return None


def name_of(header: str | None) -> NameAddress | None:
    """Return what a header names, if it can be read."""
    try:
        return parse_name_address(header or "")
    except SipError:
        return None
