from __future__ import annotations

import asyncio
import functools
import json
import logging
import signal
import threading

import pytest

import telcoflow_sdk.events as events
from telcoflow_sdk import (
    ActiveCall,
    BufferClosedError,
    CallState,
    ClientEvent,
    ReconnectPolicy,
    TelcoflowClient,
    WSSAuthenticationError,
    WSSCallClosedError,
    WSSConnectionError,
    __version__,
)
from tests.support.agent import API_KEY, CONNECTOR, config, connected, in_call
from tests.support.scripted_server import TOKEN, Peer, Refusal, ScriptedServer

FRAME = bytes(960)


async def hang_up(media: Peer, command: str = "call.close") -> None:
    """Answer the hang-up that comes next."""
    media.respond(await media.expect_command(command))
    await media.closed


# --- connecting ----------------------------------------------------------------------------------


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


async def test_client_can_connect_again_after_disconnecting() -> None:
    async with ScriptedServer() as server:
        client = TelcoflowClient(config(server))
        for _ in range(2):
            async with client:
                control = await server.controls.get()
            await control.closed

        await client.disconnect()
        assert server.attempts == 2


# --- calls ---------------------------------------------------------------------------------------


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


# --- handlers that end ---------------------------------------------------------------------------


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


# --- losing the control link ---------------------------------------------------------------------


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


# --- running and closing -------------------------------------------------------------------------


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
