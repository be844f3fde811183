"""The published client, unmodified, on our server: it answers, echoes, interrupts, ends calls."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_server.app import Server
from tests.support.server import CONNECTOR, KEY, Caller, noise, sandbox

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-published" / "bin" / "python"
AGENT = Path(__file__).with_name("published_agent.py")

pytestmark = [pytest.mark.stranger, pytest.mark.slow]


@asynccontextmanager
async def published_agent(server: Server, *tasks: str) -> AsyncIterator[asyncio.StreamReader]:
    """Run the client in a process and an environment of its own."""
    assert PYTHON.exists(), "run `make setup`: it installs the published client for this test"
    process = await asyncio.create_subprocess_exec(
        PYTHON,
        AGENT,
        f"ws://127.0.0.1:{server.control_port}",
        KEY,
        CONNECTOR,
        *tasks,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"joined\n"
        yield process.stdout
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def told(output: asyncio.StreamReader) -> dict[str, Any]:
    """Return what the client tells of its next call."""
    line = await output.readline()
    assert line, "the client died"
    fields: dict[str, Any] = json.loads(line)
    return fields


async def test_the_published_client_echoes_until_the_caller_hangs_up() -> None:
    said = noise(24_000)
    async with sandbox() as server, aiohttp.ClientSession() as http:
        async with published_agent(server, "echo") as output:
            caller = await Caller(server, http).dial(said, hang_up_after_ms=1500)
            report = await caller.ended()
            agent = await told(output)
        heard = await caller.recording("heard.wav")

    assert agent == {
        "from": "+15550100",
        "to": "+15550199",
        "answered": True,
        "ended": True,
        "terminated": True,
        "closed_reason": "CALL_TERMINATED",
    }
    assert report["end_reason"] == EndReason.CALLER_HUNG_UP
    assert np.array_equal(heard[heard != 0], said), "every sample came back, in order"


async def test_the_published_client_is_interrupted_and_its_tail_is_not_kept_back() -> None:
    async with sandbox() as server, aiohttp.ClientSession() as http:
        async with published_agent(server, "interrupt", "disconnect") as output:
            caller = await Caller(server, http).dial()
            report = await caller.ended()
            interrupted = await told(output)
            second = await Caller(server, http).dial()
            second_report = await second.ended()
            disconnected = await told(output)
        heard = await caller.recording("heard.wav")

    (clear,) = report["clears"]
    assert interrupted["cleared_bytes"] > 100_000
    assert interrupted["left_bytes"] == 0, "the goodbye's last 500 bytes left, too"
    assert interrupted["closed"] is True
    assert report["end_reason"] == EndReason.AGENT_CLOSED
    cleared_at = math.ceil(clear["at_ms"] / 20) * 480  # the frame that was sounding is heard
    speech = 1000 + np.arange(24_000) % 20_000
    goodbye = speech[:730]
    after = heard[cleared_at:]
    assert np.array_equal(after[after != 0], goodbye), "nothing of the old speech was heard"
    before = heard[:cleared_at]
    assert np.array_equal(before[before != 0], speech[: np.count_nonzero(before)])
    assert disconnected["disconnected"] is True
    assert second_report["end_reason"] == EndReason.AGENT_DISCONNECTED
