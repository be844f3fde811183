"""A call as a Pipecat transport: the first and the last processor of a pipeline.

Not here: everything between them, which is Pipecat's. The only importer of `pipecat`; written
against `pipecat-ai` 1.14.0.
Implements docs/how-to/pipecat.md.
"""

from __future__ import annotations

import asyncio
from typing import Literal

from telcoflow_sdk.audio.format import AudioFormat
from telcoflow_sdk.call import ActiveCall
from telcoflow_sdk.events import CallEvent
from telcoflow_sdk.exceptions import BufferClosedError, WSSCallClosedError, WSSCallError
from telcoflow_sdk.playback import Digit, Interruption
from telcoflow_sdk.protocol.states import CallState

try:
    from loguru import logger
    from pipecat.audio.dtmf.types import KeypadEntry
    from pipecat.frames.frames import (
        BotStartedSpeakingFrame,
        BotStoppedSpeakingFrame,
        CancelFrame,
        CancelWorkerFrame,
        ClientConnectedFrame,
        EndFrame,
        EndWorkerFrame,
        Frame,
        InputAudioRawFrame,
        InputDTMFFrame,
        InterruptionFrame,
        OutputAudioRawFrame,
        OutputDTMFFrame,
        OutputDTMFUrgentFrame,
        StartFrame,
    )
    from pipecat.processors.frame_processor import FrameDirection, FrameProcessorSetup
    from pipecat.transports.base_input import BaseInputTransport
    from pipecat.transports.base_output import BaseOutputTransport
    from pipecat.transports.base_transport import BaseTransport, TransportParams
    from pipecat.utils.utils import obj_id
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"telcoflow_sdk.integrations.pipecat needs {error.name}, which comes with "
        '`pip install "telcoflow-sdk[pipecat]"`',
        name=error.name,
    ) from None

__all__ = ["TelcoflowParams", "TelcoflowTransport"]

AHEAD_MS = 100
"""How much is kept queued for the call; the rest waits in the pipeline, where it can be undone."""

CHUNKS_OF_10_MS = 2  # one frame of the call at a time, so that the end is padded to no more

_KEYS = {key.value for key in KeypadEntry}
WRITE_TIMEOUT_S = 300.0
"""How long a chunk may wait for room. Playback may be paused, or the call not answered yet; that
the way is lost is told by the end of the call, long before."""


class TelcoflowParams(TransportParams):
    """Parameters of a `TelcoflowTransport`: Pipecat's own, and these.

    Audio goes both ways at the call's sample rate, which is filled in.

    Attributes:
        audio_out_end_silence_secs: As Pipecat's, but 0: a goodbye is heard to its end without.
        auto_hang_up: Leave the call when the pipeline ends: after the goodbye on an `EndFrame`,
            at once on a `CancelFrame`. False leaves it to the application.
        farewell_timeout_secs: The longest that is waited for what is left of the goodbye.
        end_of_call: What the pipeline does when the call ends first: `cancel`, at once, or `end`,
            after what was said last has passed through.
    """

    audio_in_enabled: bool = True
    audio_out_enabled: bool = True
    audio_out_10ms_chunks: int = CHUNKS_OF_10_MS
    audio_out_end_silence_secs: int = 0
    audio_out_write_timeout_secs: float = WRITE_TIMEOUT_S
    auto_hang_up: bool = True
    farewell_timeout_secs: float = 10.0
    end_of_call: Literal["cancel", "end"] = "cancel"


