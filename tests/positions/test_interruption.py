"""What an interruption says was heard, against what the phone has recorded; at random instants."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import pytest

from telcoflow_sdk import ActiveCall
from telcoflow_sdk.audio.format import TICK_MS
from telcoflow_sdk.playback import Interruption
from telcoflow_sdk.testing import LivePhone, Sandbox, run_virtual, virtual_time
from tests.positions.ruler import FRAME_SAMPLES, SAMPLES_PER_MS, assert_heard_once, ruler
from tests.positions.stage import Speaker, at_once, hold, media_links, outage, release, serving

GENERATIONS = 50
"""In each call; all but the last one are interrupted."""

EDGE_MS = 3.0
"""How far a resampling filter smears the edge of a sound; less than a tick."""


class Way(StrEnum):
    """What becomes of the link meanwhile."""

    GOOD = "good"
    SLOW = "slow"
    HELD = "held for a while"
    CUT = "cut"
    AWAY = "away for a while"


class Style(StrEnum):
    """How the agent speaks."""

    WHOLE = "whole"
    STREAMED = "faster than it is heard"
    ENDED = "several utterances with ends"


@dataclass(slots=True)
class Generation:
    """What was said between two interruptions.

    Attributes:
        first: Where on the ruler it begins.
        end: And where it ends.
        begins: Where utterances in it begin.
        interruption: What was said of it.
    """

    first: int
    end: int = 0
    begins: list[int] = field(default_factory=list)
    interruption: asyncio.Future[Interruption] | None = None


@dataclass(slots=True)
class Conversation:
    """What an agent said, and the phone that heard some of it."""

    phone: LivePhone
    generations: list[Generation]


async def speak(
    call: ActiveCall, speaker: Speaker, style: Style, chance: random.Random
) -> Generation:
    """Say something new."""
    generation = Generation(speaker.said, begins=[speaker.said])
    if style is Style.WHOLE:
        await call.send_audio(speaker.next(chance.randint(1, 30_000)).tobytes())
    for size in (chance.randint(1, 6_000) for _ in range(5 if style is not Style.WHOLE else 0)):
        await call.send_audio(speaker.next(size).tobytes())
        if style is Style.ENDED:
            call.end_utterance()
            generation.begins.append(speaker.said)
        else:
            await asyncio.sleep(chance.uniform(0, size / 24_000))
    generation.end = speaker.said
    return generation


async def disturb(sandbox: Sandbox, way: Way, chance: random.Random) -> None:
    """Let something happen to the link that there is."""
    links = media_links(sandbox)
    if not links:
        return  # it is still being opened again
    link = links[-1]
    match way:
        case Way.SLOW:
            link.up.rate_bytes_per_s = chance.uniform(30_000, 100_000)
        case Way.HELD:
            hold(link)
            await asyncio.sleep(chance.uniform(0.01, 2.0))
            release(link)
        case Way.CUT:
            link.cut()
        case Way.AWAY:
            await outage(link, chance.uniform(0.01, 3.0))
        case Way.GOOD:
            pass


async def converse(style: Style, way: Way, seed: int) -> Conversation:
    """Have a call in which the agent is interrupted again and again, and goes on at once."""
    chance = random.Random(seed)
    generations: list[Generation] = []
    is_over = asyncio.Event()

    async def agent(call: ActiveCall) -> None:
        await call.answer()
        speaker = Speaker()
        await call.send_audio(speaker.next(1_000).tobytes())
        call.end_utterance()  # from now on nothing but this ends one
        assert await call.drain()
        disturbing: asyncio.Task[None] | None = None
        for number in range(GENERATIONS):
            generation = await speak(call, speaker, style, chance)
            if not generations:
                generation.first, generation.begins = 0, [0, *generation.begins]
            generations.append(generation)
            if number == GENERATIONS - 1:
                break
            if disturbing is None or disturbing.done():
                disturbing = asyncio.create_task(disturb(sandbox, way, chance))
            if chance.random() < 0.9:
                await asyncio.sleep(chance.uniform(0, 1.4))
            generation.interruption = at_once(call.interrupt())
            if chance.random() < 0.1:
                await generation.interruption
        assert await call.drain()
        is_over.set()

    async with Sandbox() as sandbox, serving(sandbox, agent):
        phone = await sandbox.dial()
        await is_over.wait()
        await phone.listen(0.1)
        await phone.hang_up()
    return Conversation(phone, generations)


def check(conversation: Conversation) -> list[float]:
    """Check all interruptions of a call; return by how many ms each was wrong."""
    generations, report = conversation.generations, conversation.phone.report
    recording = conversation.phone.heard.samples
    frames_of_sound = np.flatnonzero(recording) // FRAME_SAMPLES
    assert report is not None
    assert len(report.clears) == len(generations) - 1
    expected, errors, heard = [], [], 0
    for number, generation in enumerate(generations):
        samples = generation.end - generation.first
        if generation.interruption is not None:
            samples, error_ms = heard_of(generation)
            errors.append(error_ms)
        expected.append(ruler(generation.first, samples))
        heard += samples
        if generation.interruption is not None and samples:
            cleared_tick = int(report.clears[number].at_ms / TICK_MS)
            assert frames_of_sound[heard - 1] <= cleared_tick, "heard after the clear"
    # All of it in order and without a hole: what comes after a clear is heard whole and first.
    assert np.array_equal(recording[recording != 0], np.concatenate(expected))
    return errors


def heard_of(generation: Generation) -> tuple[int, float]:
    """Return how much was heard by the audio that was dropped; and how much the other number errs.

    Both are of the same clear, so they must fit together.
    """
    assert generation.interruption is not None
    interruption = generation.interruption.result()
    assert interruption.heard_ms is not None
    end = generation.end - round(interruption.dropped_ms * SAMPLES_PER_MS)
    begin = max(one for one in generation.begins if one < end or one == generation.first)
    error_ms = interruption.heard_ms - (end - begin) / SAMPLES_PER_MS
    if interruption.heard_ms == 0 and end in generation.begins:
        error_ms = 0.0  # of the utterance that had begun there, nothing
    return end - generation.first, error_ms


@pytest.mark.parametrize("way", Way)
@pytest.mark.parametrize("style", Style)
def test_what_was_heard_is_what_the_phone_has_recorded(style: Style, way: Way) -> None:
    errors = check(run_virtual(converse(style, way, seed=1)))

    # Promised is one tick. There is no reason for even that.
    assert errors == [0.0] * (GENERATIONS - 1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 12))
def test_what_was_heard_is_what_the_phone_has_recorded_at_more_instants(seed: int) -> None:
    for style in Style:
        for way in Way:
            assert set(check(run_virtual(converse(style, way, seed)))) == {0.0}


@virtual_time
async def test_of_what_was_interrupted_before_its_first_frame_nothing_was_heard(
    sandbox: Sandbox,
) -> None:
    heard_ms: list[float | None] = []
    is_over = asyncio.Event()

    async def agent(call: ActiveCall) -> None:
        await call.answer()
        for wait_s in (0.5, 0.0, 0.003, 0.0):
            await call.send_audio(ruler(0, 24_000).tobytes())
            await asyncio.sleep(wait_s)
            heard_ms.append((await call.interrupt()).heard_ms)
        heard_ms.append((await call.interrupt()).heard_ms)
        heard_ms.append(call.playback.heard_ms)
        is_over.set()

    async with serving(sandbox, agent):
        await sandbox.dial()
        await is_over.wait()

    assert heard_ms == [500.0, 0.0, 0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("is_away", [False, True])
@virtual_time
async def test_nothing_was_heard_of_an_utterance_that_follows_one_that_was_heard_whole(
    sandbox: Sandbox, is_away: bool
) -> None:
    heard_ms: list[float | None] = []
    is_over = asyncio.Event()

    async def agent(call: ActiveCall) -> None:
        await call.answer()
        await call.send_audio(ruler(0, 12_000).tobytes())
        call.end_utterance()
        assert await call.drain()
        await asyncio.sleep(0.5)
        losing = asyncio.create_task(outage(media_links(sandbox)[0], 1.0)) if is_away else None
        await asyncio.sleep(0)
        await call.send_audio(ruler(12_000, 12_000).tobytes())
        interruption = await call.interrupt()
        heard_ms.append(interruption.heard_ms)
        assert interruption.dropped_ms == 500.0
        if losing is not None:
            await losing
        is_over.set()

    async with serving(sandbox, agent):
        await sandbox.dial()
        await is_over.wait()

    assert heard_ms == [0.0]


@virtual_time
async def test_what_nobody_could_hear_was_not_heard(sandbox: Sandbox) -> None:
    told: list[Interruption] = []
    is_over = asyncio.Event()

    async def agent(call: ActiveCall) -> None:
        await call.answer()
        await call.connect(20)
        await call.send_audio(ruler(0, 12_000).tobytes())
        await call.spy()
        await call.send_audio(ruler(12_000, 12_000).tobytes())
        await call.whisper()
        await call.send_audio(ruler(24_000, 24_000).tobytes())
        await asyncio.sleep(1.205)
        told.append(await call.interrupt())
        await asyncio.sleep(0.1)
        is_over.set()

    callee = sandbox.callee(after_s=0.0)
    async with serving(sandbox, agent):
        phone = await sandbox.dial()
        await is_over.wait()
        await phone.hang_up()

    heard = callee.heard.samples
    sounding = heard[heard != 0]
    assert sounding.size > 12_000
    assert sounding.tolist() == [*ruler(0, 12_000), *ruler(24_000, sounding.size - 12_000)]
    heard_ms = sounding.size / SAMPLES_PER_MS
    assert told == [Interruption(heard_ms, 1_500.0 - heard_ms)]


@virtual_time
async def test_a_greeting_may_be_interrupted_while_it_rings(sandbox: Sandbox) -> None:
    async def agent(call: ActiveCall) -> None:
        await call.send_audio(ruler(0, 24_000).tobytes())
        await asyncio.sleep(0.5)
        interruptions.append(await call.interrupt())
        await call.send_audio(ruler(24_000, 12_000).tobytes())
        await asyncio.sleep(0.5)
        await call.answer()

    interruptions: list[Interruption] = []
    async with serving(sandbox, agent):
        phone = await sandbox.dial()
        await phone.answered()
        heard = await phone.listen(1.0)

    assert interruptions == [Interruption(heard_ms=0.0, dropped_ms=1000.0)]
    assert_heard_once(heard.samples, 24_000, 12_000)


@pytest.mark.parametrize("sample_rate", [8_000, 16_000])
def test_what_was_heard_is_right_at_other_rates(sample_rate: int) -> None:
    """Each utterance has a level of its own: a filter keeps that, but for the edges."""
    chance = random.Random(sample_rate)
    levels = [3_000, 9_000, 27_000] * 12
    told: list[Interruption] = []
    is_over = asyncio.Event()

    async def agent(call: ActiveCall) -> None:
        await call.answer()
        for level in levels:
            await call.send_audio(np.full(sample_rate, level, np.int16).tobytes())
            await asyncio.sleep(chance.uniform(0.1, 1.2))
            told.append(await call.interrupt())
        is_over.set()

    async def main() -> LivePhone:
        async with Sandbox() as sandbox, serving(sandbox, agent, sample_rate=sample_rate):
            phone = await sandbox.dial()
            await is_over.wait()
            await phone.listen(0.1)
            await phone.hang_up()
            return phone

    recording = run_virtual(main()).heard.samples.astype(np.int32)
    nearest = np.abs(recording[:, None] - np.array([0, *levels[:3]])).argmin(axis=1)
    changes = np.flatnonzero(np.diff(nearest, prepend=0))
    lengths_ms = np.diff(changes, append=nearest.size) / SAMPLES_PER_MS
    runs = zip(nearest[changes], lengths_ms, strict=True)
    # At an edge the filter passes all levels between.
    heard_ms = [length for level, length in runs if level != 0 and length > EDGE_MS]
    assert len(heard_ms) == len(told)
    for heard, interruption in zip(heard_ms, told, strict=True):
        assert interruption.heard_ms is not None
        assert interruption.heard_ms == pytest.approx(heard, abs=EDGE_MS)
        assert interruption.heard_ms + interruption.dropped_ms == 1000.0
