"""What positions are good for: heard exactly, no gap for a busy client, a cut socket not heard.

Not here: the agent (`talkers.py`), the phone (`node.py`). All is measured at the phone's ear.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass

from benchmarks.child import Child
from benchmarks.progress import Progress
from tests.support.faults import FaultProxy

SERVER_CORE, AGENT_CORE = 0, 1

INTERRUPTIONS = 500
AT_ONCE = 50
AFTER_S = 0.08
"""Sound within this time is the rest of what was cleared; the agent is quiet for as long."""
SAMPLES_PER_MS = 24

LEADS_MS = (40, 60, 120, 200)
BLOCKS_MS = (50, 100, 200)
BLOCKED_S = 12.0

CUTS = 40
CUT_EVERY_S = 0.5
FRAME_S = 0.020


@dataclass(frozen=True, slots=True)
class HeardErrors:
    """How far `Interruption.heard_ms` was from what reached the ear."""

    interruptions: int
    worst_ms: float
    mean_ms: float
    within_a_tick: float


@dataclass(frozen=True, slots=True)
class StallGaps:
    """What the caller heard of a blocked event loop."""

    block_ms: int
    lead_ms: int
    gaps_per_minute: float
    mean_gap_ms: float


@dataclass(frozen=True, slots=True)
class Outages:
    """What cut sockets cost: what the ear missed, and how long the link was away."""

    silence_ms: list[float]
    resumed_ms: list[float]


def measure_heard(progress: Progress) -> HeardErrors:
    """Interrupt an agent, and compare what it is told with what was heard."""
    errors_ms: list[float] = []
    with (
        Child("benchmarks.node", core=SERVER_CORE) as node,
        Child("benchmarks.talkers", (node.ask("url"),), core=AGENT_CORE) as agent,
    ):
        node.ask("ring_for_ear")
        begun_s = 0.0
        while len(errors_ms) < INTERRUPTIONS:
            called = agent.ask("interrupt", times=AT_ONCE)
            frames = node.ask("heard_samples")
            for called_s, heard_ms in called:
                ended_s = called_s + AFTER_S
                samples = sum(count for at_s, count in frames if begun_s < at_s <= ended_s)
                errors_ms.append(abs(heard_ms - samples / SAMPLES_PER_MS))
                begun_s = ended_s
            progress.note(f"{len(errors_ms)} of {INTERRUPTIONS} interruptions")
    return HeardErrors(
        interruptions=len(errors_ms),
        worst_ms=max(errors_ms),
        mean_ms=sum(errors_ms) / len(errors_ms),
        within_a_tick=sum(error <= FRAME_S * 1000 for error in errors_ms) / len(errors_ms),
    )


def measure_stalls(progress: Progress) -> list[StallGaps]:
    """Block the agent's event loop, with each lead fixed."""
    found: list[StallGaps] = []
    for lead_ms in LEADS_MS:
        for block_ms in BLOCKS_MS:
            with (
                Child("benchmarks.node", ("", str(lead_ms)), core=SERVER_CORE) as node,
                Child("benchmarks.talkers", (node.ask("url"),), core=AGENT_CORE) as agent,
            ):
                node.ask("ring_for_ear")
                lasted_s = agent.ask("block", block_ms=block_ms, seconds=BLOCKED_S)
                gaps = node.ask("gaps")
            progress.note(f"lead {lead_ms} ms, blocked {block_ms} ms: {gaps}")
            found.append(
                StallGaps(
                    block_ms=block_ms,
                    lead_ms=lead_ms,
                    gaps_per_minute=gaps["count"] * 60 / lasted_s,
                    mean_gap_ms=gaps["ms"] / gaps["count"] if gaps["count"] else 0.0,
                )
            )
    return found


def measure_outages(progress: Progress) -> Outages:
    """Cut the media socket while the agent talks."""
    return asyncio.run(_cut(progress))


async def _cut(progress: Progress) -> Outages:
    async with FaultProxy() as media:
        with Child("benchmarks.node", (media.url,), core=SERVER_CORE) as node:
            _, media_port = await asyncio.to_thread(node.ask, "ports")
            media.lead_to(media_port)
            url = await asyncio.to_thread(node.ask, "url")
            with Child("benchmarks.talkers", (url,), core=AGENT_CORE) as agent:
                await asyncio.to_thread(node.ask, "ring_for_ear")
                await asyncio.to_thread(agent.ask, "talk", seconds=CUTS * CUT_EVERY_S + 5)
                await asyncio.sleep(1.0)
                loop = asyncio.get_running_loop()
                cut_s: list[float] = []
                start_s = loop.time()
                for number in range(CUTS):
                    await asyncio.sleep(start_s + number * CUT_EVERY_S - loop.time())
                    cut_s.append(loop.time())
                    media.cut()
                    progress.note(f"{number + 1} of {CUTS} sockets cut")
                await asyncio.sleep(1.0)
                heard_s = await asyncio.to_thread(node.ask, "heard")
                resumed_ms = await asyncio.to_thread(agent.ask, "outages_ms")
    return Outages([_silence_ms(at_s, heard_s) for at_s in cut_s], resumed_ms)


def _silence_ms(cut_s: float, heard_s: list[float]) -> float:
    """Return the longest silence at the ear in the time after a cut, in whole frames."""
    times = [at_s for at_s in heard_s if cut_s - FRAME_S <= at_s <= cut_s + CUT_EVERY_S]
    longest_s = max((b - a for a, b in itertools.pairwise(times)), default=CUT_EVERY_S)
    return max(0.0, round((longest_s - FRAME_S) / FRAME_S)) * FRAME_S * 1000
