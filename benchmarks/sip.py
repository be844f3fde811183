"""How many calls of SIP phones with an agent each one core carries, and where its time goes.

Not here: the server (`sip_node.py`), its phones (`sip_callers.py`) and agents (`agents.py`). The
server has the first core, its SIP process too; phones and agents have the second. What sends their
packets is ours: sipp needs more than a core for so many calls.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from benchmarks.child import Child
from benchmarks.numbers import percentile
from benchmarks.progress import Progress
from benchmarks.server import (
    AGENT_CORE,
    DISTURBED,
    DISTURBED_TRIES,
    LATE_MS,
    LEAST_STEP,
    MEASURE_S,
    PROFILE_S,
    SERVER_CORE,
    STRIDE,
    TRIES,
)

FIRST_CALLS = 30
CLICKS = 40

SETTLE_S = 3.0
"""Jitter buffers find their depth, and the calls' beginnings are over."""

PROFILED_SHARE = 1 / 3
"""Of the core: enough that what the calls cost is seen, and room for what profiling costs."""

MISSING = 0.001
"""So many packets not there in time are the load's fault, which has to share its core."""


@dataclass(frozen=True, slots=True)
class SipCapacity:
    """What the server can do.

    Attributes:
        calls: The most whose p99 tick lateness stayed within `LATE_MS`.
        p50_ms: Tick lateness with so many.
        p99_ms: Likewise.
        cpu_percent: Of the core, per call, with so many; without the SIP process, which does
            nothing then.
        memory_kb: Per call.
        missing: The share of packets that were not there when they were due.
        setup_p50_ms: From INVITE to 200, an agent's answer included, calls one after another.
        setup_p99_ms: Likewise.
        delay_ms: From the phone to the agent and back, without the jitter buffer, with one call.
        depth_ms: Of the jitter buffer meanwhile.
        python_calls: Python functions called per call and tick, with fewer calls.
        profile: Function and share of the processor time, likewise.
    """

    calls: int
    p50_ms: float
    p99_ms: float
    cpu_percent: float
    memory_kb: float
    missing: float
    setup_p50_ms: float
    setup_p99_ms: float
    delay_ms: float
    depth_ms: float
    python_calls: float
    profile: list[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class _Step:
    p50_ms: float
    p99_ms: float
    core_share: float
    disturbed_share: float
    missing: float

    @property
    def is_in_time(self) -> bool:
        return self.p99_ms <= LATE_MS and self.missing <= MISSING


def measure_sip(progress: Progress) -> SipCapacity:
    """Raise calls until ticks are late, or what phones say is."""
    with Child("benchmarks.sip_node", core=SERVER_CORE) as node:
        host, port = node.ask("sip_address")
        with (
            Child("benchmarks.agents", (node.ask("url"), "2"), core=AGENT_CORE),
            Child("benchmarks.sip_callers", (host, str(port)), core=AGENT_CORE) as callers,
        ):
            return _raise(node, callers, progress)


def _raise(node: Child, callers: Child, progress: Progress) -> SipCapacity:
    empty_bytes = node.memory_bytes()
    calls, best = FIRST_CALLS, None
    profile: dict[str, Any] = {}
    setup_ms: list[float] = []
    echo_ms = callers.ask("echo_delays", clicks=CLICKS)
    depth_ms = node.ask("media")["depth_ms"]
    while True:
        setup_ms += callers.ask("raise_to", calls=calls)
        time.sleep(SETTLE_S)
        step = _best_of_tries(node, calls, progress)
        if not step.is_in_time:
            break
        best = (calls, step, (node.memory_bytes() - empty_bytes) / calls / 1000)
        full = calls / step.core_share
        if not profile and step.core_share > PROFILED_SHARE:
            profile = node.ask("profile", seconds=PROFILE_S)
        calls += round(max(LEAST_STEP * calls, STRIDE * (full - calls)))
    assert best is not None, f"the server cannot carry {FIRST_CALLS} calls"
    calls, step, memory_kb = best
    return SipCapacity(
        calls=calls,
        p50_ms=step.p50_ms,
        p99_ms=step.p99_ms,
        cpu_percent=step.core_share / calls * 100,
        memory_kb=memory_kb,
        missing=step.missing,
        setup_p50_ms=percentile(setup_ms, 50),
        setup_p99_ms=percentile(setup_ms, 99),
        delay_ms=percentile(echo_ms, 50) - depth_ms,
        depth_ms=depth_ms,
        python_calls=profile["python_calls"],
        profile=profile["shares"],
    )


def _best_of_tries(node: Child, calls: int, progress: Progress) -> _Step:
    """Measure; again if ticks were late."""
    bad: list[_Step] = []
    disturbed: list[_Step] = []
    while len(bad) < TRIES and len(disturbed) < DISTURBED_TRIES:
        step = _try(node, calls, progress)
        if step.is_in_time:
            return step
        (disturbed if step.disturbed_share > DISTURBED else bad).append(step)
    return min(bad or disturbed, key=lambda step: step.p99_ms)


def _try(node: Child, calls: int, progress: Progress) -> _Step:
    node.ask("lateness")
    before = node.ask("media")
    cpu_s, waited_s, started_s = node.cpu_s(), node.waited_s(), time.monotonic()
    time.sleep(MEASURE_S)
    passed_s = time.monotonic() - started_s
    share, disturbed = (node.cpu_s() - cpu_s) / passed_s, (node.waited_s() - waited_s) / passed_s
    late, after = node.ask("lateness"), node.ask("media")
    received = after["received"] - before["received"]
    missing = max(0, after["missing"] - before["missing"]) / max(1, received)
    step = _Step(late["p50_ms"], late["p99_ms"], share, disturbed, missing)
    progress.note(
        f"{calls} calls: ticks {step.p99_ms:.2f} ms late at p99, {share:.0%} of the core, "
        f"{missing:.2%} of packets missing, disturbed {disturbed:.1%}"
    )
    return step
