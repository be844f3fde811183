"""An agent in a process of its own whose event loop is really blocked."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from telcoflow_sdk.playback import GapCause
from telcoflow_sdk.testing import LivePhone, Sandbox
from telcoflow_server.app import Server
from telcoflow_server.call.exchange import NewCall
from telcoflow_server.call.report import CallReport
from telcoflow_server.media.lead import LeadRange
from telcoflow_server.settings import SANDBOX_CONNECTOR, ServerSettings, Settings

AGENT = Path(__file__).with_name("blocked_agent.py")
BLOCK_MS, TIMES = 350, 3
"""Longer than any lead."""


async def run_agent(base_url: str, block_ms: int) -> dict[str, Any]:
    """Let the agent talk and be blocked; return what it was told of it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(AGENT), base_url, str(block_ms), str(TIMES)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    output, _ = await process.communicate()
    told: dict[str, Any] = json.loads(output)
    return told


@pytest.mark.slow
async def test_gaps_of_a_blocked_agent_are_its_own_and_both_sides_say_so() -> None:
    async with Sandbox() as sandbox:
        running = asyncio.create_task(run_agent(sandbox.base_url, BLOCK_MS))
        phone = await sandbox.dial()
        told = await running
        await phone.ended()

    assert phone.report is not None
    assert told["gaps"] == phone.report.gap_causes
    assert told["gap_ms"] == phone.report.gap_ms
    # On a machine that is busy, other gaps may join them.
    assert told["gaps"][GapCause.CLIENT_LATE] >= TIMES
    assert GapCause.AGENT_SILENT not in told["gaps"]
    assert told["loop_lag_ms"] >= BLOCK_MS - 40
    assert phone.report.loop_lag_ms >= BLOCK_MS - 40
    assert phone.report.lead_ms > 60, "more is kept ahead of an agent that is late"


@pytest.mark.long
async def test_a_loop_that_is_blocked_for_100_ms_is_not_heard_at_a_large_lead() -> None:
    """At 120 ms it is not heard either, but by a margin that a busy machine may take."""
    lead = LeadRange(start_ms=160, min_ms=160, max_ms=160)
    settings = Settings(server=ServerSettings(port=0), connectors=(SANDBOX_CONNECTOR,))
    server = Server(settings, lead=lead)
    await server.start()
    phone, reports = LivePhone(), list[CallReport]()
    server.exchange.on_report = reports.append
    call = NewCall(SANDBOX_CONNECTOR.connector_uuid, "", "", 0)
    server.exchange.place(phone.line, call)
    try:
        told = await run_agent(f"ws://127.0.0.1:{server.control_port}", 100)
        await phone.ended()
    finally:
        await server.stop()

    assert told["loop_lag_ms"] >= 60
    assert told["gaps"] == {}
    assert reports[0].gaps == ()
