"""Pause, marks, ends and starts: each at its very sample or tick, against the phone's recording."""

from __future__ import annotations

import asyncio
import random

import numpy as np
import pytest

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall
from telcoflow_sdk.playback import Mark
from telcoflow_sdk.testing import LivePhone, Sandbox, run_virtual, virtual_time
from tests.positions.ruler import (
    FRAME_SAMPLES,
    SAMPLES_PER_MS,
    assert_heard_once,
    read,
    ruler,
)
from tests.positions.stage import (
    Diary,
    Ear,
    Speaker,
    hold,
    media_link,
    media_links,
    outage,
    release,
    serving,
)

TICK_S = 0.02


def frames_of_sound(phone: LivePhone) -> list[int]:
    """Return the ticks in which the phone heard something."""
    frames: list[int] = np.unique(np.flatnonzero(phone.heard.samples) // FRAME_SAMPLES).tolist()
    return frames


@pytest.mark.parametrize("is_disturbed", [False, True])
@virtual_time
async def test_pauses_at_random_instants_lose_and_repeat_no_sample(
    sandbox: Sandbox, is_disturbed: bool
) -> None:
    chance = random.Random(5)
    speaker = Speaker()
    was_silent: list[bool] = []
    is_over = asyncio.Event()

    async def agent(call: ActiveCall) -> None:
        await call.answer()
        await call.send_audio(speaker.next(60_000).tobytes())
        for _ in range(60):
            await call.send_audio(speaker.next(chance.randint(4_800, 14_400)).tobytes())
            await asyncio.sleep(chance.uniform(0, 0.4))
            if is_disturbed and chance.random() < 0.3:
                await outage(media_links(sandbox)[-1], chance.uniform(0, 0.3))
                await asyncio.sleep(0.5)
            await call.pause_playback()
            before = phone.line.heard_ticks
            await asyncio.sleep(chance.uniform(0, 0.4))
            after = phone.line.heard_ticks
            was_silent.append(not phone.line.heard(before, after).any())
            await call.resume_playback()
        assert await call.drain()
        is_over.set()

    async with serving(sandbox, agent):
        phone = await sandbox.dial()
        await is_over.wait()
        await phone.hang_up()

    assert all(was_silent)
    assert_heard_once(phone.heard.samples, 0, speaker.said)
    assert phone.report is not None
    assert is_disturbed or phone.report.gaps == (), "a pause is no gap"


@virtual_time
async def test_a_paused_utterance_is_cleared_and_the_next_one_heard(sandbox: Sandbox) -> None:
    chance = random.Random(6)
    speaker = Speaker()
    told: list[tuple[int, float | None, float]] = []
    is_over = asyncio.Event()

    async def agent(call: ActiveCall) -> None:
        await call.answer()
        for _ in range(40):
            first = speaker.said
            await call.send_audio(speaker.next(12_000).tobytes())
            await asyncio.sleep(chance.uniform(0, 0.6))
            await call.pause_playback()
            await asyncio.sleep(chance.uniform(0.02, 1.0))
            assert call.playback.is_paused
            interruption = await call.interrupt()
            told.append((first, interruption.heard_ms, interruption.dropped_ms))
        await call.send_audio(speaker.next(12_000).tobytes())
        assert await call.drain()
        is_over.set()

    async with serving(sandbox, agent):
        phone = await sandbox.dial()
        await is_over.wait()
        await phone.hang_up()

    expected = []
    for first, heard_ms, dropped_ms in told:
        assert heard_ms is not None
        assert heard_ms + dropped_ms == 500.0
        expected.append(ruler(first, round(heard_ms * SAMPLES_PER_MS)))
    expected.append(ruler(speaker.said - 12_000, 12_000))
    samples = phone.heard.samples
    assert np.array_equal(samples[samples != 0], np.concatenate(expected))


@pytest.mark.parametrize("is_disturbed", [False, True])
@virtual_time
async def test_marks_are_told_once_in_order_and_at_their_samples(
    sandbox: Sandbox, is_disturbed: bool
) -> None:
    chance = random.Random(7)
    speaker = Speaker()
    places: dict[str, int] = {}
    diaries: list[Diary] = []
    is_over = asyncio.Event()

    async def agent(call: ActiveCall) -> None:
        diaries.append(Diary(call, events.MARK_PLAYED, events.MARK_CLEARED))
        await call.answer()
        for number in range(150):
            await call.send_audio(speaker.next(chance.randint(0, 6_000)).tobytes())
            if is_disturbed and chance.random() < 0.1 and media_links(sandbox):
                media_link(sandbox).cut()
            name = f"m{number}"
            places[name] = speaker.said
            await call.mark(name)
            if chance.random() < 0.15:
                await call.interrupt()
            elif chance.random() < 0.5:
                await asyncio.sleep(chance.uniform(0, 0.3))
        assert await call.drain()
        await asyncio.sleep(0.1)
        is_over.set()

    async with serving(sandbox, agent):
        phone = await sandbox.dial()
        await is_over.wait()
        await phone.hang_up()

    (diary,) = diaries
    marks = [one for _, _, (one,) in diary.entries]
    assert [mark.name for mark in marks if isinstance(mark, Mark)] == list(places)
    reading = read(phone.heard.samples)
    played = 0
    for mark in marks:
        assert isinstance(mark, Mark)
        heard = reading.between(0, places[mark.name])
        if mark.at_ms is None:
            assert reading.between(places[mark.name] - 1, places[mark.name]).size == 0
            continue
        played += 1
        assert heard.size == 0 or heard.positions[-1] == places[mark.name] - 1
        if mark.at_ms != round(mark.at_ms / 20) * 20:  # inside a frame: just behind the sample
            place = heard.places[-1] + 1
            assert mark.at_ms * SAMPLES_PER_MS == pytest.approx(place)
        else:
            assert not heard.size or heard.places[-1] < mark.at_ms * SAMPLES_PER_MS
    assert 20 < played < 150


@virtual_time
async def test_a_mark_is_told_in_the_tick_of_its_sample(sandbox: Sandbox) -> None:
    loop = asyncio.get_running_loop()
    told: list[tuple[float, object]] = []

    async def agent(call: ActiveCall) -> None:
        call.register_event_handler(
            events.MARK_PLAYED, lambda mark: told.append((loop.time(), mark))
        )
        await call.send_audio(ruler(0, 12_345).tobytes())
        await call.mark("inside")
        await call.send_audio(ruler(12_345, 11_655).tobytes())
        await call.mark("end")
        await call.answer()

    async with serving(sandbox, agent):
        phone = await sandbox.dial()
        await phone.answered()
        await phone.listen(1.5)

    reading = read(phone.heard.samples)
    for (told_s, mark), position in zip(told, (12_344, 23_999), strict=True):
        assert isinstance(mark, Mark)
        place = reading.places[position]
        assert mark.at_ms == pytest.approx((place + 1) / SAMPLES_PER_MS)
        assert told_s == pytest.approx((place // FRAME_SAMPLES + 1) * TICK_S)


@pytest.mark.parametrize("samples", [1, 479, 480, 481, 24_000, 24_077])
@pytest.mark.parametrize("has_end", [False, True])
@virtual_time
async def test_drain_returns_on_the_tick_of_the_last_sample(
    sandbox: Sandbox, samples: int, has_end: bool
) -> None:
    loop = asyncio.get_running_loop()
    returned_s: list[float] = []

    async def agent(call: ActiveCall) -> None:
        await call.answer()
        await asyncio.sleep(0.333)
        await call.send_audio(ruler(0, samples).tobytes())
        if has_end:
            call.end_utterance()
        assert await call.drain()
        returned_s.append(loop.time())

    async with serving(sandbox, agent):
        phone = await sandbox.dial()
        await phone.answered()
        await phone.listen(2.0)

    reading = assert_heard_once(phone.heard.samples, 0, samples)
    tick = reading.places[-1] // FRAME_SAMPLES + 1
    assert returned_s == [pytest.approx(tick * TICK_S)]


@virtual_time
async def test_a_greeting_begins_on_the_tick_after_the_answer(sandbox: Sandbox) -> None:
    loop = asyncio.get_running_loop()
    answered_s: list[float] = []

    async def agent(call: ActiveCall) -> None:
        await call.send_audio(ruler(0, 48_000).tobytes())
        await asyncio.sleep(0.507)
        answered_s.append(loop.time())
        await call.answer()

    async with serving(sandbox, agent):
        phone = await sandbox.dial()
        await phone.answered()
        await phone.listen(2.5)

    reading = assert_heard_once(phone.heard.samples, 0, 48_000)
    assert (np.diff(reading.places) == 1).all(), "without a gap"
    heard_s = (reading.places[0] // FRAME_SAMPLES + 1) * TICK_S
    assert 0 < heard_s - answered_s[0] <= TICK_S


@virtual_time
async def test_what_the_caller_says_first_waits_for_its_first_reader(sandbox: Sandbox) -> None:
    ear = Ear()

    async def agent(call: ActiveCall) -> None:
        await call.answer()
        await asyncio.sleep(5.0)
        await ear.listen(call.audio_stream())

    async with serving(sandbox, agent):
        phone = await sandbox.dial()
        await phone.say(ruler(0, 150_000))
        await phone.hang_up()
        await ear.ended.wait()

    reading = assert_heard_once(ear.timeline, 0, 150_000)
    assert phone.report is not None
    assert reading.places[0] == phone.report.states[1].at_ms * SAMPLES_PER_MS, "the first tick"
    assert ear.first == reading.places[0]


def test_ten_seconds_are_kept_and_then_the_newest() -> None:
    async def main() -> None:
        offsets: list[float | None] = []
        gaps: list[float] = []

        async def agent(call: ActiveCall) -> None:
            await call.answer()
            await asyncio.sleep(15.0)
            stream = call.audio_stream()
            async for _ in stream:
                offsets.append(stream.position_ms)
                gaps.append(stream.gap_ms)
                if len(offsets) == 600:
                    await call.close()
            assert stream.dropped_bytes > 0

        async with Sandbox() as sandbox, serving(sandbox, agent):
            phone = await sandbox.dial()
            await phone.answered()
            await phone.ended()

        assert offsets[0] == pytest.approx(5_000, abs=100)
        assert set(gaps) == {0.0}

    run_virtual(main())


@pytest.mark.parametrize("held_s", [0.5, 2.0])
@virtual_time
async def test_playback_tells_where_the_audio_is_while_a_link_is_held(
    sandbox: Sandbox, held_s: float
) -> None:
    """What is queued, in flight and played is always all that was written."""
    is_over = asyncio.Event()

    async def agent(call: ActiveCall) -> None:
        await call.answer()
        await call.send_audio(ruler(0, 48_000).tobytes())
        for number in range(200):
            if number == 50:
                hold(media_link(sandbox))
                asyncio.get_running_loop().call_later(held_s, release, media_link(sandbox))
            await asyncio.sleep(0.0173)
            playback = call.playback
            assert 0 <= playback.in_flight_ms <= 200
            total_ms = playback.queued_ms + playback.in_flight_ms + playback.heard_ms
            assert total_ms == 2_000
        assert await call.drain()
        assert call.playback.heard_ms == 2_000
        is_over.set()

    async with serving(sandbox, agent):
        phone = await sandbox.dial()
        await is_over.wait()
    assert_heard_once(phone.heard.samples, 0, 48_000)
