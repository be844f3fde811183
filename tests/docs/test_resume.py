"""What docs/explanation/resume.md promises of a link that goes silent, at the phone's ear."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

import telcoflow_sdk.events as events
from telcoflow_sdk import Resumption
from telcoflow_sdk.testing import PhoneState, Sandbox, virtual_time
from tests.support.answered import answered

SPEECH = (np.arange(24_000 * 8) % 7_000 + 1).astype("<i2")

pytestmark = pytest.mark.slow


@virtual_time
async def test_both_directions_go_on_at_the_sample(sandbox: Sandbox) -> None:
    told: list[Resumption | None] = []
    heard, gaps_ms = bytearray(), 0.0
    async with answered(sandbox) as (call, phone):
        call.on(events.MEDIA_INTERRUPTED)(lambda: told.append(None))
        call.on(events.MEDIA_RESUMED)(told.append)

        async def listen() -> None:
            nonlocal gaps_ms
            stream = call.audio_stream()
            async for chunk in stream:
                heard.extend(chunk)
                gaps_ms += stream.gap_ms

        listening = asyncio.create_task(listen())
        await call.send_audio(SPEECH.tobytes())
        saying = asyncio.create_task(phone.say(SPEECH))
        await asyncio.sleep(1)
        link = sandbox.links[-1]
        link.up.hold()
        link.down.hold()
        in_time = phone.heard.samples.size
        await saying
        await call.drain()
        await asyncio.sleep(1)
        statistics = call.statistics()
        await phone.hang_up()
        await listening

    sounds = phone.heard.samples
    assert phone.state is PhoneState.ENDED
    assert np.array_equal(sounds[sounds != 0], SPEECH)
    # What was here is played, then it is silent for as long as nobody noticed: 3 to 4 s.
    silent = np.flatnonzero(sounds[in_time:] == 0)[0]
    assert 0 < silent / 24 <= 200
    samples = np.frombuffer(heard, "<i2")
    assert np.array_equal(samples[samples != 0], SPEECH)
    assert told[0] is None
    assert told[1:] == [Resumption(outage_ms=0.0, lost_ms=0.0)]
    assert (gaps_ms, statistics.outages) == (0.0, 1)


@virtual_time
async def test_hang_up_while_there_is_no_link_is_learned_all_the_same(sandbox: Sandbox) -> None:
    ended_s: list[float] = []
    clock = asyncio.get_running_loop().time
    async with answered(sandbox) as (call, phone):
        call.on(events.CALL_TERMINATED)(lambda: ended_s.append(clock()))
        await asyncio.sleep(1)
        link = sandbox.links[-1]
        link.up.hold()
        link.down.hold()
        hung_up_s = clock()
        await phone.hang_up()
        await asyncio.sleep(20)

        assert call.state == "DISCONNECTED"
        assert await call.drain() is False
    assert len(ended_s) == 1
    assert 1.9 <= ended_s[0] - hung_up_s <= 3  # the control link knows it, too


@virtual_time
async def test_interruption_while_there_is_no_link_holds(sandbox: Sandbox) -> None:
    async with answered(sandbox) as (call, phone):
        await call.send_audio(SPEECH.tobytes())
        await asyncio.sleep(1)
        link = sandbox.links[-1]
        link.up.hold()
        link.down.hold()
        interruption = await call.interrupt()  # returns once the server knows
        await call.send_audio(SPEECH[:24_000].tobytes())
        await call.drain()
        await phone.hang_up()

    sounds = phone.heard.samples
    heard = sounds[sounds != 0]
    before = len(heard) - 24_000
    assert np.array_equal(heard, np.concatenate([SPEECH[:before], SPEECH[:24_000]]))
    assert interruption.heard_ms == before / 24
    assert 1000 <= interruption.heard_ms <= 1200
