"""Who is called and who calls, from the several headers that say so.

Not here: whether that number exists (`switchboard.py`).
"""

from __future__ import annotations

import re
from urllib.parse import quote

from telcoflow_server.sip.accounts import Trunk
from telcoflow_server.sip.message import Request, tokens
from telcoflow_server.sip.peer import name_of
from telcoflow_server.sip.uri import parse_uri

_SEPARATORS = re.compile(r"[-.() ]")


def number_of(request: Request, trunk: Trunk | None) -> str:
    """Return who is called.

    A trunk that we registered at calls our account, and says elsewhere whom it wants: in
    P-Called-Party-ID (RFC 7315 §4.2) or To.
    """
    number = parse_uri(request.uri).user
    if trunk is not None and (not number or number == trunk.user):
        for header in ("p-called-party-id", "to"):
            named = name_of(request.header(header))
            if named is not None and named.uri.user:
                return named.uri.user
    return number


def caller_of(request: Request, trunk: Trunk | None, origin: str) -> tuple[str, bool]:
    """Return who calls, empty if anonymous, and whether they do not want to be named."""
    is_private = bool(tokens(request.headers, "privacy") & {"id", "user", "header"})
    if trunk is None and origin:
        return origin, is_private  # what a phone puts into From is its own affair
    # RFC 3325 §9.1: an identity asserted by others than those we trust is no identity.
    asserted = name_of(request.header("p-asserted-identity")) if trunk is not None else None
    named = asserted or name_of(request.header("from"))
    if named is None or named.uri.host == "anonymous.invalid" or named.uri.user == "anonymous":
        return "", True
    return named.uri.user, is_private


def comparable(number: str) -> str:
    """Return a number without what is only for the eye, and without its plus."""
    return _SEPARATORS.sub("", number).removeprefix("+")


def user_part(text: str) -> str:
    """Return a user part as it stands in an address."""
    return quote(text, safe="+*-_.!~'()&=$") or "anonymous"
