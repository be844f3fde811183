"""A callee joins the call, and the agent chooses who hears it."""

from __future__ import annotations

import asyncio
import threading

import pytest

import telcoflow_sdk.events as events
from telcoflow_sdk import (
    ActiveCall,
    CallState,
    DialProgress,
    WSSCallClosedError,
    WSSCallCommandError,
    WSSCallCommandTimeoutError,
)
from tests.support.agent import connected, happenings, in_call
from tests.support.scripted_server import ScriptedServer

FRAME = bytes(range(240)) * 4

MODES = ["whisper", "barge", "spy"]


# --- connect -------------------------------------------------------------------------------------


@pytest.mark.parametrize("answered", [False, True])
async def test_connect_brings_in_the_callee(answered: bool) -> None:
    async with in_call(answered=answered) as session:
        told = happenings(session.call, events.CALL_CONNECTED)

        connecting = asyncio.ensure_future(session.call.connect(ring_time_seconds=45))
        command = await session.media.expect("command")
        session.media.respond(command["data"]["command_id"])
        await connecting

        assert command["data"]["command"] == "call.connect"
        assert command["data"]["data"] == {"ringTimeSeconds": 45}
        assert session.call.state is CallState.CONNECTED
        assert await told.get() == ()


@pytest.mark.parametrize("seconds", [0, 121, 1.5])
async def test_ring_time_outside_the_range_is_refused(seconds: int) -> None:
    async with in_call() as session:
        with pytest.raises(ValueError, match="1 to 120"):
            await session.call.connect(ring_time_seconds=seconds)
        await session.media.sync()
        assert session.media.waiting == 0


@pytest.mark.parametrize(
    "code", ["CALL_UNANSWERED", "CALL_BUSY", "CALL_DECLINED", "CALLEE_UNREACHABLE"]
)
async def test_callee_who_does_not_come_leaves_the_call_usable(code: str) -> None:
    async with in_call() as session:
        failed = happenings(session.call, events.CALL_CONNECT_FAILED)
        connecting = asyncio.ensure_future(session.call.connect())
        session.media.respond(await session.media.expect_command("call.connect"), error_code=code)

        with pytest.raises(WSSCallCommandError) as caught:
            await connecting

        assert caught.value.error_code == code
        (details,) = await failed.get()
        assert details["error_code"] == code
        before = session.call.state
        await session.connect()
        assert (before, session.call.state) == (CallState.ANSWERED, CallState.CONNECTED)


async def test_connect_that_timed_out_is_told_to_handlers() -> None:
    async with in_call() as session:
        failed = happenings(session.call, events.CALL_CONNECT_FAILED)
        connecting = asyncio.ensure_future(session.call.connect())
        session.media.respond(
            await session.media.expect_command("call.connect"), error_code="TIMEOUT"
        )

        with pytest.raises(WSSCallCommandTimeoutError):
            await connecting
        (details,) = await failed.get()
        assert details["error_code"] == "TIMEOUT"


async def test_caller_who_hangs_up_while_the_callee_is_rung_ends_the_wait_at_once() -> None:
    async with in_call() as session:
        connecting = asyncio.ensure_future(session.call.connect())
        await session.media.expect_command("call.connect")

        session.media.call_event("call.terminated")

        with pytest.raises(WSSCallClosedError):
            await connecting


async def test_progress_of_the_ringing_is_told() -> None:
    async with in_call() as session:
        progress = happenings(session.call, events.CALL_PROGRESS)
        before = session.call.progress

        session.media.call_event("call.progress", state="ringing")

        assert before is None
        assert await progress.get() == (DialProgress.RINGING,)
        assert session.call.progress is DialProgress.RINGING


async def test_queued_audio_is_played_before_the_callee_is_rung() -> None:
    async with in_call() as session:
        await session.call.send_audio(FRAME)
        connecting = asyncio.ensure_future(session.call.connect())
        await asyncio.sleep(0)
        await session.call.send_audio(FRAME[:480])
        await session.media.sync()
        waiting_meanwhile = session.media.waiting
        session.media.request(960)
        session.media.request(960)

        assert waiting_meanwhile == 0
        assert await session.media.take_audio() == FRAME
        command_id = await session.media.expect_command("call.connect")
        assert await session.media.take_audio() == FRAME[:480]
        session.media.respond(command_id)
        await connecting


