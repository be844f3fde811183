"""A real Pipecat pipeline on a call: exact samples, the moment of the end, interruptions, ends."""

from __future__ import annotations

import asyncio
import random

import numpy as np
import pytest
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    CancelFrame,
    EndFrame,
    ErrorFrame,
    InputAudioRawFrame,
    InputDTMFFrame,
    InterruptionWorkerFrame,
    OutputAudioRawFrame,
    OutputDTMFFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.worker import PipelineParams
from pipecat.processors.frame_processor import FrameDirection

from telcoflow_sdk import ActiveCall, Interruption, WSSCallClosedError
from telcoflow_sdk.integrations.pipecat import AHEAD_MS, TelcoflowParams, TelcoflowTransport
from telcoflow_sdk.testing import Conversation, Sandbox, virtual_time
from tests.integrations.findings import Findings
from tests.integrations.pipecat.stage import Stage
from tests.integrations.stage import (
    ANSWER,
    ANSWER_MS,
    MS,
    NEXT,
    heard_frames,
    heard_of_answer,
    piece,
    spoken,
    stop_ms,
)
from tests.positions.ruler import read, ruler
from tests.positions.stage import serving

FRAME_MS = 20


@virtual_time
async def test_the_pipeline_hears_every_sample_of_the_caller(sandbox: Sandbox) -> None:
    async with Stage(sandbox).running() as stage:
        await stage.phone.say(ruler(0, 24_000))
        await stage.phone.listen(0.1)
        await stage.phone.hang_up()

    assert stage.caller_audio().tolist() == ruler(0, 24_000).tolist()
    rates = {(f.sample_rate, f.num_channels) for f in stage.before.of(InputAudioRawFrame)}
    assert rates == {(24_000, 1)}


@virtual_time
async def test_the_caller_hears_every_sample_of_the_pipeline(sandbox: Sandbox) -> None:
    async with Stage(sandbox).running() as stage:
        await stage.say(ANSWER, at_once=3_333 * 2)
        await stage.phone.listen_until_quiet(0.5)
        await stage.phone.hang_up()

    assert spoken(stage.phone.heard.samples) == ANSWER
    assert stage.phone.report is not None
    assert stage.phone.report.gap_count == 0


@virtual_time
async def test_bot_stops_speaking_when_its_last_sample_was_heard(sandbox: Sandbox) -> None:
    async with Stage(sandbox).running() as stage:
        await stage.say(ANSWER)
        await stage.behind.wait(BotStoppedSpeakingFrame)
        last_frame = np.flatnonzero(stage.phone.heard.samples)[-1] // 480
        await stage.phone.hang_up()

    # Both ways, and each is the tick at whose end the last sample was played.
    for tap in (stage.before, stage.behind):
        assert len(tap.ticks(BotStartedSpeakingFrame)) == 1
        assert tap.ticks(BotStoppedSpeakingFrame) == [last_frame + 1]


@virtual_time
async def test_a_bot_that_goes_on_has_not_stopped(sandbox: Sandbox) -> None:
    async with Stage(sandbox).running() as stage:
        for at_ms in (0, 500, 1_000):  # three sentences
            await stage.say(piece(at_ms, 500))
        await stage.phone.listen_until_quiet(0.5)
        await stage.phone.hang_up()

    assert spoken(stage.phone.heard.samples) == piece(0, 1_500)
    for tap in (stage.before, stage.behind):
        assert len(tap.ticks(BotStartedSpeakingFrame)) == 1
        assert len(tap.ticks(BotStoppedSpeakingFrame)) == 1
    assert len(stage.behind.of(TTSStoppedFrame)) == 3


@virtual_time
async def test_a_bot_that_speaks_again_later_starts_and_stops_again(sandbox: Sandbox) -> None:
    async with Stage(sandbox).running() as stage:
        for number in (1, 2):
            await stage.say(piece(500 * number, 500))
            await stage.behind.wait(BotStoppedSpeakingFrame, number)
        await stage.phone.hang_up()

    assert len(stage.before.ticks(BotStartedSpeakingFrame)) == 2
    assert len(stage.before.ticks(BotStoppedSpeakingFrame)) == 2


@virtual_time
async def test_what_waits_for_the_caller_waits_in_the_pipeline(sandbox: Sandbox) -> None:
    async with Stage(sandbox).running() as stage:
        await stage.say(piece(0, 2_500))
        most_ms = 0.0
        while np.count_nonzero(stage.phone.heard.samples) < 2_400 * MS:
            await stage.phone.listen(0.02)
            most_ms = max(most_ms, stage.call.playback.queued_ms)
        await stage.phone.hang_up()

    assert FRAME_MS <= most_ms <= AHEAD_MS + FRAME_MS


