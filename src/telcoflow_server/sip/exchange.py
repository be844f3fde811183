"""A request of ours, asked again with credentials when the far end wants them.

Not here: how credentials are made (`digest.py`). Implements RFC 3261 §22.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from telcoflow_server.sip.accounts import Private
from telcoflow_server.sip.digest import answer, best_challenge
from telcoflow_server.sip.message import (
    ClientTransaction,
    Headers,
    OutgoingRequest,
    Response,
    Stack,
    every,
)

_ASKED = {
    401: ("www-authenticate", "authorization"),
    407: ("proxy-authenticate", "proxy-authorization"),
}

MAX_ATTEMPTS = 2
"""Credentials are shown once, and once more for a nonce that was too old."""


@dataclass(frozen=True, slots=True)
class Login:
    """What we prove ourselves with."""

    user: str
    password: Private


class Exchange:
    """One request and its response, through as many transactions as it takes.

    Args:
        stack: Sends.
        build: Returns the request, with these headers added, in its next CSeq.
        login: None: there is nothing to show.
        random_text: For the client's nonce.
        on_response: Hears all responses but the challenges that are met, and when.
    """

    def __init__(
        self,
        stack: Stack,
        build: Callable[[Headers], OutgoingRequest],
        login: Login | None,
        random_text: Callable[[], str],
        on_response: Callable[[Response, float], None],
    ) -> None:
        self._stack = stack
        self._build = build
        self._login = login
        self._random_text = random_text
        self._on_response = on_response
        self._attempts = 0
        self._is_cancelled = False
        self._request = build(())
        self._transaction: ClientTransaction = stack.send(self._request, self._hear)

    def cancel(self) -> None:
        """Cancel an INVITE that has not been answered."""
        self._is_cancelled = True
        self._transaction.cancel()

    def _hear(self, response: Response, now_s: float) -> None:
        credentials = self._credentials_for(response)
        if credentials is None:
            self._on_response(response, now_s)
            return
        self._attempts += 1
        self._request = self._build(credentials)
        self._transaction = self._stack.send(self._request, self._hear)

    def _credentials_for(self, response: Response) -> Headers | None:
        """Return what meets a challenge; None: it is none, or cannot or need not be met."""
        if response.status not in _ASKED or self._login is None or self._is_cancelled:
            return None
        asked, shown = _ASKED[response.status]
        texts = every(response.headers, asked)
        challenge = best_challenge(texts)
        is_stale = any("stale=true" in text.lower().replace('"', "") for text in texts)
        if challenge is None or self._attempts >= (MAX_ATTEMPTS if is_stale else 1):
            return None
        text = answer(
            challenge,
            self._login.user,
            self._login.password.value,
            self._request.method,
            self._request.uri,
            self._random_text(),
        )
        return ((shown, text),)