async def test_greeting_nobody_hears_yet_does_not_delay_the_ringing() -> None:
    async with in_call(answered=False) as session:
        await session.call.send_audio(FRAME)

        await session.connect()

        assert session.call.get_send_audio_buffer_size() == len(FRAME)


async def test_cancelled_before_it_went_connect_rings_nobody() -> None:
    async with in_call() as session:
        await session.call.send_audio(FRAME)
        connecting = asyncio.ensure_future(session.call.connect())
        await asyncio.sleep(0)

        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        session.media.request(2 * len(FRAME))
        await session.call.send_audio(FRAME)

        assert await session.media.take_audio() == 2 * FRAME
        assert session.media.waiting == 0


async def test_cancelled_later_connect_is_still_noticed() -> None:
    async with in_call() as session:
        told = happenings(session.call, events.CALL_CONNECTED)
        connecting = asyncio.ensure_future(session.call.connect())
        command_id = await session.media.expect_command("call.connect")

        connecting.cancel()
        session.media.respond(command_id)

        await told.get()
        assert session.call.state is CallState.CONNECTED


# --- modes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
async def test_mode_changes_when_the_audio_before_it_has_left(mode: str) -> None:
    async with in_call(with_callee=True) as session:
        await session.call.send_audio(b"to those who heard us")
        changing = asyncio.ensure_future(getattr(session.call, mode)())
        await asyncio.sleep(0)
        await session.call.send_audio(b"!to others")

        session.media.request(10)
        assert await session.media.take_audio() == b"to those w"
        await session.media.sync()
        assert session.media.waiting == 0
        session.media.request(960)

        assert await session.media.take_audio() == b"ho heard u"
        command_id = await session.media.expect_command(f"agent.{mode}")
        assert await session.media.take_audio() == b"s!to others"[:10]
        session.media.respond(command_id)
        await changing
        assert session.call.state is CallState.CONNECTED


async def test_several_changes_keep_their_order() -> None:
    async with in_call(with_callee=True) as session:
        session.media.request(1_000)
        await session.media.sync()
        changes = []
        for mode in MODES:
            session.call.send_audio_nowait(mode[:2].encode())
            changes.append(asyncio.ensure_future(getattr(session.call, mode)()))
            await asyncio.sleep(0)

        for mode in MODES:
            assert await session.media.take_audio() == mode[:2].encode()
            session.media.respond(await session.media.expect_command(f"agent.{mode}"))
        await asyncio.gather(*changes)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("answered", [False, True])
async def test_modes_need_a_callee(mode: str, answered: bool) -> None:
    async with in_call(answered=answered) as session:
        with pytest.raises(WSSCallCommandError) as caught:
            await getattr(session.call, mode)()
        await session.media.sync()

        assert caught.value.error_code == "INVALID_STATE"
        assert f"agent.{mode}" in caught.value.error_message
        assert session.call.state in caught.value.error_message
        assert session.media.waiting == 0


async def test_clear_ends_the_wait_and_what_follows_is_for_the_new_mode() -> None:
    async with in_call(with_callee=True) as session:
        await session.call.send_audio(FRAME)
        changing = asyncio.ensure_future(session.call.whisper())
        await asyncio.sleep(0)
        await session.call.send_audio(FRAME)

        assert await session.call.clear_send_audio_buffer() == 2 * len(FRAME)
        session.call.send_audio_nowait(b"psst")
        session.media.request(960)

        session.media.respond(await session.media.expect_command("agent.whisper"))
        assert await session.media.take_audio() == b"psst"
        await changing


async def test_cancelled_change_of_mode_still_happens_in_its_place() -> None:
    async with in_call(with_callee=True) as session:
        await session.call.send_audio(b"aloud!")
        changing = asyncio.ensure_future(session.call.whisper())
        await asyncio.sleep(0)
        await session.call.send_audio(b"psst")

        changing.cancel()
        session.media.request(960)

        assert await session.media.take_audio() == b"aloud!"
        await session.media.expect_command("agent.whisper")
        assert await session.media.take_audio() == b"psst"


