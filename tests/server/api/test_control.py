"""The control link over a real socket: who gets in, and what bad messages get."""

from __future__ import annotations

import asyncio
import contextlib
import json

import aiohttp
import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from telcoflow_sdk.protocol.codec import MAX_MESSAGE_BYTES
from telcoflow_sdk.protocol.codes import CloseCode, ErrorCode
from telcoflow_server.api import control
from telcoflow_server.api.budget import MALFORMED_MESSAGES_ALLOWED
from telcoflow_server.api.tally import Tally
from telcoflow_server.app import Server
from tests.support.server import (
    CONNECTOR,
    HEADERS,
    KEY,
    OTHER_HEADERS,
    Bystander,
    Caller,
    RawClient,
    control_url,
    noise,
    sandbox,
)


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, ErrorCode.UNAUTHORIZED),
        ({"x-api-key": KEY}, 401, ErrorCode.UNAUTHORIZED),
        ({"x-connector-uuid": CONNECTOR}, 401, ErrorCode.UNAUTHORIZED),
        ({"x-api-key": "wrong", "x-connector-uuid": CONNECTOR}, 401, ErrorCode.UNAUTHORIZED),
        ({"x-api-key": "", "x-connector-uuid": CONNECTOR}, 401, ErrorCode.UNAUTHORIZED),
        ({"x-api-key": KEY, "x-connector-uuid": "c2"}, 403, ErrorCode.FORBIDDEN),
        ({"x-api-key": KEY, "x-connector-uuid": "nobody"}, 403, ErrorCode.FORBIDDEN),
    ],
)
async def test_wrong_credentials_are_refused_with_a_code(
    server: Server, headers: dict[str, str], status: int, code: ErrorCode
) -> None:
    with pytest.raises(websockets.InvalidStatus) as refusal:
        await connect(control_url(server), additional_headers=headers)

    assert refusal.value.response.status_code == status
    body = json.loads(refusal.value.response.body or b"")
    assert body["code"] == code
    assert "wrong" not in body["message"], "no key is repeated"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("", ErrorCode.MALFORMED_MESSAGE),
        ("x", ErrorCode.MALFORMED_MESSAGE),
        ("{}", ErrorCode.MALFORMED_MESSAGE),
        (b"\xff\xff", ErrorCode.MALFORMED_MESSAGE),
        ("[" * 50_000, ErrorCode.MALFORMED_MESSAGE),
        ('{"type": null}', ErrorCode.MALFORMED_MESSAGE),
        ('{"type": "nonsense"}', ErrorCode.INVALID_REQUEST),
        ('{"type": "setup", "data": {"sampleRate": null}}', ErrorCode.MALFORMED_MESSAGE),
        ('{"type": "setup", "data": {"sampleRate": 11025}}', ErrorCode.INVALID_REQUEST),
        ('{"type": "session.ready", "sessionId": "unknown"}', ErrorCode.SESSION_NOT_OPEN),
    ],
)
async def test_a_bad_message_is_answered_and_the_link_stays(
    server: Server, data: str | bytes, code: ErrorCode
) -> None:
    async with RawClient.joined(server) as client:
        await client.socket.send(data)

        answer = await client.hear()

        assert (answer["type"], answer["errorCode"]) == ("error", code)
        await client.say(type="setup", data={"sampleRate": 8000})
        assert (await client.hear())["type"] == "setup.done"


async def closed_with(socket: ClientConnection) -> int | None:
    """Read until the server closes; return its code."""
    with contextlib.suppress(websockets.ConnectionClosed):
        async for _ in socket:
            pass
    code: int | None = socket.close_code
    return code


async def test_too_many_malformed_messages_close_the_link(server: Server) -> None:
    async with RawClient.joined(server) as client:
        for _ in range(MALFORMED_MESSAGES_ALLOWED + 1):
            await client.socket.send("nonsense")

        assert await closed_with(client.socket) == CloseCode.BAD_MESSAGES


async def test_a_message_over_the_limit_closes_the_link(server: Server) -> None:
    async with RawClient.joined(server) as client:
        await client.socket.send("x" * (MAX_MESSAGE_BYTES + 1))

        assert await closed_with(client.socket) == CloseCode.MESSAGE_TOO_BIG


async def test_a_flood_closes_the_link_and_disturbs_nobody(http: aiohttp.ClientSession) -> None:
    async with (
        sandbox(messages_per_second=100) as server,
        Bystander.talking(server, http),
        RawClient.joined(server, headers=OTHER_HEADERS) as client,
    ):
        for _ in range(150):
            await client.say(type="session.open", sessionId="x", reqId="y")

        assert await closed_with(client.socket) == CloseCode.FLOOD


async def test_a_client_that_never_sets_up_is_closed(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "SETUP_TIMEOUT_S", 0.05)
    async with connect(control_url(server), additional_headers=HEADERS) as socket:
        assert await closed_with(socket) == CloseCode.SETUP_TIMEOUT


async def test_a_client_that_never_reads_is_cut_off(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "QUEUED_LIMIT_BYTES", 8)
    link = control.ClientSocket(_NoTransport(), Tally())  # its writer is never run: nothing is read

    for _ in range(6):
        link.send(b"{}")

    assert link.is_closing


class _NoTransport(asyncio.Transport):
    """Stands for a socket whose other end reads nothing."""


async def test_two_clients_hear_of_a_call_and_one_gets_it(
    server: Server, http: aiohttp.ClientSession
) -> None:
    async with RawClient.joined(server) as first, RawClient.joined(server) as second:
        caller = await Caller(server, http).dial(noise(2400))

        session_id = (await second.hear("session.notify"))["sessionId"]
        call_in = await first.take_call()
        await second.say(type="session.open", sessionId=session_id, reqId="r")
        refused = await second.hear("response")

        assert call_in["from"] == "+15550100"
        assert refused["errorCode"] == ErrorCode.SESSION_BUSY
        await caller.hang_up()
        assert (await first.hear())["type"] == "session.closed"


async def test_a_claim_dies_with_its_link_and_the_call_is_offered_again(
    server: Server, http: aiohttp.ClientSession
) -> None:
    async with RawClient.joined(server) as second:
        async with RawClient.joined(server) as first:
            await Caller(server, http).dial(noise(2400))
            await first.take_call()
            await second.hear("session.notify")

        assert (await second.take_call())["to"] == "+15550199"


async def test_a_withheld_number_is_an_empty_string(
    server: Server, http: aiohttp.ClientSession
) -> None:
    async with RawClient.joined(server) as client:
        await Caller(server, http).dial(**{"from": "", "to": ""})

        call_in = await client.take_call()

        assert (call_in["from"], call_in["to"]) == ("", "")
