from __future__ import annotations

import asyncio
import signal
import threading

import pytest

import telcoflow_sdk.events as events
from telcoflow_sdk import (
    ActiveCall,
    CallState,
    TelcoflowClient,
    WSSConnectionError,
)
from tests.support.agent import config, connected, in_call
from tests.support.scripted_server import Peer, ScriptedServer

FRAME = bytes(960)


async def hang_up(media: Peer, command: str = "call.close") -> None:
    """Answer the hang-up that comes next."""
    media.respond(await media.expect_command(command))
    await media.closed


async def test_run_forever_returns_when_the_client_is_closed() -> None:
    async with ScriptedServer() as server, connected(server) as (client, _):
        running = [asyncio.ensure_future(client.run_forever()) for _ in range(2)]
        await asyncio.sleep(0)

        await client.disconnect()

        assert await asyncio.gather(*running) == [None, None]
        await client.run_forever()


async def test_cancelled_run_forever_leaves_the_client_connected() -> None:
    async with in_call() as session:
        running = asyncio.ensure_future(session.client.run_forever())
        await asyncio.sleep(0)

        running.cancel()

        with pytest.raises(asyncio.CancelledError):
            await running
        session.media.send_audio(FRAME)
        assert await anext(session.call.audio_stream()) == FRAME


async def test_run_forever_needs_a_connection() -> None:
    async with ScriptedServer() as server:
        with pytest.raises(WSSConnectionError, match="connect"):
            await TelcoflowClient(config(server)).run_forever()


async def test_client_works_outside_the_main_thread_and_leaves_signals_alone() -> None:
    """Flaw 11 of the published client: RuntimeError, and the SIGINT handler replaced."""
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    ended = threading.Event()
    async with ScriptedServer() as server:
        arguments = config(server)

        async def run() -> None:
            async with TelcoflowClient(arguments) as client:

                @client.on(events.INCOMING_CALL)
                async def on_call(call: ActiveCall) -> None:
                    asyncio.ensure_future(client.disconnect())  # noqa: RUF006  # it ends the loop

                await client.run_forever()
            ended.set()

        thread = threading.Thread(target=asyncio.run, args=(run(),))
        thread.start()
        media = await server.deliver(await server.controls.get())
        await hang_up(media)
        await asyncio.to_thread(thread.join)

    assert ended.is_set()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


@pytest.mark.parametrize("answered", [False, True])
async def test_disconnect_ends_every_call_and_every_link(answered: bool) -> None:
    """Flaw 5 of the published client: voice sockets stayed open."""
    async with in_call(answered=answered) as session:
        leaving = asyncio.ensure_future(session.client.disconnect())
        await hang_up(session.media)

        await leaving

        await session.control.closed
        assert session.control.close_code == 1000
        assert session.call.state is CallState.DISCONNECTED
        assert session.client.get_call("call-1") is None


async def test_disconnect_finishes_a_goodbye() -> None:
    async with in_call() as session:
        await session.call.send_audio(FRAME)
        closing = asyncio.ensure_future(session.call.close())
        await asyncio.sleep(0)

        leaving = asyncio.ensure_future(session.client.disconnect())
        await session.media.sync()
        session.media.request(960)

        assert await session.media.take_audio() == FRAME
        await hang_up(session.media)
        await asyncio.gather(closing, leaving)


async def test_disconnect_lets_handlers_finish_after_their_call() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        summaries: list[str] = []

        @client.on(events.INCOMING_CALL)
        async def on_call(call: ActiveCall) -> None:
            async for _ in call.audio_stream():
                pass
            await asyncio.sleep(0)
            summaries.append(call.call_id)

        media = await server.deliver(control)
        await media.sync()
        leaving = asyncio.ensure_future(client.disconnect())
        await hang_up(media)
        await leaving

        assert summaries == ["call-1"]


@pytest.mark.slow
async def test_disconnect_cancels_handlers_that_do_not_end() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        cancelled = asyncio.Event()

        @client.on(events.INCOMING_CALL)
        async def on_call(call: ActiveCall) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        media = await server.deliver(control)
        await media.sync()
        leaving = asyncio.ensure_future(client.disconnect())
        await hang_up(media)
        await leaving

        assert cancelled.is_set()


async def test_handler_may_disconnect_the_client() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        returned = asyncio.Event()

        @client.on(events.INCOMING_CALL)
        async def on_call(call: ActiveCall) -> None:
            await client.disconnect()
            returned.set()

        media = await server.deliver(control)
        await hang_up(media)

        await returned.wait()
        await client.run_forever()


async def test_refused_hang_up_does_not_keep_the_client_open() -> None:
    async with in_call() as session:
        leaving = asyncio.ensure_future(session.client.disconnect())
        session.media.respond(
            await session.media.expect_command("call.close"), error_code="INTERNAL_ERROR"
        )

        await leaving
        await session.media.closed


async def test_cancelled_disconnect_goes_on() -> None:
    async with in_call() as session:
        leaving = asyncio.ensure_future(session.client.disconnect())
        command_id = await session.media.expect_command("call.close")

        leaving.cancel()
        session.media.respond(command_id)

        await session.client.run_forever()
        await session.control.closed


@pytest.mark.slow
async def test_closed_session_ends_a_call_whose_media_link_does_not() -> None:
    async with in_call() as session:
        terminated = asyncio.Event()
        session.call.on(events.CALL_TERMINATED)(terminated.set)

        session.control.send("session.closed", sessionId="session-of-call-1", reason="FORCE_CLOSE")

        await terminated.wait()
        await session.media.closed