@pytest.mark.parametrize("by", ["worker", "processor"])
@pytest.mark.parametrize("at_ms", [20, 100, 340, 800, 1_300, 1_480, 1_560])
def test_an_interruption_is_heard_at_once(at_ms: int, by: str, findings: Findings) -> None:
    interruptions: list[Interruption] = []

    @virtual_time
    async def interrupted(sandbox: Sandbox) -> None:
        async with Stage(sandbox).running() as stage:

            @stage.transport.event_handler("on_interrupted")
            async def on_interrupted(_: object, call: ActiveCall, told: Interruption) -> None:
                assert call is stage.call
                interruptions.append(told)

            await stage.say(ANSWER)
            await stage.heard(at_ms)
            frames = heard_frames(stage.phone)
            if by == "worker":
                await stage.worker.queue_frame(InterruptionWorkerFrame(), FrameDirection.UPSTREAM)
            else:
                await stage.before.broadcast_interruption()
            await stage.behind.wait(BotStoppedSpeakingFrame)
            await stage.say(NEXT)
            await stage.phone.listen_until_quiet(0.5)
            await stage.phone.hang_up()

        samples = heard_of_answer(stage.phone)
        [told] = interruptions
        assert told.heard_ms == samples / MS
        assert told.heard_ms < ANSWER_MS
        stopped_ms = stop_ms(stage.phone, frames, samples)
        findings.note(
            f"Pipecat, interrupted by a {by} {at_ms:4d} ms in",
            stopped_ms,
            told.heard_ms,
            samples / MS,
        )
        assert stopped_ms <= FRAME_MS
        assert stage.behind.ticks(BotStoppedSpeakingFrame)[0] <= frames + 2

    interrupted()


_chance = np.random.default_rng(1)
LONG, SHORT, CALLER = (
    _chance.integers(1, 8_000, samples, dtype=np.int16).tobytes()
    for samples in (48_000, 9_600, 9_600)
)


@virtual_time
async def test_a_caller_who_talks_over_the_agent_silences_it(sandbox: Sandbox) -> None:
    """The kit's assertions, on a pipeline that interrupts at the caller's first sound."""
    async with Stage(sandbox).running() as stage:

        async def interrupt_at_the_first_sound() -> None:
            while not any(any(f.audio) for f in stage.before.of(InputAudioRawFrame)):
                await stage.before.wait(
                    InputAudioRawFrame, len(stage.before.ticks(InputAudioRawFrame)) + 1
                )
            await stage.before.broadcast_interruption()

        interrupting = asyncio.create_task(interrupt_at_the_first_sound())
        await stage.say(LONG)
        await stage.phone.listen(0.6)
        await stage.phone.say(CALLER)
        await interrupting
        await stage.say(SHORT)
        await stage.phone.listen_until_quiet(0.5)
        conversation = Conversation.of(stage.phone)
        await stage.phone.hang_up()

    assert conversation.assert_stops_within(60) <= 60
    conversation.assert_cancelled(LONG, within_ms=60)
    assert spoken(stage.phone.heard.samples).endswith(SHORT)


@pytest.mark.parametrize("seed", range(5))
def test_of_many_turns_each_is_heard_until_it_is_interrupted(seed: int) -> None:
    chance, told = random.Random(seed), list[Interruption]()
    turns = [piece(200 * number, chance.randint(30, 199)) for number in range(12)]
    is_cut = [chance.random() < 0.7 for _ in turns]

    @virtual_time
    async def talk(sandbox: Sandbox) -> None:
        async with Stage(sandbox).running() as stage:
            stage.transport.add_event_handler("on_interrupted", lambda _, __, one: told.append(one))
            for turn, cut in zip(turns, is_cut, strict=True):
                stopped = len(stage.behind.ticks(BotStoppedSpeakingFrame))
                await stage.say(turn, at_once=chance.choice([960, 4_802, 100_000]))
                if cut:
                    await stage.behind.wait(BotStartedSpeakingFrame, stopped + 1)
                    await asyncio.sleep(chance.uniform(0, 0.15))
                    await stage.before.broadcast_interruption()
                await stage.behind.wait(BotStoppedSpeakingFrame, stopped + 1)
            await stage.phone.hang_up()

        heard = read(stage.phone.heard.samples)
        assert not heard.size or heard.positions[-1] < 200 * len(turns) * MS, "out of order"
        cuts = iter(told)
        for number, (turn, cut) in enumerate(zip(turns, is_cut, strict=True)):
            samples, first = len(turn) // 2, 200 * number * MS
            part = heard.between(first, first + samples)
            assert part.positions.tolist() == list(range(first, first + part.size))
            interruption = next(cuts) if cut else None
            if interruption is None:
                assert part.size == samples
            elif interruption.dropped_ms or part.size < samples:
                assert interruption.heard_ms == part.size / MS

    talk()


