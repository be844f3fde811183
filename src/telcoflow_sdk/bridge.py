"""A conversation between a call and a model: both directions, interruptions, and the end.

Not here: any vendor's library; the account of turns (`audio/turns.py`); what may be wrong with
what a model sends (`model_side.py`).
Implements docs/explanation/models-and-interruptions.md.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from telcoflow_sdk._asyncio.streams import AudioStream
from telcoflow_sdk.audio.format import AudioFormat, BytesLike
from telcoflow_sdk.audio.turns import Cut, Part, Turns
from telcoflow_sdk.call import ActiveCall
from telcoflow_sdk.events import CallEvent
from telcoflow_sdk.exceptions import (
    BufferClosedError,
    WSSCallClosedError,
    WSSError,
)
from telcoflow_sdk.model_side import (
    ModelError,
    first_of,
    pcm_of_model,
    raise_explained,
    read_pcm,
)
from telcoflow_sdk.playback import Interruption, Playback
from telcoflow_sdk.protocol.states import CallState

__all__ = ["Bridge", "Cut", "ModelError"]

STALL_TIMEOUT_S = 5.0
"""How long a model may take no audio: the caller's is kept for 10 s."""

FAREWELL_TIMEOUT_S = 30.0
"""The longest goodbye, or apology: a model sends a whole answer at once."""

CANCEL_AGAIN_S = 5.0
"""How long leaving a model may take, such as the closing of its socket, until it is cancelled once
more."""

Hear = Callable[[bytes], Awaitable[None]]
Truncate = Callable[[Cut], Awaitable[None]]
Finish = Callable[[], Awaitable[None]]
Converse = Callable[["Bridge"], Coroutine[Any, Any, None]]

_logger = logging.getLogger("telcoflow_sdk")


