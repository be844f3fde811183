"""A call as the audio input and output of LiveKit Agents: no room, no server of theirs.

Not here: what the agent says, which is LiveKit's. The only importer of `livekit`; written against
`livekit-agents` 1.8.9.
Implements docs/how-to/livekit-agents.md.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from telcoflow_sdk._asyncio.tasks import OwnedTasks
from telcoflow_sdk.audio.format import AudioFormat
from telcoflow_sdk.call import ActiveCall
from telcoflow_sdk.events import CallEvent
from telcoflow_sdk.exceptions import BufferClosedError, WSSCallClosedError, WSSCallError
from telcoflow_sdk.protocol.states import CallState

try:
    from livekit import rtc
    from livekit.agents import Agent, AgentSession
    from livekit.agents.voice import io
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"telcoflow_sdk.integrations.livekit needs {error.name}, which comes with "
        '`pip install "telcoflow-sdk[livekit]"`',
        name=error.name,
    ) from None

__all__ = ["CallAudioInput", "CallAudioOutput", "converse"]

FAREWELL_TIMEOUT_S = 10.0

FIRST_MS = 20
"""Of a segment, what has to be played before its playback has started: one frame of the call."""

_ENDED = CallState.DISCONNECTED

_logger = logging.getLogger("telcoflow_sdk")


class CallAudioInput(io.AudioInput):
    """What the caller says, as frames at the call's sample rate; ends with the call.

    While it is detached, what the caller says is lost, as LiveKit has it.

    Args:
        call: Answered, or about to be.

    Raises:
        WSSCallClosedError: the call has ended.
    """

    def __init__(self, call: ActiveCall) -> None:
        if call.state is _ENDED:
            raise WSSCallClosedError
        super().__init__(label="Telcoflow")
        self._call = call
        self._stream = call.audio_stream()
        self._is_attached = True

    async def __anext__(self) -> rtc.AudioFrame:
        while True:
            stream = self._stream
            chunk = await anext(stream)
            if self._is_attached and stream is self._stream:
                return rtc.AudioFrame(chunk, self._call.sample_rate, 1, len(chunk) // 2)

    def on_attached(self) -> None:
        """See LiveKit."""
        if not self._is_attached:
            self._stream = self._call.audio_stream()  # live, not what was said meanwhile
        self._is_attached = True

    def on_detached(self) -> None:
        """See LiveKit."""
        self._is_attached = False


@dataclass(eq=False, slots=True)
class _Segment:
    """What LiveKit waits for the end of: frames up to a flush or a clear."""

    pushed_bytes: int = 0
    has_started: bool = False


class CallAudioOutput(io.AudioOutput):
    """What the agent says: queued in the call, played as the server asks for it.

    Every position that is told was counted by the server in samples: `playback_finished` comes
    when the last sample was played, or, after `clear_buffer`, with what the caller has heard.

    Args:
        call: Answered, or about to be.

    Raises:
        WSSCallClosedError: the call has ended.
    """

    def __init__(self, call: ActiveCall) -> None:
        if call.state is _ENDED:
            raise WSSCallClosedError
        can_pause = call.media.audio.positions is not None  # media protocol v2
        super().__init__(
            label="Telcoflow",
            capabilities=io.AudioOutputCapabilities(pause=can_pause),
            sample_rate=call.sample_rate,
        )
        self._call = call
        self._format = AudioFormat(call.sample_rate)
        self._tasks = OwnedTasks()
        self._captured: _Segment | None = None  # not flushed yet
        self._pending: list[_Segment] = []  # not finished yet, oldest first
        self._clears = 0
        self._is_clear_begun = asyncio.Event()
        self._is_clear_begun.set()
        self._is_paused = False

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        """See LiveKit; waits only while the call's whole buffer is full.

        Raises:
            ValueError: audio of another rate, or not mono.

        Cancellation: the frame is not played.
        """
        if frame.num_channels != 1 or frame.sample_rate != self._call.sample_rate:
            raise ValueError(
                f"the call takes mono at {self._call.sample_rate} Hz, not {frame.num_channels} "
                f"channels at {frame.sample_rate} Hz"
            )
        data, audio, clears = frame.data.cast("B"), self._call.media.audio, self._clears
        await audio.room(audio.capacity_bytes - len(data) + 1)
        if self._clears != clears:
            return  # of what was cleared while this waited
        await self._is_clear_begun.wait()
        await super().capture_frame(frame)
        segment = self._captured
        if segment is None:
            segment = self._captured = _Segment()
            self._pending.append(segment)
        first_bytes = self._format.ms_to_bytes(FIRST_MS) if not segment.pushed_bytes else 0
        try:
            if first_bytes:
                await self._call.send_audio(data[:first_bytes])
                self._run(self._tell_start(segment))
                await asyncio.sleep(0)  # it waits for this place from now on
                if segment not in self._pending:
                    return  # cleared
            await self._call.send_audio(data[first_bytes:])
        except BufferClosedError:
            return  # its flush will tell how far it came
        segment.pushed_bytes += len(data)

    def flush(self) -> None:
        """See LiveKit: the segment is complete; its end is told when it was played."""
        super().flush()
        segment, self._captured = self._captured, None
        if segment is not None:
            self._call.end_utterance()
            self._run(self._tell_end(segment))

    def clear_buffer(self) -> None:
        """See LiveKit: the caller hears no more; nothing of it comes back."""
        super().flush()
        self._captured = None
        segments, self._pending = self._pending, []
        self._clears += 1
        if segments:
            self._is_paused = False  # an interruption ends a pause
            self._is_clear_begun.clear()
            self._run(self._clear(segments))

    def pause(self) -> None:
        """See LiveKit: at once, and nothing is lost."""
        if self.can_pause and not self._is_paused:
            self._is_paused = True
            self._run(self._call.pause_playback())

    def resume(self) -> None:
        """See LiveKit: goes on at the very sample."""
        if self._is_paused:
            self._is_paused = False
            self._run(self._call.resume_playback())

    async def aclose(self) -> None:
        """Stop what still waits for the call; LiveKit is told no more."""
        await self._tasks.finish(0.0, leave=set())

    async def _tell_start(self, segment: _Segment) -> None:
        if await self._call.drain() and segment in self._pending:
            self._started(segment)

    def _started(self, segment: _Segment) -> None:
        if not segment.has_started:
            segment.has_started = True
            self.on_playback_started(created_at=time.time() - FIRST_MS / 1000)

    async def _tell_end(self, segment: _Segment) -> None:
        was_played = await self._call.drain()
        if segment not in self._pending:
            return  # cleared
        self._pending.remove(segment)
        position_s = self._format.bytes_to_ms(segment.pushed_bytes) / 1000
        if was_played:
            self._started(segment)
        else:  # the call has ended, or somebody else has interrupted it
            position_s = min(position_s, self._call.playback.heard_ms / 1000)
        self.on_playback_finished(playback_position=position_s, interrupted=not was_played)

    async def _clear(self, segments: list[_Segment]) -> None:
        self._is_clear_begun.set()  # what waits for it goes on after the next line has begun
        before = self._call.playback
        interruption = await self._call.interrupt()
        pushed_bytes = sum(segment.pushed_bytes for segment in segments)
        # What was given, and was not dropped, was heard. The server's own count may be of the
        # utterance before, if this one has not begun.
        heard_ms = max(0.0, self._format.bytes_to_ms(pushed_bytes) - interruption.dropped_ms)
        is_known = interruption.heard_ms is not None and self._call.state is not _ENDED
        if self.can_pause and not is_known:
            heard_ms = min(heard_ms, before.heard_ms)  # the last that was told
        for segment in segments:
            position_ms = min(heard_ms, self._format.bytes_to_ms(segment.pushed_bytes))
            heard_ms -= position_ms
            self.on_playback_finished(playback_position=position_ms / 1000, interrupted=True)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.spawn(_logged(work), "telcoflow playback")


async def converse(
    session: AgentSession[Any],
    agent: Agent,
    call: ActiveCall,
    *,
    farewell_timeout_s: float = FAREWELL_TIMEOUT_S,
    **start_options: Any,
) -> None:
    """Let an agent of LiveKit's have the call; returns when the call is over for it.

    When the session closes, as after `session.shutdown()`, what was said is heard, and the agent
    leaves the call. When the call ends first, the session is closed.

    Args:
        session: Not started yet.
        agent: Whom it starts.
        call: Answered, or about to be.
        farewell_timeout_s: The longest that is waited for what is left of the goodbye, seconds.
        start_options: For `session.start`.

    Raises:
        WSSCallClosedError: the call had ended before.

    Cancellation: the session is closed, and the agent leaves the call at once.
    """
    output = CallAudioOutput(call)
    session.input.audio, session.output.audio = CallAudioInput(call), output
    call_ended, session_closed = asyncio.Event(), asyncio.Event()
    session.on("close", lambda _: session_closed.set())
    is_leaving = False
    try:
        await session.start(agent, **start_options)
        call.register_event_handler(CallEvent.CALL_TERMINATED, call_ended.set)
        waits = [asyncio.create_task(event.wait()) for event in (call_ended, session_closed)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        is_leaving = True
    finally:
        try:
            await session.aclose()
            await output.aclose()
        finally:
            try:
                await call.close(drain=is_leaving, drain_timeout_s=farewell_timeout_s)
            except WSSCallError as error:
                _logger.warning("call %s: hanging up failed: %s", call.call_id, error)


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except WSSCallError as error:
        _logger.warning("playback: %s", error)