class TelcoflowTransport(BaseTransport):
    """One call, both ways.

    ```text
    transport = TelcoflowTransport(call)
    worker = PipelineWorker(
        Pipeline([transport.input(), stt, llm, tts, transport.output()]),
        params=PipelineParams(
            audio_in_sample_rate=call.sample_rate, audio_out_sample_rate=call.sample_rate
        ),
    )
    ```

    Event handlers: `on_client_connected` and `on_client_disconnected`, with the call, when the
    pipeline starts and when the call ends before it; `on_interrupted`, with the call and the
    `Interruption`, when the agent was cut off: how much of it the caller has heard.

    Args:
        call: Answered, or about to be: what is said before is heard from the answer on.
        params: Pipecat's parameters, and ours.

    Raises:
        ValueError: sample rates or channels that the call does not have.
        WSSCallClosedError: the call has ended.
    """

    def __init__(
        self,
        call: ActiveCall,
        params: TelcoflowParams | None = None,
        *,
        name: str | None = None,
        input_name: str | None = None,
        output_name: str | None = None,
    ) -> None:
        super().__init__(name=name, input_name=input_name, output_name=output_name)
        if call.state is CallState.DISCONNECTED:
            raise WSSCallClosedError
        self.call = call
        self.params = _params_of(call, params or TelcoflowParams())
        self._input: _Input | None = None
        self._output: _Output | None = None
        self._register_event_handler("on_client_connected")
        self._register_event_handler("on_client_disconnected")
        self._register_event_handler("on_interrupted")

    def input(self) -> BaseInputTransport:
        """Return what brings the caller's audio into the pipeline: its first processor."""
        if self._input is None:
            self._input = _Input(self, name=self._input_name)
        return self._input

    def output(self) -> BaseOutputTransport:
        """Return what plays the pipeline's audio to the caller."""
        if self._output is None:
            self._output = _Output(self, name=self._output_name)
        return self._output

    async def happened(self, event: str, *details: object) -> None:
        """Call the handlers of an event, with the call."""
        await self._call_event_handler(event, self.call, *details)

    async def hang_up(self, *, drain: bool) -> None:
        """Leave the call, if that is wanted; what goes wrong is logged. Does it once.

        Args:
            drain: Let what was said be heard first.
        """
        if not self.params.auto_hang_up:
            return
        try:
            await self.call.close(drain=drain, drain_timeout_s=self.params.farewell_timeout_secs)
        except WSSCallError as error:
            logger.warning(f"{self}: hanging up failed: {error}")


