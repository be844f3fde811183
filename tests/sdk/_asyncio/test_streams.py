from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from telcoflow_sdk._asyncio.streams import AudioInbox
from telcoflow_sdk.audio.format import AudioFormat


async def collect(inbox: AudioInbox) -> bytes:
    return b"".join([chunk async for chunk in inbox.stream()])


@given(chunks=st.lists(st.binary(min_size=1, max_size=20)), readers=st.integers(1, 4))
def test_every_iterator_gets_everything_in_order(chunks: list[bytes], readers: int) -> None:
    async def run() -> list[bytes]:
        inbox = AudioInbox(AudioFormat(), asyncio.get_running_loop())
        reading = [asyncio.ensure_future(collect(inbox)) for _ in range(readers)]
        await asyncio.sleep(0)
        for number, chunk in enumerate(chunks):
            inbox.deliver(chunk)
            if number % 3 == 0:
                await asyncio.sleep(0)
        inbox.end()
        return await asyncio.gather(*reading)

    assert asyncio.run(run()) == [b"".join(chunks)] * readers


async def test_iterator_that_was_let_go_is_forgotten_while_others_go_on() -> None:
    inbox = AudioInbox(AudioFormat(), asyncio.get_running_loop())
    kept, dropped = inbox.stream(), inbox.stream()

    del dropped
    inbox.deliver(b"ab")

    assert await anext(kept) == b"ab"


async def test_iterator_made_after_the_end_ends_at_once() -> None:
    inbox = AudioInbox(AudioFormat(), asyncio.get_running_loop())
    inbox.stream()
    inbox.end()

    assert await anext(inbox.stream(), None) is None


FRAME = bytes(960)


async def test_a_chunk_has_its_place_on_the_calls_axis() -> None:
    inbox = AudioInbox(AudioFormat(8_000), asyncio.get_running_loop())
    stream = inbox.stream()
    before = stream.position_ms
    inbox.deliver(FRAME, 8_000)

    await anext(stream)

    assert before is None
    assert (stream.position_ms, stream.gap_ms) == (1000, 0)


async def test_a_chunk_without_a_place_has_none() -> None:
    inbox = AudioInbox(AudioFormat(), asyncio.get_running_loop())
    stream = inbox.stream()
    inbox.deliver(FRAME)

    await anext(stream)

    assert (stream.position_ms, stream.gap_ms) == (None, 0)


async def test_what_is_missing_between_two_chunks_is_a_gap_of_the_second() -> None:
    inbox = AudioInbox(AudioFormat(), asyncio.get_running_loop())
    stream = inbox.stream()
    gaps_ms = []
    for offset in (480, 960, 1680, 2160):
        inbox.deliver(FRAME, offset)
        await anext(stream)
        gaps_ms.append(stream.gap_ms)

    assert gaps_ms == [0, 0, 10, 0]


async def test_what_an_iterator_lost_because_it_fell_behind_is_a_gap() -> None:
    audio_format = AudioFormat(8_000)
    frame = bytes(320)
    inbox = AudioInbox(audio_format, asyncio.get_running_loop())
    stream = inbox.stream()
    inbox.deliver(frame, 0)
    await anext(stream)
    for number in range(1, 602):
        inbox.deliver(frame, 160 * number)

    await anext(stream)

    assert stream.dropped_bytes == 101 * 320
    assert stream.gap_ms == 101 * 20
    assert stream.position_ms == 102 * 20
