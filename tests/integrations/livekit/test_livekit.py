"""A real AgentSession on a call: exact samples, true positions, interruptions, pauses, ends."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

import numpy as np
import pytest
from livekit import rtc
from livekit.agents import Agent, AgentSession, ModelSettings, stt

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, TelcoflowClient, TelcoflowClientConfig, WSSCallClosedError
from telcoflow_sdk.integrations.livekit import CallAudioInput, CallAudioOutput, converse
from telcoflow_sdk.testing import Conversation, LivePhone, Sandbox, virtual_time
from tests.integrations.findings import Findings
from tests.integrations.livekit.stage import Stage, frames
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
from tests.positions.ruler import Reading, read, ruler
from tests.positions.stage import serving

FRAME_MS = 20


def position_ms(stage: Stage, number: int = 0) -> float:
    return stage.finished[number][1].playback_position * 1000


@virtual_time
async def test_the_caller_hears_every_sample_and_its_end_is_told_when_it_was(
    sandbox: Sandbox,
) -> None:
    async with Stage(sandbox).running() as stage:
        await stage.say(ANSWER).wait_for_playout()
        stage.session.shutdown()

    assert spoken(stage.phone.heard.samples) == ANSWER
    assert stage.phone.report is not None
    assert stage.phone.report.gap_count == 0
    sounding = np.flatnonzero(stage.phone.heard.samples) // 480
    # Each in the tick at whose end it was: the first frame was played, and the last one.
    assert stage.started == [sounding[0] + 1]
    [(ticks, finished)] = stage.finished
    assert ticks == sounding[-1] + 1
    assert (position_ms(stage), finished.interrupted) == (ANSWER_MS, False)


@virtual_time
async def test_one_answer_after_the_other(sandbox: Sandbox) -> None:
    async with Stage(sandbox).running() as stage:
        for number in range(3):
            stage.say(piece(500 * number, 500))
        await stage.has_finished(3)
        stage.session.shutdown()

    assert spoken(stage.phone.heard.samples) == piece(0, 1_500)
    assert [position_ms(stage, number) for number in range(3)] == [500] * 3
    assert len(stage.started) == 3


@pytest.mark.parametrize("at_ms", [20, 100, 340, 800, 1_300, 1_560])
def test_an_interruption_is_heard_at_once_and_told_exactly(at_ms: int, findings: Findings) -> None:
    @virtual_time
    async def interrupted(sandbox: Sandbox) -> None:
        async with Stage(sandbox).running() as stage:
            stage.say(ANSWER)
            await stage.heard(at_ms)
            at_frames = heard_frames(stage.phone)
            stage.session.interrupt()
            stage.say(NEXT)
            await stage.has_finished(2)
            stage.session.shutdown()

        samples = heard_of_answer(stage.phone)
        assert stage.finished[0][1].interrupted
        assert position_ms(stage) == pytest.approx(samples / MS, abs=1e-6)
        assert position_ms(stage) < ANSWER_MS
        assert not stage.finished[1][1].interrupted
        stopped_ms = stop_ms(stage.phone, at_frames, samples)
        findings.note(f"LiveKit, {at_ms:4d} ms in", stopped_ms, position_ms(stage), samples / MS)
        assert stopped_ms <= FRAME_MS

    interrupted()


@pytest.mark.parametrize("seed", range(5))
def test_of_many_turns_each_is_heard_until_it_is_interrupted(seed: int) -> None:
    chance = random.Random(seed)
    turns = [piece(200 * number, chance.randint(30, 199)) for number in range(12)]

    @virtual_time
    async def talk(sandbox: Sandbox) -> None:
        async with Stage(sandbox).running() as stage:
            for number, turn in enumerate(turns):
                speech = stage.say(turn)
                if chance.random() < 0.7:
                    await stage.has_started(number + 1)
                    await asyncio.sleep(chance.uniform(0, 0.15))
                    stage.session.interrupt()
                await speech.wait_for_playout()
            stage.session.shutdown()

        heard = read(stage.phone.heard.samples)
        assert not heard.size or heard.positions[-1] < 200 * len(turns) * MS, "out of order"
        assert len(stage.finished) == len(turns)
        for number, (turn, (_, finished)) in enumerate(zip(turns, stage.finished, strict=True)):
            samples, first = len(turn) // 2, 200 * number * MS
            part = heard.between(first, first + samples)
            assert part.positions.tolist() == list(range(first, first + part.size))
            assert position_ms(stage, number) == pytest.approx(part.size / MS, abs=1e-6)
            assert finished.interrupted or part.size == samples

    talk()


@virtual_time
async def test_an_interruption_before_the_first_sample_says_nothing(sandbox: Sandbox) -> None:
    async with Stage(sandbox).running() as stage:
        output = stage.session.output.audio
        assert output is not None
        async for frame in frames(ANSWER):
            await output.capture_frame(frame)
        output.clear_buffer()
        event = await output.wait_for_playout()
        await stage.say(NEXT).wait_for_playout()
        stage.session.shutdown()

    assert (event.playback_position, event.interrupted) == (0, True)
    assert spoken(stage.phone.heard.samples) == NEXT
    assert len(stage.started) == 1


@virtual_time
async def test_of_an_answer_that_has_not_begun_nothing_was_heard(sandbox: Sandbox) -> None:
    async def use(call: ActiveCall, _: object) -> list[float]:
        output, positions = CallAudioOutput(call), list[float]()
        for clears in (False, True):
            async for frame in frames(piece(0, 60)):
                await output.capture_frame(frame)
            output.flush()
            if clears:
                output.clear_buffer()
            positions.append((await output.wait_for_playout()).playback_position)
        await output.aclose()
        return positions

    assert await in_call(sandbox, use) == [0.06, 0]


@virtual_time
async def test_a_clear_after_the_end_of_the_call_tells_the_last_position(sandbox: Sandbox) -> None:
    async def use(call: ActiveCall, phone: LivePhone) -> tuple[float, float]:
        output = CallAudioOutput(call)
        async for frame in frames(ANSWER):
            await output.capture_frame(frame)
        await phone.listen(0.5)
        await phone.hang_up()
        await call.drain()
        output.clear_buffer()
        position_s = (await output.wait_for_playout()).playback_position
        await output.aclose()
        return position_s * 1000, np.count_nonzero(phone.heard.samples) / MS

    position, heard_ms = await in_call(sandbox, use)

    assert heard_ms - 2 * FRAME_MS <= position <= heard_ms


@virtual_time
async def test_a_pause_loses_nothing(sandbox: Sandbox) -> None:
    async with Stage(sandbox).running() as stage:
        output = stage.session.output.audio
        assert output is not None
        assert output.can_pause
        speech = stage.say(ANSWER)
        await stage.heard(500)
        output.pause()
        silence = await stage.phone.listen(2.0)
        output.resume()
        await speech.wait_for_playout()
        stage.session.shutdown()

    assert np.count_nonzero(silence.samples) <= FRAME_MS * MS
    assert spoken(stage.phone.heard.samples) == ANSWER
    assert position_ms(stage) == ANSWER_MS


@virtual_time
async def test_an_interruption_of_a_pause_ends_it(sandbox: Sandbox) -> None:
    async with Stage(sandbox).running() as stage:
        output = stage.session.output.audio
        assert output is not None
        stage.say(ANSWER)
        await stage.heard(500)
        output.pause()
        await stage.phone.listen(0.5)
        stage.session.interrupt()
        await stage.say(NEXT).wait_for_playout()
        stage.session.shutdown()

    assert position_ms(stage) == heard_of_answer(stage.phone) / MS


@virtual_time
async def test_the_kit_finds_nothing_wrong_with_a_session_that_is_talked_over(
    sandbox: Sandbox,
) -> None:
    chance = np.random.default_rng(1)
    long, short, caller = (
        chance.integers(1, 8_000, samples, dtype=np.int16).tobytes()
        for samples in (48_000, 9_600, 9_600)
    )
    async with Stage(sandbox).running() as stage:
        stage.say(long)
        await stage.phone.listen(0.6)
        saying = asyncio.create_task(stage.phone.say(caller))
        await stage.phone.listen(0.04)
        stage.session.interrupt()
        await saying
        await stage.say(short).wait_for_playout()
        await stage.phone.listen(0.3)
        conversation = Conversation.of(stage.phone)
        stage.session.shutdown()

    assert conversation.assert_stops_within(60) <= 60
    conversation.assert_cancelled(long, within_ms=60)


@virtual_time
async def test_the_goodbye_is_heard_before_the_agent_hangs_up(sandbox: Sandbox) -> None:
    async with Stage(sandbox).running() as stage:
        stage.say(ANSWER)
        stage.session.shutdown()

    assert spoken(stage.phone.heard.samples) == ANSWER
    assert stage.phone.end_reason == "agent_closed"


@virtual_time
async def test_a_caller_who_hangs_up_closes_the_session(sandbox: Sandbox) -> None:
    async with Stage(sandbox).running() as stage:
        stage.say(ANSWER)
        await stage.heard(600)
        await stage.phone.hang_up()

    [(_, finished)] = stage.finished
    assert finished.interrupted
    heard_ms = np.count_nonzero(stage.phone.heard.samples) / MS
    assert heard_ms - 2 * FRAME_MS <= position_ms(stage) <= heard_ms


@virtual_time
async def test_a_cancelled_agent_leaves_at_once(sandbox: Sandbox) -> None:
    async def take(call: ActiveCall) -> None:
        stage.call = call
        talking = asyncio.create_task(stage.take(call))
        await stage.is_ready.wait()
        stage.say(ANSWER)
        await stage.heard(200)
        talking.cancel()
        await stage.is_over.wait()

    stage = Stage(sandbox)
    async with serving(sandbox, take):
        stage.phone = await sandbox.dial()
        await stage.is_over.wait()
        await stage.phone.ended()

    assert isinstance(stage.error, asyncio.CancelledError)
    assert np.count_nonzero(stage.phone.heard.samples) < 400 * MS


@virtual_time
async def test_the_session_hears_every_sample_of_the_caller(sandbox: Sandbox) -> None:
    heard: list[rtc.AudioFrame] = []
    recognized: list[stt.SpeechEvent] = []

    async def listen(
        audio: AsyncIterable[rtc.AudioFrame], _: ModelSettings
    ) -> AsyncIterator[stt.SpeechEvent]:
        async for frame in audio:
            heard.append(frame)
            for event in recognized:
                yield event

    async with Stage(sandbox, listen=listen).running() as stage:
        await stage.phone.say(ruler(0, 24_000))
        await stage.phone.listen(0.1)
        await stage.phone.hang_up()

    assert {(frame.sample_rate, frame.num_channels) for frame in heard} == {(24_000, 1)}
    samples = np.concatenate([np.frombuffer(frame.data, "<i2") for frame in heard])
    assert samples[samples != 0].tolist() == ruler(0, 24_000).tolist()


async def in_call(sandbox: Sandbox, use: Any, **config: Any) -> Any:
    """Run `use(call, phone)` in an answered call."""
    outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    phones: list[LivePhone] = []

    async def take(call: ActiveCall) -> None:
        await call.answer()
        try:
            outcome.set_result(await use(call, phones[0]))
        except BaseException as error:
            outcome.set_exception(error)
        await call.close(drain=False)

    client_config = TelcoflowClientConfig.sandbox(**sandbox.credentials, **config)
    async with TelcoflowClient(client_config) as client:
        phones.append(await sandbox.dial())
        client.on(events.INCOMING_CALL)(take)
        return await outcome


@virtual_time
async def test_what_is_said_while_the_input_is_detached_is_not_heard(sandbox: Sandbox) -> None:
    async def use(call: ActiveCall, phone: LivePhone) -> list[int]:
        audio_input = CallAudioInput(call)

        async def read_all() -> bytes:
            return b"".join([bytes(frame.data) async for frame in audio_input])

        reading = asyncio.create_task(read_all())
        for number, switch in enumerate((None, audio_input.on_detached, audio_input.on_attached)):
            if switch is not None:
                switch()
            await phone.say(ruler(4_800 * number, 4_800))
            await phone.listen(0.1)
        await phone.hang_up()
        samples = np.frombuffer(await reading, "<i2")
        return [int(sample) for sample in samples[samples != 0]]

    heard = await in_call(sandbox, use)

    assert heard == [*ruler(0, 4_800).tolist(), *ruler(9_600, 4_800).tolist()]


@virtual_time
async def test_what_is_captured_in_the_instant_of_a_clear_is_heard(sandbox: Sandbox) -> None:
    async def use(call: ActiveCall, phone: LivePhone) -> LivePhone:
        output = CallAudioOutput(call)
        async for frame in frames(ANSWER):
            await output.capture_frame(frame)
        output.flush()
        await phone.listen(0.5)
        output.clear_buffer()
        async for frame in frames(NEXT):
            await output.capture_frame(frame)
        output.flush()
        await output.wait_for_playout()
        await output.aclose()
        return phone

    heard_of_answer(await in_call(sandbox, use))


@virtual_time
async def test_more_than_the_call_holds_waits_and_is_cleared(sandbox: Sandbox) -> None:
    frame_samples = 4_800

    async def use(call: ActiveCall, phone: LivePhone) -> tuple[Reading, float, int]:
        output = CallAudioOutput(call)
        captured = 0

        async def capture() -> None:
            nonlocal captured
            async for frame in frames(piece(0, 2_600)):
                await output.capture_frame(frame)
                captured += 1

        capturing = asyncio.create_task(capture())
        await phone.listen(0.5)
        assert not capturing.done()
        waiting = captured
        output.clear_buffer()
        at_ms = (await output.wait_for_playout()).playback_position * 1000
        await capturing
        await phone.listen_until_quiet(0.3)
        await output.aclose()
        return read(phone.heard.samples), at_ms, waiting

    heard, at_ms, waiting = await in_call(sandbox, use, buffer_size=48_000)

    # Of the first segment, what was told; then what came for a new one, without the frame that
    # was waiting.
    first = heard.between(0, waiting * frame_samples)
    assert first.positions.tolist() == list(range(round(at_ms * MS)))
    next_first = (waiting + 1) * frame_samples
    rest = heard.between(waiting * frame_samples, 2_600 * MS)
    assert rest.positions.tolist() == list(range(next_first, 2_600 * MS))


@virtual_time
async def test_audio_of_another_rate_is_resampled_by_livekit(sandbox: Sandbox) -> None:
    time_s = np.arange(16_000) / 16_000
    tone = (8_000 * np.sin(2 * np.pi * 440 * time_s)).astype("<i2").tobytes()
    async with Stage(sandbox).running() as stage:
        await stage.say(tone, 16_000).wait_for_playout()
        stage.session.shutdown()

    samples = stage.phone.heard.samples
    sounding = samples[np.flatnonzero(samples)[0] : np.flatnonzero(samples)[-1] + 1]
    assert abs(sounding.size - 24_000) <= 480
    assert int(np.argmax(np.abs(np.fft.rfft(sounding.astype(float), 24_000)))) == 440


@virtual_time
async def test_frames_that_the_call_does_not_take_are_refused(sandbox: Sandbox) -> None:
    async def use(call: ActiveCall, _: object) -> None:
        output = CallAudioOutput(call)
        with pytest.raises(ValueError, match="mono at 24000 Hz, not 1 channels at 16000 Hz"):
            await output.capture_frame(rtc.AudioFrame(bytes(640), 16_000, 1, 320))
        with pytest.raises(ValueError, match="mono at 24000 Hz, not 2 channels at 24000 Hz"):
            await output.capture_frame(rtc.AudioFrame(bytes(640), 24_000, 2, 160))

    await in_call(sandbox, use)


@virtual_time
async def test_a_call_that_has_ended_is_refused(sandbox: Sandbox) -> None:
    async def use(call: ActiveCall, phone: LivePhone) -> None:
        await phone.hang_up()
        await call.close()
        for make in (CallAudioInput, CallAudioOutput):
            with pytest.raises(WSSCallClosedError):
                make(call)
        with pytest.raises(WSSCallClosedError):
            await converse(AgentSession(), Agent(instructions=""), call)

    await in_call(sandbox, use)


async def test_a_whole_call_over_sockets(sandbox: Sandbox) -> None:
    async with Stage(sandbox).running() as stage:
        stage.say(ANSWER)
        await stage.heard(400)
        at_frames = heard_frames(stage.phone)
        stage.session.interrupt()
        stage.say(NEXT)
        stage.session.shutdown()

    samples = heard_of_answer(stage.phone)
    assert stop_ms(stage.phone, at_frames, samples) <= 3 * FRAME_MS
    assert position_ms(stage) == pytest.approx(samples / MS, abs=1e-6)
