from __future__ import annotations

import asyncio
import threading

import pytest

from telcoflow_sdk import (
    BufferClosedError,
    BufferFullError,
)
from tests.support.agent import Session, in_call

FRAME = bytes(range(240)) * 4


async def collect(session: Session) -> bytes:
    """Read a new iterator to its end."""
    return b"".join([chunk async for chunk in session.call.audio_stream()])


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
        stream.deliver(FRAME, -1)  # as the link does; cancelled before the reader gets to run

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


async def test_audio_written_sample_by_sample_is_not_a_message_each() -> None:
    """Found in review: 1 ms chunks were 1 000 messages a second, which servers take for a flood."""
    async with in_call() as session:
        for _ in range(3):
            session.media.request(960)
        await session.media.sync()
        speech = bytes(range(256)) * 10

        for start in range(0, len(speech), 2):
            await session.call.send_audio(speech[start : start + 2])

        messages: list[bytes] = []
        while sum(map(len, messages)) < len(speech):
            messages.append(await session.media.take_audio())
        assert b"".join(messages) == speech
        assert len(messages) == 3


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
