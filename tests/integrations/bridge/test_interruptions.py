"""What a model is told of an interruption, against what the phone has recorded."""

from __future__ import annotations

import asyncio
import random

import numpy as np
import pytest

from telcoflow_sdk.bridge import Bridge, Cut, ModelError
from telcoflow_sdk.testing import LivePhone, Sandbox, virtual_time
from tests.integrations.bridge.conversation import (
    converse_in,
    nothing,
    wait_for_the_end,
)
from tests.integrations.stage import ANSWER, ANSWER_MS, MS, NEXT, heard_of_answer, spoken
from tests.positions.ruler import ruler


@virtual_time
async def test_of_an_interrupted_turn_nothing_is_heard_any_more(sandbox: Sandbox) -> None:
    cuts: list[Cut] = []

    async def truncate(cut: Cut) -> None:
        cuts.append(cut)

    async def converse(bridge: Bridge) -> None:
        async with bridge.listening(nothing, truncate=truncate):
            assert await bridge.say(ANSWER[:-4_800], turn=1, part="a")
            await asyncio.sleep(0.6)
            await bridge.interrupt()
            assert not await bridge.say(ANSWER[-4_800:], turn=1, part="a")
            assert await bridge.say(NEXT, turn=2)
            assert await bridge.call.drain()

    phone, _ = await converse_in(sandbox, converse, wait_for_the_end)

    (cut,) = cuts
    assert (cut.turn, cut.part, cut.is_measured) == (1, "a", True)
    assert cut.heard_ms == heard_of_answer(phone) / MS
    assert cut.said_ms == 1_500.0


@virtual_time
async def test_a_turn_that_has_not_begun_is_interrupted_by_its_name(sandbox: Sandbox) -> None:
    async def converse(bridge: Bridge) -> None:
        await bridge.interrupt("not begun")
        assert not await bridge.say(ANSWER, turn="not begun")
        await bridge.say(NEXT, turn="next")

    phone, _ = await converse_in(sandbox, converse, wait_for_the_end)

    assert heard_of_answer(phone) == 0


@virtual_time
async def test_while_nothing_plays_there_is_nothing_to_clear(sandbox: Sandbox) -> None:
    cuts: list[Cut] = []

    async def truncate(cut: Cut) -> None:
        cuts.append(cut)

    async def converse(bridge: Bridge) -> None:
        async with bridge.listening(nothing, truncate=truncate):
            await bridge.interrupt()
            await bridge.say(ANSWER, turn=1)
            await bridge.call.drain()
            await bridge.interrupt(2)
            assert not await bridge.say(ANSWER, turn=1)
            assert not await bridge.say(ANSWER, turn=2)
            await bridge.say(NEXT, turn=3)
            await bridge.call.drain()

    phone, _ = await converse_in(sandbox, converse, wait_for_the_end)

    assert heard_of_answer(phone) == ANSWER_MS * MS
    assert cuts == []
    assert phone.report is not None
    assert not phone.report.clears


@virtual_time
async def test_an_interruption_ends_a_pause(sandbox: Sandbox) -> None:
    async def converse(bridge: Bridge) -> None:
        await bridge.call.pause_playback()
        await bridge.interrupt()
        await bridge.say(NEXT)

    phone, _ = await converse_in(sandbox, converse, wait_for_the_end)

    assert spoken(phone.heard.samples) == NEXT


@virtual_time
async def test_without_a_truncate_function_it_is_interrupted_all_the_same(
    sandbox: Sandbox,
) -> None:
    async def converse(bridge: Bridge) -> None:
        async with bridge.listening(nothing):
            await bridge.say(ANSWER, turn=1)
            await asyncio.sleep(0.3)
            await bridge.interrupt()
            await bridge.say(NEXT, turn=2)

    phone, outcome = await converse_in(sandbox, converse, wait_for_the_end)

    assert outcome.error is None
    assert 0 < heard_of_answer(phone) <= 400 * MS


@virtual_time
async def test_a_truncation_that_fails_ends_the_block(sandbox: Sandbox) -> None:
    async def truncate(_: Cut) -> None:
        raise OSError("gone")

    async def converse(bridge: Bridge) -> None:
        async with bridge.listening(nothing, truncate=truncate):
            await bridge.say(ANSWER, turn=1)
            await bridge.interrupt()
            await asyncio.Event().wait()

    _, outcome = await converse_in(sandbox, converse, wait_for_the_end)

    assert isinstance(outcome.error, ModelError)
    assert isinstance(outcome.error.__cause__, OSError)


@virtual_time
async def test_without_the_servers_answer_the_last_number_it_told_is_taken(
    sandbox: Sandbox,
) -> None:
    cuts: asyncio.Queue[Cut] = asyncio.Queue()
    told: list[Cut] = []
    is_playing = asyncio.Event()

    async def converse(bridge: Bridge) -> None:
        async with bridge.listening(nothing, truncate=cuts.put):
            await bridge.say(ANSWER, turn=1)
            await asyncio.sleep(0.6)
            is_playing.set()
            for link in sandbox.links:
                link.up.hold()  # the server hears nothing of the interruption
            await bridge.interrupt()
            told.append(await cuts.get())

    async def user(phone: LivePhone) -> None:
        await is_playing.wait()
        await phone.hang_up()

    _, outcome = await converse_in(sandbox, converse, user, linger_s=1.0)

    assert outcome.error is None
    assert not told[0].is_measured
    assert told[0].heard_ms == pytest.approx(600, abs=41)


@pytest.mark.parametrize("seed", range(3))
@virtual_time
async def test_at_random_instants_the_cut_is_where_the_recording_ends(
    sandbox: Sandbox, seed: int
) -> None:
    chance = random.Random(seed)
    told: dict[int, list[Cut]] = {}
    said: dict[int, tuple[int, int]] = {}
    position = 0

    async def truncate(cut: Cut) -> None:
        assert isinstance(cut.turn, int)
        told.setdefault(cut.turn, []).append(cut)

    async def converse(bridge: Bridge) -> None:
        nonlocal position
        async with bridge.listening(nothing, truncate=truncate):
            for turn in range(60):
                first = position
                for part in range(chance.randint(1, 4)):
                    samples = chance.randint(1, 12_000)
                    pcm = ruler(position, samples).tobytes()
                    assert await bridge.say(pcm, turn=turn, part=part)
                    position += samples
                    await asyncio.sleep(chance.choice([0, 0, samples / 48_000]))
                said[turn] = first, position
                if chance.random() < 0.5:
                    bridge.end_turn()
                await asyncio.sleep(chance.uniform(0, 1.2))
                if chance.random() < 0.7:
                    await bridge.interrupt()
            assert await bridge.call.drain()
            await asyncio.sleep(0.1)

    phone, outcome = await converse_in(sandbox, converse, wait_for_the_end)

    assert outcome.error is None
    expected = []
    for turn, (first, end) in said.items():
        unheard_ms = sum(cut.said_ms - cut.heard_ms for cut in told.get(turn, []))
        expected.append(ruler(first, end - first - round(unheard_ms * MS)))
    recording = phone.heard.samples
    assert np.array_equal(recording[recording != 0], np.concatenate(expected))
    assert told
