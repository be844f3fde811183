"""Playing something that is made, or read, only as it is needed.

Not here: the queue (`audio/`), what the server asks for (`media.py`).
Implements `play` of docs/reference/sdk.md.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from telcoflow_sdk._asyncio.agent_audio import AgentAudio
from telcoflow_sdk.audio.format import AudioFormat, BytesLike
from telcoflow_sdk.audio.wav import MAX_HEADER_BYTES, begins_like_wav, parse_wav_header

AHEAD_MS = 100
"""How much is kept queued here: what covers the making of the next piece, and no more of what may
never be heard."""

Producer = Callable[[int], Awaitable[BytesLike]]
Source = BytesLike | str | os.PathLike[str] | AsyncIterable[BytesLike] | Producer


async def play(audio: AgentAudio, audio_format: AudioFormat, source: Source) -> bool:
    """Play a source to its end; see `ActiveCall.play`."""
    pieces = _pieces(source, audio_format)
    # Twice as much is queued at most: a piece is written when less than this is there.
    ahead_bytes = min(audio_format.ms_to_bytes(AHEAD_MS), audio.capacity_bytes // 4 * 2)
    interruptions = audio.interruptions

    async def has_room() -> bool:
        await audio.room(ahead_bytes)
        return audio.interruptions == interruptions and not audio.is_over

    try:
        while await has_room():
            piece = await pieces.take(max(2, ahead_bytes - audio.outbox.queued_bytes))
            if not piece:
                if audio.interruptions != interruptions:
                    break
                audio.end_utterance()
                return await audio.played()
            for part in _parts(piece, ahead_bytes):
                if not await has_room():
                    return False
                audio.write(part)
    finally:
        await pieces.close()
    return False


def _parts(piece: BytesLike, size: int) -> Iterator[BytesLike]:
    """Cut what is longer than `size` bytes."""
    rest = memoryview(piece).cast("B")
    if len(rest) <= size:
        yield piece
        return
    for at in range(0, len(rest), size):
        yield rest[at : at + size]


class _Pieces:
    """A source as pieces of about the wanted size; b"" is its end."""

    def __init__(
        self, take: Callable[[int], Awaitable[BytesLike]], close: Callable[[], Awaitable[None]]
    ) -> None:
        self.take = take
        self.close = close


def _pieces(source: Source, audio_format: AudioFormat) -> _Pieces:
    if isinstance(source, str | os.PathLike):
        file = _WavFile(Path(source), audio_format)
        return _Pieces(file.take, file.close)
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_bytes(source, audio_format)
    if isinstance(source, AsyncIterable):
        return _from_iterator(aiter(source))
    if callable(source):
        return _Pieces(_checked(source), _nothing)
    raise TypeError(
        "play takes PCM bytes, the path of a WAV file, an async iterator of bytes, or an async "
        f"function of a number of bytes; not {type(source).__name__}"
    )


def _checked(producer: Producer) -> Producer:
    async def produce(wanted_bytes: int) -> BytesLike:
        made = producer(wanted_bytes)
        if not inspect.isawaitable(made):
            raise TypeError("the function given to play must be async: async def produce(n_bytes)")
        return await made

    return produce


def _from_bytes(data: BytesLike, audio_format: AudioFormat) -> _Pieces:
    pcm = memoryview(data).tobytes()
    if begins_like_wav(pcm):  # here, because a piece of it may end inside its header
        header = parse_wav_header(pcm)
        header.require(audio_format)
        pcm = header.samples_in(pcm)
    rest = memoryview(pcm)

    async def take(wanted_bytes: int) -> BytesLike:
        nonlocal rest
        piece, rest = rest[:wanted_bytes], rest[wanted_bytes:]
        return piece

    return _Pieces(take, _nothing)


def _from_iterator(iterator: AsyncIterator[BytesLike]) -> _Pieces:
    async def take(wanted_bytes: int) -> BytesLike:
        # Not `async for`, which asks for another iterator with each piece.
        while True:
            try:
                piece = await anext(iterator)
            except StopAsyncIteration:
                return b""
            if piece:
                return piece

    async def close() -> None:
        aclose = getattr(iterator, "aclose", None)
        if aclose is not None:
            await aclose()  # what nobody will hear need not be made

    return _Pieces(take, close)


class _WavFile:
    """The samples of a WAV file, read in a thread as they are needed."""

    def __init__(self, path: Path, audio_format: AudioFormat) -> None:
        self._path = path
        self._audio_format = audio_format
        self._opening: asyncio.Future[BinaryIO] | None = None
        self._left_bytes = 0

    async def take(self, wanted_bytes: int) -> BytesLike:
        if self._opening is None:
            self._opening = asyncio.ensure_future(asyncio.to_thread(self._open))
        # Shielded: a thread cannot be cancelled, and what it opens must be closed.
        file = await asyncio.shield(self._opening)
        size = min(wanted_bytes & ~1, self._left_bytes)
        piece: bytes = await asyncio.to_thread(file.read, size)
        self._left_bytes -= len(piece)
        return piece

    async def close(self) -> None:
        if self._opening is None:
            return
        try:
            file = await self._opening
        except (OSError, ValueError):
            return  # `take` has raised it
        await asyncio.to_thread(file.close)

    def _open(self) -> BinaryIO:
        file = self._path.open("rb")
        try:
            header = parse_wav_header(file.read(MAX_HEADER_BYTES))
            header.require(self._audio_format)
            file.seek(header.data_start)
        except ValueError as error:
            file.close()
            raise ValueError(f"{self._path.name}: {error}") from None
        except BaseException:
            file.close()
            raise
        # A streaming writer leaves the size at 0: then everything is audio.
        self._left_bytes = header.data_bytes or sys.maxsize
        return file


async def _nothing() -> None:
    pass
