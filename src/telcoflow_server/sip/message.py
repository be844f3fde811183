"""SIP messages as plain values, and what is asked of the stack that carries them.

Not here: their text, transactions and retransmissions: those are the stack's (`child.py`).
Header names are in lower case and never abbreviated; a list in one line is a header for each part.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

SDP_TYPE = "application/sdp"

_BOUNDARY = re.compile(r';\s*boundary\s*=\s*(?:"([^"]+)"|([^\s;"]+))', re.IGNORECASE)
_SDP_PART = re.compile(r"^content-type\s*:\s*application/sdp\s*(?:;|$)", re.IGNORECASE | re.M)

Headers = tuple[tuple[str, str], ...]
Endpoint = tuple[str, int]
"""Address and port; a host name only where something is to be sent."""


def first(headers: Headers, name: str) -> str | None:
    """Return the first header of a name."""
    return next((value for one, value in headers if one == name), None)


def every(headers: Headers, name: str) -> tuple[str, ...]:
    """Return all headers of a name, in order."""
    return tuple(value for one, value in headers if one == name)


def tokens(headers: Headers, name: str) -> frozenset[str]:
    """Return what a header such as Supported or Require lists, in lower case."""
    listed = ",".join(every(headers, name)).split(",")
    return frozenset(one.strip().lower() for one in listed if one.strip())


@dataclass(frozen=True, slots=True)
class Body:
    """A message's body; never shown."""

    text: str = field(repr=False)
    content_type: str = SDP_TYPE

    @property
    def kind(self) -> str:
        """The type without parameters, in lower case."""
        return self.content_type.partition(";")[0].strip().lower()

    @property
    def sdp(self) -> str | None:
        """The session description it is, or has as one of its parts (RFC 5621 §3)."""
        if self.kind == SDP_TYPE:
            return self.text
        boundary = _BOUNDARY.search(self.content_type)
        if self.kind != "multipart/mixed" or boundary is None:
            return None
        for part in self.text.split(f"--{boundary[1] or boundary[2]}")[1:]:
            head, gap, text = part.partition("\r\n\r\n")
            if gap and _SDP_PART.search(head):
                return text.removesuffix("\r\n")
        return None


@dataclass(frozen=True, slots=True)
class Request:
    """A request that arrived.

    Attributes:
        uri: Whom it is for, as it stands.
        cseq: The number of the CSeq header; its method is this method.
        source: Where it came from.
    """

    method: str
    uri: str = field(repr=False)
    call_id: str
    cseq: int
    headers: Headers = field(repr=False)
    body: Body | None
    source: Endpoint

    def header(self, name: str) -> str | None:
        """Return the first header of a name."""
        return first(self.headers, name)

    @property
    def sdp(self) -> str | None:
        """The session description it carries, if it does."""
        return None if self.body is None else self.body.sdp


@dataclass(frozen=True, slots=True)
class Response:
    """A response that arrived, or that the stack made up when none did (408)."""

    status: int
    headers: Headers = field(repr=False, default=())
    body: Body | None = None
    source: Endpoint | None = None

    def header(self, name: str) -> str | None:
        """Return the first header of a name."""
        return first(self.headers, name)

    @property
    def sdp(self) -> str | None:
        """The session description it carries, if it does."""
        return None if self.body is None else self.body.sdp


@dataclass(frozen=True, slots=True)
class OutgoingRequest:
    """A request to send.

    Attributes:
        from_, to: Header values, tags included.
        target: Where to send it; a host name is looked up.
        routes: Values of Route headers.
        is_behind_nat: The far end may give an address of its own network as Contact: the ACK for
            an INVITE goes to where the response came from.
    """

    method: str
    uri: str = field(repr=False)
    from_: str = field(repr=False)
    to: str = field(repr=False)
    call_id: str
    cseq: int
    target: Endpoint
    contact: str | None = field(repr=False, default=None)
    routes: tuple[str, ...] = ()
    headers: Headers = field(repr=False, default=())
    body: Body | None = None
    is_behind_nat: bool = False


class ServerTransaction(Protocol):
    """A request that waits for our response."""

    @property
    def tag(self) -> str:
        """What all our responses carry as To-tag, unless the request has one already."""

    def respond(self, status: int, headers: Headers = (), body: Body | None = None) -> None:
        """Send a response. After a final one, and once cancelled, nothing is sent any more."""


class ClientTransaction(Protocol):
    """A request of ours that waits for its response."""

    def cancel(self) -> None:
        """Cancel an INVITE, as soon as a provisional response allows it."""


class InviteEvents(Protocol):
    """Whom the stack tells what becomes of an INVITE that arrived."""

    def cancelled(self, now_s: float) -> None:
        """The caller gave up; the stack has answered 200 and 487."""

    def acknowledged(self, body: Body | None, now_s: float) -> None:
        """The ACK for our 2xx arrived."""

    def unacknowledged(self, now_s: float) -> None:
        """No ACK came within 32 s (RFC 3261 §13.3.1.4)."""


class Stack(Protocol):
    """The transaction layer (RFC 3261 §17), below everything else."""

    def send(
        self, request: OutgoingRequest, on_response: Callable[[Response, float], None]
    ) -> ClientTransaction:
        """Send a request; `on_response` hears every response and when. An ACK is the stack's."""
