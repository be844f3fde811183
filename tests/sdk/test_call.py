from __future__ import annotations

import asyncio
import functools
import logging
import threading
from typing import Any

import pytest

import telcoflow_sdk.events as events
from telcoflow_sdk import (
    BufferClosedError,
    BufferFullError,
    CallState,
    WSSCallClosedError,
    WSSCallCommandError,
    WSSCallCommandTimeoutError,
)
from telcoflow_sdk.events import CallEvent
from tests.support.agent import Session, in_call

FRAME = bytes(range(240)) * 4


async def collect(session: Session) -> bytes:
    """Read a new iterator to its end."""
    return b"".join([chunk async for chunk in session.call.audio_stream()])


def happenings(session: Session, event: str) -> asyncio.Queue[tuple[Any, ...]]:
    """Return a queue of the arguments that handlers of this event get."""
    seen: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()

    @session.call.on(event)
    def happened(*arguments: Any) -> None:
        seen.put_nowait(arguments)

    return seen


# --- what a call is ------------------------------------------------------------------------------


async def test_call_says_who_calls_whom_and_where_it_stands() -> None:
    async with in_call(answered=False) as session:
        call = session.call

        assert (call.call_id, call.caller_number, call.callee_number) == (
            "call-1",
            "+15550100",
            "+15550199",
        )
        assert call.state is CallState.PENDING
        assert "555" not in repr(call)


async def test_statistics_tell_what_went_through() -> None:
    async with in_call() as session:
        session.media.send_audio(FRAME)
        session.media.request(500)
        await session.call.send_audio(FRAME)
        await session.media.take_audio()
        session.media.send("nonsense")
        await session.media.sync()

        statistics = session.call.statistics()

        assert statistics.received_bytes == 960
        assert (statistics.outgoing.sent_bytes, statistics.outgoing.queued_bytes) == (500, 460)
        assert statistics.ignored_messages == 1


# --- answering -----------------------------------------------------------------------------------


async def test_answer_leads_to_answered_and_is_told_to_handlers() -> None:
    async with in_call(answered=False) as session:
        answered = happenings(session, events.CALL_ANSWERED)

        await session.answer()

        assert session.call.state is CallState.ANSWERED
        assert await answered.get() == ()


async def test_answering_twice_is_refused_here_with_both_names() -> None:
    async with in_call() as session:
        with pytest.raises(WSSCallCommandError) as caught:
            await session.call.answer()
        await session.media.sync()

        assert caught.value.error_code == "INVALID_STATE"
        assert "ANSWERED" in caught.value.error_message
        assert "call.answer" in caught.value.error_message
        assert session.media.waiting == 0


async def test_refused_answer_raises_and_is_told_to_handlers() -> None:
    async with in_call(answered=False) as session:
        failed = happenings(session, events.CALL_ANSWER_FAILED)
        answering = asyncio.ensure_future(session.call.answer())

        session.media.respond(
            await session.media.expect_command("call.answer"), error_code="RATE_LIMITED"
        )

        with pytest.raises(WSSCallCommandError) as caught:
            await answering
        assert caught.value.error_code == "RATE_LIMITED"
        ((details,),) = (await failed.get(),)
        assert details["error_code"] == "RATE_LIMITED"
        assert session.call.state is CallState.PENDING


async def test_answer_that_timed_out_is_told_to_handlers() -> None:
    async with in_call(answered=False) as session:
        failed = happenings(session, CallEvent.CALL_ANSWER_FAILED)
        answering = asyncio.ensure_future(session.call.answer())

        session.media.respond(
            await session.media.expect_command("call.answer"), error_code="TIMEOUT"
        )

        with pytest.raises(WSSCallCommandTimeoutError):
            await answering
        (details,) = await failed.get()
        assert details["error_code"] == "TIMEOUT"


async def test_cancelled_answer_is_still_noticed() -> None:
    async with in_call(answered=False) as session:
        answered = happenings(session, events.CALL_ANSWERED)
        answering = asyncio.ensure_future(session.call.answer())
        command_id = await session.media.expect_command("call.answer")

        answering.cancel()
        session.media.respond(command_id)

        await answered.get()
        assert session.call.state is CallState.ANSWERED


# --- audio from the caller -----------------------------------------------------------------------


