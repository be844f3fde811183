"""How long to wait before the next attempt to connect.

Not here: waiting. Implements docs/reference/wire.md §1 (reconnect).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconnectPolicy:
    """How a client comes back after losing its control link.

    Attributes:
        initial_s: First delay, seconds, above 0.
        factor: Each delay is this many times the one before, at least 1.
        cap_s: The longest delay before jitter, seconds, at least `initial_s`.
        jitter: The most that chance adds, as a share of the delay, 0 to 1: clients that lost
            the same server must not come back in the same instant.

    Raises:
        ValueError: a value outside its range.
    """

    initial_s: float = 0.5
    factor: float = 1.5
    cap_s: float = 10.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        if not self.initial_s > 0:
            raise ValueError(f"initial_s must be above 0, not {self.initial_s}")
        if not self.factor >= 1:
            raise ValueError(f"factor must be at least 1, not {self.factor}")
        if not self.cap_s >= self.initial_s:
            raise ValueError(f"cap_s must be at least initial_s, not {self.cap_s}")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter must be 0 to 1, not {self.jitter}")


class Backoff:
    """Growing delays between attempts.

    Reset it only after a completed handshake: a server that accepts and then drops
    connections would be stormed otherwise.

    Args:
        policy: The shape of the delays.
        random: Returns a number from 0 to 1, such as `random.random`.
    """

    __slots__ = ("_delay_s", "_policy", "_random")

    def __init__(self, policy: ReconnectPolicy, random: Callable[[], float]) -> None:
        self._policy = policy
        self._random = random
        self._delay_s = policy.initial_s

    def next_delay_s(self) -> float:
        """Return how long to wait now, seconds; each call grows the next one."""
        delay_s = self._delay_s
        self._delay_s = min(self._policy.cap_s, delay_s * self._policy.factor)
        return delay_s * (1 + self._policy.jitter * self._random())

    def reset(self) -> None:
        """Start over from the first delay."""
        self._delay_s = self._policy.initial_s
