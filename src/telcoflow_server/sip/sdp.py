"""Session descriptions: text to values and back.

Not here: what is offered and answered (`negotiation.py`). Implements RFC 8866, and takes what
phones send besides: bare line feeds, missing lines, blanks, lines of unknown type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

MAX_CHARACTERS = 65_535
"""What a UDP datagram can carry."""

MAX_MEDIA = 32
"""Media lines of one description; each costs a line of every answer."""

MAX_PAYLOAD_TYPE = 127


class SdpError(ValueError):
    """A text that is no usable session description; the far end's fault.

    Attributes:
        status: What to answer to the request that carried it (RFC 3261 §21.4.1).
    """

    status = 400


class Direction(Enum):
    """Which way media flows, as the describing side sees it (RFC 8866 §6.7)."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"

    @property
    def sends(self) -> bool:
        """Whether the describing side sends."""
        return self in (Direction.SENDRECV, Direction.SENDONLY)

    @property
    def receives(self) -> bool:
        """Whether the describing side listens."""
        return self in (Direction.SENDRECV, Direction.RECVONLY)

    @classmethod
    def of(cls, *, sends: bool, receives: bool) -> Direction:
        """Return the direction with these two properties."""
        if sends:
            return cls.SENDRECV if receives else cls.SENDONLY
        return cls.RECVONLY if receives else cls.INACTIVE

    @property
    def mirrored(self) -> Direction:
        """The same flow as the other side sees it (RFC 3264 §6.1)."""
        return Direction.of(sends=self.receives, receives=self.sends)


@dataclass(frozen=True, slots=True)
class Attribute:
    """One `a=` line: a flag, or with a value."""

    name: str
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Connection:
    """Where media goes: `c=IN IP4 192.0.2.1`.

    Attributes:
        family: "IP4" or "IP6".
        address: As it stands, without multicast suffixes; may be a host name.
    """

    family: str
    address: str

    @classmethod
    def to(cls, address: str) -> Connection:
        """Return the connection for an address of either family."""
        return cls("IP6" if ":" in address else "IP4", address)

    @property
    def is_unspecified(self) -> bool:
        """Whether it is the address that old phones hold with (RFC 3264 §8.4, RFC 6157 §4)."""
        return self.address in ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class Origin:
    """The `o=` line: which session this describes, in which version.

    Attributes:
        session_id: A number for most; kept as text, as some send others.
        version: Likewise.
    """

    username: str
    session_id: str
    version: str
    connection: Connection


@dataclass(frozen=True, slots=True)
class RtpMap:
    """One `a=rtpmap` line: what a payload type stands for.

    Attributes:
        encoding: As written; compare without case (RFC 8866 §6.6).
        clock_rate_hz: Of the RTP timestamp.
    """

    pt: int
    encoding: str
    clock_rate_hz: int
    channels: int = 1


@dataclass(frozen=True, slots=True)
class Media:
    """One `m=` line with the lines below it.

    Attributes:
        kind: "audio", "video", ...
        port: 0 to 65535; 0: refused, or not wanted.
        protocol: "RTP/AVP", "RTP/SAVP", ...
        formats: Payload types for RTP; at least one.
        connection: Of its own; None: the session's holds.
    """

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    connection: Connection | None = None
    attributes: tuple[Attribute, ...] = ()

    def values(self, name: str) -> Iterator[str]:
        """Yield the values of all attributes of a name."""
        return (one.value for one in self.attributes if one.name == name and one.value is not None)

    @property
    def payload_types(self) -> tuple[int, ...]:
        """The formats that are payload types, in order of preference."""
        numbers = (int(one) for one in self.formats if one.isascii() and one.isdigit())
        return tuple(number for number in numbers if number <= MAX_PAYLOAD_TYPE)

    def rtp_maps(self) -> dict[int, RtpMap]:
        """Return the maps of its payload types; of two for one number the first holds."""
        found: dict[int, RtpMap] = {}
        for value in self.values("rtpmap"):
            one = _parse_rtp_map(value)
            if one is not None:
                found.setdefault(one.pt, one)
        return found

    def format_parameters(self, pt: int) -> str | None:
        """Return the `a=fmtp` text of a payload type."""
        for value in self.values("fmtp"):
            number, _, text = value.partition(" ")
            if number == str(pt):
                return text.strip()
        return None

    def number(self, name: str) -> int | None:
        """Return an attribute that is a whole number, such as ptime; None: absent or no number."""
        for value in self.values(name):
            whole = value.strip().partition(".")[0]
            if whole.isascii() and whole.isdigit() and len(whole) < 10:
                return int(whole)
        return None


@dataclass(frozen=True, slots=True)
class SessionDescription:
    """A whole description.

    Attributes:
        origin: None: the text had none, which is against RFC 8866 and happens.
        connection: For media without one of its own.
        attributes: Of the session; a direction here holds for media without one.
    """

    origin: Origin | None
    connection: Connection | None
    media: tuple[Media, ...]
    attributes: tuple[Attribute, ...] = ()

    def connection_of(self, media: Media) -> Connection | None:
        """Return where a medium goes; None: the description does not say."""
        return media.connection or self.connection

    def direction_of(self, media: Media) -> Direction:
        """Return a medium's direction: its own, else the session's, else sendrecv."""
        for attributes in (media.attributes, self.attributes):
            for one in attributes:
                if one.value is None and one.name in _DIRECTIONS:
                    return _DIRECTIONS[one.name]
        return Direction.SENDRECV


