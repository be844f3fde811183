"""A real AgentSession on a call, without models: it says sounds, and hears through a stand-in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from livekit import rtc
from livekit.agents import Agent, AgentSession, ModelSettings, stt
from livekit.agents.voice import SpeechHandle
from livekit.agents.voice.io import PlaybackFinishedEvent, PlaybackStartedEvent

from telcoflow_sdk import ActiveCall
from telcoflow_sdk.integrations.livekit import converse
from telcoflow_sdk.testing import LivePhone, Sandbox
from tests.positions.stage import serving

Listen = Callable[[AsyncIterable[rtc.AudioFrame], ModelSettings], AsyncIterable[stt.SpeechEvent]]


async def frames(pcm: bytes, sample_rate_hz: int = 24_000) -> AsyncIterator[rtc.AudioFrame]:
    """Return PCM as a text-to-speech service does: faster than it is heard."""
    for at in range(0, len(pcm), 9_600):
        data = pcm[at : at + 9_600]
        yield rtc.AudioFrame(data, sample_rate_hz, 1, len(data) // 2)


class _Agent(Agent):
    def __init__(self, entered: Callable[[], None], listen: Listen | None) -> None:
        super().__init__(instructions="say what you are told")
        self._entered = entered
        self._listen = listen

    async def on_enter(self) -> None:
        self._entered()

    def stt_node(
        self, audio: AsyncIterable[rtc.AudioFrame], model_settings: ModelSettings
    ) -> AsyncIterable[stt.SpeechEvent]:
        assert self._listen is not None
        return self._listen(audio, model_settings)


class _Unused(stt.STT):
    """A session transcribes if it has one of these; the agent's own node takes its place."""

    def __init__(self) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=False))

    async def _recognize_impl(self, *_: Any, **__: Any) -> stt.SpeechEvent:
        raise AssertionError


class Stage:
    """A phone that calls an agent of LiveKit's.

    Attributes:
        started: How many frames the phone had heard at each `playback_started`.
        finished: Likewise at each `playback_finished`, with the event.
    """

    phone: LivePhone
    call: ActiveCall

    def __init__(
        self, sandbox: Sandbox, *, sample_rate: int = 24_000, listen: Listen | None = None
    ) -> None:
        self._sandbox = sandbox
        self._sample_rate = sample_rate
        self._listen = listen
        self.started: list[int] = []
        self.finished: list[tuple[int, PlaybackFinishedEvent]] = []
        self.error: BaseException | None = None
        self.left_tasks: list[str] = []
        self.is_ready, self.is_over, self.is_changed = (asyncio.Event() for _ in range(3))

    async def take(self, call: ActiveCall) -> None:
        """Be the agent of a call, as an application is."""
        self.call = call
        before = asyncio.all_tasks()
        self.session: AgentSession[Any] = (
            AgentSession() if self._listen is None else AgentSession(stt=_Unused())
        )
        try:
            await call.answer()
            await converse(self.session, _Agent(self._entered, self._listen), call)
        except BaseException as error:
            self.error = error
        finally:
            left = asyncio.all_tasks() - before
            self.left_tasks = [
                one.get_name() for one in left if "telcoflow call" not in one.get_name()
            ]
            self.is_ready.set()
            self.is_over.set()

    def _entered(self) -> None:
        output = self.session.output.audio
        assert output is not None
        output.on("playback_started", self._on_started)
        output.on("playback_finished", self._on_finished)
        self.is_ready.set()

    def _on_started(self, _: PlaybackStartedEvent) -> None:
        self.started.append(self.phone.line.heard_ticks)
        self.is_changed.set()

    def _on_finished(self, event: PlaybackFinishedEvent) -> None:
        self.finished.append((self.phone.line.heard_ticks, event))
        self.is_changed.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Stage]:
        """Dial; the block begins when the session has, and ends when it and the call have."""
        async with serving(self._sandbox, self.take, sample_rate=self._sample_rate):
            self.phone = await self._sandbox.dial()
            await self.is_ready.wait()
            if self.error is not None:
                raise self.error
            yield self
            async with asyncio.timeout(60):
                await self.is_over.wait()
                await self.phone.ended()
        if self.error is not None:
            raise self.error
        assert self.left_tasks == []

    def say(self, pcm: bytes, sample_rate_hz: int = 24_000) -> SpeechHandle:
        """Let the agent say something."""
        return self.session.say("...", audio=frames(pcm, sample_rate_hz))

    async def heard(self, ms: float) -> None:
        """Listen until so much sound was heard, silence not counted."""
        while np.count_nonzero(self.phone.heard.samples) < ms * 24:
            assert self.phone.heard.duration_s < 30
            await self.phone.listen(0.02)

    async def has_finished(self, count: int = 1) -> None:
        """Wait until so many playbacks have finished."""
        await self._until(lambda: len(self.finished) >= count)

    async def has_started(self, count: int = 1) -> None:
        """Wait until so many playbacks have started."""
        await self._until(lambda: len(self.started) >= count)

    async def _until(self, is_true: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not is_true():
                self.is_changed.clear()
                await self.is_changed.wait()
