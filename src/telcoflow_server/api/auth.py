"""Who may come in: API keys and certificates for connectors, a token per call for media links.

Not here: where the headers come from (`http.py`, `media.py`). Tokens are JWTs (RFC 7519) signed
with a secret of this process, so they are void after a restart, as the calls are.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import jwt

from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_server.keys import digest_of

TOKEN_LIFETIME_S = 60.0
"""How long a token lets its media link in: as long as a call rings by default."""

_ALGORITHM = "HS256"


@dataclass(frozen=True, slots=True)
class Refused(Exception):
    """Not let in: the HTTP status, the code and the text for the body."""

    status: int
    code: ErrorCode
    message: str


class KeyRing:
    """What shows that a client belongs to a connector: API keys and client certificates."""

    def __init__(self) -> None:
        self._keys: tuple[tuple[str, str], ...] = ()
        self._certificates: dict[str, str] = {}

    def replace(self, keys: Iterable[tuple[str, str]], certificates: Mapping[str, str]) -> None:
        """Take what holds from now on.

        Args:
            keys: Connector uuid and digest of a key; a connector may have several.
            certificates: Fingerprint of a certificate to connector uuid.
        """
        self._keys = tuple(keys)
        self._certificates = dict(certificates)

    def connector(
        self, api_key: str | None, connector_uuid: str | None, certificate: str | None = None
    ) -> str:
        """Return the connector that a request speaks for; a key goes before a certificate.

        Args:
            api_key: Header `x-api-key`.
            connector_uuid: Header `x-connector-uuid`; a certificate does not need it.
            certificate: Fingerprint of what was shown in the TLS handshake.

        Raises:
            Refused: 401 when nothing was shown or the key is of no connector, 403 when it is
                another's, or the certificate of no connector.
        """
        if not api_key and certificate is not None:
            return self._certified(certificate, connector_uuid)
        if not api_key or not connector_uuid:
            missing = "x-api-key" if not api_key else "x-connector-uuid"
            raise Refused(401, ErrorCode.UNAUTHORIZED, f"header {missing} is missing")
        digest = digest_of(api_key)
        # All of them are compared, each in constant time: the time tells nothing.
        owners = {uuid for uuid, known in self._keys if hmac.compare_digest(digest, known)}
        if not owners:
            raise Refused(401, ErrorCode.UNAUTHORIZED, "this API key is not known here")
        if connector_uuid not in owners:
            raise Refused(403, ErrorCode.FORBIDDEN, "this API key is for another connector")
        return connector_uuid

    def check_certificate(self, certificate: str | None, connector_uuid: str) -> None:
        """Let a media link in by its certificate, or not.

        Raises:
            Refused: 401 when none was shown, 403 when it is of no connector or of another.
        """
        if certificate is None:
            raise Refused(401, ErrorCode.UNAUTHORIZED, "media links must show a certificate here")
        self._certified(certificate, connector_uuid)

    def _certified(self, certificate: str, connector_uuid: str | None) -> str:
        # A fingerprint is no secret: a dictionary may take what time it likes.
        owner = self._certificates.get(certificate)
        if owner is None:
            raise Refused(
                403,
                ErrorCode.CERTIFICATE_UNKNOWN,
                f"no connector has this certificate; its SHA-256 is {certificate}",
            )
        if connector_uuid and connector_uuid != owner:
            raise Refused(403, ErrorCode.FORBIDDEN, "this certificate is for another connector")
        return owner


def bearer_of(authorization: str | None) -> str:
    """Return what follows `Bearer` in an Authorization header, "" if nothing does."""
    scheme, _, bearer = (authorization or "").partition(" ")
    return bearer if scheme.lower() == "bearer" else ""


class TokenMint:
    """Makes and checks the tokens that open media links.

    Args:
        secret: At least 32 random bytes, of this process alone.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def issue(self, call_id: str, now_s: float) -> str:
        """Return a token for one call, good from `now_s` (wall clock) for 60 s."""
        claims = {"sub": call_id, "exp": int(now_s + TOKEN_LIFETIME_S)}
        return jwt.encode(claims, self._secret, _ALGORITHM)

    def check(self, authorization: str | None, call_id: str, now_s: float) -> None:
        """Let a media link of `call_id` in, or not.

        Args:
            authorization: The header's value, "Bearer" and the token.
            call_id: The call named in the path.
            now_s: Wall clock, seconds since 1970.

        Raises:
            Refused: 403, with the code that tells missing, invalid and expired apart.
        """
        token = bearer_of(authorization)
        if not token:
            raise Refused(403, ErrorCode.TOKEN_MISSING, "header Authorization: Bearer is missing")
        try:
            claims = jwt.decode(
                token,
                self._secret,
                [_ALGORITHM],
                options={"require": ["sub", "exp"], "verify_exp": False},
            )
        except jwt.InvalidTokenError:
            raise Refused(
                403, ErrorCode.TOKEN_INVALID, "this token was not issued by this server"
            ) from None
        if claims["sub"] != call_id:
            raise Refused(403, ErrorCode.TOKEN_INVALID, "this token is for another call")
        if now_s >= claims["exp"]:
            raise Refused(403, ErrorCode.TOKEN_EXPIRED, "this token was used too late")
