"""Fifty calls at a time for ten minutes, faults included: memory and sockets must not grow.

Not here: how fast anything is. `make test-long`, or `python -m benchmarks.soak MINUTES`. Exits
with 1 when something grows.

Callers hang up at any time and others call. Every few seconds one of the faults of the fault
proxy befalls the control link or all media links at once.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from dataclasses import dataclass

from benchmarks.child import Child
from benchmarks.progress import Progress, console
from tests.support.faults import Fault, FaultProxy, begin

CALLS = 50
DEFAULT_MINUTES = 10.0
LONGEST_CALL_S = 20.0

FAULT_EVERY_S = 8.0
FAULT_LASTS_S = 3.0
SAMPLE_EVERY_S = 1.0

GROWTH_MB = 3.0
"""Allowed between the third quarter of the time and the last; before that, memory is still being
filled that is used again. A call left behind costs 30 kB in the SDK and 70 kB in the server, and
there are hundreds of them."""

END_S = LONGEST_CALL_S + 10.0
"""By then every call has ended, those with a dead link included."""
SPARE_FILES = 4
"""A link that is being opened or pinged."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at both processes."""

    server_mb: float
    agent_mb: float


async def soak(minutes: float, progress: Progress) -> list[str]:
    """Run; return what has grown, in words."""
    async with FaultProxy() as control, FaultProxy() as media:
        with Child("benchmarks.node", (media.url,), core=0) as node:
            control_port, media_port = await asyncio.to_thread(node.ask, "ports")
            control.lead_to(control_port)
            media.lead_to(media_port)
            with Child("benchmarks.talkers", (control.url,), core=1) as agent:
                await asyncio.to_thread(agent.ask, "calls_taken")
                idle_files = node.open_files(), agent.open_files()
                befalling = asyncio.create_task(_befall((media, control, media)))
                samples = await _samples(node, agent, minutes * 60, progress)
                befalling.cancel()
                control.heal()
                media.heal()
                progress.note("waiting for the last calls to end")
                await asyncio.sleep(END_S)
                left = await asyncio.to_thread(node.ask, "top_up", calls=0, longest_s=0)
                taken = await asyncio.to_thread(agent.ask, "calls_taken")
                files = node.open_files(), agent.open_files()
    console.print(f"{taken} calls taken")
    problems = [f"{left} calls never ended"] if left else []
    for name, before, after in zip(("server", "agent"), idle_files, files, strict=True):
        if after > before + SPARE_FILES:
            problems.append(f"the {name} has {after} open files, {before} when idle")
    return problems + _growth(samples)


async def _samples(node: Child, agent: Child, seconds: float, progress: Progress) -> list[Sample]:
    samples: list[Sample] = []
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        running = await asyncio.to_thread(node.ask, "top_up", calls=CALLS, longest_s=LONGEST_CALL_S)
        samples.append(Sample(node.memory_bytes() / 1e6, agent.memory_bytes() / 1e6))
        last = samples[-1]
        progress.note(
            f"{end_s - time.monotonic():.0f} s left, {running} calls, "
            f"server {last.server_mb:.1f} MB, agent {last.agent_mb:.1f} MB"
        )
        await asyncio.sleep(SAMPLE_EVERY_S)
    return samples


async def _befall(lines: tuple[FaultProxy, ...]) -> None:
    """Let every fault befall every line, in turn, for ever."""
    for line, fault in itertools.cycle(itertools.product(lines, Fault)):
        await asyncio.sleep(FAULT_EVERY_S - FAULT_LASTS_S)
        begin(fault, line)
        await asyncio.sleep(FAULT_LASTS_S)
        line.heal()


def _growth(samples: list[Sample]) -> list[str]:
    quarter = len(samples) // 4
    problems: list[str] = []
    for name in ("server", "agent"):
        values = [getattr(sample, f"{name}_mb") for sample in samples]
        before = sum(values[-2 * quarter : -quarter]) / quarter
        after = sum(values[-quarter:]) / quarter
        console.print(f"{name}: {before:.1f} MB in the third quarter, {after:.1f} MB in the last")
        if after > before + GROWTH_MB:
            problems.append(f"the {name} has grown by {after - before:.1f} MB")
    return problems


def main() -> None:
    """Run for as long as the argument says."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_MINUTES
    progress = Progress(f"{CALLS} calls for {minutes:g} minutes")
    with progress.shown():
        problems = asyncio.run(soak(minutes, progress))
    for problem in problems:
        console.print(problem)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
