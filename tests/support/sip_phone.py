"""A SIP phone that does what a test tells it, message by message, on a UDP socket of its own.

Not here: retransmissions, transactions, media: a test wants to see what really arrives.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass

PATIENCE_S = 3.0
"""How long anything expected may take: far more than it does, so that a busy machine passes."""

QUIET_S = 0.3
"""How long nothing must arrive where nothing is expected; below the first retransmission's 0.5."""

_numbers = itertools.count(1)

OFFER = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio 40000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n"
)
ANSWER = (
    "v=0\r\no=- 9 9 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio 30000 RTP/AVP 0\r\n"
)

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Message:
    """A message that arrived."""

    start: str
    headers: Headers
    body: str

    @property
    def status(self) -> int:
        """The status of a response; 0 of a request."""
        return int(self.start.split()[1]) if self.start.startswith("SIP/") else 0

    @property
    def method(self) -> str:
        """The method of a request, or of the request that is answered."""
        return self.header("cseq").split()[1]

    @property
    def uri(self) -> str:
        """Whom a request is for."""
        return self.start.split()[1]

    @property
    def cseq(self) -> int:
        """The number of the request."""
        return int(self.header("cseq").split()[0])

    @property
    def to_tag(self) -> str | None:
        """The tag of the To header."""
        _, found, tag = self.header("to").partition(";tag=")
        return tag.partition(";")[0] if found else None

    def header(self, name: str) -> str:
        """Return the first header of a name; empty: none."""
        return next((value for one, value in self.headers if one == name), "")

    def every(self, name: str) -> list[str]:
        """Return all headers of a name."""
        return [value for one, value in self.headers if one == name]


def parse(datagram: bytes) -> Message:
    """Read a message of a well-behaved sender."""
    head, _, body = datagram.decode().partition("\r\n\r\n")
    start, *lines = head.split("\r\n")
    pairs = (line.partition(":")[::2] for line in lines)
    return Message(start, tuple((name.lower(), value.strip()) for name, value in pairs), body)


