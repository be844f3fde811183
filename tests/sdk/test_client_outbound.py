"""The agent calls somebody."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import telcoflow_sdk.events as events
from telcoflow_sdk import (
    ActiveCall,
    CallState,
    DialProgress,
    TelcoflowClient,
    WSSAuthenticationError,
    WSSCallClosedError,
    WSSCallCommandError,
    WSSConnectionError,
    WSSError,
    WSSMediaError,
)
from tests.support.agent import config, connected, happenings
from tests.support.scripted_server import Peer, Refusal, ScriptedServer

NUMBER = "+15550142"
FRAME = bytes(960)


async def place(
    server: ScriptedServer, client: TelcoflowClient, control: Peer
) -> tuple[ActiveCall, Peer]:
    """Let the client place a call; return both ends."""
    placing = asyncio.ensure_future(client.call(NUMBER))
    media = await server.place(control, **{"from": "", "to": NUMBER})
    return await placing, media


async def test_call_is_placed_rings_and_is_answered_by_the_person() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        call, media = await place(server, client, control)
        progress = happenings(call, events.CALL_PROGRESS)
        answered = happenings(call, events.CALL_ANSWERED)
        states = [call.state]

        answering = asyncio.ensure_future(call.answer())
        command_id = await media.expect_command("call.answer")
        for state in ("ringing", "early", "answered"):
            media.call_event("call.progress", state=state)
        media.respond(command_id)
        await answering
        states.append(call.state)

        assert states == [CallState.PENDING, CallState.ANSWERED]
        assert [await progress.get() for _ in range(3)] == [
            (DialProgress.RINGING,),
            (DialProgress.EARLY,),
            (DialProgress.ANSWERED,),
        ]
        assert await answered.get() == ()
        assert answered.empty()
        assert (call.caller_number, call.callee_number) == (None, NUMBER)
        assert client.get_call("call-1") is call
        media.drop()


async def test_request_says_whom_to_call_and_how_long() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        placing = asyncio.ensure_future(client.call(NUMBER, ring_time_seconds=20))

        request = await control.expect("session.create")

        assert request["remoteAddress"] == NUMBER
        assert request["channel"] == "TELCO"
        assert request["data"] == {"ringTimeSeconds": 20}
        control.drop()
        with pytest.raises(WSSConnectionError):
            await placing


async def test_answer_may_take_the_ring_time() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        call, media = await place(server, client, control)

        answering = asyncio.ensure_future(call.answer())
        command = await media.expect("command")

        assert command["data"]["timeout_ms"] >= 60_000
        media.drop()
        with pytest.raises(WSSCallClosedError):
            await answering


async def test_person_who_answered_before_anybody_asked_is_there() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        call, media = await place(server, client, control)
        answered = happenings(call, events.CALL_ANSWERED)
        media.call_event("call.progress", state="answered")
        await answered.get()

        await call.answer()

        assert media.waiting == 0
        media.request(960)
        await call.send_audio(FRAME)
        assert await media.take_audio() == FRAME
        media.drop()


@pytest.mark.parametrize("code", ["CALL_UNANSWERED", "CALL_BUSY", "CALL_DECLINED"])
async def test_person_who_does_not_come_ends_the_call(code: str) -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        call, media = await place(server, client, control)
        failed = happenings(call, events.CALL_ANSWER_FAILED)
        terminated = happenings(call, events.CALL_TERMINATED)
        answering = asyncio.ensure_future(call.answer())
        command_id = await media.expect_command("call.answer")

        media.call_event("call.progress", state="failed", error_code=code)
        media.respond(command_id, error_code=code)
        media.call_event("call.terminated")

        with pytest.raises(WSSCallCommandError) as caught:
            await answering
        assert caught.value.error_code == code
        ((details,),) = (await failed.get(),)
        assert details["error_code"] == code
        await terminated.get()
        assert call.progress is DialProgress.FAILED
        assert client.get_call("call-1") is None


async def test_why_nobody_came_is_told_to_whoever_asks_later() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        call, media = await place(server, client, control)
        terminated = happenings(call, events.CALL_TERMINATED)
        media.call_event("call.progress", state="failed", error_code="CALL_BUSY")
        media.call_event("call.terminated")
        await terminated.get()

        with pytest.raises(WSSCallCommandError) as caught:
            await call.answer()

        assert caught.value.error_code == "CALL_BUSY"


async def test_placed_call_is_no_incoming_call() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        incoming: asyncio.Queue[ActiveCall] = asyncio.Queue()
        client.on(events.INCOMING_CALL)(incoming.put_nowait)

        _, media = await place(server, client, control)
        in_media = await server.deliver(control, "call-2")

        assert (await incoming.get()).call_id == "call-2"
        assert incoming.empty()
        media.drop()
        in_media.drop()


@pytest.mark.parametrize("number", ["", "  ", None])
async def test_empty_number_is_refused_here(number: Any) -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        with pytest.raises(ValueError, match="number is missing"):
            await client.call(number)
        await control.sync()
        assert control.waiting == 0


@pytest.mark.parametrize("seconds", [0, 121])
async def test_ring_time_outside_the_range_is_refused_here(seconds: int) -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        with pytest.raises(ValueError, match="1 to 120"):
            await client.call(NUMBER, ring_time_seconds=seconds)
        await control.sync()
        assert control.waiting == 0


async def test_client_that_is_not_connected_calls_nobody() -> None:
    async with ScriptedServer() as server, connected(server) as (client, _):
        with pytest.raises(WSSConnectionError, match="connect"):
            await TelcoflowClient(config(server)).call(NUMBER)
        await client.disconnect()
        with pytest.raises(WSSConnectionError, match="connect"):
            await client.call(NUMBER)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("OUTBOUND_OVERFLOW", WSSCallCommandError),
        ("QUOTA_EXCEEDED", WSSCallCommandError),
        ("CHANNEL_NOT_CONFIGURED", WSSCallCommandError),
        ("INVALID_REQUEST", WSSCallCommandError),
        ("CALLEE_UNREACHABLE", WSSCallCommandError),
        ("UNAUTHORIZED", WSSAuthenticationError),
    ],
)
async def test_refusal_is_raised_with_its_code(code: str, kind: type[WSSError]) -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        placing = asyncio.ensure_future(client.call(NUMBER))
        request = await control.expect("session.create")

        control.send("response", reqId=request["reqId"], ok=False, errorCode=code)

        with pytest.raises(kind, match=code) as caught:
            await placing
        assert NUMBER not in str(caught.value)
        if isinstance(caught.value, WSSCallCommandError):
            assert caught.value.error_code == code


async def test_control_link_that_is_lost_meanwhile_is_an_error_at_once() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        placing = asyncio.ensure_future(client.call(NUMBER))
        await control.expect("session.create")

        control.drop()

        with pytest.raises(WSSConnectionError, match="lost"):
            await placing
        again = await server.controls.get()
        _, media = await place(server, client, again)
        media.drop()


async def test_client_that_closes_meanwhile_calls_nobody() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        placing = asyncio.ensure_future(client.call(NUMBER))
        await control.expect("session.create")

        await client.disconnect()

        with pytest.raises(WSSConnectionError):
            await placing
        assert server.media_attempts == 0


async def test_media_link_that_is_refused_is_an_error_and_leaves_no_call() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        server.refuse_media = Refusal(410, b'{"code": "CALL_ENDED", "message": ""}')
        placing = asyncio.ensure_future(client.call(NUMBER))
        await server.create(control)
        claim = await control.expect("session.open")
        control.send("response", reqId=claim["reqId"], ok=True)
        await control.expect("session.ready")
        server.send_call_in(control)

        with pytest.raises(WSSMediaError, match="CALL_ENDED"):
            await placing
        assert client.get_call("call-1") is None


@pytest.mark.parametrize("stage", ["created", "claimed", "ready", "delivered"])
async def test_cancelled_call_leaves_nothing(stage: str) -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        placing = asyncio.ensure_future(client.call(NUMBER))
        request = await control.expect("session.create")

        def cancel() -> None:
            placing.cancel()

        if stage == "created":
            cancel()
            await asyncio.sleep(0)
        control.send(
            "response", reqId=request["reqId"], ok=True, content={"sessionId": "session-of-call-1"}
        )
        if stage != "created":
            claim = await control.expect("session.open")
            if stage == "claimed":
                cancel()
                await asyncio.sleep(0)
            control.send("response", reqId=claim["reqId"], ok=True)
            if stage != "claimed":
                await control.expect("session.ready")
                cancel()
                if stage == "ready":
                    await asyncio.sleep(0)
                # Otherwise the call is delivered to a task that is about to end.
                server.send_call_in(control)
        with pytest.raises(asyncio.CancelledError):
            await placing
        await control.sync()

        assert server.media_attempts == 0
        assert client.get_call("call-1") is None
        control.send("session.closed", sessionId="session-of-call-1")
        await control.sync()


async def test_call_cancelled_while_its_media_link_opens_is_given_up() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        placing = asyncio.ensure_future(client.call(NUMBER))
        await server.create(control)
        claim = await control.expect("session.open")
        control.send("response", reqId=claim["reqId"], ok=True)
        await control.expect("session.ready")
        server.send_call_in(control)
        await server.wait_media_attempts(1)

        placing.cancel()

        with pytest.raises(asyncio.CancelledError):
            await placing
        assert client.get_call("call-1") is None


async def test_call_that_ends_while_its_media_link_opens_is_not_returned() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        placing = asyncio.ensure_future(client.call(NUMBER))
        media = await server.place(control)
        media.call_event("call.terminated")

        with pytest.raises(WSSCallClosedError):
            await placing


async def test_placed_call_ends_with_the_client() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        call, media = await place(server, client, control)
        closing = asyncio.ensure_future(client.disconnect())

        media.respond(await media.expect_command("call.close"))

        await closing
        assert call.state is CallState.DISCONNECTED


async def test_number_is_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1)
    async with ScriptedServer() as server, connected(server) as (client, control):
        call, media = await place(server, client, control)
        media.drop()
        await media.closed
        assert "5550142" not in repr(call)
    logged = "\n".join(
        f"{record.getMessage()} {record.args}"
        for record in caplog.records
        if record.name != "asyncio"
    )
    assert "5550142" not in logged
