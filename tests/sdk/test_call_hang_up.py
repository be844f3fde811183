from __future__ import annotations

import asyncio

import pytest

import telcoflow_sdk.events as events
from telcoflow_sdk import (
    CallState,
    WSSCallClosedError,
    WSSCallCommandError,
    WSSCallCommandTimeoutError,
)
from tests.support.agent import happenings, in_call

FRAME = bytes(range(240)) * 4


@pytest.mark.parametrize("command", ["close", "disconnect"])
async def test_goodbye_is_said_before_the_call_ends(command: str) -> None:
    async with in_call() as session:
        terminated = happenings(session.call, events.CALL_TERMINATED)
        await session.call.send_audio(FRAME * 2)

        ending = asyncio.ensure_future(getattr(session.call, command)())
        await session.media.sync()
        waiting_meanwhile = session.media.waiting
        session.media.request(960)
        session.media.request(960)
        goodbye = [await session.media.take_audio() for _ in range(2)]
        session.media.respond(await session.media.expect_command(f"call.{command}"))
        await ending

        assert waiting_meanwhile == 0
        assert goodbye == [FRAME, FRAME]
        assert session.call.state is CallState.DISCONNECTED
        await terminated.get()
        await session.media.closed
        assert terminated.empty()


async def test_audio_queued_after_the_goodbye_is_discarded_and_counted() -> None:
    async with in_call() as session:
        await session.call.send_audio(b"bye!")
        ending = asyncio.ensure_future(session.call.close())
        await asyncio.sleep(0)

        await session.call.send_audio(FRAME)
        session.call.send_audio_nowait(FRAME)
        session.media.request(960)

        assert await session.media.take_audio() == b"bye!"
        session.media.respond(await session.media.expect_command("call.close"))
        await ending
        assert session.call.statistics().outgoing.discarded_bytes == 2 * 960


async def test_hanging_up_without_drain_does_not_wait() -> None:
    async with in_call() as session:
        await session.call.send_audio(FRAME)

        ending = asyncio.ensure_future(session.call.close(drain=False))
        session.media.respond(await session.media.expect_command("call.close"))

        await ending


async def test_goodbye_has_a_time_limit_and_the_rest_is_not_said() -> None:
    async with in_call() as session:
        await session.call.send_audio(FRAME * 2)

        ending = asyncio.ensure_future(session.call.close(drain_timeout_s=0.02))
        command_id = await session.media.expect_command("call.close")
        session.media.request(960)
        await session.media.sync()

        assert session.media.waiting == 0
        session.media.respond(command_id)
        await ending


async def test_clear_ends_the_goodbye() -> None:
    async with in_call() as session:
        await session.call.send_audio(FRAME)
        ending = asyncio.ensure_future(session.call.close())
        await asyncio.sleep(0)

        await session.call.clear_send_audio_buffer()

        session.media.respond(await session.media.expect_command("call.close"))
        await ending


async def test_caller_who_hangs_up_ends_the_goodbye() -> None:
    async with in_call() as session:
        await session.call.send_audio(FRAME)
        ending = asyncio.ensure_future(session.call.close())
        await asyncio.sleep(0)

        session.media.call_event("call.terminated")

        await ending
        assert session.call.state is CallState.DISCONNECTED


async def test_caller_who_hangs_up_while_the_agent_does_is_no_error() -> None:
    async with in_call() as session:
        ending = asyncio.ensure_future(session.call.close())
        await session.media.expect_command("call.close")

        session.media.call_event("call.terminated")

        await ending


async def test_whoever_is_cancelled_while_hanging_up_does_not_shorten_the_goodbye() -> None:
    async with in_call() as session:
        await session.call.send_audio(FRAME)
        ending = asyncio.ensure_future(session.call.close())
        await asyncio.sleep(0)

        ending.cancel()
        await session.media.sync()
        waiting_meanwhile = session.media.waiting
        session.media.request(960)

        assert waiting_meanwhile == 0
        assert await session.media.take_audio() == FRAME
        await session.media.expect_command("call.close")


async def test_second_hang_up_joins_the_first() -> None:
    async with in_call() as session:
        first = asyncio.ensure_future(session.call.disconnect())
        second = asyncio.ensure_future(session.call.close())

        session.media.respond(await session.media.expect_command("call.disconnect"))

        await asyncio.gather(first, second)
        await session.media.closed
        assert session.media.waiting == 0


async def test_whoever_wants_to_end_the_call_for_everybody_is_not_content_with_leaving_it() -> None:
    async with in_call() as session:
        await session.call.send_audio(FRAME)
        leaving = asyncio.ensure_future(session.call.close())
        await asyncio.sleep(0)

        ending = asyncio.ensure_future(session.call.disconnect())
        await asyncio.sleep(0)
        session.media.request(960)

        assert await session.media.take_audio() == FRAME
        session.media.respond(await session.media.expect_command("call.disconnect"))
        await asyncio.gather(leaving, ending)
        await session.media.closed
        assert session.media.waiting == 0


async def test_call_is_ended_for_everybody_also_when_leaving_it_is_on_its_way() -> None:
    async with in_call() as session:
        leaving = asyncio.ensure_future(session.call.close())
        await session.media.expect_command("call.close")

        ending = asyncio.ensure_future(session.call.disconnect())

        session.media.respond(await session.media.expect_command("call.disconnect"))
        await asyncio.gather(leaving, ending)


async def test_second_hang_up_without_drain_ends_the_goodbye_of_the_first() -> None:
    async with in_call() as session:
        await session.call.send_audio(FRAME)
        patient = asyncio.ensure_future(session.call.close())
        await asyncio.sleep(0)

        hasty = asyncio.ensure_future(session.call.close(drain=False))

        session.media.respond(await session.media.expect_command("call.close"))
        await asyncio.gather(patient, hasty)


async def test_ringing_call_is_rejected_at_once() -> None:
    """Flaw 5 of the published client: it sent nothing and reported success."""
    async with in_call(answered=False) as session:
        await session.call.send_audio(FRAME)  # a greeting nobody will hear

        ending = asyncio.ensure_future(session.call.close())
        session.media.respond(await session.media.expect_command("call.close"))

        await ending
        assert session.call.state is CallState.DISCONNECTED


async def test_refused_hang_up_raises_and_the_call_takes_audio_again() -> None:
    async with in_call() as session:
        ending = asyncio.ensure_future(session.call.close())
        session.media.respond(
            await session.media.expect_command("call.close"), error_code="RATE_LIMITED"
        )

        with pytest.raises(WSSCallCommandError):
            await ending
        await session.call.send_audio(FRAME)
        assert session.call.get_send_audio_buffer_size() == 960

        again = asyncio.ensure_future(session.call.close(drain=False))
        session.media.respond(await session.media.expect_command("call.close"))
        await again


async def test_hang_up_that_times_out_ends_the_call_here() -> None:
    async with in_call() as session:
        ending = asyncio.ensure_future(session.call.close())
        session.media.respond(
            await session.media.expect_command("call.close"), error_code="TIMEOUT"
        )

        with pytest.raises(WSSCallCommandTimeoutError):
            await ending
        assert session.call.state is CallState.DISCONNECTED
        await session.media.closed


async def test_after_the_end_hanging_up_is_quiet_and_answering_is_not() -> None:
    async with in_call(answered=False) as session:
        await session.end()

        await session.call.close()
        await session.call.disconnect()
        with pytest.raises(WSSCallClosedError):
            await session.call.answer()
