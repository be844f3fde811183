"""The media link over a real socket: who gets in, and what bad messages cost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import aiohttp
import numpy as np
import pytest
import websockets
from websockets.asyncio.client import connect

from telcoflow_sdk.protocol.codec import MAX_MESSAGE_BYTES
from telcoflow_sdk.protocol.codes import CloseCode, EndReason, ErrorCode
from telcoflow_server.api import auth, media
from telcoflow_server.api.auth import TokenMint
from telcoflow_server.api.budget import MALFORMED_MESSAGES_ALLOWED
from telcoflow_server.app import Server
from tests.server.api.test_control import closed_with
from tests.support.server import Bystander, Caller, RawAgent, RawClient, noise, sandbox


@pytest.fixture
async def client(server: Server) -> AsyncIterator[RawClient]:
    async with RawClient.joined(server) as joined:
        yield joined


async def refused(url: str, authorization: str | None) -> tuple[int, str]:
    headers = {} if authorization is None else {"Authorization": authorization}
    with pytest.raises(websockets.InvalidStatus) as refusal:
        await connect(url, additional_headers=headers)
    body = json.loads(refusal.value.response.body or b"{}")
    return refusal.value.response.status_code, body["code"]


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, ErrorCode.TOKEN_MISSING),
        ("Basic abc", ErrorCode.TOKEN_MISSING),
        ("Bearer ", ErrorCode.TOKEN_MISSING),
        ("Bearer nonsense", ErrorCode.TOKEN_INVALID),
        (f"Bearer {TokenMint(bytes(32)).issue('x', time.time())}", ErrorCode.TOKEN_INVALID),
    ],
)
async def test_no_or_a_forged_token_is_refused(
    server: Server,
    http: aiohttp.ClientSession,
    client: RawClient,
    authorization: str | None,
    code: ErrorCode,
) -> None:
    await Caller(server, http).dial()
    call_in = await client.take_call()

    assert await refused(call_in["url"], authorization) == (403, code)


async def test_a_token_opens_its_own_call_only(
    server: Server, http: aiohttp.ClientSession, client: RawClient
) -> None:
    await Caller(server, http).dial()
    first = await client.take_call()
    await Caller(server, http).dial()
    second = await client.take_call()

    answer = await refused(second["url"], f"Bearer {first['token']}")

    assert answer == (403, ErrorCode.TOKEN_INVALID)


async def test_an_expired_token_is_refused(
    server: Server,
    http: aiohttp.ClientSession,
    client: RawClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(auth, "TOKEN_LIFETIME_S", -1.0)
    await Caller(server, http).dial()
    call_in = await client.take_call()

    answer = await refused(call_in["url"], f"Bearer {call_in['token']}")

    assert answer == (403, ErrorCode.TOKEN_EXPIRED)


async def test_a_token_is_void_after_the_end_of_its_call(
    server: Server, http: aiohttp.ClientSession, client: RawClient
) -> None:
    caller = await Caller(server, http).dial()
    call_in = await client.take_call()
    await caller.hang_up()

    answer = await refused(call_in["url"], f"Bearer {call_in['token']}")

    assert answer == (410, ErrorCode.CALL_ENDED)


async def test_a_second_media_link_is_refused(
    server: Server, http: aiohttp.ClientSession, client: RawClient
) -> None:
    await Caller(server, http).dial()
    call_in = await client.take_call()

    async with RawAgent.on(call_in):
        answer = await refused(call_in["url"], f"Bearer {call_in['token']}")

    assert answer == (409, ErrorCode.MEDIA_LINK_TAKEN)


async def test_an_unknown_path_is_refused(server: Server) -> None:
    url = f"ws://127.0.0.1:{server.media_port}/elsewhere"

    assert await refused(url, None) == (404, ErrorCode.NOT_FOUND)


@pytest.fixture
async def agent(
    server: Server, http: aiohttp.ClientSession, client: RawClient
) -> AsyncIterator[RawAgent]:
    """An agent on an answered call, beside a bystander's call that must not change."""
    async with Bystander.talking(server, http):
        caller = await Caller(server, http).dial()
        async with RawAgent.on(await client.take_call()) as connected:
            await connected.command("call.answer")
            await connected.hear("command_response")
            yield connected
        assert (await caller.ended())["end_reason"] in (
            EndReason.AGENT_LOST,
            EndReason.CALLER_HUNG_UP,
        )


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("", ErrorCode.MALFORMED_MESSAGE),
        ("{", ErrorCode.MALFORMED_MESSAGE),
        ("[1, 2]", ErrorCode.MALFORMED_MESSAGE),
        ('{"type": "command"}', ErrorCode.MALFORMED_MESSAGE),
        ('{"type": "command", "data": {"command": null}}', ErrorCode.MALFORMED_MESSAGE),
        ('{"type": "teleport", "data": {}}', ErrorCode.INVALID_REQUEST),
        (
            '{"type": "command", "data": {"command": "x", "command_id": "' + "i" * 200 + '"}}',
            ErrorCode.MALFORMED_MESSAGE,
        ),
        (b"", ErrorCode.MALFORMED_AUDIO),
        (b"\x00", ErrorCode.MALFORMED_AUDIO),
        (b"\x07\x00\x00", ErrorCode.INVALID_CHANNEL),
    ],
)
async def test_a_bad_message_gets_a_call_error(
    agent: RawAgent, message: str | bytes, code: ErrorCode
) -> None:
    await agent.socket.send(message)

    error = await agent.hear("call.error")

    assert error["error_code"] == code
    assert error["error_message"]


