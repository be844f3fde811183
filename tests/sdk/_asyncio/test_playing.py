from __future__ import annotations

import asyncio
import io
import wave
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from telcoflow_sdk._asyncio.playing import AHEAD_MS, Source, play
from telcoflow_sdk.audio.format import AudioFormat
from telcoflow_sdk.protocol.commands import CommandName
from telcoflow_sdk.protocol.media_events import EndCause
from telcoflow_sdk.testing import run_virtual
from tests.support.positioned_agent import Agent

FORMAT = AudioFormat()
AHEAD_BYTES = FORMAT.ms_to_bytes(AHEAD_MS)
SECOND = bytes(range(1, 241)) * 200
"""48 000 bytes."""


def wav(pcm: bytes, *, sample_rate_hz: int = 24_000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(sample_rate_hz)
        writer.writeframes(pcm)
    return file.getvalue()


class Making:
    """An async iterator that counts what was made of it, and knows that it was closed."""

    def __init__(self, piece: bytes, pieces: int = 1_000_000) -> None:
        self.made = 0
        self.is_closed = False
        self._piece = piece
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while self.made < self._pieces:
                self.made += 1
                yield self._piece
        finally:
            self.is_closed = True


async def heard(agent: Agent, playing: asyncio.Future[bool], *, at_most: int = 10_000) -> bytes:
    """Let the server play 20 ms after 20 ms until the source is; return what it got."""
    for _ in range(at_most):
        if playing.done():
            break
        agent.plays(480)
        await asyncio.sleep(0.02)
    return agent.said()


def playing(agent: Agent, source: Source) -> asyncio.Task[bool]:
    return asyncio.ensure_future(play(agent.media.audio, FORMAT, source))


async def in_pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def produced(data: bytes) -> Callable[[int], Any]:
    rest = data

    async def produce(wanted_bytes: int) -> bytes:
        nonlocal rest
        piece, rest = rest[:wanted_bytes], rest[wanted_bytes:]
        return piece

    return produce


@pytest.mark.parametrize(
    "make",
    [
        lambda: SECOND,
        lambda: bytearray(SECOND),
        lambda: memoryview(SECOND).cast("h"),
        lambda: wav(SECOND),
        lambda: in_pieces(SECOND, 960),
        lambda: in_pieces(SECOND, 7),
        lambda: in_pieces(SECOND, 1_000_000),
        lambda: Making(SECOND, 1),
        lambda: produced(SECOND),
    ],
    ids=["bytes", "bytearray", "memoryview", "wav", "frames", "odd", "at once", "iterable", "made"],
)
def test_a_source_is_played_to_its_end(make: Callable[[], Source]) -> None:
    async def main() -> None:
        agent = await Agent().open()
        task = playing(agent, make())

        assert await heard(agent, task) == SECOND
        assert await task is True
        assert agent.ends() == [24_000]
        await agent.end()

    run_virtual(main())


def test_a_file_is_played_to_its_end_without_what_follows_the_samples(tmp_path: Path) -> None:
    path = tmp_path / "hello.wav"
    path.write_bytes(wav(SECOND) + b"LIST\x04\x00\x00\x00abcd")

    async def main() -> None:
        agent = await Agent().open()
        for source in (path, str(path)):
            task = playing(agent, source)
            await heard(agent, task)
            assert await task is True

        assert agent.said() == SECOND + SECOND
        await agent.end()

    run_virtual(main())


def test_a_file_whose_writer_did_not_know_its_size_is_all_audio(tmp_path: Path) -> None:
    path = tmp_path / "hello.wav"
    data = wav(SECOND)
    path.write_bytes(data[:40] + bytes(4) + data[44:])

    async def main() -> None:
        agent = await Agent().open()
        task = playing(agent, path)

        assert await heard(agent, task) == SECOND
        await agent.end()

    run_virtual(main())


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        (None, OSError, "hello.wav"),
        (b"", ValueError, "hello.wav: not a WAV file"),
        (b"RIFF\x00\x00\x00\x00WAVE", ValueError, "hello.wav: the WAV header is cut short"),
        (wav(SECOND, sample_rate_hz=8_000), ValueError, "hello.wav: this WAV is 8000 Hz"),
    ],
    ids=["no file", "empty", "cut short", "another rate"],
)
def test_a_file_that_cannot_be_played_says_why_and_is_closed(
    content: bytes | None, error: type[Exception], says: str, tmp_path: Path
) -> None:
    path = tmp_path / "hello.wav"
    if content is not None:
        path.write_bytes(content)

    async def main() -> None:
        agent = await Agent().open()
        with pytest.raises(error, match=says):
            await play(agent.media.audio, FORMAT, path)
        assert agent.said() == b""
        await agent.end()

    run_virtual(main())  # an open file would be a warning, and that an error