@virtual_time
async def test_what_must_be_heard_is_not_interrupted(sandbox: Sandbox) -> None:
    async with Stage(sandbox).running() as stage:
        audio = TTSAudioRawFrame(piece(0, 400), sample_rate=24_000, num_channels=1)
        audio.interruptible = False
        await stage.worker.queue_frames([TTSStartedFrame(), audio, TTSStoppedFrame()])
        await stage.heard(100)
        await stage.worker.queue_frame(InterruptionWorkerFrame(), FrameDirection.UPSTREAM)
        await stage.phone.listen_until_quiet(0.5)
        await stage.phone.hang_up()

    assert spoken(stage.phone.heard.samples) == piece(0, 400)


@virtual_time
async def test_the_goodbye_is_heard_before_the_agent_hangs_up(sandbox: Sandbox) -> None:
    async with Stage(sandbox).running() as stage:
        await stage.say(ANSWER)
        await stage.worker.queue_frame(EndFrame())

    assert spoken(stage.phone.heard.samples) == ANSWER
    assert stage.phone.end_reason == "agent_closed"
    assert len(stage.behind.ticks(BotStoppedSpeakingFrame)) == 1
    kinds = [type(frame) for frame, _, _ in stage.behind.seen]
    assert kinds.index(BotStoppedSpeakingFrame) < kinds.index(EndFrame)


@virtual_time
async def test_a_cancelled_pipeline_hangs_up_at_once(sandbox: Sandbox) -> None:
    async with Stage(sandbox).running() as stage:
        await stage.say(ANSWER)
        await stage.heard(200)
        await stage.worker.cancel()

    assert stage.phone.end_reason == "agent_closed"
    assert np.count_nonzero(stage.phone.heard.samples) < 400 * MS


@virtual_time
async def test_the_call_may_go_on_after_the_pipeline(sandbox: Sandbox) -> None:
    params = TelcoflowParams(auto_hang_up=False)
    async with Stage(sandbox, params).running() as stage:
        await stage.say(piece(0, 400))
        await stage.worker.queue_frame(EndFrame())
        await stage.is_over.wait()
        await stage.call.send_audio(piece(400, 400))
        await stage.call.close()

    assert spoken(stage.phone.heard.samples) == piece(0, 800)


@pytest.mark.parametrize(("end_of_call", "last"), [("cancel", CancelFrame), ("end", EndFrame)])
def test_a_caller_who_hangs_up_ends_the_pipeline(
    end_of_call: str, last: type[CancelFrame | EndFrame]
) -> None:
    left: list[ActiveCall] = []

    @virtual_time
    async def hung_up(sandbox: Sandbox) -> None:
        params = TelcoflowParams.model_validate({"end_of_call": end_of_call})
        async with Stage(sandbox, params).running() as stage:
            stage.transport.add_event_handler(
                "on_client_disconnected", lambda _, call: left.append(call)
            )
            await stage.say(ANSWER)
            await stage.phone.say(ruler(0, 4_800))
            await stage.phone.hang_up()

        assert left == [stage.call]
        assert len(stage.behind.of(last)) == 1
        assert stage.caller_audio().tolist() == ruler(0, 4_800).tolist()
        assert stage.error is None

    hung_up()


@virtual_time
async def test_what_is_said_before_the_answer_is_heard_from_it_on(sandbox: Sandbox) -> None:
    async with Stage(sandbox, answers=False).running() as stage:
        await stage.say(piece(0, 400))
        await stage.phone.listen(1.0)
        await stage.call.answer()
        await stage.phone.listen_until_quiet(0.3)
        await stage.phone.hang_up()

    assert spoken(stage.phone.heard.samples) == piece(0, 400)


@virtual_time
async def test_digits_are_pressed_behind_what_was_said(sandbox: Sandbox) -> None:
    async with Stage(sandbox).running() as stage:
        await stage.say(piece(0, 200))
        await stage.worker.queue_frame(OutputDTMFFrame.from_string("1#"))
        heard = await stage.phone.listen_until_quiet(0.5)
        pressed = stage.phone.digits_heard
        await stage.phone.hang_up()

    assert spoken(heard.samples) == piece(0, 200)
    assert pressed == "1#"


