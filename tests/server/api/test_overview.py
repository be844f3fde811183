"""The calls of this moment, and who may see them."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from telcoflow_server.app import Server
from telcoflow_server.settings import AdminSettings, ConnectorSettings, ServerSettings, Settings
from tests.support.server import (
    CONNECTOR,
    KEY,
    Caller,
    RawAgent,
    RawClient,
    http_url,
    noise,
    sandbox,
)

ADMIN_KEY = "an-admin-key-of-32-characters-xx"
SILENT_DB = -96
FORWARDED = {"X-Forwarded-For": "203.0.113.7"}


async def overview(server: Server, http: aiohttp.ClientSession) -> dict[str, Any]:
    async with http.get(http_url(server, "/admin/v1/calls")) as response:
        assert response.status == 200
        shown: dict[str, Any] = await response.json()
        return shown


async def test_shows_running_calls_and_the_last_that_ended(
    server: Server, http: aiohttp.ClientSession
) -> None:
    assert (await overview(server, http))["calls"] == []
    async with RawClient.joined(server) as client:
        caller = await Caller(server, http).dial(noise(4800))
        async with RawAgent.on(await client.take_call()) as agent:
            await agent.command("call.answer")
            await agent.hear("command_response")
            during = await overview(server, http)
            while during["calls"][0]["caller_db"] == SILENT_DB:  # up to the next tick
                during = await overview(server, http)
            serving = asyncio.create_task(agent.serve())
            await caller.hang_up()
            report = await caller.ended()
            await serving
    after = await overview(server, http)

    [call] = during["calls"]
    assert (call["call_id"], call["connector_uuid"]) == (caller.call_id, CONNECTOR)
    assert (call["state"], call["mode"], call["gaps"], call["clears"]) == ("ANSWERED", "", 0, 0)
    assert 0 <= call["since_ms"] <= call["duration_ms"] <= report["duration_ms"]
    assert call["lead_ms"] == report["lead_ms"]
    assert call["agent_db"] == SILENT_DB
    assert during["ended"] == []
    assert after["calls"] == []
    assert after["ended"] == [
        {
            "call_id": caller.call_id,
            "end_reason": "caller_hung_up",
            "duration_ms": report["duration_ms"],
            "gaps": 0,
            "gap_ms": 0,
        }
    ]
    assert after["skipped_ticks"] == 0
    assert after["is_draining"] is False


async def test_many_calls_are_all_shown(server: Server, http: aiohttp.ClientSession) -> None:
    callers = [await Caller(server, http).dial() for _ in range(70)]

    shown = (await overview(server, http))["calls"]

    assert [call["call_id"] for call in shown] == [caller.call_id for caller in callers]
    assert {call["state"] for call in shown} == {"PENDING"}


@pytest.mark.parametrize("path", ["/metrics", "/admin/v1/calls"])
async def test_other_machines_need_the_admin_key(http: aiohttp.ClientSession, path: str) -> None:
    settings = Settings(
        server=ServerSettings(port=0),
        connectors=(ConnectorSettings(connector_uuid=CONNECTOR, api_key=KEY),),
        admin=AdminSettings(key=ADMIN_KEY),
    )
    server = Server(settings)
    await server.start()

    async def status(headers: dict[str, str]) -> int:
        async with http.get(http_url(server, path), headers=headers) as response:
            return response.status

    try:
        good = {"Authorization": f"Bearer {ADMIN_KEY}"}
        assert await status({}) == 200, "from this machine"
        assert await status(FORWARDED) == 403, "a proxy on this machine is not"
        assert await status(FORWARDED | good) == 200
        assert await status(FORWARDED | {"Authorization": "Bearer wrong"}) == 403
        assert await status(FORWARDED | {"Authorization": "Bearer é"}) == 403
        assert await status(FORWARDED | {"x-api-key": KEY, "x-connector-uuid": CONNECTOR}) == 403
    finally:
        await server.stop()


async def test_without_an_admin_key_no_other_machine_gets_in(http: aiohttp.ClientSession) -> None:
    async with sandbox() as server:
        for authorization in ("Bearer None", "Bearer ", "Bearer sandbox"):
            headers = FORWARDED | {"Authorization": authorization}
            async with http.get(http_url(server, "/metrics"), headers=headers) as response:
                assert response.status == 403
                assert (await response.json())["code"] == "FORBIDDEN"
