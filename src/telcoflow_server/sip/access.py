"""Who a request comes from: a trunk by its address, a softphone by its password, or a stranger.

Not here: what they may do (`switchboard.py`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from telcoflow_server.sip.accounts import EdgeSettings, Extension, Trunk
from telcoflow_server.sip.digest import (
    Algorithm,
    Challenge,
    Nonces,
    parse_credentials,
    verify,
)
from telcoflow_server.sip.guard import LoginGuard
from telcoflow_server.sip.message import Headers, Request, every

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Denied:
    """Not known, or not yet.

    Attributes:
        status: What to answer, with which headers.
        delay_s: How long to wait before that.
        is_wrong: A password was shown, and was wrong.
        is_refused: None is looked at any more.
    """

    status: int
    headers: Headers = ()
    delay_s: float = 0.0
    is_wrong: bool = False
    is_refused: bool = False


class Access:
    """Knows trunks and extensions.

    Args:
        settings: Who there is.
        guard: Remembers guessers.
        nonce_secret: Random bytes.
    """

    def __init__(self, settings: EdgeSettings, guard: LoginGuard, nonce_secret: bytes) -> None:
        self._realm = settings.realm
        self._guard = guard
        self._nonces = Nonces(nonce_secret)
        self._extensions = {one.user: one for one in settings.extensions}
        self._trunks = [
            (ipaddress.ip_network(source, strict=False), trunk)
            for trunk in settings.trunks
            for source in trunk.sources
        ]

    def extension(self, user: str) -> Extension | None:
        """Return an extension by its name."""
        return self._extensions.get(user)

    def trunk_at(self, address: str) -> Trunk | None:
        """Return the trunk whose requests come from an address."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return None
        for network, trunk in self._trunks:
            if parsed in network:
                return trunk
        return None

    def extension_of(self, request: Request, user: str, now_s: float) -> Extension | Denied:
        """Return the extension that proves itself in a request, or what to answer.

        Args:
            user: Who the request claims to come from; decides which proof is asked for.
        """
        address = request.source[0]
        if self._guard.is_refused(address, now_s):
            return Denied(403, is_refused=True)
        for text in every(request.headers, "authorization"):
            credentials = parse_credentials(text)
            if credentials is None or credentials.realm != self._realm:
                continue  # for somebody else
            known = self._extensions.get(credentials.username)
            if not self._nonces.is_fresh(credentials.nonce, address, now_s):
                return self._challenge(known, address, now_s, is_stale=True)
            if known is not None and verify(credentials, _hashes_of(known), request.method):
                self._guard.succeeded(address)
                return known
            delay_s = self._guard.failed(address, now_s)
            again = self._challenge(known, address, now_s)
            return Denied(again.status, again.headers, delay_s, is_wrong=True)
        return self._challenge(self._extensions.get(user), address, now_s)

    def _challenge(
        self, known: Extension | None, address: str, now_s: float, *, is_stale: bool = False
    ) -> Denied:
        # A user we do not have is asked like any other: names cannot be found out by asking.
        algorithms = tuple(_hashes_of(known)) if known is not None else (Algorithm.MD5,)
        headers: list[tuple[str, str]] = []
        for algorithm in algorithms:
            challenge = Challenge(
                self._realm, self._nonces.issue(address, now_s), algorithm, has_qop=True
            )
            text = challenge.stale_text if is_stale else challenge.text
            headers.append(("www-authenticate", text))
        return Denied(401, tuple(headers))


def _hashes_of(extension: Extension) -> Mapping[Algorithm, str]:
    """Return an extension's HA1 by algorithm, the stronger first (RFC 8760 §2.4)."""
    kept = {Algorithm.SHA_256: extension.ha1_sha256, Algorithm.MD5: extension.ha1_md5}
    return MappingProxyType(
        {algorithm: one.value.lower() for algorithm, one in kept.items() if one is not None}
    )