class _Inbox(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.messages.put_nowait(data)


class SipPhone:
    """A phone, or a trunk, on a loopback address.

    Args:
        transport: Of its socket.
        server: Where its requests go.
        user: Its name.
    """

    def __init__(
        self,
        transport: asyncio.DatagramTransport,
        inbox: _Inbox,
        server: tuple[str, int],
        user: str,
    ) -> None:
        self._transport = transport
        self._inbox = inbox
        self.server = server
        self.user = user
        host, port = transport.get_extra_info("sockname")[:2]
        self.host: str = f"[{host}]" if ":" in host else host
        self.port: int = port

    @classmethod
    async def open(
        cls, server: tuple[str, int], user: str = "alice", host: str = "127.0.0.1"
    ) -> SipPhone:
        """Return a phone with a socket on any port of a host."""
        loop = asyncio.get_running_loop()
        transport, inbox = await loop.create_datagram_endpoint(_Inbox, local_addr=(host, 0))
        return cls(transport, inbox, server, user)

    def close(self) -> None:
        """Close its socket."""
        self._transport.close()

    @property
    def address(self) -> str:
        """Host and port, as in addresses."""
        return f"{self.host}:{self.port}"

    @property
    def contact(self) -> str:
        """Its Contact."""
        return f"<sip:{self.user}@{self.address}>"

    def send(self, message: str | bytes) -> None:
        """Send a datagram."""
        data = message if isinstance(message, bytes) else message.encode()
        self._transport.sendto(data, self.server)

    async def receive(self) -> Message:
        """Return the next message."""
        async with asyncio.timeout(PATIENCE_S):
            return parse(await self._inbox.messages.get())

    async def receive_raw(self) -> bytes:
        """Return the next datagram."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._inbox.messages.get()

    async def until(self, fits: Callable[[Message], bool]) -> Message:
        """Return the next message that fits; what comes before it is passed over."""
        while not fits(message := await self.receive()):
            pass
        return message

    async def response(self, method: str = "INVITE", *, above: int = 100) -> Message:
        """Return the next response to a method's request, above a status."""
        return await self.until(lambda one: one.status > above and one.method == method)

    async def request(self, method: str) -> Message:
        """Return the next request of a method."""
        return await self.until(lambda one: one.status == 0 and one.method == method)

    async def hears_nothing(self) -> bool:
        """Whether nothing arrives for a while."""
        try:
            async with asyncio.timeout(QUIET_S):
                await self._inbox.messages.get()
        except TimeoutError:
            return True
        return False

    def respond(
        self,
        request: Message,
        status: int,
        *,
        tag: str | None = "phone",
        headers: Headers = (),
        body: str = "",
        contact: str | None = None,
    ) -> None:
        """Answer a request."""
        to = request.header("to")
        if ";tag=" not in to and tag is not None and status > 100:
            to += f";tag={tag}"
        lines = [
            f"SIP/2.0 {status} Status",
            *(f"Via: {via}" for via in request.every("via")),
            *(f"Record-Route: {route}" for route in request.every("record-route")),
            f"From: {request.header('from')}",
            f"To: {to}",
            f"Call-ID: {request.header('call-id')}",
            f"CSeq: {request.header('cseq')}",
            f"Contact: {contact or self.contact}",
            *(f"{name}: {value}" for name, value in headers),
            *(["Content-Type: application/sdp"] if body else []),
            f"Content-Length: {len(body)}",
        ]
        self.send("\r\n".join([*lines, "", body]))

    def call(self, number: str = "100") -> PhoneCall:
        """Return a call that has not been placed yet."""
        return PhoneCall(self, number)


class PhoneCall:
    """A dialog of the phone's, seen from the phone.

    Attributes:
        to_tag: The far end's tag; set by hand or by `ack`.
        cseq: Of the last request.
        branch: Likewise.
    """

    def __init__(self, phone: SipPhone, number: str) -> None:
        number_ = next(_numbers)
        self.phone = phone
        self.number = number
        self.call_id = f"call-{number_}@phone"
        self.from_tag = f"from{number_}"
        self.from_uri = f"sip:{phone.user}@{phone.address}"
        self.to_tag: str | None = None
        self.cseq = 0
        self.branch = ""
        self.target = f"sip:{number}@{phone.host}"
        self.local_from: str | None = None
        self.local_to: str | None = None

    @classmethod
    def answered_by(cls, phone: SipPhone, invite: Message, tag: str = "phone") -> PhoneCall:
        """Return the dialog that the phone's answer to an INVITE made."""
        call = cls(phone, "")
        call.call_id = invite.header("call-id")
        call.local_from = f"{invite.header('to')};tag={tag}"
        call.local_to = invite.header("from")
        call.target = invite.header("contact").strip("<>")
        return call

    def text(
        self,
        method: str,
        *,
        body: str = "",
        headers: Headers = (),
        content_type: str = "application/sdp",
        uri: str | None = None,
        is_new: bool = True,
    ) -> str:
        """Return a request; a new one has the next CSeq and a branch of its own."""
        if is_new:
            self.cseq += 1
            self.branch = f"z9hG4bK{next(_numbers)}"
        phone = self.phone
        tag = "" if self.to_tag is None else f";tag={self.to_tag}"
        own = {name.lower() for name, _ in headers}
        lines = [
            f"{method} {uri or self.target} SIP/2.0",
            f"Via: SIP/2.0/UDP {phone.address};branch={self.branch};rport",
            "Max-Forwards: 70",
            f"From: {self.local_from or f'<{self.from_uri}>;tag={self.from_tag}'}",
            f"To: {self.local_to or f'<{self.target}>{tag}'}",
            f"Call-ID: {self.call_id}",
            f"CSeq: {self.cseq} {method}",
            *([] if "contact" in own else [f"Contact: {phone.contact}"]),
            *(f"{name}: {value}" for name, value in headers),
            *([f"Content-Type: {content_type}"] if body else []),
            f"Content-Length: {len(body.encode())}",
        ]
        return "\r\n".join([*lines, "", body])

    def send(self, method: str, body: str = "", headers: Headers = ()) -> str:
        """Send a new request; return it."""
        text = self.text(method, body=body, headers=headers)
        self.phone.send(text)
        return text

    def invite(self, body: str = OFFER, headers: Headers = ()) -> str:
        """Send an INVITE; return it."""
        return self.send("INVITE", body, headers)

    def ack(self, response: Message, body: str = "") -> None:
        """Acknowledge a final response to the INVITE."""
        self.to_tag = response.to_tag
        if response.status < 300:
            self.branch = f"z9hG4bK{next(_numbers)}"
        self.phone.send(self.text("ACK", body=body, is_new=False))

    def cancel(self) -> None:
        """Cancel the INVITE."""
        self.phone.send(self.text("CANCEL", is_new=False))


def authorization(
    challenge: str, user: str, password: str, method: str, uri: str
) -> tuple[str, str]:
    """Return the Authorization header for a challenge, worked out by RFC 7616 §3.4 anew."""
    asked = dict(re.findall(r'(\w+)="?([^",]+)"?', challenge))
    hashed = hashlib.sha256 if asked.get("algorithm") == "SHA-256" else hashlib.md5

    def digest(*parts: str) -> str:
        return hashed(":".join(parts).encode()).hexdigest()

    secret = digest(user, asked["realm"], password)
    response = digest(secret, asked["nonce"], "00000001", "abcdef", "auth", digest(method, uri))
    text = (
        f'Digest username="{user}", realm="{asked["realm"]}", nonce="{asked["nonce"]}", '
        f'uri="{uri}", response="{response}", algorithm={asked.get("algorithm", "MD5")}, '
        'qop=auth, nc=00000001, cnonce="abcdef"'
    )
    return "Authorization", text


async def register(
    phone: SipPhone, password: str = "secret", *, headers: Headers = (), user: str | None = None
) -> Message:
    """Register a phone, answering the challenge; return the last response."""
    call = phone.call(user or phone.user)
    call.send("REGISTER", headers=headers)
    challenged = await phone.response("REGISTER")
    if challenged.status != 401:
        return challenged
    login = authorization(
        challenged.header("www-authenticate"),
        user or phone.user,
        password,
        "REGISTER",
        call.target,
    )
    call.send("REGISTER", headers=(*headers, login))
    return await phone.response("REGISTER")
