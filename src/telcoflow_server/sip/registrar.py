"""Where softphones are reached: their registrations.

Not here: who may register (`access.py`). Implements RFC 3261 §10.3; a phone behind a NAT is reached
at the address its REGISTER came from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from telcoflow_server.sip.accounts import Private
from telcoflow_server.sip.events import Registered, Unregistered
from telcoflow_server.sip.message import Endpoint, Headers, Request, every
from telcoflow_server.sip.uri import NameAddress, SipError, parse_name_address

DEFAULT_EXPIRES_S = 3600
"""RFC 3261 §10.2: what a phone that does not say wants."""

MAX_BINDINGS = 8
"""Phones of one account at once; a ninth takes the place of the one that registered first."""


@dataclass(frozen=True, slots=True)
class Binding:
    """One phone of an account.

    Attributes:
        contact: Its address as it gave it.
        source: Where it is reached.
        expires_at_s: Monotonic.
    """

    contact: str = field(repr=False)
    source: Endpoint
    expires_at_s: float
    call_id: str = field(repr=False, default="")
    cseq: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to answer to a REGISTER, and what it changed."""

    status: int
    headers: Headers = ()
    changes: tuple[Registered | Unregistered, ...] = ()


class Registrar:
    """All accounts' bindings.

    Args:
        min_expires_s: Less is refused (423).
        max_expires_s: More is cut.
    """

    def __init__(self, min_expires_s: int, max_expires_s: int) -> None:
        self._min_expires_s = min_expires_s
        self._max_expires_s = max_expires_s
        self._bindings: dict[str, dict[str, Binding]] = {}

    def __len__(self) -> int:
        """Return how many phones are registered."""
        return sum(len(phones) for phones in self._bindings.values())

    def register(self, user: str, request: Request, now_s: float) -> Outcome:
        """Take a REGISTER that is known to be `user`'s: all of it, or nothing."""
        try:
            wanted = self._wanted(request)
        except _TooBrief:
            return Outcome(423, (("min-expires", str(self._min_expires_s)),))
        except SipError as error:
            return Outcome(error.status)
        phones = self._bindings.get(user, {})
        if any(
            known.call_id == request.call_id and known.cseq >= request.cseq
            for contact, known in phones.items()
            if wanted is None or contact in wanted
        ):
            return Outcome(500)  # RFC 3261 §10.3 step 7: overtaken by a later one
        if wanted is None:
            wanted = dict.fromkeys(phones, 0)
        changes: list[Registered | Unregistered] = []
        for contact, expires_s in wanted.items():
            changes += self._change(user, contact, expires_s, request, now_s)
        headers = tuple(
            ("contact", f"<{contact}>;expires={round(known.expires_at_s - now_s)}")
            for contact, known in self._bindings.get(user, {}).items()
        )
        return Outcome(200, headers, tuple(changes))

    def restore(self, user: str, binding: Binding) -> None:
        """Know a binding again that an earlier process had."""
        self._bindings.setdefault(user, {})[binding.contact] = binding

    def find(self, user: str, now_s: float) -> Binding | None:
        """Return the phone of an account that registered last."""
        fresh = [one for one in self._bindings.get(user, {}).values() if one.expires_at_s > now_s]
        return fresh[-1] if fresh else None

    def expire(self, now_s: float) -> list[Unregistered]:
        """Forget phones that were not heard of in time."""
        gone: list[Unregistered] = []
        for user, phones in list(self._bindings.items()):
            for contact, one in list(phones.items()):
                if one.expires_at_s <= now_s:
                    self._remove(user, contact)
                    gone.append(Unregistered(extension=user, contact=Private(contact)))
        return gone

    def _wanted(self, request: Request) -> dict[str, int] | None:
        """Return the seconds asked for by contact; None: everything is to be removed ("*")."""
        contacts = every(request.headers, "contact")
        default_s = _seconds(request.header("expires"), DEFAULT_EXPIRES_S)
        if "*" in contacts:
            if len(contacts) > 1 or default_s != 0:
                raise SipError("a star beside other contacts, or to stay")
            return None
        wanted: dict[str, int] = {}
        for text in contacts:
            contact = parse_name_address(text)
            wanted[str(contact.uri)] = self._granted(contact, default_s)
        return wanted

    def _granted(self, contact: NameAddress, default_s: int) -> int:
        expires_s = _seconds(contact.parameter("expires"), default_s)
        if 0 < expires_s < self._min_expires_s:
            raise _TooBrief
        return min(expires_s, self._max_expires_s)

    def _change(
        self, user: str, contact: str, expires_s: int, request: Request, now_s: float
    ) -> Iterator[Registered | Unregistered]:
        was_known = self._remove(user, contact)
        if expires_s == 0:
            if was_known:
                yield Unregistered(extension=user, contact=Private(contact))
            return
        phones = self._bindings.setdefault(user, {})
        if len(phones) == MAX_BINDINGS:
            oldest = next(iter(phones))
            del phones[oldest]
            yield Unregistered(extension=user, contact=Private(oldest))
        phones[contact] = Binding(
            contact, request.source, now_s + expires_s, request.call_id, request.cseq
        )
        yield Registered(
            extension=user, contact=Private(contact), source=request.source, expires_s=expires_s
        )

    def _remove(self, user: str, contact: str) -> bool:
        phones = self._bindings.get(user, {})
        was_known = phones.pop(contact, None) is not None
        if was_known and not phones:
            del self._bindings[user]
        return was_known


class _TooBrief(Exception):
    """Less than the shortest time was asked for."""


def _seconds(text: str | None, default_s: int) -> int:
    """Return a number of seconds; one that cannot be read is as good as none (RFC 3261 §10.2.1)."""
    if text is None or not (text.isascii() and text.isdigit()):
        return default_s
    return int(text[:10])