class _Input(BaseInputTransport):
    """The caller's audio, the keys they press, and the end of the call."""

    def __init__(self, transport: TelcoflowTransport, *, name: str | None) -> None:
        super().__init__(transport.params, name=name)
        self._telcoflow = transport
        self._ended = asyncio.Event()
        self._pipeline_rate_hz = 0
        self._listening: asyncio.Task[None] | None = None
        self._waiting: asyncio.Task[None] | None = None

    async def setup(self, setup: FrameProcessorSetup) -> None:
        """See Pipecat."""
        await super().setup(setup)
        self._pipeline_rate_hz = setup.audio_in_sample_rate

    async def start(self, frame: StartFrame) -> None:
        """See Pipecat."""
        await super().start(frame)
        call, params = self._telcoflow.call, self._telcoflow.params
        if params.audio_in_enabled and self._pipeline_rate_hz != call.sample_rate:
            # Nobody behind us would notice: speech would just be too fast, or too slow.
            await self._refuse(
                f"the pipeline takes audio at {self._pipeline_rate_hz} Hz, the call has "
                f"{call.sample_rate} Hz: say PipelineParams(audio_in_sample_rate="
                f"{call.sample_rate}), or sample_rate in the TelcoflowClientConfig"
            )
            return
        call.register_event_handler(CallEvent.CALL_TERMINATED, self._ended.set)
        call.register_event_handler(CallEvent.DTMF, self._pass_on)
        await self.set_transport_ready(frame)
        await self._telcoflow.happened("on_client_connected")
        await self.push_frame(ClientConnectedFrame())
        if params.audio_in_stream_on_start:
            await self._start_audio_in_streaming()
        self._waiting = self.create_task(self._wait_for_the_end())

    async def stop(self, frame: EndFrame) -> None:
        """See Pipecat."""
        await self._stop_tasks()
        await super().stop(frame)

    async def cancel(self, frame: CancelFrame) -> None:
        """See Pipecat."""
        await self._stop_tasks()
        await super().cancel(frame)

    async def cleanup(self) -> None:
        """See Pipecat."""
        await self._stop_tasks()
        await super().cleanup()

    async def _start_audio_in_streaming(self) -> None:
        if self._listening is None and self._telcoflow.params.audio_in_enabled:
            self._listening = self.create_task(self._listen())

    async def _listen(self) -> None:
        call = self._telcoflow.call
        async for chunk in call.audio_stream():
            await self.push_audio_frame(
                InputAudioRawFrame(audio=chunk, sample_rate=call.sample_rate, num_channels=1)
            )
        await self._audio_in_queue.join()

    async def _pass_on(self, digit: Digit) -> None:
        if self._waiting is not None and digit.digit in _KEYS:  # before the end, and not A to D
            await self.push_frame(InputDTMFFrame(button=KeypadEntry(digit.digit)))

    async def _wait_for_the_end(self) -> None:
        await self._ended.wait()
        if self._listening is not None:
            await asyncio.wait({self._listening})  # what was said last
        self._waiting = None  # what ends the pipeline need not stop this
        await self._telcoflow.happened("on_client_disconnected")
        is_end = self._telcoflow.params.end_of_call == "end"
        over = (EndWorkerFrame if is_end else CancelWorkerFrame)(reason="the call has ended")
        await self.push_frame(over, FrameDirection.UPSTREAM)

    async def _refuse(self, problem: str) -> None:
        await self.push_error(problem, force_treat_as_permanent=True)
        await self.push_frame(CancelWorkerFrame(reason=problem), FrameDirection.UPSTREAM)

    async def _stop_tasks(self) -> None:
        for task in (self._waiting, self._listening):
            if task is not None:
                await self.cancel_task(task)
        self._waiting = self._listening = None


