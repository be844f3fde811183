"""Simulated phones that are called, over real sockets: connect, calls of agents, listings."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import aiohttp
import numpy as np
import pytest

from telcoflow_sdk.protocol.codes import EndReason, ErrorCode
from telcoflow_server.api import sandbox as sandbox_module
from telcoflow_server.app import Server
from tests.support.server import (
    HEADERS,
    OTHER_HEADERS,
    Caller,
    RawAgent,
    RawClient,
    http_url,
    noise,
    wav_bytes,
)

NUMBER = "+15550123"
PHONES = "/sandbox/v1/phones"
CALLS = "/sandbox/v1/calls"


async def get(
    http: aiohttp.ClientSession, server: Server, path: str, headers: dict[str, str] = HEADERS
) -> tuple[int, dict[str, Any]]:
    async with http.get(http_url(server, path), headers=headers) as response:
        return response.status, await response.json()


async def register(
    http: aiohttp.ClientSession, server: Server, phone: object, *sounds: bytes
) -> tuple[int, dict[str, Any]]:
    """Say how a number behaves, as a form."""
    form = aiohttp.FormData()
    form.add_field("phone", json.dumps(phone), content_type="application/json")
    for sound in sounds:
        form.add_field("sound", io.BytesIO(sound), content_type="audio/wav")
    async with http.post(http_url(server, PHONES), data=form, headers=HEADERS) as response:
        return response.status, await response.json()


async def call_out(client: RawClient, number: str = NUMBER) -> dict[str, Any]:
    """Let a client call a number; return its `call.in`."""
    await client.say(
        type="session.create",
        channel="TELCO",
        remoteAddress=number,
        reqId="create",
        data={"ringTimeSeconds": 5},
    )
    session_id = (await client.hear("response"))["content"]["sessionId"]
    await client.say(type="session.open", sessionId=session_id, reqId="open")
    await client.hear("response")
    await client.say(type="session.ready", sessionId=session_id)
    return await client.hear("call.in")


async def test_connected_people_hear_each_other_and_are_recorded(
    server: Server, http: aiohttp.ClientSession
) -> None:
    said, answered = noise(24_000 // 2), noise(24_000 // 4, seed=2)
    callee = {"after_ms": 60, "plays": [{"sound": 1}], "hang_up_after_ms": 800}
    async with RawClient.joined(server) as client:
        caller = await Caller(server, http).dial(
            said, answered, plays=[{"sound": 0}], callee=callee
        )
        watching = asyncio.create_task(caller.events())
        async with RawAgent.on(await client.take_call()) as agent:
            await agent.command("call.connect")
            await agent.hear("command_response")
            await agent.command("agent.spy")
            await agent.serve()
        lines = await watching

    report = lines[-1]["report"]
    assert [state["name"] for state in report["states"]] == ["PENDING", "CONNECTED", "DISCONNECTED"]
    assert report["end_reason"] == EndReason.CALLEE_HUNG_UP
    assert report["modes"][-1]["mode"] == "spy"
    assert lines[0]["mode"] is lines[0]["callee_spoken_db"] is None
    assert ("CONNECTED", "spy") in [(line.get("state"), line.get("mode")) for line in lines]
    assert any((line.get("callee_spoken_db") or -96) > -30 for line in lines)
    connected = report["states"][1]["at_ms"] * 24
    heard = await caller.recording("heard.wav")
    callee_heard = await caller.recording("callee-heard.wav")
    assert len(heard) == len(callee_heard) == report["duration_ms"] * 24
    assert np.array_equal(heard[connected : connected + len(answered)], answered)
    assert np.array_equal(callee_heard[connected : connected + len(said)], said)
    assert not callee_heard[:connected].any()


async def test_a_callee_who_never_answered_heard_nothing(
    server: Server, http: aiohttp.ClientSession
) -> None:
    caller = await Caller(server, http).dial(callee={"behaviour": "busy", "after_ms": 0})
    async with (
        RawClient.joined(server) as client,
        RawAgent.on(await client.take_call()) as agent,
    ):
        await agent.command("call.connect")
        response = await agent.hear("command_response")
        await caller.hang_up()
        await agent.serve()

    await caller.ended()
    status, body = await get(http, server, f"{CALLS}/{caller.call_id}/callee-heard.wav")
    assert response["error_code"] == ErrorCode.CALL_BUSY
    assert (status, body["code"]) == (404, ErrorCode.NOT_FOUND)
    assert "never answered" in body["message"]


async def test_an_agent_calls_a_registered_phone(
    server: Server, http: aiohttp.ClientSession
) -> None:
    said, answered = noise(24_000 // 4), noise(24_000 // 4, seed=2)
    phone = {"number": NUMBER, "after_ms": 40, "plays": [{"sound": 0}], "hang_up_after_ms": 600}
    status, body = await register(http, server, phone, wav_bytes(said))
    assert (status, body) == (201, {"number": NUMBER})

    async with RawClient.joined(server) as client:
        call_in = await call_out(client)
        _, listed = await get(http, server, CALLS)
        async with RawAgent.on(call_in) as agent:
            agent.queue += answered.tobytes()
            await agent.command("call.answer")
            await agent.serve()

    (item,) = listed["items"]
    call_id = item["call_id"]
    assert item == {
        "call_id": call_id,
        "direction": "outbound",
        "from": "",
        "to": NUMBER,
        "state": "PENDING",
        "duration_ms": item["duration_ms"],
        "end_reason": None,
    }
    assert agent.messages[0]["data"]["event"] == "call.progress"
    caller = Caller(server, http)
    caller.call_id = call_id
    report = await caller.ended()
    assert [state["name"] for state in report["states"]] == ["PENDING", "ANSWERED", "DISCONNECTED"]
    assert report["end_reason"] == EndReason.CALLER_HUNG_UP
    heard, both = await caller.recording("heard.wav"), await caller.recording("call.wav")
    assert len(heard) == len(both) == report["duration_ms"] * 24
    assert np.array_equal(heard[heard != 0], answered)
    assert np.array_equal(both[:, 0][both[:, 0] != 0], said)


async def test_a_call_that_rings_can_be_watched_and_declined(
    server: Server, http: aiohttp.ClientSession
) -> None:
    async with http.post(
        http_url(server, PHONES), json={"number": NUMBER, "behaviour": "no-answer"}, headers=HEADERS
    ) as response:
        assert response.status == 201, await response.text()
    async with RawClient.joined(server) as client:
        async with RawAgent.on(await call_out(client)) as agent:
            await agent.command("call.answer")
            (item,) = (await get(http, server, CALLS))[1]["items"]
            caller = Caller(server, http)
            caller.call_id = item["call_id"]
            while not agent.messages:
                await agent.handle(await agent.socket.recv())
            watching = asyncio.create_task(caller.events())
            await caller.hang_up()
            response_data = await agent.hear("command_response")
            await agent.serve()
        lines = await watching

    assert response_data["error_code"] == ErrorCode.CALL_DECLINED
    assert lines[-1]["report"]["end_reason"] == EndReason.CALLEE_DECLINED
    assert (await get(http, server, f"{CALLS}/{caller.call_id}/heard.wav"))[0] == 404


async def test_calls_are_listed_newest_first_and_no_more_than_fit(
    server: Server, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox_module, "LISTED_CALLS", 2)
    callers = [await Caller(server, http).dial(**{"from": f"+1{n}"}) for n in range(3)]
    await callers[2].hang_up()

    _, listed = await get(http, server, CALLS)
    _, foreign = await get(http, server, CALLS, OTHER_HEADERS)

    assert foreign == {"items": []}
    assert [(item["from"], item["direction"], item["end_reason"]) for item in listed["items"]] == [
        ("+12", "inbound", EndReason.CALLER_HUNG_UP),
        ("+11", "inbound", None),
    ]


@pytest.mark.parametrize("path", [CALLS, f"{CALLS}/x/callee-heard.wav"])
async def test_what_is_new_needs_a_key_too(
    server: Server, http: aiohttp.ClientSession, path: str
) -> None:
    status, body = await get(http, server, path, {})

    assert (status, body["code"]) == (401, ErrorCode.UNAUTHORIZED)


@pytest.mark.parametrize(
    ("phone", "says"),
    [
        ({}, "number"),
        ({"number": ""}, "cannot be dialled"),
        ({"number": "call me"}, "digits"),
        ({"number": NUMBER, "behaviour": "sleep"}, "answer, busy, decline, no-answer"),
        ({"number": NUMBER, "after_ms": -1}, "after_ms is -1; it must be 0 or more"),
        ({"number": NUMBER, "after_ms": "soon"}, "after_ms"),
        ({"number": NUMBER, "hang_up_after_ms": -2}, "hang_up_after_ms is -2"),
        ({"number": NUMBER, "plays": [{"sound": 1}]}, "plays[0] names sound 1, but 1 were"),
        ({"number": NUMBER, "plays": [{"sound": 0, "at_ms": -3}]}, "plays[0].at_ms is -3"),
        ({"number": NUMBER, "behavior": "busy"}, "behavior"),
        ([], "phone"),
    ],
)
async def test_a_phone_that_cannot_be_is_explained(
    server: Server, http: aiohttp.ClientSession, phone: object, says: str
) -> None:
    status, body = await register(http, server, phone, wav_bytes(noise(480)))

    assert (status, body["code"]) == (400, ErrorCode.INVALID_REQUEST)
    assert says in body["message"]


@pytest.mark.parametrize(
    ("callee", "says"),
    [
        ({"behaviour": "sleep"}, "callee.behaviour is 'sleep'; it is one of answer, busy"),
        ({"after_ms": -1}, "callee.after_ms is -1"),
        ({"hang_up_after_ms": -1}, "callee.hang_up_after_ms is -1"),
        ({"plays": [{"sound": 0}]}, "callee.plays[0] names sound 0, but 0 were uploaded"),
        ({"number": "1"}, "number"),
        ("busy", "callee"),
    ],
)
async def test_a_callee_that_cannot_be_is_explained(
    server: Server, http: aiohttp.ClientSession, callee: object, says: str
) -> None:
    form = aiohttp.FormData({"script": json.dumps({"callee": callee})}, default_to_multipart=True)
    async with http.post(http_url(server, CALLS), data=form, headers=HEADERS) as response:
        body = await response.json()

    assert (response.status, body["code"]) == (400, ErrorCode.INVALID_REQUEST)
    assert says in body["message"]


async def test_a_registration_that_is_no_json_is_refused(
    server: Server, http: aiohttp.ClientSession
) -> None:
    for headers in ({"Content-Type": "application/json"}, {"Content-Type": "text/plain"}):
        async with http.post(
            http_url(server, PHONES), data=b"{", headers=HEADERS | headers
        ) as response:
            body = await response.json()
            assert (response.status, body["code"]) == (400, ErrorCode.INVALID_REQUEST)
