"""Silence inside an agent's utterances: where, how long, and whose fault.

Not here: how it is noticed (`playout.py`). Implements "Gaps" of docs/reference/wire-v2.md.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from telcoflow_sdk.protocol.commands import GapCause

CLIENT_LATE_MS = 20
"""A client that takes longer than a tick from credit to frame was busy with something else."""

MAX_GAPS_LISTED = 1_000
"""A summary's length; all gaps are counted."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Silence of one tick or more inside an utterance.

    Attributes:
        at_ms: When it began, on the call's time axis.
        ms: How long it was.
        cause: Whose fault.
    """

    at_ms: int
    ms: int
    cause: GapCause = GapCause.UNKNOWN


def cause_of(had_more: bool | None, delay_ms: int) -> GapCause:
    """Return whose fault it was that the queue ran dry.

    Args:
        had_more: What the last message before the silence said: whether more was queued behind
            it at the client. None: the protocol does not tell.
        delay_ms: Of the first message after it: from the credit to the frame.
    """
    if had_more is None:
        return GapCause.UNKNOWN
    if not had_more:
        return GapCause.AGENT_SILENT
    return GapCause.CLIENT_LATE if delay_ms > CLIENT_LATE_MS else GapCause.NETWORK_LATE


class GapLog:
    """The gaps of one call.

    Attributes:
        count: All of them; to be read only, like the others.
        total_ms: How long they were together.
        by_cause: How many of each cause.
        has_untold: Whether there was one since `take_untold`.
    """

    def __init__(self) -> None:
        self.count = 0
        self.total_ms = 0
        self.by_cause: Counter[GapCause] = Counter()
        self.has_untold = False
        self._last: deque[Gap] = deque(maxlen=MAX_GAPS_LISTED)
        self._untold: deque[Gap] = deque(maxlen=MAX_GAPS_LISTED)

    def add(self, gap: Gap) -> None:
        """Note a gap that is over."""
        self.count += 1
        self.total_ms += gap.ms
        self.by_cause[gap.cause] += 1
        self._last.append(gap)
        self._untold.append(gap)
        self.has_untold = True

    @property
    def listed(self) -> tuple[Gap, ...]:
        """The last `MAX_GAPS_LISTED`."""
        return tuple(self._last)

    @property
    def last(self) -> Gap | None:
        """The last one, if there was one."""
        return self._last[-1] if self._last else None

    def take_untold(self) -> tuple[Gap, ...]:
        """Return those since this was last asked, `MAX_GAPS_LISTED` at most."""
        untold = tuple(self._untold)
        self._untold.clear()
        self.has_untold = False
        return untold
