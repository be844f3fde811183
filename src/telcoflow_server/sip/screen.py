"""What a datagram is, before a SIP stack sees it: a keep-alive, garbage, or a message.

Not here: what messages mean. Stacks are lenient in places where RFC 3261 asks for a 400, and
talkative about what they cannot read; what passes here is well-formed, with one line for each
header, and what does not pass is counted or refused without a word. Implements RFC 3261 §7, §8.1.1
and §18.3; the cases of RFC 4475 are the test.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from telcoflow_server.sip.message import Endpoint
from telcoflow_server.sip.reasons import reason_of
from telcoflow_server.sip.uri import SipError, parse_name_address, parse_uri

MAX_HEADERS = 200
"""Far more than any phone or proxy sends."""

LARGEST_CSEQ = (1 << 31) - 1
"""RFC 3261 §8.1.1.5."""

_LONG_NAMES = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
}
"""RFC 3261 §7.3.3, and the later standards' compact forms."""

_ONCE = ("from", "to", "call-id", "cseq", "max-forwards", "content-length", "content-type")
_NEEDED = ("via", "from", "to", "call-id", "cseq")

_REQUEST_LINE = re.compile(rb"([!-~]+) ([!-~]+) (SIP/\d{1,9}\.\d{1,9})", re.IGNORECASE)
_LOOSE_REQUEST_LINE = re.compile(rb"([!-~]+)\s.*?(SIP/\d{1,9}\.\d{1,9})\s*", re.IGNORECASE)
_STATUS_LINE = re.compile(rb"SIP/2\.0 [1-6]\d\d(?: .*)?", re.IGNORECASE | re.DOTALL)
_VIA = re.compile(
    r"SIP/2\.0/[\w-]+ +(?:\[[0-9A-Fa-f:.]+\]|[\w.-]+) *(?:: *(\d{1,5}))?((?:;[^;,]+)*)(?=,SIP/|$)",
    re.ASCII | re.IGNORECASE,
)
_CSEQ = re.compile(r"(\d{1,10})\s+([!-~]+)", re.ASCII)
_SEPARATORS_OF_VIA = re.compile(r"\s*([/;=,])\s*")
_SEPARATORS = re.compile(r"\s*([;=])\s*")
_ADDRESSES = ("from", "to", "contact")
_BREAKS = re.compile("[\x00\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
"""Line ends to Python's `splitlines`, but not to SIP."""


class Kind(Enum):
    """What a datagram is."""

    KEEP_ALIVE = auto()
    GARBAGE = auto()
    MALFORMED = auto()  # SIP, and wrong
    MESSAGE = auto()


@dataclass(frozen=True, slots=True)
class Screened:
    """A datagram, looked at.

    Attributes:
        text: Of a message: with one line for each header, long names, and exactly its body, a
            character for each byte.
        response: Of a malformed one: what to answer; None: nothing.
        port: Where to send that, at the address it came from.
    """

    kind: Kind
    text: str = ""
    response: bytes | None = None
    port: int = 0


def screen(datagram: bytes, source: Endpoint) -> Screened:
    """Look at a datagram; never raises."""
    content = datagram.lstrip(b"\r\n")  # RFC 3261 §7.5
    if not content.strip(b" \t\0"):
        return Screened(Kind.KEEP_ALIVE)
    head, body = _split(content)
    start, *rest = head.split(b"\n")
    start = start.rstrip(b"\r")
    headers = _headers_of(rest)
    if _STATUS_LINE.fullmatch(start) is not None:
        return _screened_response(start, headers, body)
    line = _LOOSE_REQUEST_LINE.fullmatch(start)
    if line is None or headers is None:
        return Screened(Kind.GARBAGE)
    method = line[1].decode("ascii")
    try:
        return Screened(Kind.MESSAGE, _message(start, method, headers, body))
    except SipError as error:
        via = next((value for name, value in headers if name == "via"), None)
        if via is None or method == "ACK":  # no way back, or none allowed
            return Screened(Kind.MALFORMED)
        response, port = _refusal(error.status, headers, source)
        return Screened(Kind.MALFORMED, response=response, port=port)


_Lines = list[tuple[str, str]]


def _split(content: bytes) -> tuple[bytes, bytes]:
    for gap in (b"\r\n\r\n", b"\n\n"):
        head, found, body = content.partition(gap)
        if found:
            return head, body
    return content.rstrip(b"\r\n"), b""


def _headers_of(lines: list[bytes]) -> _Lines | None:
    """Return names and values, unfolded, by their long names; None: a line is no header."""
    found: _Lines = []
    for raw in lines:
        line = _BREAKS.sub(" ", raw.rstrip(b"\r").decode("utf-8", "backslashreplace"))
        if line[:1] in (" ", "\t") and found:  # RFC 3261 §7.3.1: folded
            name, value = found[-1]
            found[-1] = (name, f"{value} {line.strip()}".strip())
            continue
        name, colon, value = line.partition(":")
        name = name.strip().lower()
        if not colon or not name or " " in name or len(found) == MAX_HEADERS:
            return None
        found.append((_LONG_NAMES.get(name, name), value.strip()))
    return [(name, _tidy(name, value)) for name, value in found]


def _tidy(name: str, value: str) -> str:
    """Remove blanks that may stand around separators, and that stacks stumble over."""
    if name == "via":
        return _SEPARATORS_OF_VIA.sub(r"\1", value)
    if name in _ADDRESSES:
        address, bracket, parameters = value.rpartition(">")
        shown, opening, uri = address.rpartition("<")
        return shown + opening + uri.strip() + bracket + _SEPARATORS.sub(r"\1", parameters)
    return value


def _screened_response(start: bytes, headers: _Lines | None, body: bytes) -> Screened:
    if headers is None:
        return Screened(Kind.GARBAGE)
    try:
        _check_headers(headers, None)
        text = start.decode("utf-8", "backslashreplace")
        return Screened(Kind.MESSAGE, _joined(_BREAKS.sub(" ", text), headers, body))
    except SipError:
        return Screened(Kind.MALFORMED)


def _message(start: bytes, method: str, headers: _Lines, body: bytes) -> str:
    line = _REQUEST_LINE.fullmatch(start)
    if line is None:
        raise SipError("a request line with blanks in the wrong places")
    if line[3].upper() != b"SIP/2.0":
        raise SipError("of another version", 505)
    parse_uri(line[2].decode("ascii"))
    _check_headers(headers, method)
    return _joined(start.decode("ascii"), headers, body)


def _check_headers(headers: _Lines, method: str | None) -> None:
    """Check what every message must have. `method`: of a request. Raises `SipError`."""
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(value)
    for name in _NEEDED:
        if not any(values.get(name, ())):
            raise SipError(f"without {name}")
    for name in _ONCE:
        if len(values.get(name, ())) > 1:
            raise SipError(f"with more than one {name}")
    via = _VIA.match(values["via"][0])
    if via is None or (via[1] is not None and int(via[1]) > 0xFFFF):
        raise SipError("with a Via that cannot be read")
    cseq = _CSEQ.fullmatch(values["cseq"][0])
    if cseq is None or int(cseq[1]) > LARGEST_CSEQ or method not in (None, cseq[2]):
        raise SipError("with a CSeq that cannot be")
    for name in ("from", "to"):
        try:
            parse_name_address(values[name][0])
        except SipError as error:  # of another scheme too: 416 is for the request's own address
            raise SipError(str(error)) from None
    hops = values.get("max-forwards", ["70"])[0]
    if not (hops.isascii() and hops.isdigit() and int(hops[:9]) <= 255):
        raise SipError("with a Max-Forwards that cannot be")


def _joined(start: str, headers: _Lines, body: bytes) -> str:
    """Return the message with its body cut to its length. Raises `SipError`: it is incomplete."""
    length = len(body)
    for name, value in headers:
        if name == "content-length":
            if not (value.isascii() and value.isdigit() and int(value[:9]) <= length):
                raise SipError("with another body than its length says")
            length = int(value[:9])
    lines = [f"{name}: {value}" for name, value in headers if name != "content-length"]
    # A character for each byte: then lengths in characters are lengths in bytes.
    text = body[:length].decode("latin-1")
    return "\r\n".join((start, *lines, f"content-length: {length}", "", text))


def _refusal(status: int, headers: _Lines, source: Endpoint) -> tuple[bytes, int]:
    """Return a response without a transaction, and the port it goes to (RFC 3581 §4)."""
    lines = [f"SIP/2.0 {status} {reason_of(status)}"]
    address, port = source
    is_top = True
    for name, value in headers:
        if name == "via" and is_top:
            is_top = False
            found = _VIA.match(value)
            if found is not None and not re.search(r";rport\b", found[2], re.IGNORECASE):
                sent_by = int(found[1] or 0)
                port = sent_by if 0 < sent_by <= 0xFFFF else 5060
            value = re.sub(r";rport(?=[;,]|$)", f";rport={port}", value, flags=re.IGNORECASE)
            lines.append(f"via: {value};received={address}")
        elif name == "to" and ";tag=" not in value.lower():
            lines.append(f"to: {value};tag=malformed")
        elif name in _NEEDED:
            lines.append(f"{name}: {value}")
    lines += ["content-length: 0", "", ""]
    return "\r\n".join(lines).encode(), port
