"""How much is kept ahead, what gaps there are, and whose fault they are said to be."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from telcoflow_sdk import ActiveCall
from telcoflow_sdk.playback import CallStatistics, GapCause
from telcoflow_sdk.testing import LivePhone, Sandbox, virtual_time
from tests.positions.ruler import FRAME_SAMPLES, SAMPLES_PER_MS, assert_heard_once, ruler
from tests.positions.stage import Speaker, hold, media_link, release, serving

TICK_MS = 20


def endless(speaker: Speaker, seconds: float) -> Callable[[int], Awaitable[bytes]]:
    """Return a producer of so many seconds of the ruler."""
    end = speaker.said + round(seconds * 24_000)

    async def produce(n_bytes: int) -> bytes:
        return speaker.next(max(0, min(n_bytes // 2, end - speaker.said))).tobytes()

    return produce


async def stall(sandbox: Sandbox, seconds: float) -> None:
    """Let nothing pass for a while, as when the agent is blocked or its network stuck."""
    link = media_link(sandbox)
    hold(link)
    await asyncio.sleep(seconds)
    release(link)


def silences_ms(phone: LivePhone) -> list[tuple[float, float]]:
    """Return where silence began between sounds, and how long it was."""
    frames = np.unique(np.flatnonzero(phone.heard.samples) // FRAME_SAMPLES)
    jumps = np.flatnonzero(np.diff(frames) > 1)
    return [
        (float(frames[at] + 1) * TICK_MS, float(frames[at + 1] - frames[at] - 1) * TICK_MS)
        for at in jumps
    ]


def assert_gaps_are_those_heard(phone: LivePhone, told: CallStatistics) -> None:
    """The report, the agent's own numbers, and the recording agree."""
    report = phone.report
    assert report is not None
    assert [(gap.at_ms, gap.ms) for gap in report.gaps] == silences_ms(phone)
    assert report.gap_causes == told.gaps
    assert report.gap_ms == told.gap_ms
    assert report.gap_count == len(report.gaps) == sum(told.gaps.values())


@virtual_time
async def test_every_gap_is_labelled_with_its_cause(sandbox: Sandbox) -> None:
    chance = random.Random(3)
    speaker, told = Speaker(), list[CallStatistics]()
    expected: list[GapCause] = []
    is_over = asyncio.Event()

    async def agent(call: ActiveCall) -> None:
        await call.answer()
        for _ in range(30):
            await call.send_audio(speaker.next(24_000).tobytes())
            await asyncio.sleep(chance.uniform(0.3, 0.5))
            if chance.random() < 0.5:
                # The lead at the time is covered, and two frames may be on their way.
                await stall(sandbox, call.playback.lead_ms / 1000 + chance.uniform(0.03, 0.2))
                expected.append(GapCause.NETWORK_LATE)
            assert await call.drain()
            # Silence of up to 240 ms is a gap; the last utterance had no end.
            await asyncio.sleep(chance.uniform(0.03, 0.18))
            expected.append(GapCause.AGENT_SILENT)
        await call.send_audio(speaker.next(24_000).tobytes())
        assert await call.drain()
        await asyncio.sleep(0.1)
        told.append(call.statistics())
        is_over.set()

    async with serving(sandbox, agent):
        phone = await sandbox.dial()
        await is_over.wait()
        await phone.hang_up()

    assert_heard_once(phone.heard.samples, 0, speaker.said)
    assert phone.report is not None
    assert [gap.cause for gap in phone.report.gaps] == expected
    assert_gaps_are_those_heard(phone, told[0])


