"""How much a peer may send before its link is closed.

Not here: what the messages mean. One budget per link, control or media; implements the limits of
docs/reference/wire.md §4.
"""

from __future__ import annotations

from telcoflow_sdk.protocol.codes import CloseCode

MALFORMED_MESSAGES_ALLOWED = 20
"""A client with a bug gets that many answers with a code; one that goes on is cut off."""


class LinkBudget:
    """Counts a link's messages against a rate (a token bucket that holds one second's worth).

    Args:
        messages_per_second: The rate, and the largest burst.
    """

    __slots__ = ("_malformed", "_rate", "_tokens", "_updated_s")

    def __init__(self, messages_per_second: float) -> None:
        self._rate = messages_per_second
        self._tokens = messages_per_second
        self._updated_s = 0.0
        self._malformed = 0

    def spend(self, now_s: float) -> CloseCode | None:
        """Count one message; return the code to close the link with, or None to go on.

        Args:
            now_s: Monotonic time, seconds.
        """
        tokens = self._tokens + (now_s - self._updated_s) * self._rate
        if tokens > self._rate:
            tokens = self._rate
        self._updated_s = now_s
        if tokens < 1:
            self._tokens = tokens
            return CloseCode.FLOOD
        self._tokens = tokens - 1
        return None

    def malformed(self) -> CloseCode | None:
        """Count one malformed message; return the code to close the link with, or None."""
        self._malformed += 1
        if self._malformed > MALFORMED_MESSAGES_ALLOWED:
            return CloseCode.BAD_MESSAGES
        return None
