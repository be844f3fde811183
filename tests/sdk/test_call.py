from __future__ import annotations

import asyncio
import functools
import logging

import pytest

import telcoflow_sdk.events as events
from telcoflow_sdk import (
    CallState,
    WSSCallClosedError,
    WSSCallCommandError,
    WSSCallCommandTimeoutError,
)
from telcoflow_sdk.events import CallEvent
from tests.support.agent import happenings, in_call

FRAME = bytes(range(240)) * 4


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


async def test_answer_leads_to_answered_and_is_told_to_handlers() -> None:
    async with in_call(answered=False) as session:
        answered = happenings(session.call, events.CALL_ANSWERED)

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
        failed = happenings(session.call, events.CALL_ANSWER_FAILED)
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
        failed = happenings(session.call, CallEvent.CALL_ANSWER_FAILED)
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
        answered = happenings(session.call, events.CALL_ANSWERED)
        answering = asyncio.ensure_future(session.call.answer())
        command_id = await session.media.expect_command("call.answer")

        answering.cancel()
        session.media.respond(command_id)

        await answered.get()
        assert session.call.state is CallState.ANSWERED


async def test_lost_media_link_ends_the_call_and_fails_the_command_in_flight_at_once() -> None:
    """Flaw 5 of the published client: the state stayed LIVE and the command hung for 15 s."""
    async with in_call(answered=False) as session:
        terminated = happenings(session.call, events.CALL_TERMINATED)
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
        terminated = happenings(session.call, events.CALL_TERMINATED)

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

        terminated = happenings(session.call, events.CALL_TERMINATED)

        await terminated.get()


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
        errors = happenings(session.call, CallEvent.CALL_ERROR)

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
        second = happenings(session.call, events.CALL_ERROR)

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
