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
