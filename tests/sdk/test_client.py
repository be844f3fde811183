from __future__ import annotations

import asyncio
import functools
import logging

import pytest

import telcoflow_sdk.events as events
from telcoflow_sdk import (
    ActiveCall,
    BufferClosedError,
    CallState,
    ClientEvent,
    TelcoflowClient,
    WSSCallClosedError,
    __version__,
)
from tests.support.agent import config, connected, in_call
from tests.support.scripted_server import TOKEN, Peer, Refusal, ScriptedServer

FRAME = bytes(960)


async def hang_up(media: Peer, command: str = "call.close") -> None:
    """Answer the hang-up that comes next."""
    media.respond(await media.expect_command(command))
    await media.closed


async def test_media_link_is_open_before_the_handler_runs() -> None:
    async with in_call(answered=False) as session:
        assert session.media.headers["Authorization"] == f"Bearer {TOKEN}"
        assert session.media.headers["x-sdk-version"] == __version__
        assert session.client.get_call("call-1") is session.call
        assert session.client.get_call("call-2") is None


@pytest.mark.parametrize("number", ["", None])
async def test_withheld_number_is_none_and_loses_no_call(number: str | None) -> None:
    """Flaw 11 of the published client: a null lost the call."""
    async with ScriptedServer() as server, connected(server) as (client, control):
        calls: asyncio.Queue[ActiveCall] = asyncio.Queue()
        client.on(events.INCOMING_CALL)(calls.put_nowait)

        media = await server.deliver(control, "call-1", **{"from": number})
        call = await calls.get()

        assert call.caller_number is None
        assert call.callee_number == "+15550199"
        media.drop()


async def test_handler_may_be_registered_before_connecting() -> None:
    async with ScriptedServer() as server:
        calls: asyncio.Queue[ActiveCall] = asyncio.Queue()
        client = TelcoflowClient(config(server))
        client.on(events.INCOMING_CALL)(calls.put_nowait)
        async with client:
            media = await server.deliver(await server.controls.get())
            assert (await calls.get()).call_id == "call-1"
            media.drop()


async def test_client_without_a_handler_claims_nothing_until_there_is_one() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        control.send("session.notify", sessionId="s1")
        await control.sync()
        assert control.waiting == 0

        @client.on(ClientEvent.INCOMING_CALL)
        def on_call(call: ActiveCall) -> None:
            """Takes the call and lets it ring."""

        claim = await control.expect("session.open")
        assert claim["sessionId"] == "s1"


async def test_call_that_ends_before_its_handler_runs_is_not_handled() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        calls: asyncio.Queue[ActiveCall] = asyncio.Queue()
        client.on(events.INCOMING_CALL)(calls.put_nowait)

        media = await server.deliver(control)
        media.call_event("call.terminated")
        await media.closed

        assert calls.empty()
        assert client.get_call("call-1") is None


async def test_handlers_of_several_calls_run_at_the_same_time() -> None:
    """Flaw 4 of the published client: they ran one after another."""
    async with ScriptedServer() as server, connected(server) as (client, control):
        together = asyncio.Barrier(5)

        @client.on(events.INCOMING_CALL)
        async def on_call(call: ActiveCall) -> None:
            await together.wait()

        medias = [await server.deliver(control, f"call-{number}") for number in range(4)]
        await together.wait()

        for media in medias:
            media.drop()


async def test_a_hundred_and_twenty_calls_are_all_delivered() -> None:
    """Flaw 1 of the published client: deaf after 100 events."""
    async with ScriptedServer() as server, connected(server) as (client, control):
        calls: asyncio.Queue[ActiveCall] = asyncio.Queue()
        client.on(events.INCOMING_CALL)(calls.put_nowait)

        for number in range(120):
            media = await server.deliver(control, f"call-{number}")
            call = await calls.get()
            assert call.call_id == f"call-{number}"
            media.call_event("call.terminated")
            await media.closed
            control.send("session.closed", sessionId=f"session-of-call-{number}", reason="x")


