"""How long the agent is still heard after it called `interrupt`.

Not here: the agent (`talkers.py`), the phone (`node.py`). From the call of the method to the end
of the last frame with sound at the phone's ear; both processes read the same CLOCK_MONOTONIC.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from benchmarks.child import Child
from benchmarks.numbers import percentile
from benchmarks.progress import Progress

SERVER_CORE, AGENT_CORE = 0, 1

INTERRUPTIONS = 200
AT_ONCE = 20
"""Interruptions between two signs of progress."""

FRAME_S = 0.020
AFTER_S = 0.08
"""Sound within this time is the rest of what was cleared; the agent is quiet for as long."""


@dataclass(frozen=True, slots=True)
class StopTime:
    """Milliseconds over `INTERRUPTIONS`, with so many calls running."""

    calls: int
    p50_ms: float
    p99_ms: float
    worst_ms: float


def measure_stop(calls: int, progress: Progress) -> StopTime:
    """Interrupt an agent while other calls run."""
    with (
        Child("benchmarks.node", core=SERVER_CORE) as node,
        Child("benchmarks.talkers", (node.ask("url"),), core=AGENT_CORE) as agent,
    ):
        node.ask("ring_for_ear")
        node.ask("raise_to", calls=calls)
        stopped_ms: list[float] = []
        while len(stopped_ms) < INTERRUPTIONS:
            called = agent.ask("interrupt", times=AT_ONCE)
            heard_s = node.ask("heard")
            stopped_ms += [_stop_s(at_s, heard_s) * 1000 for at_s, _ in called]
            progress.note(f"{len(stopped_ms)} of {INTERRUPTIONS} interruptions, {calls} calls")
        return StopTime(
            calls, percentile(stopped_ms, 50), percentile(stopped_ms, 99), max(stopped_ms)
        )


def _stop_s(called_s: float, heard_s: list[float]) -> float:
    """Return how long after a call of the method the last sound ended.

    Args:
        called_s: When the method was called.
        heard_s: When frames with sound reached the ear, in order.
    """
    last = bisect_right(heard_s, called_s + AFTER_S) - 1
    assert last >= 0, "the agent was heard before it was interrupted"
    return max(0.0, heard_s[last] + FRAME_S - called_s)
