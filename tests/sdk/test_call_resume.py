"""A call whose media link is lost: it goes on, over the next one; over real sockets."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, CallState, TelcoflowClient, TelcoflowClientConfig
from telcoflow_sdk._asyncio.loop_lag import loop_lag
from telcoflow_sdk.playback import Resumption
from telcoflow_sdk.testing import Sandbox
from tests.support.agent import happenings
from tests.support.bad_servers import UnreachableServer, in_place_of
from tests.support.media_v2 import in_positioned_call
from tests.support.scripted_server import Refusal
from tests.support.traces import run_without_a_trace

FRAME = bytes(range(240)) * 4
"""480 samples."""


async def resumption_of(happened: asyncio.Queue[tuple[Any, ...]]) -> Resumption:
    (resumption,) = await happened.get()
    assert isinstance(resumption, Resumption)
    return resumption


async def test_both_directions_go_on_where_they_were() -> None:
    async with in_positioned_call() as session:
        stream = session.call.audio_stream()
        session.media.send_audio_at(0, FRAME)
        await session.call.send_audio(FRAME)
        await session.media.take_audio_message()
        await anext(stream)
        session.media.drop()
        await session.media.closed
        await session.call.send_audio(FRAME)

        media = await session.resume(received=240)
        again = await media.take_audio_message()
        more = await media.take_audio_message()
        media.send_audio_at(480, FRAME)

        assert media.headers["Authorization"] == "Bearer secret-1"
        assert media.hello == {"epoch": 2, "seen": 1, "received": [480]}
        assert (again.offset, again.pcm) == (0, FRAME)
        assert (more.offset, more.pcm) == (480, FRAME)
        assert await anext(stream) == FRAME
        assert stream.gap_ms == 0


async def test_the_application_is_told_of_the_outage_and_of_its_end_once_each() -> None:
    async with in_positioned_call() as session:
        interrupted = happenings(session.call, events.MEDIA_INTERRUPTED)
        resumed = happenings(session.call, events.MEDIA_RESUMED)
        terminated = happenings(session.call, events.CALL_TERMINATED)
        session.media.drop()
        (await session.server.links.get()).drop()  # an attempt that came to nothing
        media = await session.resume(continues=[4_800])
        resumption = await resumption_of(resumed)
        await media.sync()

        assert interrupted.qsize() == 1
        assert resumption.outage_ms > 0
        assert resumption.lost_ms == 200
        assert session.call.statistics().outages == 1
        assert (resumed.empty(), terminated.empty()) == (True, True)
        assert session.call.state is CallState.ANSWERED


async def test_a_command_in_flight_is_answered_over_the_next_link() -> None:
    async with in_positioned_call() as session:
        connecting = asyncio.ensure_future(session.call.connect())
        command_id = await session.media.expect_command("call.connect")
        session.media.drop()
        media = await session.resume()
        media.respond(command_id)
        await connecting

        assert session.call.state is CallState.CONNECTED


async def test_what_is_cleared_during_an_outage_is_told_before_what_is_said_then() -> None:
    async with in_positioned_call() as session:
        await session.call.send_audio(FRAME)
        await session.media.take_audio_message()
        session.media.drop()
        await session.media.closed
        interrupting = asyncio.ensure_future(session.call.interrupt())
        await asyncio.sleep(0)
        await session.call.send_audio(FRAME)

        media = await session.resume(received=480)
        command_id, place = await media.expect_placed("agent.interrupt")
        after = await media.take_audio_message()
        media.respond(command_id, result={"played": 240, "heard_ms": 10.0})

        assert place == (1, 0)
        assert (after.generation, after.offset) == (1, 0)
        interruption = await interrupting
        assert (interruption.heard_ms, interruption.dropped_ms) == (10.0, 10.0)


async def test_a_call_may_be_closed_during_an_outage() -> None:
    async with in_positioned_call() as session:
        session.media.drop()
        await session.media.closed
        closing = asyncio.ensure_future(session.call.close())

        media = await session.resume()
        media.respond(await media.expect_command("call.close"))
        await closing

        assert session.call.state is CallState.DISCONNECTED


async def test_a_refused_resume_ends_the_call_once() -> None:
    async with in_positioned_call() as session:
        terminated = happenings(session.call, events.CALL_TERMINATED)
        stream = session.call.audio_stream()
        draining = asyncio.ensure_future(session.call.drain())
        session.server.refuse_media = Refusal(404, b'{"code": "NO_SUCH_CALL"}')
        session.media.drop()
        await terminated.get()

        assert await anext(stream, None) is None
        await draining
        await asyncio.sleep(0)
        assert session.call.state is CallState.DISCONNECTED
        assert terminated.empty()
        assert session.server.media_attempts == 2


async def test_a_server_that_has_forgotten_v2_ends_the_call() -> None:
    async with in_positioned_call() as session:
        terminated = happenings(session.call, events.CALL_TERMINATED)
        session.server.speaks_v2 = False
        session.media.drop()
        await terminated.get()

        media = session.server.medias.get_nowait()
        while media is session.media:
            media = session.server.medias.get_nowait()
        await media.closed
        assert media.waiting == 0
        assert media.close_code == 1000


async def test_a_client_that_leaves_during_an_outage_leaves_nothing() -> None:
    async with in_positioned_call() as session:
        terminated = happenings(session.call, events.CALL_TERMINATED)
        session.media.drop()
        await session.media.closed
        session.server.refuse_media = Refusal(503)
        await session.client.disconnect()

        await terminated.get()
        assert session.call.state is CallState.DISCONNECTED
        # That no task, socket or timer is left, every test is checked for.


@pytest.mark.parametrize("how", ["at once", "while it says goodbye"])
def test_a_client_that_leaves_while_nobody_is_there_leaves_nothing(how: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with Sandbox() as sandbox:
            client = TelcoflowClient(TelcoflowClientConfig.sandbox(**sandbox.credentials))
            taken: asyncio.Queue[ActiveCall] = asyncio.Queue()
            client.on(events.INCOMING_CALL)(taken.put_nowait)
            async with client:
                await sandbox.dial()
                call = await taken.get()
                terminated = happenings(call, events.CALL_TERMINATED)
                await call.answer()
                with in_place_of(sandbox.base_url, unreachable := UnreachableServer()):
                    for link in sandbox.links:
                        link.cut()
                    await call.send_audio(FRAME * 100)
                    if how == "while it says goodbye":
                        closing = asyncio.ensure_future(call.close())
                    await asyncio.sleep(1)
                    await client.disconnect()
                    attempts = unreachable.attempts
                    await asyncio.sleep(60)
                if how == "while it says goodbye":
                    await closing

                assert attempts > 2
                assert unreachable.attempts == attempts
                assert call.state is CallState.DISCONNECTED
                assert terminated.qsize() == 1
                assert not loop_lag(loop).is_watched

    run_without_a_trace(main())


def test_a_call_that_rings_for_long_keeps_its_link() -> None:
    """The server heard nothing of a client for 25 s, and let go of it after 5, again and again."""

    async def main() -> None:
        async with Sandbox() as sandbox:
            config = TelcoflowClientConfig.sandbox(**sandbox.credentials)
            async with TelcoflowClient(config) as client:
                taken: asyncio.Queue[ActiveCall] = asyncio.Queue()
                client.on(events.INCOMING_CALL)(taken.put_nowait)
                await sandbox.dial()
                call = await taken.get()
                await asyncio.sleep(50)

                assert call.state is CallState.PENDING
                assert call.statistics().outages == 0

    run_without_a_trace(main())


async def test_secrets_are_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with in_positioned_call() as session:
            session.media.drop()
            media = await session.resume()
            await media.sync()
            text = repr(session.call) + repr(session.call.media)

    assert "secret-" not in caplog.text + text


async def test_our_own_server_goes_on_with_a_call_over_sockets() -> None:
    async with Sandbox() as sandbox:
        config = TelcoflowClientConfig.sandbox(**sandbox.credentials)
        async with TelcoflowClient(config) as client:
            taken: asyncio.Queue[ActiveCall] = asyncio.Queue()
            client.on(events.INCOMING_CALL)(taken.put_nowait)
            phone = await sandbox.dial()
            call = await taken.get()
            resumed = happenings(call, events.MEDIA_RESUMED)
            await call.answer()
            assert await call.play(FRAME * 5) is True

            call.media.server_silent()  # cuts the socket
            await resumption_of(resumed)

            await call.mark("after it")
            assert await call.play(FRAME * 5) is True
            assert call.statistics().outages == 1
            assert call.statistics().protocol == 2
            await phone.hang_up()
