"""Who is slowed and who is refused: guessers of passwords, and floods of calls.

Not here: passwords (`digest.py`), answers (`switchboard.py`). Addresses of one customer's IPv6
network count as one.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

FREE_FAILURES = 3
"""A phone that was set up with a typing error tries about so often before a person looks."""
SLOWED_BY_S = 1.0
"""Each further wrong password is answered so much later."""
MAX_FAILURES = 10
FORGET_S = 300.0
"""Failures are forgotten, and refused addresses heard again, after five quiet minutes."""
REPORT_INTERVAL_S = 60.0
"""A refused address is named once in this time, however often it tries."""
MAX_ADDRESSES = 10_000
"""Remembered; beyond it the one not heard of for longest is forgotten."""

IPV6_PREFIX_BITS = 64
"""A network of this size is one customer's (RFC 6177)."""


@dataclass(slots=True)
class _Guesser:
    failures: int = 0
    last_s: float = 0.0
    reported_s: float | None = None


class LoginGuard:
    """Counts wrong passwords by address."""

    def __init__(self) -> None:
        self._guessers: OrderedDict[str, _Guesser] = OrderedDict()

    def is_refused(self, address: str, now_s: float) -> bool:
        """Whether it has shown so many wrong passwords that none is looked at any more."""
        guesser = self._known(network_of(address), now_s)
        return guesser is not None and guesser.failures >= MAX_FAILURES

    def failed(self, address: str, now_s: float) -> float:
        """Count a wrong password; return how many seconds its answer is to wait."""
        network = network_of(address)
        guesser = self._known(network, now_s)
        if guesser is None:
            guesser = self._guessers[network] = _Guesser()
            if len(self._guessers) > MAX_ADDRESSES:
                self._guessers.popitem(last=False)
        guesser.failures += 1
        guesser.last_s = now_s
        self._guessers.move_to_end(network)
        return max(0, guesser.failures - FREE_FAILURES) * SLOWED_BY_S

    def succeeded(self, address: str) -> None:
        """A right password: whatever came before it was a person who mistyped."""
        self._guessers.pop(network_of(address), None)

    def report(self, address: str, now_s: float) -> int | None:
        """Return the failures of a refused address if it is time to name it, else None."""
        guesser = self._known(network_of(address), now_s)
        if guesser is None or guesser.failures < MAX_FAILURES:
            return None
        is_recent = (
            guesser.reported_s is not None and now_s - guesser.reported_s < REPORT_INTERVAL_S
        )
        if is_recent:
            return None
        guesser.reported_s = now_s
        return guesser.failures

    def _known(self, network: str, now_s: float) -> _Guesser | None:
        guesser = self._guessers.get(network)
        if guesser is not None and now_s - guesser.last_s > FORGET_S:
            del self._guessers[network]
            return None
        return guesser


@dataclass(slots=True)
class _Bucket:
    tokens: float
    updated_s: float


class RateLimit:
    """Admits so many messages, or calls, of an address in a second, and bursts.

    Args:
        per_second: Of one address.
        burst: At once.
    """

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def admit(self, address: str, now_s: float) -> bool:
        """Count one; False: it is one too many."""
        network = network_of(address)
        bucket = self._buckets.setdefault(network, _Bucket(self._burst, now_s))
        self._buckets.move_to_end(network)
        if len(self._buckets) > MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        refill = (now_s - bucket.updated_s) * self._per_second
        bucket.tokens = min(self._burst, bucket.tokens + refill)
        bucket.updated_s = now_s
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True


def network_of(address: str) -> str:
    """Return what an address counts as; a text that is no address counts as it stands."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    return str(ipaddress.ip_network((parsed, IPV6_PREFIX_BITS), strict=False))
