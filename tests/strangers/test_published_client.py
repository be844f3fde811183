"""The published client, unmodified, on our server: it answers, echoes, interrupts, ends calls."""

from __future__ import annotations

import asyncio
import io
import json
import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_server.app import Server
from tests.support.server import (
    CONNECTOR,
    HEADERS,
    KEY,
    Caller,
    http_url,
    noise,
    sandbox,
    wav_bytes,
)
from tests.support.tls import Trust, running

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-published" / "bin" / "python"
AGENT = Path(__file__).with_name("published_agent.py")

pytestmark = [pytest.mark.stranger, pytest.mark.slow]


@asynccontextmanager
async def published_agent(
    server: Server, *tasks: str, trust: Trust | None = None
) -> AsyncIterator[asyncio.StreamReader]:
    """Run the client in a process and an environment of its own; with `trust`, over TLS."""
    assert PYTHON.exists(), "run `make setup`: it installs the published client for this test"
    who, variables = (KEY, CONNECTOR), dict(os.environ)
    if trust is not None:
        who = ("", f"{trust.agent.cert_file}:{trust.agent.key_file}")
        variables["SSL_CERT_FILE"] = str(trust.authority.ca_file)  # its only way to trust ours
    process = await asyncio.create_subprocess_exec(
        PYTHON,
        AGENT,
        f"{'ws' if trust is None else 'wss'}://127.0.0.1:{server.control_port}",
        *who,
        *tasks,
        env=variables,
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
        "remote": "+15550100",
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


async def test_the_published_client_holds_a_conference_and_chooses_who_hears_it() -> None:
    async with sandbox() as server, aiohttp.ClientSession() as http:
        async with published_agent(server, "conference") as output:
            caller = await Caller(server, http).dial(
                callee={"after_ms": 100}, hang_up_after_ms=9000
            )
            report = await caller.ended()
            agent = await told(output)
        heard = await caller.recording("heard.wav")
        callee_heard = await caller.recording("callee-heard.wav")

    done = {"connected", "whisper", "barge", "spy", "disconnected", "answered", "terminated"}
    assert {name for name in agent if agent[name] is True} == done
    assert report["end_reason"] == EndReason.AGENT_DISCONNECTED
    assert [entered["mode"] for entered in report["modes"]][-3:] == ["whisper", "barge", "spy"]
    connected = next(one["at_ms"] for one in report["states"] if one["name"] == "CONNECTED") * 24
    values, counts = np.unique(heard[connected:], return_counts=True)
    assert dict(zip(values, counts, strict=True))[1000] == 4800, "all of the barge"
    assert set(values) == {0, 1000}, "and not a sample more"
    assert set(callee_heard) == {0, 1000, 2000}
    assert np.count_nonzero(callee_heard == 2000) == 4800, "all of the whisper"


async def test_the_published_client_hears_that_the_callee_does_not_answer() -> None:
    async with (
        sandbox() as server,
        aiohttp.ClientSession() as http,
        published_agent(server, "nobody_there") as output,
    ):
        caller = await Caller(server, http).dial(callee={"behaviour": "no-answer"})
        report = await caller.ended()
        agent = await told(output)

    assert (agent["connected"], agent["code"]) == (False, "CALL_UNANSWERED")
    assert agent["closed"] is True
    assert report["end_reason"] == EndReason.AGENT_CLOSED
    assert report["refusals"] == {"CALL_UNANSWERED": 1}


async def test_the_published_client_hears_each_party_by_itself() -> None:
    says = [np.full(24_000 * 5, value, np.int16) for value in (1000, 300)]
    callee = {"after_ms": 100, "plays": [{"sound": 1}], "hang_up_after_ms": 1000}
    async with (
        sandbox() as server,
        aiohttp.ClientSession() as http,
        published_agent(server, "listen") as output,
    ):
        caller = await Caller(server, http).dial(*says, plays=[{"sound": 0}], callee=callee)
        await caller.ended()
        agent = await told(output)

    # The caller is heard before the callee has come.
    assert agent["heard"] == [[1000, 1300], [1000], [0, 300]]


async def test_the_published_client_calls_a_number() -> None:
    said = noise(24_000 // 2)
    phone = {"number": "+15550123", "after_ms": 200, "plays": [{"sound": 0}]}
    form = aiohttp.FormData({"phone": json.dumps(phone | {"hang_up_after_ms": 1000})})
    form.add_field("sound", io.BytesIO(wav_bytes(said)), content_type="audio/wav")
    async with sandbox() as server, aiohttp.ClientSession(headers=HEADERS) as http:
        async with http.post(http_url(server, "/sandbox/v1/phones"), data=form) as response:
            assert response.status == 201, await response.text()
        async with published_agent(server, "+15550123") as output:
            agent = await told(output)
        async with http.get(http_url(server, "/sandbox/v1/calls")) as response:
            (call,) = (await response.json())["items"]
        caller = Caller(server, http)
        caller.call_id = call["call_id"]
        heard = await caller.recording("heard.wav")

    assert agent["remote"] == agent["to"] == "+15550123"
    assert agent["answered"] is agent["terminated"] is True
    assert (call["direction"], call["end_reason"]) == ("outbound", EndReason.CALLER_HUNG_UP)
    assert np.array_equal(heard[heard != 0], said), "the echo of what the person said"


async def test_the_published_client_shows_its_certificate_on_the_control_link_only(
    tmp_path: Path,
) -> None:
    trust = Trust(tmp_path)
    async with (
        running(trust.settings()) as server,
        trust.http(server, trust.agent) as http,
        published_agent(server, "disconnect", trust=trust) as output,
    ):
        form = aiohttp.FormData()
        form.add_field("script", "{}", content_type="application/json")
        async with http.post("/sandbox/v1/calls", data=form) as response:
            assert response.status == 201
        agent = await told(output)

    assert agent["answered"] is True
    assert agent["disconnected"] is True
