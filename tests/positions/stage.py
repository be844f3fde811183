"""An agent and phones in virtual time, and what goes wrong with the link between them."""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import numpy as np

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, TelcoflowClient, TelcoflowClientConfig
from telcoflow_sdk._asyncio.streams import AudioStream
from telcoflow_sdk.testing import Sandbox
from telcoflow_server.app import CONTROL_PATH
from telcoflow_server.testing.memory import MemoryLink
from telcoflow_server.testing.virtual import VirtualLoop
from tests.positions.ruler import SAMPLES_PER_MS, Samples, ruler

Handler = Callable[[ActiveCall], Awaitable[None]]
T = TypeVar("T")


@asynccontextmanager
async def serving(
    sandbox: Sandbox, handler: Handler, *, sample_rate: int = 24_000, audio_mode: str = "mixed"
) -> AsyncIterator[TelcoflowClient]:
    """Let an agent take calls; if it fails, so does the block."""
    block, failures = asyncio.current_task(), list[Exception]()
    assert block is not None

    async def guarded(call: ActiveCall) -> None:
        try:
            await handler(call)
        except Exception as error:
            failures.append(error)
            block.cancel()
            raise

    config = TelcoflowClientConfig.sandbox(
        **sandbox.credentials, sample_rate=sample_rate, audio_mode=audio_mode
    )
    async with TelcoflowClient(config) as client:
        client.on(events.INCOMING_CALL)(guarded)
        try:
            yield client
        except asyncio.CancelledError:
            if not failures:
                raise
            block.uncancel()
            raise failures[0] from None


def media_links(sandbox: Sandbox) -> list[MemoryLink]:
    """Return the media links that are open at the server, oldest first."""
    return [one for one in sandbox.links if one.path != CONTROL_PATH]


def media_link(sandbox: Sandbox) -> MemoryLink:
    """Return the newest media link."""
    return media_links(sandbox)[-1]


def hold(link: MemoryLink) -> None:
    """Let nothing pass, either way."""
    link.up.hold()
    link.down.hold()


def release(link: MemoryLink) -> None:
    """Let everything pass again, first what was held."""
    link.up.release()
    link.down.release()


@contextmanager
def unreachable() -> Iterator[None]:
    """Let no link be opened."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    servers = dict(loop.servers)
    loop.servers.clear()
    try:
        yield
    finally:
        loop.servers.update(servers)


async def outage(link: MemoryLink, seconds: float) -> None:
    """Cut a link, and let no other one take its place for a while."""
    with unreachable():
        link.cut()
        await asyncio.sleep(seconds)


class Speaker:
    """Says a ruler to somebody, piece by piece.

    Attributes:
        said: How much of it.
    """

    def __init__(self) -> None:
        self.said = 0

    def next(self, samples: int) -> Samples:
        """Return the next piece."""
        piece = ruler(self.said, samples)
        self.said += samples
        return piece


class Diary:
    """What an application is told by events of a call, and when."""

    def __init__(self, call: ActiveCall, *kinds: str) -> None:
        self._loop = asyncio.get_running_loop()
        self.entries: list[tuple[float, str, tuple[object, ...]]] = []
        for kind in kinds:
            call.register_event_handler(kind, self._writer(kind))

    def _writer(self, kind: str) -> Callable[..., None]:
        def write(*details: object) -> None:
            self.entries.append((self._loop.time(), kind, details))

        return write

    def told(self, kind: str) -> list[tuple[object, ...]]:
        """Return what was told with each event of a kind."""
        return [details for _, one, details in self.entries if one == kind]


class Ear:
    """What comes out of an agent's `audio_stream`, in its place on the call's time axis.

    Attributes:
        gaps_ms: What each chunk said was missing before it.
        first: Where the first chunk began, samples; -1 before.
        ended: Set once the stream has ended.
    """

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self.gaps_ms: list[float] = []
        self.first = -1
        self._end = -1
        self.ended = asyncio.Event()

    async def listen(self, stream: AudioStream) -> None:
        """Take everything; each chunk must begin where the one before it ended."""
        try:
            await self._listen(stream)
        finally:
            self.ended.set()

    async def _listen(self, stream: AudioStream) -> None:
        async for chunk in stream:
            assert stream.position_ms is not None
            begin = round(stream.position_ms * SAMPLES_PER_MS)
            if self.first < 0:
                self.first = self._end = begin
            assert begin == self._end, "a chunk out of its place"
            self._chunks.append(chunk)
            self._end += len(chunk) // 2
            self.gaps_ms.append(stream.gap_ms)

    @property
    def timeline(self) -> Samples:
        """What was heard, from the moment the call was placed."""
        heard = np.frombuffer(b"".join(self._chunks), np.int16)
        return np.concatenate((np.zeros(max(0, self.first), np.int16), heard))


def at_once(coroutine: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
    """Run a coroutine up to where it first waits, and the rest in a task.

    So what an application does behind it in the same instant is behind it, and nothing between.
    """
    loop = asyncio.get_running_loop()
    try:
        first = coroutine.send(None)
    except StopIteration as finished:
        future: asyncio.Future[T] = loop.create_future()
        future.set_result(finished.value)
        return future
    return loop.create_task(_rest(coroutine, first))


async def _rest(coroutine: Coroutine[Any, Any, T], first: Any) -> T:
    result: T = await _resumed(coroutine, first)
    return result


@types.coroutine
def _resumed(coroutine: Coroutine[Any, Any, T], awaited: Any) -> Generator[Any, Any, T]:
    while True:
        try:
            try:
                got = yield awaited
            except BaseException as error:
                awaited = coroutine.throw(error)
            else:
                awaited = coroutine.send(got)
        except StopIteration as finished:
            result: T = finished.value
            return result