_DIRECTIONS = {one.value: one for one in Direction}
_RTP_MAP = re.compile(r"(\d{1,3})\s+([^\s/]+)\s*/\s*(\d{1,6})(?:\s*/\s*(\d{1,2}))?\s*", re.ASCII)
_MEDIA = re.compile(r"(\S+)\s+(\d{1,5})(?:/\d+)?\s+(\S+)\s+(\S.*)", re.ASCII)


def parse_sdp(text: str) -> SessionDescription:
    """Read a description.

    Raises:
        SdpError: too long, another version than 0, or a line that must be understood is not.
    """
    if len(text) > MAX_CHARACTERS:
        raise SdpError(f"longer than {MAX_CHARACTERS} characters")
    origin: Origin | None = None
    connection: Connection | None = None
    attributes: list[Attribute] = []
    media: list[Media] = []
    below: _Below | None = None
    for kind, value in _lines(text):
        if kind == "m":
            if below is not None:
                media.append(below.media())
            if len(media) == MAX_MEDIA:
                raise SdpError(f"more than {MAX_MEDIA} media lines")
            below = _Below(value)
        elif kind == "c":
            found = _parse_connection(value.split())
            if below is not None:
                below.connection = below.connection or found  # a second one: layered multicast
            else:
                connection = connection or found
        elif kind == "a":
            (attributes if below is None else below.attributes).append(_parse_attribute(value))
        elif kind == "o" and origin is None:
            origin = _parse_origin(value)
        elif kind == "v" and value != "0":
            raise SdpError("of another version than 0")
    if below is not None:
        media.append(below.media())
    return SessionDescription(origin, connection, tuple(media), tuple(attributes))


def build_sdp(description: SessionDescription) -> str:
    """Write a description, with every line RFC 8866 §5 asks for.

    The inverse of `parse_sdp` for what that returns.
    """
    origin = description.origin or Origin("-", "0", "0", Connection("IP4", "127.0.0.1"))
    at = origin.connection
    lines = [
        "v=0",
        f"o={origin.username} {origin.session_id} {origin.version} IN {at.family} {at.address}",
        "s=-",
    ]
    if description.connection is not None:
        lines.append(_connection_line(description.connection))
    lines.append("t=0 0")
    lines += [_attribute_line(one) for one in description.attributes]
    for media in description.media:
        lines.append(f"m={media.kind} {media.port} {media.protocol} {' '.join(media.formats)}")
        if media.connection is not None:
            lines.append(_connection_line(media.connection))
        lines += [_attribute_line(one) for one in media.attributes]
    return "\r\n".join(lines) + "\r\n"


class _Below:
    """A media line and what has been read below it."""

    def __init__(self, value: str) -> None:
        found = _MEDIA.fullmatch(value)
        if found is None or int(found[2]) > 0xFFFF:
            raise SdpError("with a media line that cannot be read")
        self._kind, self._port, self._protocol = found[1], int(found[2]), found[3]
        self._formats = tuple(found[4].split())
        self.connection: Connection | None = None
        self.attributes: list[Attribute] = []

    def media(self) -> Media:
        return Media(
            self._kind,
            self._port,
            self._protocol,
            self._formats,
            self.connection,
            tuple(self.attributes),
        )


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """Yield the type and the value of every line that has both."""
    for raw in re.split(r"\r\n|\n|\r", text):
        line = raw.strip(" \t\0")
        if len(line) > 2 and line[1] == "=":
            yield line[0], line[2:].strip()


def _parse_connection(words: list[str]) -> Connection:
    if len(words) != 3 or words[0] != "IN" or words[1] not in ("IP4", "IP6"):
        raise SdpError("with a connection line that cannot be read")
    address = words[2].partition("/")[0]
    if not address:
        raise SdpError("with a connection line that names no address")
    return Connection(words[1], address)


def _parse_origin(value: str) -> Origin:
    words = value.rsplit(maxsplit=5)  # from the right: some put blanks into the user name
    if len(words) != 6:
        raise SdpError("with an origin line that cannot be read")
    return Origin(words[0], words[1], words[2], _parse_connection(words[3:]))


def _parse_attribute(value: str) -> Attribute:
    name, colon, text = value.partition(":")
    return Attribute(name.strip(), text.strip() if colon else None)


def _parse_rtp_map(value: str) -> RtpMap | None:
    """Return what an rtpmap says; one that cannot be read is like one that is not there."""
    found = _RTP_MAP.fullmatch(value)
    if found is None or int(found[1]) > MAX_PAYLOAD_TYPE or int(found[3]) == 0:
        return None
    return RtpMap(int(found[1]), found[2], int(found[3]), int(found[4] or 1))


def _connection_line(connection: Connection) -> str:
    return f"c=IN {connection.family} {connection.address}"


def _attribute_line(attribute: Attribute) -> str:
    return f"a={attribute.name}" + ("" if attribute.value is None else f":{attribute.value}")
