"""A pipeline of Pipecat's on a call: what is around it, what passes through it, and when."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from loguru import logger
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

from telcoflow_sdk import ActiveCall
from telcoflow_sdk.integrations.pipecat import TelcoflowParams, TelcoflowTransport
from telcoflow_sdk.testing import LivePhone, Sandbox
from tests.positions.stage import serving

F = TypeVar("F", bound=Frame)


class Tap(FrameProcessor):
    """Lets everything pass, and keeps it, with how many frames the phone had heard by then."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.seen: list[tuple[Frame, FrameDirection, int]] = []
        self.phone: LivePhone | None = None
        self._changed = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        ticks = 0 if self.phone is None else self.phone.line.heard_ticks
        self.seen.append((frame, direction, ticks))
        self._changed.set()
        await self.push_frame(frame, direction)

    def of(self, kind: type[F]) -> list[F]:
        """Return the frames of a kind that have passed downstream."""
        return [
            frame
            for frame, direction, _ in self.seen
            if isinstance(frame, kind) and direction is FrameDirection.DOWNSTREAM
        ]

    def ticks(self, kind: type[Frame]) -> list[int]:
        """Return how much had been heard when frames of a kind passed, in either direction."""
        return [ticks for frame, _, ticks in self.seen if isinstance(frame, kind)]

    async def wait(self, kind: type[Frame], count: int = 1) -> None:
        """Wait until so many of a kind have passed, in either direction."""
        async with asyncio.timeout(60):
            while len(self.ticks(kind)) < count:
                self._changed.clear()
                await self._changed.wait()


@dataclass
class Stage:
    """A phone that calls an agent which is a pipeline: input, `before`, output, `behind`."""

    sandbox: Sandbox
    params: TelcoflowParams | None = None
    pipeline_params: PipelineParams | None = None
    processors: Sequence[FrameProcessor] = ()
    answers: bool = True
    phone: LivePhone = field(init=False)
    call: ActiveCall = field(init=False)
    transport: TelcoflowTransport = field(init=False)
    worker: PipelineWorker = field(init=False)
    left_tasks: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.before, self.behind = Tap("before"), Tap("behind")
        self.is_ready, self.is_over = asyncio.Event(), asyncio.Event()
        self.error: BaseException | None = None

    async def take(self, call: ActiveCall) -> None:
        """Be the agent of a call, as an application is."""
        self.call = call
        tasks = asyncio.all_tasks()
        try:
            if self.answers:
                await call.answer()
            self.transport = TelcoflowTransport(call, self.params)
            self.worker = PipelineWorker(
                Pipeline(
                    [
                        self.transport.input(),
                        self.before,
                        *self.processors,
                        self.transport.output(),
                        self.behind,
                    ]
                ),
                params=self.pipeline_params
                or PipelineParams(
                    audio_in_sample_rate=call.sample_rate,
                    audio_out_sample_rate=call.sample_rate,
                ),
                enable_rtvi=False,
            )
            runner = WorkerRunner(handle_sigint=False)
            await runner.add_workers(self.worker)
            self.is_ready.set()
            await runner.run()
        except BaseException as error:
            self.error = error
        finally:
            left = asyncio.all_tasks() - tasks
            self.left_tasks = [
                task.get_name() for task in left if "telcoflow" not in task.get_name()
            ]
            self.is_ready.set()
            self.is_over.set()

    @asynccontextmanager
    async def running(self, sample_rate: int = 24_000) -> AsyncIterator[Stage]:
        """Dial; the block begins when the pipeline has, and ends when it and the call have."""
        sink = logger.add(lambda text: self.log.append(str(text)), level="WARNING")
        logging.getLogger("telcoflow_sdk").setLevel(logging.WARNING)
        try:
            async with serving(self.sandbox, self.take, sample_rate=sample_rate):
                self.phone = self.before.phone = self.behind.phone = await self.sandbox.dial()
                await self.is_ready.wait()
                yield self
                async with asyncio.timeout(60):
                    await self.is_over.wait()
                    await self.phone.ended()
        finally:
            logger.remove(sink)
        assert self.left_tasks == []

    async def say(self, pcm: bytes, sample_rate_hz: int = 24_000, *, at_once: int = 9_600) -> None:
        """Let the agent say something, faster than it is heard, as a text-to-speech service."""
        frames: list[Frame] = [TTSStartedFrame()]
        frames += [
            TTSAudioRawFrame(pcm[at : at + at_once], sample_rate=sample_rate_hz, num_channels=1)
            for at in range(0, len(pcm), at_once)
        ]
        await self.worker.queue_frames([*frames, TTSStoppedFrame()])

    async def heard(self, ms: float) -> None:
        """Listen until so much sound was heard, silence not counted."""
        while np.count_nonzero(self.phone.heard.samples) < ms * 24:
            assert self.phone.heard.duration_s < 30, (
                self.error,
                self.log,
                self.call.playback,
                self.phone.state,
            )
            await self.phone.listen(0.02)

    def caller_audio(self) -> np.ndarray:
        """Return what the pipeline heard, silence left out."""
        pcm = b"".join(frame.audio for frame in self.before.of(InputAudioRawFrame))
        samples = np.frombuffer(pcm, "<i2")
        return samples[samples != 0]
