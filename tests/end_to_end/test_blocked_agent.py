"""An agent in a process of its own whose event loop is really blocked."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from telcoflow_sdk.playback import GapCause
from telcoflow_sdk.testing import Sandbox

AGENT = Path(__file__).with_name("blocked_agent.py")
BLOCK_MS, TIMES = 350, 3
"""Longer than any lead."""


@pytest.mark.slow
async def test_gaps_of_a_blocked_agent_are_its_own_and_both_sides_say_so() -> None:
    async with Sandbox() as sandbox:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(AGENT), sandbox.base_url, str(BLOCK_MS), str(TIMES)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        phone = await sandbox.dial()
        output, _ = await process.communicate()
        await phone.ended()

    told = json.loads(output)
    assert phone.report is not None
    assert told["gaps"] == phone.report.gap_causes
    assert told["gap_ms"] == phone.report.gap_ms
    # On a machine that is busy, other gaps may join them.
    assert told["gaps"][GapCause.CLIENT_LATE] >= TIMES
    assert GapCause.AGENT_SILENT not in told["gaps"]
    assert told["loop_lag_ms"] >= BLOCK_MS - 40
    assert phone.report.loop_lag_ms >= BLOCK_MS - 40
    assert phone.report.lead_ms > 60, "more is kept ahead of an agent that is late"
