"""A call over media protocol v2, over real sockets: what its first link carries."""

from __future__ import annotations

import asyncio

import pytest

import telcoflow_sdk.events as events
from telcoflow_sdk import CallState, Interruption, Mark, WSSCallCommandError
from telcoflow_sdk.protocol.commands import GapCause
from telcoflow_sdk.protocol.positions import END, MORE
from tests.support.agent import happenings, in_call
from tests.support.media_v2 import in_positioned_call

FRAME = bytes(range(240)) * 4
"""480 samples."""


async def test_audio_leaves_with_its_place_as_far_as_the_window() -> None:
    async with in_positioned_call(window=720) as session:
        await session.call.send_audio(FRAME * 2)
        first = await session.media.take_audio_message()
        session.media.has(480, window=720)
        second = await session.media.take_audio_message()

        assert (first.offset, first.flags, first.pcm) == (0, MORE, (FRAME * 2)[:1440])
        assert (second.offset, second.flags, second.pcm) == (720, 0, (FRAME * 2)[1440:])
        assert session.call.get_send_audio_buffer_size() == 0
        assert session.call.statistics().protocol == 2


async def test_less_than_a_frame_is_gathered_and_then_sent() -> None:
    async with in_positioned_call() as session:
        await session.call.send_audio(b"ab")
        await session.call.send_audio(b"cd")

        assert (await session.media.take_audio_message()).pcm == b"abcd"


async def test_an_utterance_that_ends_says_so() -> None:
    async with in_positioned_call() as session:
        await session.call.send_audio(FRAME + b"x")
        session.call.end_utterance()
        with_audio = await session.media.take_audio_message()
        session.call.end_utterance()
        await session.call.send_audio(FRAME)

        assert (with_audio.flags, with_audio.pcm) == (0, FRAME)
        end = await session.media.take_audio_message()
        assert (end.flags, end.offset, end.pcm) == (END, 480, b"")
        assert (await session.media.take_audio_message()).offset == 480


async def test_what_is_heard_queued_and_in_flight_is_told() -> None:
    async with in_positioned_call(window=960) as session:
        await session.call.send_audio(FRAME * 3)
        await session.media.take_audio_message()
        session.media.has(960, 480, window=960, heard=240, paused=True)
        await session.media.sync()

        playback = session.call.playback

        assert (playback.queued_ms, playback.in_flight_ms, playback.heard_ms) == (0, 40, 10)
        assert (playback.is_paused, playback.lead_ms) == (True, 40)
        assert session.call.statistics().lead_ms == 40


async def test_over_v1_only_what_is_queued_is_known() -> None:
    async with in_call() as session:
        await session.call.send_audio(FRAME)

        playback = session.call.playback

        assert (playback.queued_ms, playback.in_flight_ms, playback.lead_ms) == (20, 0, 0)
        assert session.call.statistics().protocol == 1
        assert session.call.audio_stream().position_ms is None


async def test_an_interruption_counts_what_was_dropped_everywhere() -> None:
    async with in_positioned_call(window=960) as session:
        await session.call.send_audio(FRAME * 3)
        await session.media.take_audio_message()

        interrupting = asyncio.ensure_future(session.call.interrupt())
        command_id, place = await session.media.expect_placed("agent.interrupt")
        session.media.respond(
            command_id, result={"played": 240, "dropped_bytes": 0, "heard_ms": 10}
        )

        assert place == (1, 0)
        assert await interrupting == Interruption(heard_ms=10, dropped_ms=50)


async def test_what_is_said_after_an_interruption_leaves_behind_it_and_waits_for_no_answer() -> (
    None
):
    async with in_positioned_call(window=960) as session:
        await session.call.send_audio(FRAME * 3)
        await session.media.take_audio_message()

        interrupting = asyncio.ensure_future(session.call.clear_send_audio_buffer())
        await asyncio.sleep(0)
        await session.call.send_audio(FRAME)

        command_id = await session.media.expect_command("agent.interrupt")
        after = await session.media.take_audio_message()
        session.media.respond(command_id, result={"played": 960, "dropped_bytes": 0})
        assert (after.generation, after.offset, after.pcm) == (1, 0, FRAME)
        assert await interrupting == len(FRAME)


