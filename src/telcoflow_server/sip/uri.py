"""SIP addresses: `sip:user@host:port;parameters`, and the form with a name and a tag around it.

Not here: what is at such an address. Implements the parts of RFC 3261 §19.1 and §20.10 that calls
need. A text form is for the wire; `repr` shows no user, who may be a number dialled.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

USER_SAFE = "-_.!~*'()&=+$,;?/#"
"""RFC 3261 §25.1, user; and "#", which phones send as it is."""


class SipError(ValueError):
    """A message, or a part of one, that cannot be used; the far end's fault.

    Attributes:
        status: What to answer.
    """

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


Parameters = tuple[tuple[str, str | None], ...]

_URI = re.compile(
    r"(?P<scheme>sips?):"
    r"(?:(?P<user>[^@:\s<>]*)(?::[^@\s<>]*)?@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[\w.-]+)"
    r"(?::(?P<port>\d{1,5}))?"
    r"(?P<parameters>(?:;[^;?\s<>]*)*)"
    r"(?:\?(?P<headers>[^\s<>]*))?",
    re.ASCII | re.IGNORECASE,
)
_TEL = re.compile(r"tel:(?P<user>[^;\s<>@]+)(?:;[^\s<>]*)?", re.ASCII | re.IGNORECASE)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):\S+", re.ASCII)
_QUOTED_NAME = re.compile(r'\s*"((?:[^"\\]|\\.)*)"\s*(?=<)')


@dataclass(frozen=True, slots=True, repr=False)
class SipUri:
    """An address.

    Attributes:
        user: Without escapes; empty: none.
        host: IPv6 addresses without brackets; empty for `tel:`.
        port: None: the default, 5060.
        headers: What follows "?", as it stands.
    """

    scheme: str
    user: str
    host: str
    port: int | None = None
    parameters: Parameters = ()
    headers: str | None = None

    def __repr__(self) -> str:
        """Return it without the user."""
        return f"SipUri(<hidden>@{self.host}:{self.port})"

    def __str__(self) -> str:
        """Return the text for the wire."""
        if self.scheme == "tel":
            return f"tel:{self.user}"
        user = f"{quote(self.user, safe=USER_SAFE)}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        headers = "" if self.headers is None else f"?{self.headers}"
        return f"{self.scheme}:{user}{host}{port}{_text_of(self.parameters)}{headers}"

    def parameter(self, name: str) -> str | None:
        """Return a parameter; "" where it stands without a value, None where it does not stand."""
        return _value_of(self.parameters, name)

    @property
    def transport_port(self) -> int:
        """The port to send to."""
        return 5060 if self.port is None else self.port


@dataclass(frozen=True, slots=True, repr=False)
class NameAddress:
    """What stands in From, To, Contact and their like.

    Attributes:
        name: The display name; empty: none.
        parameters: Those behind the address, such as the tag.
    """

    uri: SipUri
    name: str = ""
    parameters: Parameters = ()

    def __repr__(self) -> str:
        """Return it without name and user."""
        return f"NameAddress({self.uri!r})"

    def parameter(self, name: str) -> str | None:
        """Return a parameter; "" where it stands without a value, None where it does not stand."""
        return _value_of(self.parameters, name)

    @property
    def tag(self) -> str | None:
        """The dialog's mark of this side (RFC 3261 §12)."""
        return self.parameter("tag") or None


def parse_uri(text: str) -> SipUri:
    """Read an address.

    Raises:
        SipError: status 416 for another scheme than sip, sips and tel; 400 for no address.
    """
    text = text.strip()
    found = _URI.fullmatch(text)
    if found is None:
        tel = _TEL.fullmatch(text)
        if tel is not None:
            return SipUri("tel", unquote(tel["user"]), "")
        scheme = _SCHEME.match(text)
        is_foreign = scheme is not None and scheme[1].lower() not in ("sip", "sips", "tel")
        raise SipError("an address that cannot be read", 416 if is_foreign else 400)
    port = found["port"]
    if port is not None and int(port) > 0xFFFF:
        raise SipError("an address with an impossible port")
    # `user;phone-context=...` has parameters of its own before the "@": not part of who it is.
    user = (found["user"] or "").partition(";")[0]
    return SipUri(
        found["scheme"].lower(),
        unquote(user),
        found["host"].strip("[]"),
        None if port is None else int(port),
        _parameters_of(found["parameters"]),
        found["headers"],
    )


def parse_name_address(text: str) -> NameAddress:
    """Read the value of a From, To, Contact, Refer-To or P-Asserted-Identity header.

    Raises:
        SipError: there is no address in it.
    """
    quoted = _QUOTED_NAME.match(text)
    if quoted is not None:
        name, rest = re.sub(r"\\(.)", r"\1", quoted[1]), text[quoted.end() :]
    else:
        name, bracket, rest = text.partition("<")
        if not bracket:
            # Without brackets, what follows ";" belongs to the header (RFC 3261 §20.10).
            address, semicolon, parameters = text.strip().partition(";")
            return NameAddress(parse_uri(address), "", _parameters_of(semicolon + parameters))
        if '"' in name or "," in name:  # RFC 3261 §25.1: only within quotes
            raise SipError("a name with what must be quoted")
        rest = bracket + rest
    address, bracket, behind = rest[1:].partition(">")
    if not bracket:
        raise SipError("an address whose bracket is open")
    return NameAddress(parse_uri(address), name.strip(), _parameters_of(behind))


def _parameters_of(text: str) -> Parameters:
    found: list[tuple[str, str | None]] = []
    for part in text.split(";")[1:]:
        name, equals, value = part.partition("=")
        if name.strip():
            found.append((name.strip().lower(), value.strip().strip('"') if equals else None))
    return tuple(found)


def _text_of(parameters: Parameters) -> str:
    return "".join(
        f";{name}" if value is None else f";{name}={value}" for name, value in parameters
    )


def _value_of(parameters: Parameters, name: str) -> str | None:
    for one, value in parameters:
        if one == name:
            return value or ""
    return None
