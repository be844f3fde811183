"""Audio that the incumbent kept back, mixed up or made late: end to end, sample by sample."""

from __future__ import annotations

import asyncio

import numpy as np

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, TelcoflowClient, TelcoflowClientConfig
from telcoflow_sdk.testing import LivePhone, Sandbox
from tests.support.traces import run_without_a_trace

RATES_HZ = (8_000, 16_000, 24_000)


async def in_call(sandbox: Sandbox, client: TelcoflowClient) -> tuple[LivePhone, ActiveCall]:
    taken: asyncio.Queue[ActiveCall] = asyncio.Queue()
    client.on(events.INCOMING_CALL)(taken.put_nowait)
    phone = await sandbox.dial()
    call = await taken.get()
    await call.answer()
    return phone, call


def client_of(sandbox: Sandbox, sample_rate: int = 24_000) -> TelcoflowClient:
    config = TelcoflowClientConfig.sandbox(**sandbox.credentials, sample_rate=sample_rate)
    return TelcoflowClient(config)


def test_the_tail_of_an_utterance_is_heard_with_it_and_not_before_the_next() -> None:
    utterances = [np.full(730, 3000, np.int16), np.full(730, -3000, np.int16)]

    async def main() -> None:
        async with Sandbox() as sandbox, client_of(sandbox) as client:
            phone, call = await in_call(sandbox, client)
            for utterance in utterances:
                listening = asyncio.ensure_future(phone.listen(2))
                await call.send_audio(utterance.tobytes())
                heard = (await listening).samples
                assert call.get_send_audio_buffer_size() == 0
                assert np.array_equal(heard[heard != 0], utterance)
            await phone.hang_up()

    run_without_a_trace(main())


def test_waiting_for_the_buffer_to_empty_ends_at_every_rate() -> None:
    async def main(rate_hz: int) -> float:
        loop = asyncio.get_running_loop()
        async with Sandbox() as sandbox, client_of(sandbox, rate_hz) as client:
            phone, call = await in_call(sandbox, client)
            await call.send_audio(bytes(rate_hz * 2 + 502))
            began_s = loop.time()
            while call.get_send_audio_buffer_size() > 0:  # noqa: ASYNC110  # as applications do
                await asyncio.sleep(0.05)
            await phone.hang_up()
            return loop.time() - began_s

    for rate_hz in RATES_HZ:
        assert run_without_a_trace(main(rate_hz)) < 1.2


def test_a_minute_of_queued_speech_fits_and_hanging_up_plays_all_of_it() -> None:
    speech = np.repeat(np.arange(1, 3001, dtype=np.int16), 480)

    async def main() -> None:
        async with Sandbox() as sandbox, client_of(sandbox) as client:
            phone, call = await in_call(sandbox, client)
            await call.send_audio(speech.tobytes())
            await call.close(drain_timeout_s=90)
            heard = phone.heard.samples
            assert np.array_equal(heard[heard != 0], speech)

    run_without_a_trace(main())


def test_a_stream_that_was_not_read_for_a_minute_is_ten_seconds_late_at_most() -> None:
    minute = np.repeat(np.arange(1, 3001, dtype=np.int16), 480)

    async def main() -> None:
        async with Sandbox() as sandbox, client_of(sandbox) as client:
            phone, call = await in_call(sandbox, client)
            await phone.say(minute)
            stream = call.audio_stream()
            first = np.frombuffer(await anext(stream), np.int16)
            assert first[0] >= 3000 - 10 * 50
            hanging_up = asyncio.ensure_future(phone.hang_up())
            rest = [np.frombuffer(chunk, np.int16) async for chunk in stream]
            await hanging_up
            heard = np.concatenate([first, *rest])
            assert heard[heard != 0][-1] == 3000, "the newest is there"

    run_without_a_trace(main())


def test_an_interruption_takes_effect_here_before_the_server_answers() -> None:
    async def main() -> None:
        async with Sandbox() as sandbox, client_of(sandbox) as client:
            phone, call = await in_call(sandbox, client)
            await call.send_audio(np.full(24_000 * 10, 3000, np.int16).tobytes())
            await phone.listen(1)
            clearing = asyncio.ensure_future(call.clear_send_audio_buffer())
            await asyncio.sleep(0)
            assert call.get_send_audio_buffer_size() == 0
            await call.send_audio(np.full(480, -3000, np.int16).tobytes())
            assert await clearing > 0
            heard = (await phone.listen(1)).samples
            assert np.count_nonzero(heard == 3000) <= 480 * 2
            assert np.count_nonzero(heard == -3000) == 480
            await phone.hang_up()

    run_without_a_trace(main())
