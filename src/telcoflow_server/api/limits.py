"""How many connections one address may open, and how fast.

Not here: accepting them (`accept.py`), what a link may send (`budget.py`).
Implements the limits of docs/reference/wire.md §4 that count by address.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import Enum

SWEEP_INTERVAL_S = 60.0
"""Addresses that have been quiet are forgotten at this rate; after it a bucket is full again."""

IPV6_PREFIX_BITS = 64
"""A network of this size is one customer's (RFC 6177): its 2^64 addresses count as one."""


class Verdict(Enum):
    """What becomes of a connection."""

    ADMIT = "admit"
    REFUSE = "refuse"
    """Over a limit: answered with HTTP 429."""
    DROP = "drop"
    """Far over: closed without an answer, so that answering costs nothing, TLS least of all."""


@dataclass(slots=True)
class _Address:
    """One address: its open connections, and what is left of its two buckets."""

    open: int
    attempts: float
    answers: float
    updated_s: float


class AddressLimits:
    """Counts connections by address: those open, and attempts in a token bucket.

    A bucket holds one minute's attempts, so they may come as a burst. As many again are refused
    with an answer; what comes on top of that is dropped. One address's attempts never count
    against another's.

    Args:
        connections: Open at once.
        attempts_per_minute: Admitted in a minute.
    """

    def __init__(self, connections: int, attempts_per_minute: int) -> None:
        self._connections = connections
        self._burst = float(attempts_per_minute)
        self._addresses: dict[str, _Address] = {}
        self._swept_s = 0.0

    def __len__(self) -> int:
        """Return how many addresses are remembered."""
        return len(self._addresses)

    def admit(self, address: str, now_s: float) -> Verdict:
        """Count one connection attempt; unless dropped, `release` must follow when it is over.

        Args:
            address: An IPv4 or IPv6 address as text; another text counts as it stands.
            now_s: Monotonic time, seconds.
        """
        if now_s - self._swept_s >= SWEEP_INTERVAL_S:
            self._sweep(now_s)
        known = self._known(_network_of(address), now_s)
        if known.attempts >= 1 and known.open < self._connections:
            known.attempts -= 1
            known.open += 1
            return Verdict.ADMIT
        if known.answers < 1:
            return Verdict.DROP
        known.answers -= 1
        known.open += 1
        return Verdict.REFUSE

    def release(self, address: str) -> None:
        """A connection that was admitted or refused is closed."""
        self._addresses[_network_of(address)].open -= 1

    def _known(self, network: str, now_s: float) -> _Address:
        known = self._addresses.get(network)
        if known is None:
            known = self._addresses[network] = _Address(0, self._burst, self._burst, now_s)
            return known
        refill = (now_s - known.updated_s) * self._burst / 60
        known.attempts = min(self._burst, known.attempts + refill)
        known.answers = min(self._burst, known.answers + refill)
        known.updated_s = now_s
        return known

    def _sweep(self, now_s: float) -> None:
        self._swept_s = now_s
        quiet = [
            network
            for network, known in self._addresses.items()
            if known.open == 0 and now_s - known.updated_s >= SWEEP_INTERVAL_S
        ]
        for network in quiet:
            del self._addresses[network]


def _network_of(address: str) -> str:
    if ":" not in address:
        return address
    try:
        number = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if number.ipv4_mapped is not None:
        return str(number.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(number), IPV6_PREFIX_BITS), strict=False))
