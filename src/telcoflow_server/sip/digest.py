"""Digest authentication, as who asks for it and as who is asked.

Not here: whose password it is, and what follows from a wrong one (`guard.py`). Implements RFC 7616
with MD5 and SHA-256, qop auth, as RFC 8760 has it for SIP. Passwords are known by their hash HA1.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

NONCE_LIFE_S = 60.0
"""A phone answers a challenge at once; one that uses a nonce again later is told it is stale."""


class Algorithm(Enum):
    """How it is hashed."""

    MD5 = "MD5"
    SHA_256 = "SHA-256"

    def digest(self, *parts: str) -> str:
        """Return the hash of parts joined by colons, hexadecimal."""
        text = ":".join(parts).encode()
        if self is Algorithm.MD5:
            return hashlib.md5(text, usedforsecurity=False).hexdigest()
        return hashlib.sha256(text).hexdigest()


@dataclass(frozen=True, slots=True)
class Challenge:
    """What the other side asks to be proved.

    Attributes:
        has_qop: Whether it knows qop "auth"; RFC 2069 servers do not.
    """

    realm: str
    nonce: str = field(repr=False)
    algorithm: Algorithm
    has_qop: bool
    opaque: str | None = None

    @property
    def text(self) -> str:
        """The value of a WWW-Authenticate header."""
        return self._text(is_stale=False)

    @property
    def stale_text(self) -> str:
        """The same for one who knew the password and used an old nonce."""
        return self._text(is_stale=True)

    def _text(self, *, is_stale: bool) -> str:
        stale = ", stale=true" if is_stale else ""
        return (
            f'Digest realm="{self.realm}", nonce="{self.nonce}", '
            f'algorithm={self.algorithm.value}, qop="auth"{stale}'
        )


@dataclass(frozen=True, slots=True)
class Credentials:
    """What an Authorization header proves, or claims to."""

    username: str = field(repr=False)
    realm: str
    nonce: str = field(repr=False)
    uri: str = field(repr=False)
    response: str = field(repr=False)
    algorithm: Algorithm
    qop: str | None
    cnonce: str = field(repr=False)
    nonce_count: str


def ha1(algorithm: Algorithm, username: str, realm: str, password: str) -> str:
    """Return what is kept of a password: the hash of user, realm and password."""
    return algorithm.digest(username, realm, password)


class Nonces:
    """Makes nonces that prove their own age, so that none need be remembered.

    Args:
        secret: Random bytes; who knows them can make nonces.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def issue(self, address: str, now_s: float) -> str:
        """Return a nonce for an address, made now: a monotonic time in seconds.

        Bound to the address: who answers it can receive there, so a wrong password counts against
        nobody whose address was only borrowed.
        """
        stamp = f"{int(now_s * 1000):x}"
        return f"{stamp}.{self._mark(stamp, address)}"

    def is_fresh(self, nonce: str, address: str, now_s: float) -> bool:
        """Whether it was issued here, for that address, and not too long ago."""
        stamp, _, mark = nonce.partition(".")
        if not hmac.compare_digest(mark.encode(), self._mark(stamp, address).encode()):
            return False
        return now_s - int(stamp, 16) / 1000 <= NONCE_LIFE_S

    def _mark(self, stamp: str, address: str) -> str:
        text = f"{stamp} {address}".encode()
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()[:32]


def verify(credentials: Credentials, hashes: Mapping[Algorithm, str], method: str) -> bool:
    """Whether credentials prove the password whose HA1 is known, for each algorithm.

    Args:
        method: Of the request.
    """
    kept = hashes.get(credentials.algorithm)
    if kept is None:
        return False
    expected = _response(kept, credentials, method)
    return hmac.compare_digest(expected.encode(), credentials.response.lower().encode())


def answer(
    challenge: Challenge, username: str, password: str, method: str, uri: str, cnonce: str
) -> str:
    """Return the value of an Authorization header that meets a challenge.

    Args:
        cnonce: Random text of ours.
    """
    kept = ha1(challenge.algorithm, username, challenge.realm, password)
    credentials = Credentials(
        username=username,
        realm=challenge.realm,
        nonce=challenge.nonce,
        uri=uri,
        response="",
        algorithm=challenge.algorithm,
        qop="auth" if challenge.has_qop else None,
        cnonce=cnonce,
        nonce_count="00000001",
    )
    response = _response(kept, credentials, method)
    text = (
        f'Digest username="{username}", realm="{challenge.realm}", nonce="{challenge.nonce}", '
        f'uri="{uri}", response="{response}", algorithm={challenge.algorithm.value}'
    )
    if challenge.has_qop:
        text += f', qop=auth, nc=00000001, cnonce="{cnonce}"'
    if challenge.opaque is not None:
        text += f', opaque="{challenge.opaque}"'
    return text


def best_challenge(texts: Iterable[str]) -> Challenge | None:
    """Return the first challenge we can meet: the asker's order is its preference (RFC 8760)."""
    for text in texts:
        found = _parse(text)
        algorithm = _algorithm_of(found)
        qops = {one.strip() for one in found.get("qop", "").split(",")} - {""}
        if "realm" in found and "nonce" in found and algorithm is not None:
            if qops and "auth" not in qops:
                continue
            return Challenge(
                found["realm"], found["nonce"], algorithm, bool(qops), found.get("opaque")
            )
    return None


def parse_credentials(text: str) -> Credentials | None:
    """Read an Authorization header; None: no digest, or incomplete, or of an unknown kind."""
    found = _parse(text)
    algorithm = _algorithm_of(found)
    needed = {"username", "realm", "nonce", "uri", "response"}
    if algorithm is None or not needed <= found.keys():
        return None
    qop = found.get("qop")
    if qop is not None and (qop != "auth" or not {"cnonce", "nc"} <= found.keys()):
        return None
    return Credentials(
        username=found["username"],
        realm=found["realm"],
        nonce=found["nonce"],
        uri=found["uri"],
        response=found["response"],
        algorithm=algorithm,
        qop=qop,
        cnonce=found.get("cnonce", ""),
        nonce_count=found.get("nc", ""),
    )


_PARAMETER = re.compile(r'\s*([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))\s*(?:,|$)', re.ASCII)


def _parse(text: str) -> dict[str, str]:
    """Return the parameters of a digest header; none of any other scheme."""
    scheme, _, rest = text.strip().partition(" ")
    if scheme.lower() != "digest":
        return {}
    return {
        found[1].lower(): found[2] if found[2] is not None else found[3]
        for found in _PARAMETER.finditer(rest)
    }


def _algorithm_of(found: dict[str, str]) -> Algorithm | None:
    name = found.get("algorithm", "MD5").upper()
    return next((one for one in Algorithm if one.value == name), None)


def _response(kept: str, credentials: Credentials, method: str) -> str:
    digest = credentials.algorithm.digest
    about = digest(method, credentials.uri)
    if credentials.qop is None:
        return digest(kept, credentials.nonce, about)
    counted = (credentials.nonce, credentials.nonce_count, credentials.cnonce, credentials.qop)
    return digest(kept, *counted, about)
