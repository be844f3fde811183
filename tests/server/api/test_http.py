"""REST over a real socket: health, sessions, simulated phones, and what bad requests get."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import aiohttp
import numpy as np
import pytest

from telcoflow_sdk.protocol.codes import EndReason, ErrorCode
from telcoflow_server import simulation
from telcoflow_server.api import upload
from telcoflow_server.app import Server
from telcoflow_server.settings import ServerSettings, Settings
from tests.support.server import (
    HEADERS,
    OTHER_HEADERS,
    Caller,
    RawAgent,
    RawClient,
    http_url,
    noise,
    sandbox,
    wav_bytes,
)


async def get(
    http: aiohttp.ClientSession, server: Server, path: str, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    async with http.get(http_url(server, path), headers=headers) as response:
        return response.status, await response.json()


async def test_health_and_readiness_need_no_key(
    server: Server, http: aiohttp.ClientSession
) -> None:
    assert await get(http, server, "/healthz") == (200, {"status": "ok"})
    assert await get(http, server, "/readyz") == (200, {"status": "ready", "calls": 0})


@pytest.mark.parametrize(
    "path", ["/public/v1/sessions", "/sandbox/v1/calls/x", "/sandbox/v1/calls/x/heard.wav"]
)
async def test_rest_needs_a_key(server: Server, http: aiohttp.ClientSession, path: str) -> None:
    status, body = await get(http, server, path)

    assert (status, body["code"]) == (401, ErrorCode.UNAUTHORIZED)


async def test_an_unknown_path_is_a_code(server: Server, http: aiohttp.ClientSession) -> None:
    status, body = await get(http, server, "/nowhere")

    assert (status, body["code"]) == (404, ErrorCode.NOT_FOUND)


async def test_open_sessions_are_listed_and_can_be_closed(
    server: Server, http: aiohttp.ClientSession
) -> None:
    caller = await Caller(server, http).dial()

    _, listed = await get(http, server, "/public/v1/sessions?state=OPEN", HEADERS)
    _, foreign = await get(http, server, "/public/v1/sessions", OTHER_HEADERS)
    _, filtered = await get(http, server, "/public/v1/sessions?remoteAddress=%2B1", HEADERS)

    (item,) = listed["items"]
    assert (item["channel"], item["remoteAddress"], item["closedAt"]) == (
        "TELCO",
        "+15550100",
        None,
    )
    assert foreign == filtered == {"items": []}
    close_url = http_url(server, f"/public/v1/sessions/{item['id']}/close")
    async with http.post(close_url, headers=OTHER_HEADERS) as response:
        assert (response.status, (await response.json())["code"]) == (
            404,
            ErrorCode.SESSION_NOT_FOUND,
        )
    async with http.post(close_url, headers=HEADERS) as response:
        assert (await response.json())["reason"] == "SDK_REQUEST"
    assert (await caller.ended())["end_reason"] == EndReason.SESSION_CLOSED


async def place(
    http: aiohttp.ClientSession, server: Server, parts: list[tuple[str, bytes]]
) -> tuple[int, dict[str, Any]]:
    form = aiohttp.FormData()
    for name, content in parts:
        form.add_field(name, io.BytesIO(content), content_type="application/octet-stream")
    url = http_url(server, "/sandbox/v1/calls")
    async with http.post(url, data=form, headers=HEADERS) as response:
        return response.status, await response.json()


WAV = wav_bytes(noise(480))


@pytest.mark.parametrize(
    ("parts", "code", "says"),
    [
        ([("sound", WAV)], ErrorCode.INVALID_REQUEST, "script"),
        ([("script", b"{")], ErrorCode.INVALID_REQUEST, "script"),
        ([("script", b"{}"), ("noise", b"x")], ErrorCode.INVALID_REQUEST, "parts are"),
        ([("script", b'{"frm": "x"}')], ErrorCode.INVALID_REQUEST, "frm"),
        ([("script", b'{"from": null}')], ErrorCode.INVALID_REQUEST, "from"),
        ([("script", b'{"plays": [{"sound": 0}]}')], ErrorCode.INVALID_REQUEST, "sound 0"),
        (
            [("script", b'{"plays": [{"sound": 0, "at_ms": -5}]}'), ("sound", WAV)],
            ErrorCode.INVALID_REQUEST,
            "-5",
        ),
        ([("script", b'{"hang_up_after_ms": -1}')], ErrorCode.INVALID_REQUEST, "-1"),
        ([("script", b"{}"), ("sound", b"ID3 this is an mp3")], ErrorCode.INVALID_WAV, "WAV"),
        ([("script", b"{}"), ("sound", b"")], ErrorCode.INVALID_WAV, ""),
    ],
)
async def test_a_bad_upload_says_what_is_wrong(
    server: Server,
    http: aiohttp.ClientSession,
    parts: list[tuple[str, bytes]],
    code: ErrorCode,
    says: str,
) -> None:
    status, body = await place(http, server, parts)

    assert (status, body["code"]) == (400, code)
    assert says in body["message"]


async def test_an_upload_that_is_no_form_is_refused(
    server: Server, http: aiohttp.ClientSession
) -> None:
    url = http_url(server, "/sandbox/v1/calls")
    async with http.post(url, data=b"hello", headers=HEADERS) as response:
        assert response.status == 400
        assert "multipart" in (await response.json())["message"]


async def test_an_upload_over_the_limit_is_refused(
    server: Server, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "UPLOAD_LIMIT_BYTES", 1000)

    status, body = await place(http, server, [("script", b"{}"), ("sound", bytes(2000))])

    assert (status, body["code"]) == (413, ErrorCode.INVALID_REQUEST)


async def test_more_sounds_than_allowed_are_refused(
    server: Server, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "SOUNDS_LIMIT", 2)

    status, body = await place(http, server, [("script", b"{}")] + [("sound", WAV)] * 3)

    assert (status, body["code"]) == (400, ErrorCode.INVALID_REQUEST)


async def test_a_call_can_be_watched_and_its_recordings_fetched(
    server: Server, http: aiohttp.ClientSession
) -> None:
    said, answered = noise(24_000 // 2), noise(24_000 // 4, seed=2)
    async with RawClient.joined(server) as client:
        caller = await Caller(server, http).dial(said, hang_up_after_ms=800)
        watching = asyncio.create_task(caller.events())
        async with RawAgent.on(await client.take_call()) as agent:
            agent.queue += answered.tobytes()
            await agent.command("call.answer")
            _, early = await get(
                http, server, f"/sandbox/v1/calls/{caller.call_id}/heard.wav", HEADERS
            )
            await agent.serve()
        lines = await watching

    report = lines[-1]["report"]
    assert early["code"] == ErrorCode.INVALID_STATE
    assert report["end_reason"] == EndReason.CALLER_HUNG_UP
    assert report["duration_ms"] - report["states"][1]["at_ms"] == 800
    assert set(lines[0]) == {
        *("state", "mode", "at_ms", "spoken_db", "heard_db"),
        *("callee_spoken_db", "callee_heard_db", "queued_ms", "in_flight_ms", "said_ms"),
        *("lead_ms", "gaps", "last_gap"),
    }
    assert any(line.get("spoken_db", -96) > -30 for line in lines)
    heard, both = await caller.recording("heard.wav"), await caller.recording("call.wav")
    assert len(heard) == len(both) == report["duration_ms"] * 24
    assert np.array_equal(both[:, 1], heard)
    assert np.array_equal(heard[heard != 0], answered)
    answered_at = report["states"][1]["at_ms"] * 24
    assert np.array_equal(both[answered_at : answered_at + len(said), 0], said)
    _, timed = await get(http, server, f"/sandbox/v1/calls/{caller.call_id}?timeline=1", HEADERS)
    assert timed["timeline"]["tick_ms"] == 20
    assert len(timed["timeline"]["queued_ms"]) == report["duration_ms"] // 20
    assert max(timed["timeline"]["queued_ms"]) <= report["lead_ms"]
    assert len(timed["timeline"]["said_ms"]) == len(timed["timeline"]["lead_ms"])
    assert timed["timeline"]["said_ms"][-1] == pytest.approx(len(answered) / 24, abs=0.1)


async def test_a_simulated_call_is_its_connector_s_alone(
    server: Server, http: aiohttp.ClientSession
) -> None:
    caller = await Caller(server, http).dial()

    status, body = await get(http, server, f"/sandbox/v1/calls/{caller.call_id}", OTHER_HEADERS)

    assert (status, body["code"]) == (404, ErrorCode.NOT_FOUND)


async def test_old_calls_are_forgotten(
    server: Server, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulation, "FINISHED_CALLS_KEPT", 2)
    callers = [await Caller(server, http).dial(hang_up_after_ms=0) for _ in range(3)]
    for caller in callers:
        async with http.get(
            http_url(server, f"/sandbox/v1/calls/{caller.call_id}/events"), headers=HEADERS
        ) as response:
            await response.read()

    statuses = [
        (await get(http, server, f"/sandbox/v1/calls/{caller.call_id}", HEADERS))[0]
        for caller in callers
    ]

    assert statuses == [404, 200, 200]


async def test_a_call_nobody_takes_ends_as_no_agent(http: aiohttp.ClientSession) -> None:
    async with sandbox(ring_timeout_s=0.2) as server:
        caller = await Caller(server, http).dial()

        report = await caller.ended()

    assert report["end_reason"] == EndReason.NO_AGENT
    assert report["answered"] is False


async def test_a_draining_server_refuses_new_calls_and_lets_running_ones_end(
    server: Server, http: aiohttp.ClientSession
) -> None:
    caller = await Caller(server, http).dial()

    draining = asyncio.create_task(server.drain())
    await asyncio.sleep(0)
    ready, _ = await get(http, server, "/readyz")
    status, body = await place(http, server, [("script", json.dumps({}).encode())])
    assert not draining.done()
    await caller.hang_up()
    await draining

    assert ready == 503
    assert (status, body["code"]) == (503, ErrorCode.DRAINING)


async def test_draining_takes_no_longer_than_allowed(
    server: Server, http: aiohttp.ClientSession
) -> None:
    await Caller(server, http).dial()

    await server.drain()

    assert (await get(http, server, "/readyz"))[0] == 503


async def test_a_port_that_is_taken_leaves_nothing_open(server: Server) -> None:
    taken = Settings(server=ServerSettings(port=0, media_port=server.media_port))

    with pytest.raises(OSError, match=r"(?i)address already in use"):
        await Server(taken, sandbox=True).start()


async def test_a_key_in_a_header_that_cannot_be_parsed_never_reaches_the_log(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.control_port)

    writer.write(b"GET / HTTP/1.1\r\nx-api-key: my-secret" + b"x" * 20_000 + b"\r\n\r\n")
    answer = await reader.read()
    writer.close()

    assert b"400" in answer.splitlines()[0]
    assert "my-secret" not in caplog.text
