"""The code of docs/how-to/interruptions.md does what the page says, to the sample."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from telcoflow_sdk.testing import PhoneState, Sandbox, virtual_time
from tests.support.answered import answered, heard_ms
from tests.support.pages import ROOT, blocks

PAGE = ROOT / "docs" / "how-to" / "interruptions.md"

SECOND = b"\x00\x10" * 24_000

pytestmark = pytest.mark.slow


@pytest.fixture
def page() -> dict[str, Any]:
    """Return all names that the page's blocks define; each block runs by itself."""
    names: dict[str, Any] = {}
    for block in blocks("python"):
        if block.page == PAGE:
            own: dict[str, Any] = {}
            exec(compile(block.text, block.name, "exec"), own)
            names |= own
    return names


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


@virtual_time
async def test_model_is_told_what_the_phone_heard(sandbox: Sandbox, page: dict[str, Any]) -> None:
    told: list[int] = []

    async def truncate(audio_end_ms: int) -> None:
        told.append(audio_end_ms)

    async with answered(sandbox) as (call, phone):
        await page["say_answer"](call, pieces(SECOND))
        await call.drain()
        before_ms = heard_ms(phone)
        await page["say_answer"](call, pieces(SECOND, SECOND, SECOND))
        await asyncio.sleep(1.234)
        await page["talked_over"](call, truncate)
        await asyncio.sleep(1)
        await page["talked_over"](call, truncate)  # nothing is left to be interrupted

        assert before_ms == 1000
        assert told == [int(heard_ms(phone) - before_ms)]
        assert 1100 < told[0] <= 1234


@virtual_time
async def test_model_is_told_that_nothing_was_heard_of_an_answer_that_just_left(
    sandbox: Sandbox, page: dict[str, Any]
) -> None:
    told: list[int] = []

    async def truncate(audio_end_ms: int) -> None:
        told.append(audio_end_ms)

    async with answered(sandbox) as (call, _):
        await page["say_answer"](call, pieces(SECOND))
        await call.drain()
        await page["say_answer"](call, pieces(SECOND))
        await page["talked_over"](call, truncate)

    assert told == [0]


@virtual_time
async def test_pauses_of_the_model_are_part_of_its_answer(
    sandbox: Sandbox, page: dict[str, Any]
) -> None:
    async def hesitating() -> AsyncIterator[bytes]:
        yield SECOND
        await asyncio.sleep(3)
        yield SECOND

    async with answered(sandbox) as (call, _):
        await page["say_answer"](call, pieces(SECOND))
        await call.drain()
        await page["say_answer"](call, hesitating())
        await call.drain()

        assert (await call.interrupt()).heard_ms == 2000


@pytest.mark.parametrize("is_interruption", [True, False])
@virtual_time
async def test_pause_loses_nothing_until_it_is_decided(
    sandbox: Sandbox, page: dict[str, Any], is_interruption: bool
) -> None:
    async def decided() -> bool:
        await asyncio.sleep(0.06)
        paused_at_ms.append(heard_ms(phone))
        await asyncio.sleep(0.6)
        paused_at_ms.append(heard_ms(phone))
        return is_interruption

    paused_at_ms: list[float] = []
    async with answered(sandbox) as (call, phone):
        await call.send_audio(SECOND)
        await asyncio.sleep(0.5)
        assert await page["voice_began"](call, decided()) is is_interruption
        await asyncio.sleep(1)

        assert paused_at_ms[0] == paused_at_ms[1] <= 500
        assert heard_ms(phone) == (paused_at_ms[0] if is_interruption else 1000)


@virtual_time
async def test_sentences_that_were_heard_are_known(sandbox: Sandbox, page: dict[str, Any]) -> None:
    async with answered(sandbox) as (call, _):
        sentences = page["Sentences"](call)
        for text in ("One.", "Two.", "Three."):
            await sentences.say(text, SECOND)
        await asyncio.sleep(2.5)
        await call.interrupt()
        await asyncio.sleep(1)

        assert sentences.heard == ["One.", "Two."]


@virtual_time
async def test_goodbye_of_any_length_is_heard(sandbox: Sandbox, page: dict[str, Any]) -> None:
    async with answered(sandbox) as (call, phone):
        said = await page["say_goodbye"](call, SECOND * 15)

        assert said
        assert await phone.ended() == "agent_closed"
        assert heard_ms(phone) == 15_000


@virtual_time
async def test_goodbye_that_is_interrupted_ends_no_call(
    sandbox: Sandbox, page: dict[str, Any]
) -> None:
    async with answered(sandbox) as (call, phone):
        saying = asyncio.create_task(page["say_goodbye"](call, SECOND * 3))
        await asyncio.sleep(1)
        await call.interrupt()

        assert not await saying
        assert phone.state is PhoneState.TALKING


@pytest.mark.parametrize("is_interrupted", [True, False])
@virtual_time
async def test_what_nobody_will_hear_is_not_made(
    sandbox: Sandbox, page: dict[str, Any], is_interrupted: bool
) -> None:
    numbers = [SECOND] * 10
    async with answered(sandbox) as (call, phone):
        counting = asyncio.create_task(page["count_down"](call, numbers))
        await asyncio.sleep(3.5)
        left = len(numbers)
        if is_interrupted:
            await call.interrupt()

        assert await counting is not is_interrupted
        assert left == 6
        assert len(numbers) == (left if is_interrupted else 0)
        assert is_interrupted or heard_ms(phone) == 10_000


@virtual_time
async def test_transcript_has_both_sides_in_order(sandbox: Sandbox, page: dict[str, Any]) -> None:
    async with answered(sandbox) as (call, phone):
        answered_ms = phone.heard.duration_s * 1000

        async def recognized() -> AsyncIterator[tuple[float, str]]:
            await call.send_audio(SECOND)
            await call.mark("hello")
            yield answered_ms + 200, "hm"
            await asyncio.sleep(3)
            yield answered_ms + 2500, "hello to you"

        lines: list[tuple[float, str]] = []
        await page["transcribe"](call, lines, recognized())

        assert [text for _, text in lines] == ["caller: hm", "agent: hello", "caller: hello to you"]
        assert 1000 <= lines[1][0] - answered_ms <= 1100


@virtual_time
async def test_what_is_heard_is_in_its_place(sandbox: Sandbox, page: dict[str, Any]) -> None:
    said = np.full(12_000, 1_000, np.int16)
    async with answered(sandbox) as (call, phone):
        listening = asyncio.create_task(page["listen"](call))
        await asyncio.sleep(1)
        before_samples = len(phone.heard.samples)
        await phone.say(said)
        await phone.hang_up()
        ((begins_ms, pcm),) = await listening

    samples = np.frombuffer(pcm, "<i2")
    begin = begins_ms * 24 + np.flatnonzero(samples)[0]
    assert np.array_equal(samples[samples != 0], said)
    assert abs(begin - before_samples) <= 480, "within the tick in which it was said"


@virtual_time
async def test_pause_is_possible_on_our_server(sandbox: Sandbox, page: dict[str, Any]) -> None:
    async with answered(sandbox) as (call, _):
        assert await page["pause_if_possible"](call)