@pytest.mark.parametrize(
    ("name", "code"),
    [("call.answer", ErrorCode.INVALID_STATE), ("call.explode", ErrorCode.INVALID_COMMAND)],
)
async def test_a_bad_command_is_refused_by_its_id(
    agent: RawAgent, name: str, code: ErrorCode
) -> None:
    await agent.command(name, "mine")

    response = await agent.hear("command_response")

    assert (response["command_id"], response["error_code"]) == ("mine", code)


async def test_two_bytes_are_half_a_sample_and_fine(agent: RawAgent) -> None:
    await agent.socket.send(b"\x00\x01")
    await agent.command("agent.interrupt", "after")

    assert (await agent.hear("command_response"))["command_id"] == "after"


async def test_a_message_over_the_limit_closes_the_link(agent: RawAgent) -> None:
    await agent.socket.send(bytes(MAX_MESSAGE_BYTES + 1))

    assert await closed_with(agent.socket) == CloseCode.MESSAGE_TOO_BIG


async def test_a_fragmented_message_is_put_together(agent: RawAgent) -> None:
    await agent.socket.send(
        ['{"type": "command", "data": ', '{"command_id": "f", "command": "x"}}']
    )

    assert (await agent.hear("command_response"))["command_id"] == "f"


async def test_fragments_over_the_limit_close_the_link(agent: RawAgent) -> None:
    await agent.socket.send([bytes(MAX_MESSAGE_BYTES - 10)] * 2)

    assert await closed_with(agent.socket) == CloseCode.MESSAGE_TOO_BIG


async def test_a_continuation_of_nothing_closes_the_link(agent: RawAgent) -> None:
    agent.socket.transport.write(b"\x80\x82\x00\x00\x00\x00ab")  # FIN, continuation, masked

    assert await closed_with(agent.socket) == CloseCode.PROTOCOL_ERROR


async def test_a_ping_is_answered(agent: RawAgent) -> None:
    pong = await agent.socket.ping(b"hello")
    serving = asyncio.create_task(agent.serve())

    assert await asyncio.wait_for(pong, 5) >= 0
    serving.cancel()


async def test_too_many_malformed_messages_close_the_link(agent: RawAgent) -> None:
    for _ in range(MALFORMED_MESSAGES_ALLOWED + 1):
        await agent.socket.send("nonsense")

    assert await closed_with(agent.socket) == CloseCode.BAD_MESSAGES


async def test_a_push_of_audio_nobody_asked_for_is_discarded(agent: RawAgent) -> None:
    for _ in range(4):
        await agent.socket.send(b"\x00" + noise(24_000).tobytes())

    assert (await agent.hear("call.error"))["error_code"] == ErrorCode.AUDIO_OVERRUN


async def send_audio(agent: RawAgent) -> None:
    await agent.socket.send(b"\x00\x00\x00")


async def send_ping(agent: RawAgent) -> None:
    with contextlib.suppress(websockets.ConnectionClosed):
        await agent.socket.ping()