class Bridge:
    """One call's conversation with one model.

    ```text
    async def converse(bridge: Bridge) -> None:
        async with connect_to_the_model() as session:
            async with bridge.listening(session.send_audio, truncate=session.truncate):
                async for event in session:
                    if event.is_audio:
                        await bridge.say(event.pcm, turn=event.turn)
                    elif event.caller_speaks:
                        await bridge.interrupt()

    await call.answer()
    await Bridge(call, settings="MODEL_API_KEY").run(converse)
    ```

    Everything that plays goes through `say`; what else is wanted of the call is done to `call`.

    Concurrency: the event loop's thread; `say`, `end_turn` and `interrupt` from one task at a time.

    Args:
        call: Answered, or about to be.
        settings: What a developer is to check when the service refuses, in words: the names of
            the environment variables.
        apology: Said to the caller when the model fails: PCM at the call's rate, or a WAV file
            in that format, as bytes or by its path.
        stall_timeout_s: How long the model may take no audio.
        farewell_timeout_s: The longest goodbye, or apology, seconds.

    Raises:
        ValueError: the apology is a WAV file of another format.
        OSError: it cannot be read.
    """

    def __init__(
        self,
        call: ActiveCall,
        *,
        settings: str = "the model's settings",
        apology: BytesLike | str | os.PathLike[str] | None = None,
        stall_timeout_s: float = STALL_TIMEOUT_S,
        farewell_timeout_s: float = FAREWELL_TIMEOUT_S,
    ) -> None:
        self.call = call
        self._format = AudioFormat(call.sample_rate)
        self._settings = settings
        self._apology = None if apology is None else read_pcm(apology, self._format)
        self._stall_timeout_s = stall_timeout_s
        self._farewell_timeout_s = farewell_timeout_s
        self._turns = Turns(self._format)
        self._streams: dict[int, AudioStream] = {}
        self._not_handed: dict[int, bytes] = {}  # of each channel, the chunk under way
        self._blocks: list[_Block] = []
        self._interruptions: set[asyncio.Task[Interruption]] = set()

    async def run(self, converse: Converse, *, linger_s: float = 0.0) -> None:
        """Let the two talk; returns when the call is over for the agent, and no task is left.

        When `converse` returns, the conversation is over: what was said plays out, then the agent
        leaves the call. When it fails, the same after the apology. When the call ends first, it is
        cancelled.

        Args:
            converse: Connects to the model and passes on what comes from it.
            linger_s: How long it may go on after the end of the call, for what the model has to
                say of the last words, seconds.

        Raises:
            ModelError: it failed. The cause is attached.

        Cancellation: ends the conversation; the call goes on.
        """
        ended = asyncio.Event()
        self.call.register_event_handler(CallEvent.CALL_TERMINATED, ended.set)
        work = asyncio.create_task(converse(self), name="telcoflow conversation")
        ending = asyncio.create_task(ended.wait(), name="telcoflow end of a conversation")
        try:
            await asyncio.wait((work, ending), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                await asyncio.wait((work,), timeout=linger_s)
            has_finished = work.done()
        finally:
            await _stop(work, ending, *self._interruptions)
        failure = None if work.cancelled() else first_of(work.exception())
        if isinstance(failure, WSSCallClosedError | BufferClosedError):
            failure = None  # the call ended while something was done to it
        if failure is not None and not has_finished:
            name = type(failure).__name__
            _logger.warning("call %s: leaving the model failed: %s", self.call.call_id, name)
            return
        await self._leave(has_failed=failure is not None)
        if failure is not None:
            raise_explained(failure, self._settings)

    def stream(self, channel: int = 0) -> AudioStream:
        """Return the iterator that `listening` takes a channel's audio from: where it stands.

        Args:
            channel: Of `ActiveCall.audio_stream`. Raises `ValueError` as that.
        """
        if channel not in self._streams:
            self._streams[channel] = self.call.audio_stream(channel)
        return self._streams[channel]

    @asynccontextmanager
    async def listening(
        self,
        hear: Hear,
        *,
        channel: int = 0,
        finish: Finish | None = None,
        truncate: Truncate | None = None,
    ) -> AsyncIterator[None]:
        """Pass on what the caller says while the block lasts.

        A block that follows, with another connection to the model, goes on where this one stopped:
        meanwhile 10 s are kept.

        Args:
            hear: Takes the next chunk, for the model.
            channel: Of `ActiveCall.audio_stream`. One block at a time listens to each.
            finish: Called when nothing more comes, because the call has ended.
            truncate: Told, after an interruption, of each part that was not heard to its end.

        Raises:
            ModelError: the model takes no audio.
            Exception: what the block or one of the functions raised; of several, the first.
        """
        failures: list[Exception] = []
        try:
            async with asyncio.TaskGroup() as group:
                block = _Block(group, truncate, failures)
                self._blocks.append(block)
                block.start(self._listen(hear, channel, finish))
                try:
                    yield
                except Exception as error:
                    failures.append(error)
                    raise
                finally:
                    self._blocks.remove(block)
                    block.stop()
        except ExceptionGroup:
            pass
        if failures:
            raise failures[0]

    async def say(
        self,
        pcm: BytesLike,
        *,
        turn: Hashable = None,
        part: Hashable = None,
        mime_type: str | None = None,
    ) -> bool:
        """Queue audio of the model's for the caller.

        Args:
            pcm: As for `ActiveCall.send_audio`.
            turn: Whose it is: the same for all audio of one answer, and for no other. Without
                one, audio that comes too late, after an interruption, is not recognised.
            part: What of the turn it is, as the model names it; told when it is cut.
            mime_type: What the model says it is, such as `audio/pcm;rate=24000`.

        Returns:
            False: nobody will hear it: the turn was interrupted, or the call has ended.

        Raises:
            ModelError: no audio, or none that the call carries.
            BufferFullError: more than `buffer_size` of the configuration holds.

        Cancellation: there is nothing to cancel.
        """
        if self._turns.is_interrupted(turn):
            return False
        data = pcm_of_model(pcm, mime_type, self._format)
        playback = self.call.playback
        if not playback.queued_ms and not playback.in_flight_ms:
            self._turns.all_heard()
        if self._turns.is_new(turn):
            self.end_turn()
        try:
            await self.call.send_audio(data)
        except BufferClosedError:
            return False
        self._turns.add(turn, part, len(data))
        return True

    def end_turn(self) -> None:
        """The model has said all of its turn: the last of it need not wait for more.

        The next turn's audio does this, too.
        """
        self.call.end_utterance()
        self._turns.end()

    async def interrupt(self, turn: Hashable = None) -> None:
        """Let the caller hear no more of what was said: barge-in.

        What is queued is gone, and audio of its turns refused, when this returns, in the next turn
        of the event loop. What was heard is told to `truncate` as soon as the server has said it.
        A caller who speaks while nothing is played clears nothing, and no report will say so.

        Args:
            turn: The model's turn in progress, of which nothing may have been said yet.

        Cancellation: it is interrupted all the same.
        """
        before = self.call.playback
        parts = self._turns.interrupt(turn)
        is_playing = before.queued_ms or before.in_flight_ms or before.is_paused
        if not is_playing and self.call.statistics().protocol > 1:
            return  # on v1 it is not known what the server still plays
        interrupting = asyncio.create_task(self.call.interrupt(), name="telcoflow interruption")
        self._interruptions.add(interrupting)
        interrupting.add_done_callback(self._interruptions.discard)
        await asyncio.sleep(0)  # it has begun: what is said from now on is new
        for block in self._blocks:
            if block.truncate is not None and parts:
                block.start(self._tell(block.truncate, parts, before, interrupting))

    async def _tell(
        self,
        truncate: Truncate,
        parts: Sequence[Part],
        before: Playback,
        interrupting: asyncio.Task[Interruption],
    ) -> None:
        interruption = await asyncio.shield(interrupting)
        is_measured, unheard_ms = interruption.heard_ms is not None, interruption.dropped_ms
        if not is_measured:  # the server's part of what was dropped is not known
            unheard_ms = max(unheard_ms, before.queued_ms + before.in_flight_ms)
        for cut in self._turns.cuts(parts, unheard_ms, is_measured=is_measured):
            await truncate(cut)

    async def _listen(self, hear: Hear, channel: int, finish: Finish | None) -> None:
        if channel in self._not_handed:
            await self._hand(hear, self._not_handed.pop(channel), channel)
        async for chunk in self.stream(channel):
            await self._hand(hear, chunk, channel)
        if finish is not None:
            await finish()

    async def _hand(self, hear: Hear, chunk: bytes, channel: int) -> None:
        self._not_handed[channel] = chunk
        try:
            async with asyncio.timeout(self._stall_timeout_s) as limit:
                await hear(chunk)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise ModelError(
                f"the model has taken no audio for {self._stall_timeout_s:g} s (stall_timeout_s)"
            ) from error
        del self._not_handed[channel]

    async def _leave(self, *, has_failed: bool) -> None:
        """Let be heard what was said, apologise if need be, and hang up."""
        if self.call.state is CallState.DISCONNECTED:
            return
        try:
            self.end_turn()
            if has_failed and self._apology is not None:
                await self._apologise(self._apology)
            await self.call.close(drain_timeout_s=self._farewell_timeout_s)
        except WSSError as error:
            _logger.warning("call %s: hanging up failed: %s", self.call.call_id, error)

    async def _apologise(self, apology: bytes) -> None:
        playback = self.call.playback
        left_ms = self._farewell_timeout_s * 1000 - self._format.bytes_to_ms(len(apology))
        if playback.queued_ms + playback.in_flight_ms > left_ms:
            await self.call.interrupt()  # nobody would hear it behind all that
        await self.call.send_audio(apology)


class _Block:
    """What runs while a model is listened to, and ends with it.

    Args:
        group: Owns its tasks.
        truncate: As given to `Bridge.listening`.
        failures: Gets what its tasks raise.
    """

    def __init__(
        self, group: asyncio.TaskGroup, truncate: Truncate | None, failures: list[Exception]
    ) -> None:
        self.truncate = truncate
        self._group = group
        self._failures = failures
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the block; its failure ends the block."""
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def stop(self) -> None:
        """Cancel what still runs."""
        for task in self._tasks:
            task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and isinstance(failure := task.exception(), Exception):
            self._failures.append(failure)


async def _stop(*tasks: asyncio.Task[Any]) -> None:
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        # Again, because some libraries swallow a cancellation and go on.
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)