async def test_first_of_several_processes_gets_the_call_and_the_others_are_quiet(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    async with (
        ScriptedServer() as server,
        connected(server) as (winner, first),
        connected(server) as (loser, second),
    ):
        calls: asyncio.Queue[ActiveCall] = asyncio.Queue()
        winner.on(events.INCOMING_CALL)(calls.put_nowait)
        loser.on(events.INCOMING_CALL)(calls.put_nowait)

        second.send("session.notify", sessionId="session-of-call-1")
        claim = await second.expect("session.open")
        media = await server.deliver(first)
        second.send("response", reqId=claim["reqId"], ok=False, errorCode="SESSION_BUSY")
        await second.sync()
        call = await calls.get()

        assert calls.empty()
        assert winner.get_call("call-1") is call
        assert loser.get_call("call-1") is None
        assert caplog.records == []
        media.drop()


async def test_duplicate_of_a_call_in_progress_is_ignored() -> None:
    async with in_call() as session:
        session.control.send("session.notify", sessionId="session-of-call-1")
        session.server.send_call_in(session.control)
        session.control.send("session.notify", sessionId="another")
        claim = await session.control.expect("session.open")
        session.control.send("response", reqId=claim["reqId"], ok=True)
        await session.control.expect("session.ready")
        session.server.send_call_in(session.control, sessionId="another")
        await session.control.sync()

        assert session.server.medias.empty()
        assert session.client.get_call("call-1") is session.call


async def test_refused_media_link_is_logged_and_the_next_call_comes_through(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        calls: asyncio.Queue[ActiveCall] = asyncio.Queue()
        client.on(events.INCOMING_CALL)(calls.put_nowait)
        server.refuse_media = Refusal(410, b'{"code": "CALL_ENDED"}')
        await server.offer(control, "call-1")
        await server.wait_media_attempts(1)

        server.refuse_media = None
        media = await server.deliver(control, "call-2")

        assert (await calls.get()).call_id == "call-2"
        assert client.get_call("call-1") is None
        assert "HTTP 410 CALL_ENDED" in caplog.text
        media.drop()


async def test_media_link_that_breaks_while_it_opens_is_tried_again() -> None:
    tried = asyncio.Event()

    def hang_up_at_once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        tried.set()

    broken = await asyncio.start_server(hang_up_at_once, "127.0.0.1", 0)
    late = ScriptedServer()
    late.port = broken.sockets[0].getsockname()[1]
    async with ScriptedServer() as server, connected(server) as (client, control):
        calls: asyncio.Queue[ActiveCall] = asyncio.Queue()
        client.on(events.INCOMING_CALL)(calls.put_nowait)
        await server.offer(control, url=f"{late.url}/media/call-1")
        await tried.wait()
        broken.close()
        await broken.wait_closed()

        async with late:
            media = await late.medias.get()
            await calls.get()
            media.drop()


async def test_command_given_before_the_media_link_is_open_is_sent_when_it_is() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        client.on(events.INCOMING_CALL)(print)
        await server.offer(control)
        await control.sync()
        call = client.get_call("call-1")
        assert call is not None

        answering = asyncio.ensure_future(call.answer())
        media = await server.medias.get()
        media.respond(await media.expect_command("call.answer"))

        await answering
        media.drop()


@pytest.mark.slow
async def test_disconnect_while_a_media_link_opens_leaves_nothing() -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def think(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        while await reader.read(1_000):
            pass
        writer.close()
        gone.set()

    mute = await asyncio.start_server(think, "127.0.0.1", 0)
    async with ScriptedServer() as server, connected(server) as (client, control):
        client.on(events.INCOMING_CALL)(print)
        port = mute.sockets[0].getsockname()[1]
        await server.offer(control, url=f"ws://127.0.0.1:{port}/media/call-1")
        await asked.wait()

        await client.disconnect()

        await gone.wait()
        assert client.get_call("call-1") is None
    mute.close()


async def test_handler_that_returns_does_not_end_the_call() -> None:
    async with in_call() as session:
        session.media.send_audio(FRAME)

        assert await anext(session.call.audio_stream()) == FRAME
        assert session.call.state is CallState.ANSWERED
        assert session.media.waiting == 0


@pytest.mark.parametrize("answered", [False, True])
async def test_handler_that_raises_leaves_nobody_in_silence(
    answered: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Flaw 5 of the published client: logged only, the call stayed open and silent."""
    async with ScriptedServer() as server, connected(server) as (client, control):

        @client.on(events.INCOMING_CALL)
        async def on_call(call: ActiveCall) -> None:
            if answered:
                await call.answer()
            raise LookupError("the application's own")

        media = await server.deliver(control)
        if answered:
            media.respond(await media.expect_command("call.answer"))
        await hang_up(media)

        assert "the application's own" in caplog.text
        assert any(record.exc_info for record in caplog.records)


@pytest.mark.parametrize("kind", [WSSCallClosedError, BufferClosedError])
async def test_handler_left_because_the_call_ended_is_no_error(
    kind: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "telcoflow_sdk")
    async with ScriptedServer() as server, connected(server) as (client, control):
        started, done = asyncio.Event(), asyncio.Event()

        @client.on(events.INCOMING_CALL)
        async def on_call(call: ActiveCall) -> None:
            started.set()
            try:
                async for _ in call.audio_stream():
                    pass
                if kind is WSSCallClosedError:
                    await call.answer()
                await call.send_audio(FRAME)
            finally:
                done.set()

        media = await server.deliver(control)
        await started.wait()
        media.call_event("call.terminated")
        await done.wait()
        await media.closed

    assert all(record.levelno == logging.INFO for record in caplog.records)
    assert any("the handler was left" in record.getMessage() for record in caplog.records)


async def test_handler_left_by_another_calls_end_ends_its_own() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):

        @client.on(events.INCOMING_CALL)
        async def on_call(call: ActiveCall) -> None:
            raise WSSCallClosedError

        await hang_up(await server.deliver(control))


async def test_handler_that_is_cancelled_leaves_nobody_in_silence() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):

        @client.on(events.INCOMING_CALL)
        async def on_call(call: ActiveCall) -> None:
            raise asyncio.CancelledError

        await hang_up(await server.deliver(control))


async def test_refused_end_of_a_failed_handlers_call_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):

        @client.on(events.INCOMING_CALL)
        def on_call(call: ActiveCall) -> None:
            raise LookupError

        media = await server.deliver(control)
        media.respond(await media.expect_command("call.close"), error_code="INTERNAL_ERROR")
        await media.sync()
        await asyncio.sleep(0)

        assert "INTERNAL_ERROR" in caplog.text
        media.drop()


async def test_every_kind_of_handler_is_called() -> None:
    """Flaw 11 of the published client: async partials and objects were not awaited."""

    class Agent:
        def __init__(self) -> None:
            self.calls: asyncio.Queue[ActiveCall] = asyncio.Queue()

        async def __call__(self, call: ActiveCall) -> None:
            await asyncio.sleep(0)
            self.calls.put_nowait(call)

        async def method(self, greeting: str, call: ActiveCall) -> None:
            await self(call)

    async with ScriptedServer() as server, connected(server) as (client, control):
        agent = Agent()
        partial = functools.partial(agent.method, "hello")
        assert client.on(events.INCOMING_CALL)(agent) is agent
        assert client.on("call.incoming")(partial) is partial

        media = await server.deliver(control)

        assert await agent.calls.get() is await agent.calls.get()
        media.drop()


async def test_unknown_event_is_named() -> None:
    async with ScriptedServer() as server:
        with pytest.raises(ValueError, match=r"call\.incoming"):
            TelcoflowClient(config(server)).on("call.ringing")
