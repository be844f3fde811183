"""Media protocol v2 over real sockets: how it is agreed on, and who may open the next link."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from telcoflow_sdk.protocol.codes import CloseCode, EndReason, ErrorCode
from telcoflow_sdk.protocol.positions import SUBPROTOCOL, parse_audio, parse_position
from telcoflow_server.api import agent_socket
from telcoflow_server.app import Server
from tests.server.api.test_control import closed_with
from tests.server.api.test_media import refused
from tests.support.server import Caller, RawAgent, RawClient, noise, sandbox

V2 = Subprotocol(SUBPROTOCOL)


@pytest.fixture
async def client(server: Server) -> AsyncIterator[RawClient]:
    async with RawClient.joined(server) as joined:
        yield joined


@pytest.fixture
async def call_in(server: Server, http: aiohttp.ClientSession, client: RawClient) -> dict[str, Any]:
    await Caller(server, http).dial(noise(48_000))
    return await client.take_call()


@asynccontextmanager
async def link(
    url: str, secret: str, *subprotocols: Subprotocol
) -> AsyncIterator[ClientConnection]:
    """Open a media link that offers v2, or what it is told."""
    headers = {"Authorization": f"Bearer {secret}"}
    offered = list(subprotocols) or [V2]
    async with connect(url, additional_headers=headers, subprotocols=offered) as socket:
        yield socket


async def greet(socket: ClientConnection, epoch: int, seen: int = 0) -> dict[str, Any]:
    """Say hello; return what the welcome says."""
    hello = {"type": "hello", "data": {"epoch": epoch, "seen": seen, "received": [0]}}
    await socket.send(json.dumps(hello))
    welcome = json.loads(await socket.recv())
    assert welcome["type"] == "welcome"
    data: dict[str, Any] = welcome["data"]
    return data


async def command(socket: ClientConnection, seq: int, name: str) -> dict[str, Any]:
    """Send a command that needs no place; return its response."""
    data = {"command_id": f"k{seq}", "command": name}
    await socket.send(json.dumps({"type": "command", "seq": seq, "data": data}))
    while True:
        message = await socket.recv()
        if isinstance(message, str):
            response: dict[str, Any] = json.loads(message)
            return response


async def break_off(socket: ClientConnection) -> None:
    """Cut the socket without a word."""
    socket.transport.abort()
    await socket.wait_closed()


@pytest.mark.parametrize("others", [[], ["chat"], ["chat", "superchat"]])
async def test_the_server_names_the_protocol_it_speaks(
    call_in: dict[str, Any], others: list[str]
) -> None:
    offered = [*map(Subprotocol, others), V2]

    async with link(call_in["url"], call_in["token"], *offered) as socket:
        assert socket.subprotocol == V2


async def test_a_client_that_offers_nothing_known_gets_v1(call_in: dict[str, Any]) -> None:
    async with link(call_in["url"], call_in["token"], Subprotocol("telcoflow.media.v9")) as socket:
        assert socket.subprotocol is None
        agent = RawAgent(socket)
        await agent.command("call.answer")
        assert (await agent.hear("command_response"))["success"]


async def test_the_grace_of_the_settings_is_told(http: aiohttp.ClientSession) -> None:
    async with sandbox(media_grace_s=2.5) as server, RawClient.joined(server) as client:
        await Caller(server, http).dial()
        call_in = await client.take_call()
        async with link(call_in["url"], call_in["token"]) as socket:
            welcome = await greet(socket, 1)

    assert welcome["grace_ms"] == 2500


async def test_a_position_follows_the_welcome(call_in: dict[str, Any]) -> None:
    async with link(call_in["url"], call_in["token"]) as socket:
        await greet(socket, 1)

        message = await socket.recv()

    assert isinstance(message, bytes)
    assert parse_position(message).window > 0


async def test_a_link_without_hello_is_closed(
    call_in: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_socket, "HELLO_TIMEOUT_S", 0.05)

    async with link(call_in["url"], call_in["token"]) as socket:
        assert await closed_with(socket) == CloseCode.SETUP_TIMEOUT
    async with link(call_in["url"], call_in["token"]) as socket:
        assert (await greet(socket, 1))["epoch"] == 1


async def test_something_else_than_hello_closes_the_link(call_in: dict[str, Any]) -> None:
    async with link(call_in["url"], call_in["token"]) as socket:
        await socket.send(bytes(18))

        assert await closed_with(socket) == CloseCode.BAD_MESSAGES


async def test_a_call_goes_on_over_the_next_link(call_in: dict[str, Any]) -> None:
    async with link(call_in["url"], call_in["token"]) as socket:
        welcome = await greet(socket, 1)
        assert (await command(socket, 1, "call.answer"))["data"]["success"]
        await break_off(socket)

    async with link(call_in["url"], welcome["secret"]) as socket:
        again = await greet(socket, 2)
        audio = [await socket.recv() for _ in range(20)]

    assert (again["seen"], again["epoch"]) == (1, 2)
    offsets = [
        parse_audio(message).offset
        for message in audio
        if isinstance(message, bytes) and message[0] == 0
    ]
    # Nothing is said before the answer, so the first frame may be later than `continues`.
    assert offsets[0] >= again["continues"][0]
    assert offsets == [offsets[0] + 480 * n for n in range(len(offsets))]


async def test_what_was_not_seen_is_said_again(call_in: dict[str, Any]) -> None:
    async with link(call_in["url"], call_in["token"]) as socket:
        welcome = await greet(socket, 1)
        first = await command(socket, 1, "call.answer")
        await break_off(socket)

    async with link(call_in["url"], welcome["secret"]) as socket:
        await greet(socket, 2, seen=0)

        assert json.loads(await socket.recv()) == first


async def test_secrets_are_void_once_the_next_one_is_used(call_in: dict[str, Any]) -> None:
    async with link(call_in["url"], call_in["token"]) as socket:
        first = (await greet(socket, 1))["secret"]
        await command(socket, 1, "agent.pause")
        await break_off(socket)
    async with link(call_in["url"], first) as socket:
        second = (await greet(socket, 2))["secret"]
        await command(socket, 2, "agent.resume")

        answers = [await refused(call_in["url"], f"Bearer {first}")]
        answers.append(await refused(call_in["url"], f"Bearer {call_in['token']}"))
        async with link(call_in["url"], second) as third:
            await greet(third, 3)
            assert await closed_with(socket) == CloseCode.SUPERSEDED

    assert answers == [(403, ErrorCode.TOKEN_INVALID), (409, ErrorCode.MEDIA_LINK_TAKEN)]


async def test_the_token_opens_another_link_when_the_first_welcome_was_lost(
    call_in: dict[str, Any],
) -> None:
    async with link(call_in["url"], call_in["token"]) as socket:
        await greet(socket, 1)
        await break_off(socket)

    async with link(call_in["url"], call_in["token"]) as socket:
        assert (await greet(socket, 2))["epoch"] == 2


async def test_a_goodbye_ends_the_call_at_once(
    server: Server, http: aiohttp.ClientSession, client: RawClient
) -> None:
    caller = await Caller(server, http).dial()
    call_in = await client.take_call()
    async with link(call_in["url"], call_in["token"]) as socket:
        await greet(socket, 1)
        await command(socket, 1, "call.answer")
        await socket.close(1000)

    report = await asyncio.wait_for(caller.ended(), 2)

    assert report["end_reason"] == EndReason.AGENT_LOST
    assert (report["protocol"], report["outages"]) == (2, 0)
