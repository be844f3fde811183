from __future__ import annotations

import asyncio
import json

import pytest

import telcoflow_sdk.events as events
from telcoflow_sdk import (
    ReconnectPolicy,
    TelcoflowClient,
    WSSAuthenticationError,
    WSSConnectionError,
    __version__,
)
from tests.support.agent import API_KEY, CONNECTOR, config, connected, in_call
from tests.support.scripted_server import Refusal, ScriptedServer

FRAME = bytes(960)


async def test_client_shows_its_credentials_and_says_what_audio_it_wants() -> None:
    async with ScriptedServer() as server, connected(server, sample_rate=8_000) as (_, control):
        assert control.headers["x-api-key"] == API_KEY
        assert control.headers["x-connector-uuid"] == CONNECTOR
        assert control.headers["x-sdk-version"] == __version__
        assert "Sec-WebSocket-Extensions" not in control.headers


@pytest.mark.parametrize(("status", "code"), [(401, "UNAUTHORIZED"), (403, "FORBIDDEN")])
async def test_rejected_credentials_are_an_authentication_error(status: int, code: str) -> None:
    """Flaw 11 of the published client: a connection error, retried for ever."""
    async with ScriptedServer() as server:
        server.refuse_control = Refusal(status, json.dumps({"code": code}).encode())

        with pytest.raises(WSSAuthenticationError, match=f"HTTP {status} {code}") as caught:
            await TelcoflowClient(config(server)).connect()

        assert API_KEY not in str(caught.value)
        assert server.attempts == 1


async def test_other_refusal_is_a_connection_error_with_its_code() -> None:
    async with ScriptedServer() as server:
        server.refuse_control = Refusal(503, b'{"code": "DRAINING", "message": "later"}')

        with pytest.raises(WSSConnectionError, match="HTTP 503 DRAINING"):
            await TelcoflowClient(config(server)).connect()


async def test_nobody_listening_is_a_connection_error() -> None:
    async with ScriptedServer() as server:
        arguments = config(server)

    with pytest.raises(WSSConnectionError, match="refused"):
        await TelcoflowClient(arguments).connect()


async def test_failed_connect_leaves_nothing_and_can_be_tried_again() -> None:
    """Flaw 3 of the published client: a zombie that reconnected in the background."""
    async with ScriptedServer() as server:
        server.answers_setup = False
        client = TelcoflowClient(config(server))
        connecting = asyncio.ensure_future(client.connect())
        control = await server.controls.get()
        await control.expect("setup")

        control.drop()

        with pytest.raises(WSSConnectionError, match="closed the control link"):
            await connecting
        server.answers_setup = True
        async with client:
            await server.controls.get()
        assert server.attempts == 2


async def test_cancelled_set_up_leaves_nothing() -> None:
    async with ScriptedServer() as server:
        server.answers_setup = False
        connecting = asyncio.ensure_future(TelcoflowClient(config(server)).connect())
        control = await server.controls.get()
        await control.expect("setup")

        connecting.cancel()

        with pytest.raises(asyncio.CancelledError):
            await connecting
        await control.closed


async def test_connecting_twice_is_an_error() -> None:
    async with ScriptedServer() as server, connected(server) as (client, _):
        with pytest.raises(WSSConnectionError, match="already"):
            await client.connect()


async def test_client_that_is_disconnected_while_it_connects_does_not_stay() -> None:
    async with ScriptedServer() as server:
        client = TelcoflowClient(config(server))
        connecting = asyncio.ensure_future(client.connect())
        await asyncio.sleep(0)

        await client.disconnect()

        with pytest.raises(WSSConnectionError, match="while it connected"):
            await connecting
        async with client:
            await server.controls.get()


async def test_client_that_is_disconnected_during_the_set_up_does_not_stay() -> None:
    async with ScriptedServer() as server:
        server.answers_setup = False
        client = TelcoflowClient(config(server))
        connecting = asyncio.ensure_future(client.connect())
        control = await server.controls.get()
        await control.expect("setup")

        await client.disconnect()

        with pytest.raises(WSSConnectionError):
            await connecting
        await control.closed


async def test_client_can_connect_again_after_disconnecting() -> None:
    async with ScriptedServer() as server:
        client = TelcoflowClient(config(server))
        for _ in range(2):
            async with client:
                control = await server.controls.get()
            await control.closed

        await client.disconnect()
        assert server.attempts == 2


async def test_lost_control_link_leaves_live_calls_alone_and_comes_back() -> None:
    """Flaw 7 of the published client: every session was closed."""
    async with in_call() as session:
        session.control.drop()
        control = await session.server.controls.get()

        session.media.send_audio(FRAME)
        assert await anext(session.call.audio_stream()) == FRAME
        assert session.client.get_call("call-1") is session.call
        control.send("session.notify", sessionId="session-of-call-1")
        media = await session.server.deliver(control, "call-2")
        await media.sync()
        assert session.client.get_call("call-2") is not None
        media.drop()


async def test_claim_that_was_on_its_way_is_made_again() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        client.on(events.INCOMING_CALL)(print)
        control.send("session.notify", sessionId="s1")
        await control.expect("session.open")

        control.drop()
        control = await server.controls.get()
        control.send("session.notify", sessionId="s1")

        assert (await control.expect("session.open"))["sessionId"] == "s1"


async def test_server_that_accepts_and_drops_is_not_stormed() -> None:
    """Flaw 2 of the published client: 17 000 connections and tasks in half a minute."""
    policy = ReconnectPolicy(initial_s=0.01, factor=2.0, cap_s=10.0, jitter=0.0)
    loop = asyncio.get_running_loop()
    async with ScriptedServer() as server, connected(server, reconnect=policy) as (_, control):
        tasks = len(asyncio.all_tasks())
        server.drops_controls = True
        started_s = loop.time()

        control.drop()
        await server.wait_attempts(6)

        # The delays kept growing: 10 + 20 + 40 + 80 + 160 ms.
        assert loop.time() - started_s >= 0.31
        assert len(asyncio.all_tasks()) <= tasks + 2


async def test_refused_reconnect_is_tried_again() -> None:
    async with ScriptedServer() as server, connected(server) as (_, control):
        server.refuse_control = Refusal(503)
        control.drop()
        await server.wait_attempts(3)

        server.refuse_control = None

        await server.controls.get()


async def test_rejection_on_a_reconnect_ends_run_forever_and_is_not_retried() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        running = asyncio.ensure_future(client.run_forever())
        server.refuse_control = Refusal(401, b'{"code": "UNAUTHORIZED"}')

        control.drop()

        with pytest.raises(WSSAuthenticationError, match="401"):
            await running
        with pytest.raises(WSSAuthenticationError):
            await client.run_forever()
        assert server.attempts == 2
