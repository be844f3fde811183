"""Isolated audio: everybody, the caller and the callee on channels of their own."""

from __future__ import annotations

import pytest

from tests.support.agent import connected, in_call
from tests.support.scripted_server import ScriptedServer

FRAME = bytes(range(240)) * 4


async def test_audio_mode_is_asked_for() -> None:
    async with (
        ScriptedServer() as server,
        connected(server, audio_mode="isolated") as (_, control),
    ):
        setup = control.setup["data"]

    assert setup == {"sampleRate": 24_000, "audioMode": "isolated"}


async def test_each_channel_has_streams_of_its_own() -> None:
    async with in_call(audio_mode="isolated") as session:
        everybody = session.call.audio_stream()
        callee = session.call.audio_stream(channel=2)

        for channel, pcm in enumerate((b"both", b"caller", b"callee")):
            session.media.send_audio(pcm, channel)

        assert await anext(everybody) == b"both"
        assert await anext(callee) == b"callee"
        # Kept for the first iterator, as on any channel.
        assert await anext(session.call.audio_stream(1)) == b"caller"
        assert session.call.statistics().received_bytes == 16


async def test_streams_of_all_channels_end_with_the_call() -> None:
    async with in_call(audio_mode="isolated") as session:
        streams = [session.call.audio_stream(channel) for channel in range(3)]
        session.media.send_audio(FRAME, 1)

        await session.end()

        assert [[chunk async for chunk in stream] for stream in streams] == [[], [FRAME], []]


@pytest.mark.parametrize("channel", [1, 2])
async def test_channels_that_were_not_asked_for_are_refused_with_the_way_to_ask(
    channel: int,
) -> None:
    async with in_call() as session:
        with pytest.raises(ValueError, match='audio_mode="isolated"'):
            session.call.audio_stream(channel)

        session.media.send_audio(FRAME, channel)
        await session.media.sync()
        assert session.call.statistics().received_bytes == 0
        assert session.call.statistics().ignored_messages == 1


@pytest.mark.parametrize("channel", [-1, 3])
async def test_channels_that_do_not_exist_are_refused(channel: int) -> None:
    async with in_call(audio_mode="isolated") as session:
        with pytest.raises(ValueError, match="no channel"):
            session.call.audio_stream(channel)