async def test_audio_arrives_in_order_and_ends_with_the_call() -> None:
    """Flaw 5 of the published client: `audio_stream` never ended."""
    async with in_call() as session:
        chunks = [bytes([number]) * 960 for number in range(100)]
        collecting = asyncio.ensure_future(collect(session))

        for chunk in chunks:
            session.media.send_audio(chunk)
        session.media.call_event("call.terminated")

        assert await collecting == b"".join(chunks)


async def test_iterators_end_after_what_has_arrived_when_the_media_link_is_lost() -> None:
    async with in_call() as session:
        stream = session.call.audio_stream()
        session.media.send_audio(FRAME)
        session.media.send_audio(FRAME)
        await session.media.sync()

        session.media.drop()

        assert [chunk async for chunk in stream] == [FRAME, FRAME]


async def test_audio_before_the_first_iterator_is_kept_and_a_later_one_is_live() -> None:
    """Flaw 9 of the published client: it was silently lost."""
    async with in_call() as session:
        session.media.send_audio(b"a" * 960)
        await session.media.sync()
        first = session.call.audio_stream()
        later = session.call.audio_stream()
        session.media.send_audio(b"b" * 960)
        session.media.call_event("call.terminated")

        assert [chunk async for chunk in first] == [b"a" * 960, b"b" * 960]
        assert [chunk async for chunk in later] == [b"b" * 960]


async def test_first_iterator_gets_what_arrived_even_after_the_end() -> None:
    async with in_call() as session:
        session.media.send_audio(FRAME)
        await session.end()

        assert await collect(session) == FRAME
        assert await collect(session) == b""


async def test_two_iterators_get_the_same_audio_and_both_end() -> None:
    """Flaw 9 of the published client: they shared one queue, and one never ended."""
    async with in_call() as session:
        both = asyncio.gather(collect(session), collect(session))
        await asyncio.sleep(0)
        session.media.send_audio(FRAME)
        session.media.send_audio(FRAME)
        session.media.call_event("call.terminated")

        assert list(await both) == [FRAME * 2, FRAME * 2]


