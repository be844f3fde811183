from __future__ import annotations

import asyncio
import threading

import pytest

from telcoflow_sdk import BufferClosedError
from telcoflow_sdk._asyncio.media import MediaConnection
from telcoflow_sdk.audio.format import AudioFormat, CallAudio


def test_another_thread_that_outlives_the_loop_is_told_that_the_call_is_over() -> None:
    made: list[MediaConnection] = []

    async def run() -> None:
        audio = CallAudio(AudioFormat(), 1, 10_000)
        media = MediaConnection(audio, str, None, lambda event: None)
        media.outbox.grant(960)
        made.append(media)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    thread.join()

    with pytest.raises(BufferClosedError):
        made[0].write(b"ab")