@virtual_time
async def test_lead_rises_with_a_late_network_and_falls_when_it_is_steady(
    sandbox: Sandbox,
) -> None:
    leads: list[float] = []
    speaker = Speaker()
    is_over = asyncio.Event()

    async def agent(call: ActiveCall) -> None:
        await call.answer()
        playing = asyncio.create_task(call.play(endless(speaker, 120)))
        await asyncio.sleep(1.0)
        leads.append(call.playback.lead_ms)
        for _ in range(10):
            await stall(sandbox, 0.35)
            await asyncio.sleep(0.65)
            leads.append(call.playback.lead_ms)
        for _ in range(9):
            await asyncio.sleep(10.0)
            leads.append(call.playback.lead_ms)
        assert await playing
        is_over.set()

    async with serving(sandbox, agent):
        phone = await sandbox.dial()
        await is_over.wait()
        await phone.hang_up()

    rising, falling = leads[:11], leads[10:]
    assert rising == [60, 80, 100, 120, 140, 160, 180, 200, 200, 200, 200]
    assert falling == [200, 180, 160, 140, 120, 100, 80, 60, 40, 40]
    assert_heard_once(phone.heard.samples, 0, speaker.said)


@virtual_time
async def test_an_agent_that_is_silent_does_not_raise_the_lead(sandbox: Sandbox) -> None:
    leads: list[float] = []
    is_over = asyncio.Event()

    async def agent(call: ActiveCall) -> None:
        await call.answer()
        for number in range(10):
            await call.send_audio(ruler(4_800 * number, 4_800).tobytes())
            await asyncio.sleep(0.33)
            leads.append(call.playback.lead_ms)
        is_over.set()

    async with serving(sandbox, agent):
        phone = await sandbox.dial()
        await is_over.wait()
        await phone.hang_up()

    assert set(leads) == {60.0}
    assert phone.report is not None
    assert set(phone.report.gap_causes) == {GapCause.AGENT_SILENT}


@pytest.mark.parametrize(("gaps_before", "is_heard"), [(0, True), (3, False), (7, False)])
@virtual_time
async def test_a_stall_of_100_ms_is_not_heard_at_a_lead_of_120_ms(
    sandbox: Sandbox, gaps_before: int, is_heard: bool
) -> None:
    """To the server, an agent whose event loop is blocked is a link over which nothing comes."""
    chance = random.Random(4)
    speaker = Speaker()
    leads: list[float] = []
    counts: list[int] = []
    is_over = asyncio.Event()

    async def agent(call: ActiveCall) -> None:
        await call.answer()
        playing = asyncio.create_task(call.play(endless(speaker, 30)))
        await asyncio.sleep(0.5)
        for _ in range(gaps_before):
            await stall(sandbox, 0.35)
            await asyncio.sleep(0.5)
        leads.append(call.playback.lead_ms)
        counts.append(sum(call.statistics().gaps.values()))
        for _ in range(1 if is_heard else 40):
            await stall(sandbox, 0.1)
            await asyncio.sleep(chance.uniform(0.1, 0.3))
        counts.append(sum(call.statistics().gaps.values()))
        assert await playing
        is_over.set()

    async with serving(sandbox, agent):
        phone = await sandbox.dial()
        await is_over.wait()
        await phone.hang_up()

    assert leads == [60.0 + 20 * gaps_before]
    assert counts == [gaps_before, gaps_before + is_heard]
    assert len(silences_ms(phone)) == counts[1]
    assert_heard_once(phone.heard.samples, 0, speaker.said)


@virtual_time
async def test_an_outage_is_one_gap(sandbox: Sandbox) -> None:
    told: list[CallStatistics] = []
    is_over = asyncio.Event()

    async def agent(call: ActiveCall) -> None:
        await call.answer()
        await call.send_audio(ruler(0, 96_000).tobytes())
        await asyncio.sleep(1.0)
        media_link(sandbox).server.vanish()  # found out after three seconds
        assert await call.drain()
        await asyncio.sleep(0.1)
        told.append(call.statistics())
        is_over.set()

    async with serving(sandbox, agent):
        phone = await sandbox.dial()
        await is_over.wait()
        await phone.hang_up()

    assert_heard_once(phone.heard.samples, 0, 96_000)
    (silence,) = silences_ms(phone)
    assert 2_500 < silence[1] < 4_500
    assert_gaps_are_those_heard(phone, told[0])
    assert told[0].gap_ms == silence[1]
    assert round(silence[0]) * SAMPLES_PER_MS % FRAME_SAMPLES == 0