async def test_iterator_that_falls_behind_loses_the_oldest_audio_and_counts_it() -> None:
    """Flaw 9 of the published client: a minute unread was a minute late."""
    async with in_call() as session:
        stream = session.call.audio_stream()
        for number in range(600):  # 12 s
            session.media.send_audio(bytes((number % 256, number // 256)) * 480)
        await session.media.sync()

        assert stream.dropped_bytes == 100 * 960
        assert stream.queued_bytes == 500 * 960
        assert await anext(stream) == bytes((100, 0)) * 480


async def test_audio_that_nobody_reads_is_kept_for_ten_seconds_only() -> None:
    async with in_call() as session:
        for number in range(600):
            session.media.send_audio(bytes((number % 256, number // 256)) * 480)
        await session.media.sync()

        stream = session.call.audio_stream()

        assert stream.dropped_bytes == 100 * 960
        assert await anext(stream) == bytes((100, 0)) * 480


async def test_breaking_out_of_the_loop_frees_the_iterator() -> None:
    async with in_call() as session:
        session.media.send_audio(FRAME)
        async for _ in session.call.audio_stream():
            break
        session.media.send_audio(FRAME)
        await session.media.sync()
        session.media.call_event("call.terminated")

        assert await collect(session) == b""  # live, and what came between is gone


async def test_closed_iterator_ends_and_holds_nothing() -> None:
    async with in_call() as session:
        stream = session.call.audio_stream()
        reading = asyncio.ensure_future(anext(stream, None))
        await asyncio.sleep(0)

        await stream.aclose()
        session.media.send_audio(FRAME)
        await session.media.sync()

        assert await reading is None
        assert stream.queued_bytes == 0
        assert await anext(stream, None) is None


async def test_cancelled_read_loses_no_audio() -> None:
    async with in_call() as session:
        stream = session.call.audio_stream()
        reading = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        stream.deliver(FRAME)  # as the link does; cancelled before the reader gets to run

        reading.cancel()

        with pytest.raises(asyncio.CancelledError):
            await reading
        assert await anext(stream) == FRAME


async def test_two_tasks_on_one_iterator_are_told_so() -> None:
    async with in_call() as session:
        stream = session.call.audio_stream()
        reading = asyncio.ensure_future(anext(stream, b"ended"))
        await asyncio.sleep(0)

        with pytest.raises(RuntimeError, match="one for each"):
            await anext(stream)
        await session.end()
        assert await reading == b"ended"


async def test_other_channels_are_not_kept() -> None:
    """Flaw 9 of the published client: every channel id made a queue nobody read."""
    async with in_call() as session:
        for channel in range(1, 256):
            session.media.send_audio(FRAME, channel)
        session.media.send_audio(b"ab")
        session.media.call_event("call.terminated")

        assert await collect(session) == b"ab"


# --- audio to the caller -------------------------------------------------------------------------


async def test_audio_leaves_only_when_it_is_asked_for() -> None:
    async with in_call() as session:
        await session.call.send_audio(FRAME * 3)
        await session.media.sync()
        assert session.media.waiting == 0
        assert session.call.get_send_audio_buffer_size() == 3 * 960

        session.media.request(960)
        session.media.request(960)

        assert await session.media.take_audio() == FRAME
        assert await session.media.take_audio() == FRAME
        await session.media.sync()
        assert session.media.waiting == 0


async def test_audio_leaves_at_once_when_the_server_waits_for_it() -> None:
    async with in_call() as session:
        session.media.request(960)
        await session.media.sync()

        await session.call.send_audio(FRAME)

        assert await session.media.take_audio() == FRAME


async def test_buffer_size_reaches_zero_without_more_audio() -> None:
    """Flaw 8 of the published client: the last 960 bytes stuck."""
    async with in_call() as session:
        session.media.request(960)
        session.media.request(960)
        await session.media.sync()

        await session.call.send_audio(bytes(1_461))

        assert session.call.get_send_audio_buffer_size() == 0
        assert len(await session.media.take_audio()) == 960
        assert len(await session.media.take_audio()) == 500


async def test_another_thread_may_send_and_wakes_the_loop() -> None:
    async with in_call() as session:
        session.media.request(3 * 960)
        await session.media.sync()

        def speak() -> None:
            for _ in range(3):
                session.call.send_audio_nowait(FRAME)

        thread = threading.Thread(target=speak)
        thread.start()
        received = b""
        while len(received) < 3 * 960:
            received += await session.media.take_audio()
        thread.join()

        assert received == FRAME * 3


async def test_full_buffer_says_so_and_takes_nothing() -> None:
    async with in_call(buffer_size=960) as session:
        await session.call.send_audio(bytes(900))

        with pytest.raises(BufferFullError, match="900 of 960"):
            await session.call.send_audio(bytes(100))
        assert session.call.get_send_audio_buffer_size() == 900


async def test_audio_after_the_end_is_refused() -> None:
    """Flaw 5 of the published client: it was silently discarded."""
    async with in_call() as session:
        await session.end()

        with pytest.raises(BufferClosedError):
            await session.call.send_audio(FRAME)
        with pytest.raises(BufferClosedError):
            session.call.send_audio_nowait(FRAME)
        assert session.call.get_send_audio_buffer_size() == 0


# --- barge-in ------------------------------------------------------------------------------------


async def test_clear_takes_effect_before_it_first_awaits() -> None:
    """Flaw 8 of the published client: it waited for a round trip."""
    async with in_call() as session:
        session.media.request(960)
        await session.media.sync()
        await session.call.send_audio(FRAME * 3)
        await session.media.take_audio()

        clearing = asyncio.ensure_future(session.call.clear_send_audio_buffer())
        await asyncio.sleep(0)
        size_meanwhile = session.call.get_send_audio_buffer_size()
        session.media.respond(
            await session.media.expect_command("agent.interrupt"),
            result={"dropped_bytes": 480, "heard_ms": 10.0, "dropped_ms": 10.0},
        )

        assert size_meanwhile == 0
        assert await clearing == 2 * 960 + 480


async def test_interrupt_tells_what_was_heard_and_dropped() -> None:
    async with in_call() as session:
        session.media.request(960)
        await session.media.sync()
        await session.call.send_audio(FRAME * 2)
        await session.media.take_audio()

        interrupting = asyncio.ensure_future(session.call.interrupt())
        session.media.respond(
            await session.media.expect_command("agent.interrupt"),
            result={"dropped_bytes": 480, "heard_ms": 10.0, "dropped_ms": 10.0},
        )

        interruption = await interrupting
        assert (interruption.heard_ms, interruption.dropped_ms) == (10.0, 30.0)


async def test_server_that_says_nothing_of_an_interrupt_is_enough() -> None:
    async with in_call() as session:
        session.media.request(960)
        await session.media.sync()
        await session.call.send_audio(FRAME * 2)
        await session.media.take_audio()

        interrupting = asyncio.ensure_future(session.call.interrupt())
        session.media.respond(await session.media.expect_command("agent.interrupt"))

        interruption = await interrupting
        assert (interruption.heard_ms, interruption.dropped_ms) == (None, 20.0)


async def test_clear_of_what_the_server_never_had_needs_no_round_trip() -> None:
    async with in_call(answered=False) as session:
        await session.call.send_audio(FRAME)

        assert await session.call.clear_send_audio_buffer() == 960
        await session.media.sync()
        assert session.media.waiting == 0


async def test_refused_clear_is_logged_and_not_raised(caplog: pytest.LogCaptureFixture) -> None:
    async with in_call() as session:
        session.media.request(960)
        await session.media.sync()
        await session.call.send_audio(FRAME * 2)
        await session.media.take_audio()

        clearing = asyncio.ensure_future(session.call.clear_send_audio_buffer())
        session.media.respond(
            await session.media.expect_command("agent.interrupt"), error_code="INTERNAL_ERROR"
        )

        assert await clearing == 960
        assert "INTERNAL_ERROR" in caplog.text


async def test_clear_when_the_call_ends_meanwhile_returns_what_was_dropped_here() -> None:
    async with in_call() as session:
        session.media.request(960)
        await session.media.sync()
        await session.call.send_audio(FRAME * 2)
        await session.media.take_audio()

        clearing = asyncio.ensure_future(session.call.clear_send_audio_buffer())
        await session.media.expect_command("agent.interrupt")
        session.media.drop()

        assert await clearing == 960


async def test_clear_and_interrupt_after_the_end_drop_nothing() -> None:
    async with in_call() as session:
        await session.call.send_audio(FRAME)
        await session.end()

        assert await session.call.clear_send_audio_buffer() == 0
        interruption = await session.call.interrupt()
        assert (interruption.heard_ms, interruption.dropped_ms) == (0.0, 0.0)


async def test_credit_survives_an_interrupt_and_new_audio_leaves_at_once() -> None:
    async with in_call() as session:
        session.media.request(960)
        session.media.request(960)
        await session.media.sync()
        await session.call.send_audio(FRAME)
        await session.media.take_audio()

        interrupting = asyncio.ensure_future(session.call.interrupt())
        await session.media.expect_command("agent.interrupt")
        await session.call.send_audio(b"new!" * 240)

        assert await session.media.take_audio() == b"new!" * 240
        interrupting.cancel()


# --- hanging up ----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["close", "disconnect"])
async def test_goodbye_is_said_before_the_call_ends(command: str) -> None:
    async with in_call() as session:
        terminated = happenings(session, events.CALL_TERMINATED)
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
        first = asyncio.ensure_future(session.call.close())
        second = asyncio.ensure_future(session.call.disconnect())

        session.media.respond(await session.media.expect_command("call.close"))

        await asyncio.gather(first, second)
        await session.media.closed
        assert session.media.waiting == 0


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


# --- the end -------------------------------------------------------------------------------------


async def test_lost_media_link_ends_the_call_and_fails_the_command_in_flight_at_once() -> None:
    """Flaw 5 of the published client: the state stayed LIVE and the command hung for 15 s."""
    async with in_call(answered=False) as session:
        terminated = happenings(session, events.CALL_TERMINATED)
        answering = asyncio.ensure_future(session.call.answer())
        await session.media.expect_command("call.answer")

        session.media.drop()

        with pytest.raises(WSSCallClosedError):
            await answering
        assert session.call.state is CallState.DISCONNECTED
        await terminated.get()
        assert session.client.get_call("call-1") is None


async def test_terminated_is_told_once_whatever_follows() -> None:
    async with in_call() as session:
        terminated = happenings(session, events.CALL_TERMINATED)

        session.media.call_event("call.terminated")
        session.media.call_event("call.terminated")
        session.media.close()
        await session.media.closed
        session.control.send("session.closed", sessionId="session-of-call-1", reason="x")
        await session.control.sync()

        assert await terminated.get() == ()
        assert terminated.empty()


async def test_client_closes_the_media_link_when_the_call_ends() -> None:
    """Flaw 5 of the published client: it never did."""
    async with in_call() as session:
        session.media.call_event("call.terminated")

        await session.media.closed
        assert session.media.close_code == 1000


async def test_handler_that_comes_after_the_end_is_still_told() -> None:
    async with in_call() as session:
        await session.end()

        terminated = happenings(session, events.CALL_TERMINATED)

        await terminated.get()


# --- events --------------------------------------------------------------------------------------


async def test_event_handler_may_await_a_command_on_its_own_call() -> None:
    """Flaw 6 of the published client: a deadlock of 15 s, and no audio meanwhile."""
    async with in_call() as session:
        done = asyncio.Event()

        @session.call.on(events.CALL_ERROR)
        async def give_up(details: dict[str, str]) -> None:
            await session.call.disconnect()
            done.set()

        session.media.call_event("call.error", error_code="TTS_SESSION_ERROR")
        session.media.respond(await session.media.expect_command("call.disconnect"))

        await done.wait()
        assert session.call.state is CallState.DISCONNECTED


async def test_slow_event_handler_delays_no_audio() -> None:
    async with in_call() as session:
        release = asyncio.Event()

        @session.call.on(events.CALL_ERROR)
        async def think() -> None:
            await release.wait()

        session.media.call_event("call.error", error_code="X")
        session.media.send_audio(FRAME)

        assert await anext(session.call.audio_stream()) == FRAME
        release.set()


async def test_error_event_carries_code_and_message() -> None:
    async with in_call() as session:
        errors = happenings(session, CallEvent.CALL_ERROR)

        session.media.call_event("call.error", error_code="AUDIO_OVERRUN", error_message="slow")

        assert await errors.get() == ({"error_code": "AUDIO_OVERRUN", "error_message": "slow"},)


async def test_handler_may_leave_the_argument_out() -> None:
    async with in_call() as session:
        told = asyncio.Event()

        @session.call.on(events.CALL_ERROR)
        def without_argument() -> None:
            told.set()

        session.media.call_event("call.error", error_code="X")

        await told.wait()


async def test_every_kind_of_async_handler_is_awaited() -> None:
    """Flaw 11 of the published client: partials and callable objects were not."""

    class Listener:
        def __init__(self) -> None:
            self.told = asyncio.Semaphore(0)

        async def method(self, *_: object) -> None:
            await asyncio.sleep(0)
            self.told.release()

        async def __call__(self, *_: object) -> None:
            await asyncio.sleep(0)
            self.told.release()

    async with in_call() as session:
        listener = Listener()
        for handler in (listener, listener.method, functools.partial(listener.method, "extra")):
            session.call.register_event_handler("call.error", handler)

        session.media.call_event("call.error", error_code="X")

        for _ in range(3):
            await listener.told.acquire()


async def test_event_handler_that_raises_is_logged_and_the_call_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with in_call() as session:
        second = happenings(session, events.CALL_ERROR)

        @session.call.on(events.CALL_ERROR)
        def broken() -> None:
            raise LookupError("the application's own")

        session.media.call_event("call.error", error_code="X")
        await second.get()
        await session.media.sync()

        assert session.call.state is CallState.ANSWERED
        assert any(record.exc_info for record in caplog.records)
        assert "the application's own" in caplog.text


async def test_decorator_returns_the_function_and_unknown_events_are_named() -> None:
    async with in_call() as session:

        def handler() -> None:
            """Never called."""

        assert session.call.on(CallEvent.CALL_CONNECTED)(handler) is handler
        with pytest.raises(ValueError, match=r"call\.terminated"):
            session.call.on("call.finished")
        with pytest.raises(ValueError, match="no event"):
            session.call.register_event_handler("call.incoming", handler)


# --- what must not be seen -----------------------------------------------------------------------


async def test_nothing_secret_is_logged_in_a_whole_call(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1)
    async with in_call() as session:
        session.media.request(960)
        await session.call.send_audio(b"SECRETSOUND!")
        await session.media.take_audio()
        session.media.send_raw(b'{"type": "+15550100"}')
        await session.end()

    logged = "\n".join(
        f"{record.getMessage()} {record.args} {record.exc_text}"
        for record in caplog.records
        if record.name != "asyncio"
    )
    for secret in ("a-secret-key", "token-of-the-call", "5550100", "5550199", "SECRETSOUND"):
        assert secret not in logged
    assert any(record.levelno == logging.INFO for record in caplog.records)