def test_a_wav_in_memory_of_another_rate_is_a_value_error() -> None:
    async def main() -> None:
        agent = await Agent().open()
        with pytest.raises(ValueError, match="8000 Hz"):
            await play(agent.media.audio, FORMAT, wav(SECOND, sample_rate_hz=8_000))
        await agent.end()

    run_virtual(main())


def test_a_header_is_not_played_however_little_room_there_is() -> None:
    """Its first piece was as large as the room: of 2 bytes nobody can tell that it is a header."""

    async def main() -> None:
        agent = await Agent().open()
        agent.window = 0
        agent.plays(0)
        agent.media.audio.write(bytes(AHEAD_BYTES - 2))
        task = playing(agent, wav(SECOND))
        await asyncio.sleep(0.01)
        agent.window = 9_600

        assert await heard(agent, task) == bytes(AHEAD_BYTES - 2) + SECOND
        await agent.end()

    run_virtual(main())


def test_nothing_is_played_of_nothing() -> None:
    async def main() -> None:
        agent = await Agent().open()

        assert await play(agent.media.audio, FORMAT, b"") is True
        assert await play(agent.media.audio, FORMAT, in_pieces(b"", 1)) is True
        await agent.end()

    run_virtual(main())


def test_it_is_made_only_as_it_is_needed() -> None:
    async def main() -> None:
        agent = await Agent().open()
        source = Making(bytes(960))
        task = playing(agent, source)
        made = []
        for _ in range(100):
            agent.plays(480)
            await asyncio.sleep(0.02)
            made.append(source.made)

        in_flight = agent.window // 480
        assert all(
            frames + in_flight <= count <= frames + in_flight + 2 * AHEAD_MS // 20
            for frames, count in enumerate(made, start=1)
        )
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await agent.end()

    run_virtual(main())


def test_a_piece_of_seconds_is_not_queued_at_once() -> None:
    """It was, whatever the buffer held: BufferFullError, and seconds that only a clear drops."""

    async def main() -> None:
        agent = await Agent(buffer_bytes=20_000).open()
        task = playing(agent, in_pieces(SECOND * 3, len(SECOND) * 3))
        queued = []
        while not task.done():
            agent.plays(480)
            await asyncio.sleep(0.02)
            queued.append(agent.media.audio.outbox.queued_bytes)

        assert max(queued) <= 2 * AHEAD_BYTES
        assert agent.said() == SECOND * 3
        await agent.end()

    run_virtual(main())


def test_a_buffer_of_one_frame_is_enough() -> None:
    async def main() -> None:
        agent = await Agent(buffer_bytes=960).open()
        task = playing(agent, SECOND)

        assert await heard(agent, task) == SECOND
        await agent.end()

    run_virtual(main())


@pytest.mark.parametrize("when", ["while there is room", "while it waits", "at its end"])
def test_an_interruption_ends_it_and_closes_the_iterator(when: str) -> None:
    async def main() -> None:
        agent = await Agent().open()
        source = Making(bytes(960), 1 if when == "at its end" else 1_000_000)
        task = playing(agent, source)
        await asyncio.sleep(0 if when == "while there is room" else 0.02)
        interrupting = agent.interrupts()
        made = source.made

        assert await task is False
        assert source.made <= made + 1
        assert source.is_closed or source.made == 0
        assert agent.media.audio.outbox.queued_bytes == 0
        await agent.end()
        await asyncio.gather(interrupting, return_exceptions=True)

    run_virtual(main())


def test_what_is_made_while_it_is_interrupted_is_not_played() -> None:
    async def main() -> None:
        agent = await Agent().open()
        is_asked, goes_on = asyncio.Event(), asyncio.Event()

        async def produce(wanted_bytes: int) -> bytes:
            is_asked.set()
            await goes_on.wait()
            return SECOND

        task = playing(agent, produce)
        await is_asked.wait()
        interrupting = agent.interrupts()
        goes_on.set()

        assert await task is False
        assert agent.said() == b""
        await agent.end()
        await asyncio.gather(interrupting, return_exceptions=True)

    run_virtual(main())