async def test_a_change_of_mode_is_answered_while_the_audio_before_it_waits() -> None:
    async with in_positioned_call(with_callee=True, window=480) as session:
        await session.call.send_audio(FRAME * 3)
        await session.media.take_audio_message()

        changing = asyncio.ensure_future(session.call.whisper())
        command_id, place = await session.media.expect_placed("agent.whisper")
        session.media.respond(command_id)
        await changing

        assert place == (0, 3 * 480)
        assert session.call.get_send_audio_buffer_size() == 2 * len(FRAME)


async def test_a_mark_tells_that_it_was_played_or_cleared() -> None:
    async with in_positioned_call() as session:
        played = happenings(session.call, events.MARK_PLAYED)
        cleared = happenings(session.call, events.MARK_CLEARED)
        await session.call.send_audio(FRAME)
        marking = asyncio.ensure_future(session.call.mark("sentence"))
        await session.media.take_audio_message()
        command_id, place = await session.media.expect_placed("agent.mark")
        session.media.respond(command_id)
        await marking

        session.media.call_event("mark.played", name="sentence", at_ms=1234.5)
        session.media.call_event("mark.cleared", name="other")

        assert place == (0, 480)
        assert await played.get() == (Mark("sentence", 1234.5),)
        assert await cleared.get() == (Mark("other", None),)


@pytest.mark.parametrize("name", ["", "x" * 129])
async def test_a_mark_without_a_proper_name_is_a_value_error(name: str) -> None:
    async with in_positioned_call() as session:
        with pytest.raises(ValueError, match="1 to 128"):
            await session.call.mark(name)

        assert session.media.waiting == 0


async def test_over_v1_what_it_has_no_words_for_is_refused_by_name() -> None:
    async with in_call() as session:
        for command in (
            session.call.mark("a"),
            session.call.pause_playback(),
            session.call.resume_playback(),
        ):
            with pytest.raises(WSSCallCommandError) as caught:
                await command
            assert caught.value.error_code == "UNSUPPORTED"

        assert session.media.waiting == 0


async def test_draining_ends_when_the_last_sample_was_played() -> None:
    async with in_positioned_call() as session:
        await session.call.send_audio(FRAME)
        draining = asyncio.ensure_future(session.call.drain())
        await session.media.take_audio_message()
        session.media.has(480, 479)
        await session.media.sync()
        early = draining.done()
        session.media.has(480)

        assert await draining is True
        assert not early
        assert await session.call.drain() is True  # nothing is left to wait for


@pytest.mark.parametrize("how", ["cleared", "ended"])
async def test_draining_ends_without_success_when_it_is_not_played(how: str) -> None:
    async with in_positioned_call() as session:
        await session.call.send_audio(FRAME)
        draining = asyncio.ensure_future(session.call.drain())
        await session.media.take_audio_message()
        if how == "cleared":
            interrupting = asyncio.ensure_future(session.call.interrupt())
            session.media.respond(await session.media.expect_command("agent.interrupt"))
            await interrupting
        else:
            session.media.call_event("call.terminated")

        assert await draining is False


async def test_draining_over_v1_waits_until_all_has_left() -> None:
    async with in_call() as session:
        await session.call.send_audio(FRAME)
        draining = asyncio.ensure_future(session.call.drain())
        session.media.request(480)
        await session.media.take_audio()
        early = draining.done()
        session.media.request(480)

        assert await draining is True
        assert not early


async def test_draining_over_v1_tells_that_it_was_cleared() -> None:
    async with in_call() as session:
        await session.call.send_audio(FRAME)
        draining = asyncio.ensure_future(session.call.drain())
        await asyncio.sleep(0)

        await session.call.clear_send_audio_buffer()

        assert await draining is False


async def test_a_goodbye_is_heard_though_playback_is_paused() -> None:
    async with in_positioned_call() as session:
        pausing = asyncio.ensure_future(session.call.pause_playback())
        session.media.respond(await session.media.expect_command("agent.pause"))
        await pausing
        await session.call.send_audio(FRAME)

        closing = asyncio.ensure_future(session.call.close())
        assert (await session.media.take_audio_message()).pcm == FRAME
        await session.media.expect_command("agent.resume")
        command_id, place = await session.media.expect_placed("call.close")
        session.media.respond(command_id)
        await closing

        assert place == (0, 480)
        assert session.call.state is CallState.DISCONNECTED


