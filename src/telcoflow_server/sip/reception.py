"""Who is let in: registrations, the proof that calls come from who they say, and its refusal.

Not here: what may be called (`switchboard.py`), how passwords are checked (`access.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from telcoflow_server.sip.access import Access, Denied
from telcoflow_server.sip.accounts import EdgeSettings, Trunk
from telcoflow_server.sip.events import Event, LoginsRefused
from telcoflow_server.sip.guard import LoginGuard
from telcoflow_server.sip.message import Request, ServerTransaction
from telcoflow_server.sip.peer import name_of
from telcoflow_server.sip.registrar import Registrar

MAX_DELAYED = 1_000
"""Answers to wrong passwords that wait; more are given at once, for memory has an end."""


@dataclass(frozen=True, slots=True)
class _Delayed:
    """An answer that waits."""

    at_s: float
    transaction: ServerTransaction
    denied: Denied


class Reception:
    """Knows who is who.

    Args:
        settings: Who there is.
        emit: Hears of registrations, and of addresses that are refused.
        nonce_secret: Random bytes.

    Attributes:
        logins_failed: Wrong passwords.
        logins_refused: Requests of addresses whose passwords are not looked at any more.
    """

    def __init__(
        self, settings: EdgeSettings, emit: Callable[[Event], None], nonce_secret: bytes
    ) -> None:
        self.logins_failed = self.logins_refused = 0
        self.registrar = Registrar(settings.min_expires_s, settings.max_expires_s)
        self._emit = emit
        self._nonce_secret = nonce_secret
        self._guard = LoginGuard()
        self._delayed: list[_Delayed] = []
        self.configure(settings)

    def configure(self, settings: EdgeSettings) -> None:
        """Know others from now on; who is registered stays so until it expires."""
        self.access = Access(settings, self._guard, self._nonce_secret)
        self._takes_strangers = settings.unauthenticated_calls

    def tick(self, now_s: float) -> None:
        """Give the answers that have waited, and forget phones that were not heard of."""
        due = [one for one in self._delayed if one.at_s <= now_s]
        if due:
            self._delayed = [one for one in self._delayed if one.at_s > now_s]
        for one in due:
            one.transaction.respond(one.denied.status, one.denied.headers)
        for gone in self.registrar.expire(now_s):
            self._emit(gone)

    def origin_of(
        self,
        request: Request,
        trunk: Trunk | None,
        user: str,
        transaction: ServerTransaction,
        now_s: float,
    ) -> str | None:
        """Return who calls, by name; None: they were answered that they may not, or not yet.

        Args:
            trunk: Whose address it comes from.
            user: Who it says it is.
        """
        if trunk is not None:
            return trunk.name
        if self._takes_strangers and self.access.extension(user) is None:
            return ""
        known = self.access.extension_of(request, user, now_s)
        if isinstance(known, Denied):
            self._deny(known, request, transaction, now_s)
            return None
        return known.user

    def receive_register(
        self, request: Request, transaction: ServerTransaction, now_s: float
    ) -> None:
        """Answer a REGISTER."""
        whom = name_of(request.header("to"))
        if whom is None:
            transaction.respond(400)
            return
        known = self.access.extension_of(request, whom.uri.user, now_s)
        if isinstance(known, Denied):
            self._deny(known, request, transaction, now_s)
        elif known.user != whom.uri.user:
            transaction.respond(403)  # RFC 3261 §10.3 step 4: somebody else's
        else:
            outcome = self.registrar.register(known.user, request, now_s)
            transaction.respond(outcome.status, outcome.headers)
            for change in outcome.changes:
                self._emit(change)

    def _deny(
        self, denied: Denied, request: Request, transaction: ServerTransaction, now_s: float
    ) -> None:
        address = request.source[0]
        self.logins_failed += denied.is_wrong
        self.logins_refused += denied.is_refused
        failures = self._guard.report(address, now_s)
        if failures is not None:
            self._emit(LoginsRefused(address=address, failures=failures))
        if denied.delay_s and len(self._delayed) < MAX_DELAYED:
            self._delayed.append(_Delayed(now_s + denied.delay_s, transaction, denied))
        else:
            transaction.respond(denied.status, denied.headers)