async def test_audio_of_another_thread_that_has_not_left_yet_is_before_the_change() -> None:
    async with in_call(with_callee=True) as session:
        session.media.request(960)
        await session.media.sync()
        thread = threading.Thread(target=session.call.send_audio_nowait, args=(b"aloud!",))
        thread.start()
        thread.join()  # and the loop has not been woken since

        changing = asyncio.ensure_future(session.call.whisper())

        assert await session.media.take_audio() == b"aloud!"
        session.media.respond(await session.media.expect_command("agent.whisper"))
        await changing


async def test_what_does_not_leave_in_time_is_heard_by_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("telcoflow_sdk.protocol.in_flight.HOLD_S", 0.02)
    async with in_call(with_callee=True) as session:
        session.call.send_audio_nowait(b"whispered")
        changing = asyncio.ensure_future(session.call.barge())
        await asyncio.sleep(0)
        session.call.send_audio_nowait(b"!aloud")

        session.media.respond(await session.media.expect_command("agent.barge"))
        await changing
        session.media.request(960)

        assert await session.media.take_audio() == b"d!aloud"[:6]
        assert session.call.statistics().outgoing.overdue_bytes == 8
        assert "8 bytes of audio were dropped" in caplog.text


# --- leaving -------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["close", "disconnect"])
async def test_goodbye_is_said_to_both_before_the_agent_leaves(command: str) -> None:
    async with in_call(with_callee=True) as session:
        await session.call.send_audio(FRAME)
        leaving = asyncio.ensure_future(getattr(session.call, command)())
        await session.media.sync()
        waiting_meanwhile = session.media.waiting
        session.media.request(960)

        assert waiting_meanwhile == 0
        assert await session.media.take_audio() == FRAME
        session.media.respond(await session.media.expect_command(f"call.{command}"))
        await leaving
        assert session.call.state is CallState.DISCONNECTED
        await session.media.closed


async def test_goodbye_keeps_the_changes_of_mode_in_it() -> None:
    async with in_call(with_callee=True) as session:
        session.call.send_audio_nowait(b"aloud!")
        changing = asyncio.ensure_future(session.call.whisper())
        await asyncio.sleep(0)
        session.call.send_audio_nowait(b"psst")
        leaving = asyncio.ensure_future(session.call.close())
        await asyncio.sleep(0)

        session.media.request(960)

        assert await session.media.take_audio() == b"aloud!"
        session.media.respond(await session.media.expect_command("agent.whisper"))
        assert await session.media.take_audio() == b"psst"
        session.media.respond(await session.media.expect_command("call.close"))
        await asyncio.gather(changing, leaving)


async def test_hanging_up_rings_nobody_any_more() -> None:
    async with in_call() as session:
        session.call.send_audio_nowait(FRAME)
        connecting = asyncio.ensure_future(session.call.connect())
        await asyncio.sleep(0)

        leaving = asyncio.ensure_future(session.call.close())
        await asyncio.sleep(0)
        with pytest.raises(WSSCallClosedError):
            await connecting
        with pytest.raises(WSSCallClosedError):
            await session.call.connect()
        session.media.request(960)

        assert await session.media.take_audio() == FRAME
        session.media.respond(await session.media.expect_command("call.close"))
        await leaving


async def test_hanging_up_while_the_callee_is_rung_ends_both() -> None:
    async with in_call() as session:
        connecting = asyncio.ensure_future(session.call.connect())
        await session.media.expect_command("call.connect")

        leaving = asyncio.ensure_future(session.call.close())
        session.media.respond(await session.media.expect_command("call.close"))

        await leaving
        with pytest.raises(WSSCallClosedError):
            await connecting


async def test_handler_that_raises_leaves_the_humans_to_themselves() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):

        @client.on(events.INCOMING_CALL)
        async def on_call(call: ActiveCall) -> None:
            await call.connect()
            raise LookupError

        media = await server.deliver(control)
        media.respond(await media.expect_command("call.connect"))

        media.respond(await media.expect_command("call.close"))
        await media.closed


async def test_client_that_closes_leaves_the_humans_to_themselves() -> None:
    async with in_call(with_callee=True) as session:
        closing = asyncio.ensure_future(session.client.disconnect())

        session.media.respond(await session.media.expect_command("call.close"))

        await closing
        assert session.call.state is CallState.DISCONNECTED