@pytest.mark.parametrize("flood", [send_audio, send_ping])
async def test_a_flood_of_messages_closes_the_link(
    http: aiohttp.ClientSession, flood: Callable[[RawAgent], Coroutine[None, None, None]]
) -> None:
    async with (
        sandbox(messages_per_second=100) as server,
        Bystander.talking(server, http),
        RawClient.joined(server) as client,
    ):
        caller = await Caller(server, http).dial()
        async with RawAgent.on(await client.take_call()) as agent:
            await agent.command("call.answer")
            for _ in range(300):
                await flood(agent)

            assert await closed_with(agent.socket) == CloseCode.FLOOD
        assert (await caller.ended())["end_reason"] == EndReason.AGENT_LOST


async def test_a_socket_that_is_cut_ends_its_call_alone(
    server: Server, http: aiohttp.ClientSession, client: RawClient
) -> None:
    async with Bystander.talking(server, http):
        caller = await Caller(server, http).dial()
        async with RawAgent.on(await client.take_call()) as agent:
            await agent.command("call.answer")
            await agent.hear("command_response")
            agent.socket.transport.abort()

            assert (await caller.ended())["end_reason"] == EndReason.AGENT_LOST


async def test_a_half_open_socket_is_noticed(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media, "PING_AFTER_S", 0.2)
    async with sandbox() as server, RawClient.joined(server) as client:
        caller = await Caller(server, http).dial()
        call_in = await client.take_call()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.media_port)
        path = call_in["url"].partition(str(server.media_port))[2]
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            f"Authorization: Bearer {call_in['token']}\r\n\r\n".encode()
        )
        assert b"101" in await reader.readline()

        report = await caller.ended()  # this end never answers a ping

        writer.close()
        assert report["end_reason"] == EndReason.AGENT_LOST


async def test_connections_that_never_speak_are_closed_and_disturb_nobody(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media, "HANDSHAKE_TIMEOUT_S", 0.5)
    async with sandbox() as server, Bystander.talking(server, http):
        silent = [await asyncio.open_connection("127.0.0.1", server.media_port) for _ in range(200)]
        for reader, writer in silent:
            assert await reader.read() == b"", "closed by the server"
            writer.close()


async def test_the_server_stops_with_calls_running(http: aiohttp.ClientSession) -> None:
    async with sandbox() as server, RawClient.joined(server) as client:
        await Caller(server, http).dial()
        async with RawAgent.on(await client.take_call()) as agent:
            await agent.command("call.answer")
            await agent.hear("command_response")

            stopping = asyncio.create_task(server.stop())
            code = await closed_with(agent.socket)
            await stopping

            assert code == CloseCode.NORMAL
        assert await closed_with(client.socket) == CloseCode.GOING_AWAY


@pytest.mark.parametrize("sample_rate_hz", [8_000, 16_000, 24_000])
async def test_an_agent_hears_at_the_rate_it_asked_for(
    server: Server, http: aiohttp.ClientSession, sample_rate_hz: int
) -> None:
    seconds = 0.4
    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(int(24_000 * seconds)) / 24_000)).astype(
        np.int16
    )
    async with RawClient.joined(server, sample_rate_hz=sample_rate_hz) as client:
        caller = await Caller(server, http).dial(tone)
        async with RawAgent.on(await client.take_call()) as agent:
            await agent.command("call.answer")
            want_bytes = int(sample_rate_hz * seconds) * 2
            while len(agent.heard) < want_bytes:
                await agent.handle(await agent.socket.recv())
            await caller.hang_up()

    heard = np.frombuffer(agent.heard, np.int16)[: want_bytes // 2].astype(float)
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard))))
    peak_hz = spectrum.argmax() * sample_rate_hz / len(heard)
    assert peak_hz == pytest.approx(440, abs=3)


def agent_log(agent: RawAgent) -> list[Any]:
    return [message["data"] for message in agent.messages]


async def test_close_is_answered_before_terminated_and_the_close(
    server: Server, http: aiohttp.ClientSession, client: RawClient
) -> None:
    caller = await Caller(server, http).dial()
    async with RawAgent.on(await client.take_call()) as agent:
        await agent.command("call.answer", "a")
        await agent.command("call.close", "b")
        await agent.serve()

        assert agent_log(agent) == [
            {"command_id": "a", "success": True},
            {"command_id": "b", "success": True},
            {"event": "call.terminated"},
        ]
        assert agent.socket.close_code == CloseCode.NORMAL
    assert (await client.hear("session.closed"))["reason"] == "SDK_REQUEST"
    assert (await caller.ended())["end_reason"] == EndReason.AGENT_CLOSED
