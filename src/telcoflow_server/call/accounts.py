"""What all calls of a node come to: totals that only grow, and distributions, for metrics.

Not here: one call's numbers (`report.py`), how totals are shown (`api/metrics.py`).
Implements docs/reference/metrics.md. Nothing is counted on the tick: a report is taken into
account when its call ends, and in between when somebody looks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from telcoflow_sdk.protocol.codes import EndReason, ErrorCode
from telcoflow_sdk.protocol.commands import GapCause
from telcoflow_server.call.report import CallReport, Percentiles

DURATION_BOUNDS_S = (1, 5, 15, 30, 60, 180, 300, 600, 1800, 3600, 14_400)
"""A wrong number, a question, a conversation, up to the longest call a node allows by default."""
LAG_BOUNDS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
"""From a busy event loop to one that misses a second of the call; a frame lasts 0.02."""
AHEAD_BOUNDS_S = (0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.16, 0.2)
"""Lead and prefill move in steps of 20 ms, up to 200 ms."""


class Distribution:
    """How often values fell below each of some bounds.

    Args:
        bounds: Upper ends of the buckets, rising; a last one without end is added.

    Attributes:
        bounds: As given.
        total: Sum of all values.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.total = 0.0
        self._counts = np.zeros(len(bounds) + 1, np.int64)

    def add(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def add_all(self, values: ArrayLike) -> None:
        """Count many values at once."""
        added = np.asarray(values, np.float64)
        buckets = np.searchsorted(self.bounds, added)
        self._counts += np.bincount(buckets, minlength=len(self._counts))
        self.total += float(added.sum())

    def cumulative(self) -> list[tuple[float, int]]:
        """Return each bound, the last infinite, with the number of values up to it."""
        counts = np.cumsum(self._counts).tolist()
        return list(zip((*self.bounds, float("inf")), counts, strict=True))


class Accounts:
    """The sums of all calls, running and ended.

    Attributes:
        ended: Calls by end reason.
        gaps, gaps_ms: Gaps by cause.
        outages, outage_ms: Losses of agents' media links that calls waited out, or tried to.
        refusals: What agents asked for in vain, by code.
        durations_s, leads_s, prefills_s: Of ended calls.
        loop_lags_s: The longest in each ended call whose agent tells (v2).
    """

    def __init__(self) -> None:
        self.ended: Counter[EndReason] = Counter()
        self.gaps = Counter(dict.fromkeys(GapCause, 0))
        self.gaps_ms = Counter(dict.fromkeys(GapCause, 0))
        self.outages = 0
        self.outage_ms = 0
        self.refusals: Counter[ErrorCode] = Counter()
        self.frames_to_agent = 0
        self.frames_from_agent = 0
        self.clears = 0
        self.cleared_ms = 0.0
        self.discarded_ms = 0.0
        self.unread_ms = 0.0
        self.durations_s = Distribution(DURATION_BOUNDS_S)
        self.leads_s = Distribution(AHEAD_BOUNDS_S)
        self.prefills_s = Distribution(AHEAD_BOUNDS_S)
        self.loop_lags_s = Distribution(LAG_BOUNDS_S)
        self._last: dict[str, CallReport] = {}

    def add(self, report: CallReport) -> None:
        """Take into account what a call did since its last report; the final one comes once."""
        before = self._last.pop(report.call_id, _NOTHING)
        self._add_since(before, report)
        if report.end_reason is None:
            self._last[report.call_id] = report
            return
        self.ended[report.end_reason] += 1
        self.durations_s.add(report.duration_ms / 1000)
        if report.answered:
            self.leads_s.add(report.lead_ms / 1000)
            self.prefills_s.add(report.prefill_ms / 1000)
        if report.protocol >= 2:  # v1 does not tell
            self.loop_lags_s.add(report.loop_lag_ms / 1000)

    def _add_since(self, before: CallReport, now: CallReport) -> None:
        self.gaps.update(now.gap_causes)
        self.gaps.subtract(before.gap_causes)
        # A report lists the last thousand gaps; of more between two looks the length is not known.
        new = now.gap_count - before.gap_count
        for gap in now.gaps[-new:] if new else ():
            self.gaps_ms[gap.cause] += gap.ms
        self.outages += now.outages - before.outages
        self.outage_ms += now.outage_ms - before.outage_ms
        self.refusals.update(now.refusals)
        self.refusals.subtract(before.refusals)
        self.frames_to_agent += now.frames_to_agent - before.frames_to_agent
        self.frames_from_agent += now.frames_from_agent - before.frames_from_agent
        self.clears += len(now.clears) - len(before.clears)
        self.cleared_ms += _cleared_ms(now) - _cleared_ms(before)
        self.discarded_ms += now.discarded_ms - before.discarded_ms
        self.unread_ms += now.unread_ms - before.unread_ms


def _cleared_ms(report: CallReport) -> float:
    return sum(clear.dropped_ms for clear in report.clears)


_NOTHING = CallReport(
    call_id="",
    answered=False,
    states=(),
    duration_ms=0,
    gaps=(),
    clears=(),
    tick_lateness_ms=Percentiles(0.0, 0.0),
    frames_to_agent=0,
    frames_from_agent=0,
    prefill_ms=0.0,
    lead_ms=0.0,
    end_reason=None,
)