class _Output(BaseOutputTransport):
    """The agent's audio: taken from the pipeline when there is room for it in the call."""

    def __init__(self, transport: TelcoflowTransport, *, name: str | None) -> None:
        super().__init__(transport.params, name=name)
        self._telcoflow = transport
        self._ahead_bytes = AudioFormat(transport.call.sample_rate).ms_to_bytes(AHEAD_MS)
        self._is_last_interruptible = True
        self._held: list[tuple[BotStoppedSpeakingFrame, FrameDirection]] = []
        self._holding: asyncio.Task[None] | None = None
        self._not_started_id: int | None = None
        self._interruptions: set[asyncio.Task[None]] = set()
        self._first_fresh_id = 0

    async def start(self, frame: StartFrame) -> None:
        """See Pipecat."""
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def stop(self, frame: EndFrame) -> None:
        """See Pipecat: all audio is handed to the call, then heard, then the call is left."""
        await super().stop(frame)
        self._telcoflow.call.end_utterance()
        await self._telcoflow.hang_up(drain=True)
        if self._holding is not None:
            await asyncio.wait({self._holding})

    async def cancel(self, frame: CancelFrame) -> None:
        """See Pipecat."""
        await super().cancel(frame)
        await self._stop_tasks()
        await self._telcoflow.hang_up(drain=False)

    async def cleanup(self) -> None:
        """See Pipecat."""
        await self._stop_tasks()
        await super().cleanup()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """See Pipecat; an interruption is the call's before it is anybody else's."""
        if not isinstance(frame, InterruptionFrame):
            await super().process_frame(frame, direction)
            return
        await self._interrupt()
        # Pipecat still writes the piece that it has taken from its queue. Ids only grow, and this
        # processor makes no piece of the old turn from here on.
        self._first_fresh_id = obj_id()
        await super().process_frame(frame, direction)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        """See Pipecat: waits for room in the call, not for time to pass."""
        call = self._telcoflow.call
        if frame.num_channels != 1:
            await self.push_error(
                f"a call is mono; this audio has {frame.num_channels} channels",
                force_treat_as_permanent=True,
            )
            return False
        interruptions = call.media.audio.interruptions
        await call.media.audio.room(self._ahead_bytes)
        is_stale = (
            frame.id < self._first_fresh_id  # of a turn that Pipecat has interrupted
            or call.media.audio.interruptions != interruptions  # or somebody else, meanwhile
        )
        if is_stale and frame.interruptible:
            return False
        try:
            await call.send_audio(frame.audio)
        except BufferClosedError:
            return False
        self._is_last_interruptible = frame.interruptible
        return True

    def _supports_native_dtmf(self) -> bool:
        return True

    async def _write_dtmf_native(self, frame: OutputDTMFFrame | OutputDTMFUrgentFrame) -> None:
        try:
            await self._telcoflow.call.send_dtmf(frame.to_string())
        except WSSCallError as error:
            await self.push_error(f"digits were not sent: {error}")

    async def push_frame(
        self, frame: Frame, direction: FrameDirection = FrameDirection.DOWNSTREAM
    ) -> None:
        """See Pipecat; that the bot has stopped is told when the caller has heard the last of it.

        Pipecat tells it when the audio was written. If the bot goes on before it was heard, it
        has not stopped, and neither is told.
        """
        if isinstance(frame, BotStoppedSpeakingFrame):
            self._held.append((frame, direction))
            if self._holding is None:
                self._telcoflow.call.end_utterance()
                self._holding = self.create_task(self._tell_when_heard())
            return
        if isinstance(frame, BotStartedSpeakingFrame):
            if frame.id == self._not_started_id:
                return
            if self._held and self._holding is not None:
                holding, self._holding, self._held = self._holding, None, []
                await self.cancel_task(holding)
                self._not_started_id = frame.broadcast_sibling_id  # sent the other way
                return
        await super().push_frame(frame, direction)

    async def _tell_when_heard(self) -> None:
        await self._telcoflow.call.drain()
        held, self._held, self._holding = self._held, [], None
        for frame, direction in held:
            await super().push_frame(frame, direction)

    async def _interrupt(self) -> None:
        """Let the caller hear no more, unless it is something that must be heard."""
        playback = self._telcoflow.call.playback
        if not self._is_last_interruptible and playback.queued_ms + playback.in_flight_ms > 0:
            return
        interruption = self.create_task(self._tell_interruption())
        self._interruptions.add(interruption)
        interruption.add_done_callback(self._interruptions.discard)
        await asyncio.sleep(0)  # it has begun: what is queued is gone

    async def _tell_interruption(self) -> None:
        interruption: Interruption = await self._telcoflow.call.interrupt()
        await self._telcoflow.happened("on_interrupted", interruption)

    async def _stop_tasks(self) -> None:
        tasks = [*self._interruptions] + ([self._holding] if self._holding is not None else [])
        self._holding, self._held = None, []
        for task in tasks:
            await self.cancel_task(task)


def _params_of(call: ActiveCall, params: TelcoflowParams) -> TelcoflowParams:
    """Return the parameters with the call's sample rate. Raises ValueError."""
    for direction in ("in", "out"):
        rate_hz = getattr(params, f"audio_{direction}_sample_rate")
        if rate_hz not in (None, call.sample_rate):
            raise ValueError(
                f"audio_{direction}_sample_rate={rate_hz}, but the call has {call.sample_rate} Hz: "
                "leave it out, or set sample_rate in the TelcoflowClientConfig"
            )
        channels = getattr(params, f"audio_{direction}_channels")
        if channels != 1:
            raise ValueError(f"audio_{direction}_channels={channels}, but a call is mono")
    rates = {"audio_in_sample_rate": call.sample_rate, "audio_out_sample_rate": call.sample_rate}
    return params.model_copy(update=rates)