def test_an_end_that_comes_after_an_interruption_ends_no_other_utterance() -> None:
    async def main() -> None:
        agent = await Agent().open()
        is_asked, goes_on = asyncio.Event(), asyncio.Event()

        async def produce(wanted_bytes: int) -> bytes:
            is_asked.set()
            await goes_on.wait()
            return b""

        task = playing(agent, produce)
        await is_asked.wait()
        interrupting = agent.interrupts()
        agent.media.audio.write(bytes(960))
        goes_on.set()

        assert await task is False
        assert agent.ends() == []
        await agent.end()
        await asyncio.gather(interrupting, return_exceptions=True)

    run_virtual(main())


def test_a_call_that_is_hung_up_ends_it_though_it_could_go_on_for_ever() -> None:
    """What is written then is discarded, so there was always room: the loop never ran again."""

    async def main() -> None:
        agent = await Agent().open()
        source = Making(bytes(960))
        task = playing(agent, source)
        await asyncio.sleep(0.02)
        agent.media.audio.outbox.seal()
        await heard(agent, task, at_most=50)

        assert await task is False
        assert source.is_closed
        await agent.end()

    run_virtual(main())


def test_the_end_of_the_call_ends_it() -> None:
    async def main() -> None:
        agent = await Agent().open()
        source = Making(bytes(960))
        task = playing(agent, source)
        await asyncio.sleep(0.02)
        agent.media.end(EndCause.TERMINATED)

        assert await task is False
        assert source.is_closed
        assert await play(agent.media.audio, FORMAT, SECOND) is False
        await agent.end()

    run_virtual(main())


def test_a_call_that_ends_while_a_piece_is_made_ends_it() -> None:
    async def main() -> None:
        agent = await Agent().open()

        async def produce(wanted_bytes: int) -> bytes:
            agent.media.end(EndCause.TERMINATED)
            return SECOND

        assert await play(agent.media.audio, FORMAT, produce) is False
        await agent.end()

    run_virtual(main())


def test_a_cancelled_one_closes_the_iterator_and_lets_what_is_queued_play() -> None:
    async def main() -> None:
        agent = await Agent().open()
        source = Making(bytes(960))
        task = playing(agent, source)
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

        assert task.cancelled()
        assert source.is_closed
        assert agent.media.audio.outbox.queued_bytes > 0
        await agent.end()

    run_virtual(main())


def test_a_file_is_closed_though_it_was_cancelled_while_it_was_opened(tmp_path: Path) -> None:
    """A thread opens it, and goes on: the file was left open."""
    path = tmp_path / "hello.wav"
    path.write_bytes(wav(SECOND))

    async def main() -> None:
        agent = await Agent().open()
        task = playing(agent, path)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await agent.end()

    run_virtual(main())  # as above


def test_a_source_that_fails_fails_it_and_is_closed() -> None:
    async def main() -> None:
        agent = await Agent().open()

        async def failing() -> AsyncIterator[bytes]:
            yield bytes(960)
            raise LookupError("no voice")

        with pytest.raises(LookupError):
            await play(agent.media.audio, FORMAT, failing())
        await agent.end()

    run_virtual(main())


def test_an_iterator_that_cannot_be_closed_is_left() -> None:
    class Bare:
        def __aiter__(self) -> Bare:
            return self

        async def __anext__(self) -> bytes:
            raise StopAsyncIteration

    async def main() -> None:
        agent = await Agent().open()
        assert await play(agent.media.audio, FORMAT, Bare()) is True
        await agent.end()

    run_virtual(main())


def test_what_is_no_source_is_a_type_error() -> None:
    async def main() -> None:
        agent = await Agent().open()
        for source in (5, [b"ab"], lambda wanted_bytes: b"ab"):
            with pytest.raises(TypeError, match="async"):
                await play(agent.media.audio, FORMAT, source)  # type: ignore[arg-type]
        await agent.end()

    run_virtual(main())


def test_commands_go_on_while_it_plays() -> None:
    async def main() -> None:
        agent = await Agent().open()
        task = playing(agent, SECOND)
        await asyncio.sleep(0.02)
        agent.media.post(CommandName.PAUSE)

        assert await heard(agent, task) == SECOND
        await agent.end()

    run_virtual(main())
