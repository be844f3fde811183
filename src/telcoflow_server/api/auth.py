"""Who may come in: API keys for connectors, a token per call for media links.

Not here: where the headers come from (`http.py`, `media.py`). Tokens are JWTs (RFC 7519) signed
with a secret of this process, so they are void after a restart, as the calls are.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass

import jwt

from telcoflow_sdk.protocol.codes import ErrorCode

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
    """The API keys of the connectors.

    Args:
        keys: Connector uuid to API key.
    """

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = dict(keys)

    def connector(self, api_key: str | None, connector_uuid: str | None) -> str:
        """Return the connector that these headers speak for.

        Raises:
            Refused: 401 when the key is missing or of no connector, 403 when it is another's.
        """
        if not api_key or not connector_uuid:
            missing = "x-api-key" if not api_key else "x-connector-uuid"
            raise Refused(401, ErrorCode.UNAUTHORIZED, f"header {missing} is missing")
        offered = api_key.encode()
        # Every key is compared, each in constant time: the answer's timing tells nothing.
        owners = {
            owner for owner, key in self._keys.items() if hmac.compare_digest(key.encode(), offered)
        }
        if not owners:
            raise Refused(401, ErrorCode.UNAUTHORIZED, "this API key is not known here")
        if connector_uuid not in owners:
            raise Refused(403, ErrorCode.FORBIDDEN, "this API key is for another connector")
        return connector_uuid


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
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
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