@virtual_time
async def test_keys_that_the_caller_presses_are_frames_in_their_order(sandbox: Sandbox) -> None:
    async with Stage(sandbox).running() as stage:
        stage.phone.press("90A*")
        await stage.before.wait(InputDTMFFrame, 3)
        await stage.phone.hang_up()

    assert [frame.button.value for frame in stage.before.of(InputDTMFFrame)] == ["9", "0", "*"]


@virtual_time
async def test_audio_of_another_rate_is_resampled_by_pipecat(sandbox: Sandbox) -> None:
    time_s = np.arange(16_000) / 16_000
    tone = (8_000 * np.sin(2 * np.pi * 440 * time_s)).astype("<i2").tobytes()
    async with Stage(sandbox).running() as stage:
        await stage.say(tone, sample_rate_hz=16_000)
        await stage.phone.listen_until_quiet(0.5)
        await stage.phone.hang_up()

    samples = stage.phone.heard.samples
    sounding = samples[np.flatnonzero(samples)[0] : np.flatnonzero(samples)[-1] + 1]
    assert abs(sounding.size - 24_000) <= 480
    spectrum = np.abs(np.fft.rfft(sounding[:24_000].astype(float), 24_000))
    assert int(np.argmax(spectrum)) == 440


@virtual_time
async def test_calls_at_16_khz_are_heard_to_the_sample_by_the_pipeline(sandbox: Sandbox) -> None:
    async with Stage(sandbox).running(sample_rate=16_000) as stage:
        await stage.phone.say(ruler(0, 24_000))
        await stage.phone.listen(0.1)
        await stage.phone.hang_up()

    frames = stage.before.of(InputAudioRawFrame)
    assert {frame.sample_rate for frame in frames} == {16_000}
    assert abs(stage.caller_audio().size - 16_000) < 320


@virtual_time
async def test_a_pipeline_at_another_rate_is_told_what_to_set(sandbox: Sandbox) -> None:
    params = PipelineParams(audio_in_sample_rate=16_000, audio_out_sample_rate=24_000)
    async with Stage(sandbox, pipeline_params=params).running() as stage:
        await stage.phone.ended()

    assert "say PipelineParams(audio_in_sample_rate=24000)" in "".join(stage.log)
    assert stage.phone.end_reason == "agent_closed"


@virtual_time
async def test_stereo_is_refused_once(sandbox: Sandbox) -> None:
    async with Stage(sandbox).running() as stage:
        stereo = OutputAudioRawFrame(piece(0, 400), sample_rate=24_000, num_channels=2)
        await stage.worker.queue_frame(stereo)
        await stage.before.wait(ErrorFrame)
        await stage.phone.listen(0.3)
        await stage.phone.hang_up()

    assert "".join(stage.log).count("a call is mono; this audio has 2 channels") == 1
    assert stage.phone.heard.is_silent


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"audio_in_sample_rate": 16_000}, "audio_in_sample_rate=16000, but the call has 24000 Hz"),
        ({"audio_out_sample_rate": 8_000}, "audio_out_sample_rate=8000, but the call has 24000 Hz"),
        ({"audio_out_channels": 2}, "audio_out_channels=2, but a call is mono"),
    ],
)
def test_parameters_that_the_call_does_not_have(params: dict[str, int], problem: str) -> None:
    @virtual_time
    async def refused(sandbox: Sandbox) -> None:
        async def take(call: ActiveCall) -> None:
            with pytest.raises(ValueError, match=problem):
                TelcoflowTransport(call, TelcoflowParams.model_validate(params))
            await call.close()

        async with serving(sandbox, take):
            await (await sandbox.dial()).ended()

    refused()


@virtual_time
async def test_a_call_that_has_ended_is_refused(sandbox: Sandbox) -> None:
    refused = asyncio.Event()

    async def take(call: ActiveCall) -> None:
        await call.answer()
        await call.close()
        with pytest.raises(WSSCallClosedError):
            TelcoflowTransport(call)
        refused.set()

    async with serving(sandbox, take):
        await sandbox.dial()
        await refused.wait()


async def test_a_whole_call_over_sockets(sandbox: Sandbox) -> None:
    async with Stage(sandbox).running() as stage:
        await stage.say(ANSWER)
        await stage.heard(400)
        frames = heard_frames(stage.phone)
        await stage.before.broadcast_interruption()
        await stage.say(NEXT)
        await stage.worker.queue_frame(EndFrame())

    samples = heard_of_answer(stage.phone)
    assert stop_ms(stage.phone, frames, samples) <= 3 * FRAME_MS