@pytest.mark.parametrize("how", ["pause is not answered", "nothing is drained"])
async def test_a_paused_call_is_never_left_waiting_for_what_nobody_plays(how: str) -> None:
    """It was resumed only for a goodbye, after a pause that had been answered."""
    async with in_positioned_call() as session:
        pausing = asyncio.ensure_future(session.call.pause_playback())
        command_id = await session.media.expect_command("agent.pause")
        if how == "nothing is drained":
            session.media.respond(command_id)
            await pausing

        closing = asyncio.ensure_future(session.call.close(drain=how != "nothing is drained"))
        await session.media.expect_command("agent.resume")
        session.media.respond(await session.media.expect_command("call.close"))
        await closing
        await asyncio.gather(pausing, return_exceptions=True)


async def test_a_pause_that_was_refused_needs_no_resume() -> None:
    async with in_positioned_call() as session:
        pausing = asyncio.ensure_future(session.call.pause_playback())
        command_id = await session.media.expect_command("agent.pause")
        session.media.respond(command_id, error_code="INTERNAL_ERROR")
        with pytest.raises(WSSCallCommandError):
            await pausing

        closing = asyncio.ensure_future(session.call.close())
        session.media.respond(await session.media.expect_command("call.close"))
        await closing


async def test_playback_goes_on_when_it_is_resumed() -> None:
    async with in_positioned_call() as session:
        for command in ("pause", "resume"):
            doing = asyncio.ensure_future(getattr(session.call, f"{command}_playback")())
            session.media.respond(await session.media.expect_command(f"agent.{command}"))
            await doing

        closing = asyncio.ensure_future(session.call.close())
        session.media.respond(await session.media.expect_command("call.close"))
        await closing


async def test_what_arrives_has_its_place_and_what_is_missing_is_told() -> None:
    async with in_positioned_call() as session:
        stream = session.call.audio_stream()
        places = []
        session.media.send_audio_at(24_000, FRAME)
        session.media.send_audio_at(24_480, FRAME)
        session.media.send_audio_at(25_200, FRAME)
        for _ in range(3):
            assert await anext(stream) == FRAME
            places.append((stream.position_ms, stream.gap_ms))

        assert places == [(1000, 0), (1020, 0), (1050, 10)]


async def test_gaps_are_counted_by_their_cause() -> None:
    async with in_positioned_call() as session:
        session.media.call_event("media.gap", at_ms=1.0, ms=40.0, cause="client_late")
        session.media.call_event("media.gap", at_ms=2.0, ms=20.0, cause="client_late")
        session.media.call_event("media.gap", at_ms=3.0, ms=60.0, cause="network_late")
        await session.media.sync()

        statistics = session.call.statistics()

        assert statistics.gaps == {GapCause.CLIENT_LATE: 2, GapCause.NETWORK_LATE: 1}
        assert statistics.gap_ms == 120


async def test_what_arrives_is_acknowledged() -> None:
    async with in_positioned_call() as session:
        first = await session.media.acknowledgements.get()

        assert (first.seen, first.received) == (0, 0)


async def test_over_v1_a_source_that_has_left_was_played_though_somebody_hangs_up() -> None:
    """The hang-up drops what has not left: nothing, and yet it passed for an interruption."""
    async with in_call() as session:
        closing = asyncio.ensure_future(session.call.play(FRAME))
        await asyncio.sleep(0)
        hanging_up = asyncio.ensure_future(session.call.close())
        session.media.request(960)
        await session.media.take_audio()
        session.media.respond(await session.media.expect_command("call.close"))
        await hanging_up

        assert await closing is True


async def test_over_v1_an_interruption_ends_a_source_though_all_of_it_has_left() -> None:
    async with in_call() as session:
        is_asked, goes_on = asyncio.Event(), asyncio.Event()

        async def produce(wanted_bytes: int) -> bytes:
            is_asked.set()
            await goes_on.wait()
            return FRAME

        playing = asyncio.ensure_future(session.call.play(produce))
        await is_asked.wait()
        await session.call.clear_send_audio_buffer()
        goes_on.set()

        assert await playing is False
