"""Playing something that is made, or read, only as it is needed.

Not here: the queue (`audio/`), what the server asks for (`media.py`).
Implements `play` of docs/reference/sdk.md.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import BinaryIO

from telcoflow_sdk._asyncio.media import MediaConnection
from telcoflow_sdk.audio.format import AudioFormat, BytesLike
from telcoflow_sdk.audio.wav import MAX_HEADER_BYTES, parse_wav_header
from telcoflow_sdk.exceptions import BufferClosedError

AHEAD_MS = 100
"""How much is kept queued here: what covers the making of the next piece, and no more of what may
never be heard."""

Producer = Callable[[int], Awaitable[BytesLike]]
Source = BytesLike | str | os.PathLike[str] | AsyncIterable[BytesLike] | Producer


async def play(media: MediaConnection, audio_format: AudioFormat, source: Source) -> bool:
    """Play a source to its end; see `ActiveCall.play`."""
    pieces = _pieces(source, audio_format)
    ahead_bytes = audio_format.ms_to_bytes(AHEAD_MS)
    interruptions = media.interruptions
    try:
        while True:
            await media.room(ahead_bytes)
            if media.interruptions != interruptions or media.is_over:
                return False
            piece = await pieces(max(2, ahead_bytes - media.outbox.queued_bytes))
            if media.interruptions != interruptions:
                return False  # made while nobody wanted it any more
            if not piece:
                break
            media.write(piece)
        media.end_utterance()
        return await media.played()
    except BufferClosedError:
        return False
    finally:
        await pieces.close()


class _Pieces:
    """A source as pieces of about the wanted size; b"" is its end."""

    def __init__(
        self, take: Callable[[int], Awaitable[BytesLike]], close: Callable[[], Awaitable[None]]
    ) -> None:
        self._take = take
        self.close = close

    async def __call__(self, wanted_bytes: int) -> BytesLike:
        return await self._take(wanted_bytes)


def _pieces(source: Source, audio_format: AudioFormat) -> _Pieces:
    if isinstance(source, str | os.PathLike):
        return _from_file(Path(source), audio_format)
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_bytes(source)
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


def _from_bytes(data: BytesLike) -> _Pieces:
    rest = memoryview(data).cast("B")

    async def take(wanted_bytes: int) -> BytesLike:
        nonlocal rest
        piece, rest = rest[:wanted_bytes], rest[wanted_bytes:]
        return piece

    return _Pieces(take, _nothing)


def _from_iterator(iterator: AsyncIterator[BytesLike]) -> _Pieces:
    async def take(wanted_bytes: int) -> BytesLike:
        async for piece in iterator:
            if piece:
                return piece
        return b""

    async def close() -> None:
        aclose = getattr(iterator, "aclose", None)
        if aclose is not None:
            await aclose()  # what nobody will hear need not be made

    return _Pieces(take, close)


def _from_file(path: Path, audio_format: AudioFormat) -> _Pieces:
    opened: list[BinaryIO] = []
    left_bytes = 0

    def open_file() -> int:
        file = path.open("rb")
        opened.append(file)
        try:
            header = parse_wav_header(file.read(MAX_HEADER_BYTES))
            header.require(audio_format)
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from None
        file.seek(header.data_start)
        # A streaming writer leaves the size at 0: then everything is audio.
        return header.data_bytes or sys.maxsize

    async def take(wanted_bytes: int) -> BytesLike:
        nonlocal left_bytes
        if not opened:
            left_bytes = await asyncio.to_thread(open_file)
        size = min(wanted_bytes & ~1, left_bytes)
        piece: bytes = await asyncio.to_thread(opened[0].read, size)
        left_bytes -= len(piece)
        return piece

    async def close() -> None:
        for file in opened:
            await asyncio.to_thread(file.close)

    return _Pieces(take, close)


async def _nothing() -> None:
    pass
