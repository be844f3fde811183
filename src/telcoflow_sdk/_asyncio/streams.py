"""Received audio on its way to the application's iterators.

Not here: the socket (`media.py`), the bounded queue itself (`audio/backlog.py`).
Implements the `audio_stream` row of docs/reference/sdk.md.
"""

from __future__ import annotations

import asyncio
import weakref

from telcoflow_sdk.audio.backlog import Backlog
from telcoflow_sdk.audio.format import BYTES_PER_SAMPLE, AudioFormat

BACKLOG_MS = 10_000
"""How much audio is kept for an iterator that does not read, and before the first one."""


class AudioStream:
    """An async iterator over the PCM of a call; made by `ActiveCall.audio_stream`.

    Yields chunks of whole samples in order, then ends when the call does. What it holds is
    bounded: when the application falls 10 s behind, the oldest audio is dropped and counted.
    Leaving the loop frees it.

    Concurrency: one task at a time may iterate.
    """

    __slots__ = (
        "__weakref__",
        "_backlog",
        "_end",
        "_has_ended",
        "_loop",
        "_missing",
        "_offset",
        "_sample_rate_hz",
        "_waiter",
    )

    def __init__(
        self,
        backlog: Backlog,
        loop: asyncio.AbstractEventLoop,
        sample_rate_hz: int,
        *,
        has_ended: bool,
    ) -> None:
        self._backlog = backlog
        self._sample_rate_hz = sample_rate_hz
        self._offset = self._end = -1  # of the chunk last returned, samples; -1: not known
        self._missing = 0  # before it
        self._loop = loop  # kept: asking for the running one costs a system call on Python 3.11
        self._has_ended = has_ended
        self._waiter: asyncio.Future[None] | None = None

    @property
    def queued_bytes(self) -> int:
        """Audio that has arrived and was not taken."""
        return self._backlog.queued_bytes

    @property
    def dropped_bytes(self) -> int:
        """Audio that was lost because this iterator fell behind."""
        return self._backlog.dropped_bytes

    @property
    def position_ms(self) -> float | None:
        """Where the chunk last returned begins, ms from the moment the call was placed.

        Marks and gaps are told on the same axis. None before the first chunk, and on media
        protocol v1, which does not tell.
        """
        return None if self._offset < 0 else self._offset * 1000 / self._sample_rate_hz

    @property
    def gap_ms(self) -> float:
        """How much is missing between the chunk last returned and the one before it, ms.

        Audio that was dropped because this iterator or the link fell behind, or lost in an
        outage: silence of the speaker's is audio and never missing.
        """
        return self._missing * 1000 / self._sample_rate_hz

    def __aiter__(self) -> AudioStream:
        return self

    async def __anext__(self) -> bytes:
        """Return the next chunk.

        Raises:
            StopAsyncIteration: the call has ended, or the stream was closed.
            RuntimeError: another task is waiting on this iterator.

        Cancellation: loses no audio.
        """
        while (oldest := self._backlog.take()) is None:
            if self._has_ended:
                raise StopAsyncIteration
            if self._waiter is not None:
                raise RuntimeError("two tasks iterate one audio stream; make one for each")
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        offset, chunk = oldest
        if offset >= 0:
            self._missing = offset - self._end if self._end >= 0 else 0
            self._offset = offset
            self._end = offset + len(chunk) // BYTES_PER_SAMPLE
        return chunk

    async def aclose(self) -> None:
        """End the stream and free what it holds; a task that iterates it ends too."""
        self._backlog.clear()
        self.end()

    def deliver(self, chunk: bytes, offset: int) -> None:
        """Queue audio that arrived, and its place. Called by the call."""
        if not self._has_ended:
            self._backlog.put(chunk, offset)
            self._wake()

    def end(self) -> None:
        """Nothing more will arrive. Called by the call."""
        self._has_ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class AudioInbox:
    """Gives every chunk to every iterator, and keeps the first ones until there is one.

    Iterators are held weakly: one that the application let go is gone, with its queue.

    Args:
        audio_format: Of the audio; `BACKLOG_MS` of it are kept for each iterator.
        loop: Where they are iterated.
    """

    __slots__ = (
        "_has_ended",
        "_limit_bytes",
        "_loop",
        "_preroll",
        "_sample_rate_hz",
        "_streams",
    )

    def __init__(self, audio_format: AudioFormat, loop: asyncio.AbstractEventLoop) -> None:
        limit_bytes = audio_format.ms_to_bytes(BACKLOG_MS)
        self._limit_bytes = limit_bytes
        self._sample_rate_hz = audio_format.sample_rate_hz
        self._loop = loop
        self._preroll: Backlog | None = Backlog(limit_bytes)
        self._streams: list[weakref.ref[AudioStream]] = []
        self._has_ended = False

    def deliver(self, chunk: bytes, offset: int = -1) -> None:
        """Take audio that arrived, and its place on the call's time axis if that is known."""
        if self._preroll is not None:
            self._preroll.put(chunk, offset)
        for reference in self._streams:
            stream = reference()
            if stream is not None:
                stream.deliver(chunk, offset)

    def stream(self) -> AudioStream:
        """Return a new iterator; the first one gets what has arrived before it."""
        backlog, self._preroll = self._preroll, None
        stream = AudioStream(
            backlog or Backlog(self._limit_bytes),
            self._loop,
            self._sample_rate_hz,
            has_ended=self._has_ended,
        )
        if not self._has_ended:
            self._streams.append(weakref.ref(stream, self._forget))
        return stream

    def end(self) -> None:
        """Let every iterator end after what it holds."""
        self._has_ended = True
        for reference in self._streams:
            stream = reference()
            if stream is not None:
                stream.end()
        self._streams = []

    def _forget(self, reference: weakref.ref[AudioStream]) -> None:
        # A new list: this may run while `deliver` walks the old one.
        self._streams = [other for other in self._streams if other is not reference]
