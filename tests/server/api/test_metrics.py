"""`/metrics` over a real socket: what a call, a refusal and a closed link add to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect

from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_server.app import Server
from tests.support.server import (
    HEADERS,
    Caller,
    RawAgent,
    RawClient,
    control_url,
    http_url,
    noise,
)

Samples = dict[str, float]


async def read(server: Server, http: aiohttp.ClientSession) -> Samples:
    """Return every sample as Prometheus would write it: name and labels, sorted."""
    async with http.get(http_url(server, "/metrics")) as response:
        assert response.status == 200
        assert response.content_type == "text/plain"
        text = await response.text()
    return {
        sample.name + "".join(f",{k}={v}" for k, v in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
async def call(
    server: Server, http: aiohttp.ClientSession
) -> AsyncIterator[tuple[Caller, RawAgent]]:
    """An answered call in which the agent says something."""
    async with RawClient.joined(server) as client:
        caller = await Caller(server, http).dial(noise(4800))
        async with RawAgent.on(await client.take_call()) as agent:
            agent.queue += noise(9600).tobytes()
            await agent.command("call.answer")
            await agent.hear("command_response")
            yield caller, agent


async def test_a_running_call_is_in_the_gauges(
    server: Server, http: aiohttp.ClientSession, call: tuple[Caller, RawAgent]
) -> None:
    samples = await read(server, http)

    assert samples["telcoflow_calls,state=ANSWERED"] == 1
    assert samples["telcoflow_links,kind=control"] == 1
    assert samples["telcoflow_links,kind=media"] == 1
    assert samples["telcoflow_recordings"] == 2
    assert samples["telcoflow_calls_ended_total,end_reason=caller_hung_up"] == 0


async def test_an_ended_call_adds_what_its_report_says(
    server: Server, http: aiohttp.ClientSession, call: tuple[Caller, RawAgent]
) -> None:
    caller, agent = call
    await agent.command("call.nonsense", "x")
    serving = asyncio.create_task(agent.serve())
    while agent.queue:
        await asyncio.wait([serving], timeout=0.02)
    during = await read(server, http)
    await caller.hang_up()
    report = await caller.ended()
    await serving

    samples = await read(server, http)

    assert samples["telcoflow_calls,state=ANSWERED"] == 0
    assert samples["telcoflow_calls_ended_total,end_reason=caller_hung_up"] == 1
    ended = [samples[f"telcoflow_calls_ended_total,end_reason={reason}"] for reason in EndReason]
    assert sum(ended) == 1
    assert samples["telcoflow_call_duration_seconds_count"] == 1
    duration_s = samples["telcoflow_call_duration_seconds_sum"]
    assert duration_s == pytest.approx(report["duration_ms"] / 1000)
    assert samples["telcoflow_frames_total,direction=to_agent"] == report["frames_to_agent"]
    assert samples["telcoflow_frames_total,direction=from_agent"] == report["frames_from_agent"]
    assert samples["telcoflow_gaps_total,cause=unknown"] == len(report["gaps"])
    assert samples["telcoflow_media_outages_total"] == report["outages"] == 0
    assert samples["telcoflow_agent_loop_lag_seconds_count"] == 0, "v1 does not tell"
    assert samples["telcoflow_lead_seconds_sum"] == pytest.approx(report["lead_ms"] / 1000)
    assert samples["telcoflow_prefill_seconds_sum"] == pytest.approx(report["prefill_ms"] / 1000)
    assert samples["telcoflow_link_closes_total,code=NORMAL,kind=media"] == 1
    assert samples["telcoflow_refusals_total,code=INVALID_COMMAND,port=media,via=link"] == 1
    assert 0 < during["telcoflow_frames_total,direction=to_agent"] <= report["frames_to_agent"]


async def test_ticks_are_counted_once_however_often_it_is_read(
    server: Server, http: aiohttp.ClientSession, call: tuple[Caller, RawAgent]
) -> None:
    first = await read(server, http)
    second = await read(server, http)
    caller, agent = call
    serving = asyncio.create_task(agent.serve())
    await caller.hang_up()
    report = await caller.ended()
    await serving

    third = await read(server, http)

    ticks = [one["telcoflow_tick_lateness_seconds_count"] for one in (first, second, third)]
    assert ticks == sorted(ticks)
    assert ticks[2] >= report["duration_ms"] / 20
    assert third["telcoflow_tick_lateness_seconds_bucket,le=+Inf"] == ticks[2]
    assert "telcoflow_skipped_ticks_total" in third


async def test_refusals_are_counted_by_code(server: Server, http: aiohttp.ClientSession) -> None:
    async with http.get(http_url(server, "/public/v1/sessions")) as response:
        assert response.status == 401
    for _ in range(2):
        async with http.get(http_url(server, "/nothing")) as response:
            assert response.status == 404
    media = f"http://127.0.0.1:{server.media_port}/v1/agent/calls/x"
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    async with http.get(media, headers=upgrade) as response:
        assert response.status == 403
    async with connect(control_url(server), additional_headers=HEADERS) as socket:
        await socket.send("nonsense")
        await socket.recv()

    samples = await read(server, http)

    assert {
        name.removeprefix("telcoflow_refusals_total,"): value
        for name, value in samples.items()
        if name.startswith("telcoflow_refusals_total")
    } == {
        "code=UNAUTHORIZED,port=control,via=http": 1,
        "code=NOT_FOUND,port=control,via=http": 2,
        "code=TOKEN_MISSING,port=media,via=http": 1,
        "code=MALFORMED_MESSAGE,port=control,via=link": 1,
    }
