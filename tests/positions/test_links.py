"""Who may have a call's media link, for how long it is waited for, and what an old one may do."""

from __future__ import annotations

import asyncio
import random

import numpy as np
import pytest

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, CallState
from telcoflow_sdk.protocol.codes import CloseCode, EndReason
from telcoflow_sdk.protocol.link import LinkRefused
from telcoflow_sdk.testing import PhoneState, Sandbox, virtual_time
from tests.positions.raw import RawLink, raw_call, taking_calls
from tests.positions.ruler import assert_heard_once, read, ruler
from tests.positions.stage import Diary, Ear, media_link, media_links, outage, serving

GRACE_S = 10.0


@virtual_time
async def test_a_call_ends_when_its_agent_does_not_come_back_in_time(sandbox: Sandbox) -> None:
    ended: list[tuple[float, CallState]] = []
    lost_s: list[float] = []
    loop = asyncio.get_running_loop()

    async def agent(call: ActiveCall) -> None:
        diary = Diary(call, events.CALL_TERMINATED, events.MEDIA_RESUMED)
        await call.answer()
        await call.send_audio(ruler(0, 240_000).tobytes())
        async for _ in call.audio_stream():
            pass
        assert not await call.drain()
        await asyncio.sleep(0)
        ended.append((loop.time(), call.state))
        assert [kind for _, kind, _ in diary.entries] == [events.CALL_TERMINATED]

    async with serving(sandbox, agent):
        phone = await sandbox.dial()
        await phone.answered()
        await asyncio.sleep(1.0)
        lost_s.append(loop.time())
        losing = asyncio.create_task(outage(media_link(sandbox), 2 * GRACE_S))
        reason = await phone.ended()
        assert loop.time() - lost_s[0] == pytest.approx(GRACE_S, abs=0.021)
        await losing

    assert reason is EndReason.AGENT_LOST
    ((ended_s, state),) = ended
    assert ended_s - lost_s[0] == pytest.approx(GRACE_S)
    assert state is CallState.DISCONNECTED
    # What was there is played, then there is silence.
    reading = read(phone.heard.samples)
    assert reading.is_without_a_hole
    assert reading.size <= 24_000 * 1.2


@virtual_time
async def test_two_people_go_on_without_an_agent_that_does_not_come_back(sandbox: Sandbox) -> None:
    async def agent(call: ActiveCall) -> None:
        await call.answer()
        await call.connect(20)
        async for _ in call.audio_stream():
            pass

    callee = sandbox.callee(after_s=0.1)
    async with serving(sandbox, agent):
        phone = await sandbox.dial()
        await callee.answered()
        await outage(media_link(sandbox), GRACE_S + 2.0)
        assert (phone.state, callee.state) == (PhoneState.TALKING, PhoneState.TALKING)
        said = ruler(0, 24_000)
        _, heard = await asyncio.gather(phone.say(said), callee.listen(1.5))
        reason = await phone.hang_up()

    assert_heard_once(heard.samples, 0, said.size)
    assert reason is EndReason.CALLER_HUNG_UP


@pytest.mark.parametrize("seed", range(4))
@virtual_time
async def test_link_after_link_is_lost_and_not_a_sample_with_them(
    sandbox: Sandbox, seed: int
) -> None:
    chance = random.Random(seed)
    speech = ruler(0, 20 * 24_000)
    ear, diaries = Ear(), list[Diary]()
    loop = asyncio.get_running_loop()

    async def agent(call: ActiveCall) -> None:
        diaries.append(Diary(call, events.MEDIA_INTERRUPTED, events.MEDIA_RESUMED))
        await call.answer()
        await call.send_audio(speech.tobytes())
        await ear.listen(call.audio_stream())

    async with serving(sandbox, agent):
        phone = await sandbox.dial()
        await phone.answered()
        talking = asyncio.create_task(phone.say(speech))
        while loop.time() < 20.0:
            links = media_links(sandbox)
            if links and chance.random() < 0.3:
                await outage(links[-1], chance.uniform(0, 1.5))
            elif links:
                links[-1].cut()
            # The next one may be lost before its hello, its welcome, or anything else.
            for _ in range(chance.choice((0, 1, 2, 3, 4, 5, 50))):
                await asyncio.sleep(0)
            if chance.random() < 0.5:
                await asyncio.sleep(chance.uniform(0, 0.7))
        await talking
        await phone.listen_until_quiet()
        await asyncio.sleep(3.0)
        await phone.hang_up()
        await ear.ended.wait()

    assert_heard_once(phone.heard.samples, 0, speech.size)
    assert_heard_once(ear.timeline, 0, speech.size)
    assert set(ear.gaps_ms) == {0.0}
    kinds = [kind for _, kind, _ in diaries[0].entries]
    assert len(kinds) > 10
    assert kinds == [events.MEDIA_INTERRUPTED, events.MEDIA_RESUMED] * (len(kinds) // 2)


@virtual_time
async def test_a_second_client_is_refused(sandbox: Sandbox) -> None:
    async with raw_call(sandbox) as call:
        first, secret = await call.answered()

        for bearer, status in ((call.token, 409), ("", 403), (secret + "x", 403)):
            with pytest.raises(LinkRefused) as refused:
                await RawLink.open(call.url, bearer)
            assert refused.value.status == status
        first.send(ruler(0, 1_440))
        await asyncio.sleep(0.2)

        assert first.lost is None
        assert_heard_once(call.phone.heard.samples, 0, 1_440)


@virtual_time
async def test_a_secret_of_another_call_opens_no_link(sandbox: Sandbox) -> None:
    async with taking_calls(sandbox) as given:
        links = []
        for _ in range(2):
            await sandbox.dial()
            url, token = await given.get()
            link = await RawLink.open(url, token)
            links.append((url, token, (await link.hello())["secret"]))

        (url, _, _), (_, token, secret) = links
        for bearer in (token, secret):
            with pytest.raises(LinkRefused) as refused:
                await RawLink.open(url, bearer)
            assert refused.value.status == 403


@virtual_time
async def test_a_call_that_has_ended_takes_no_link(sandbox: Sandbox) -> None:
    async with raw_call(sandbox) as call:
        first, secret = await call.answered()
        waiting = await call.open(secret)
        await call.phone.hang_up()

        assert await waiting.hello(2) is None
        assert waiting.lost is not None
        assert waiting.lost[0] == CloseCode.CALL_ENDED
        for bearer, status in ((call.token, 410), (secret, 403)):
            with pytest.raises(LinkRefused) as refused:
                await RawLink.open(call.url, bearer)
            assert refused.value.status == status
        assert first.lost == (CloseCode.NORMAL, "call ended")


@virtual_time
async def test_a_link_that_was_replaced_is_closed_and_what_it_still_brings_changes_nothing(
    sandbox: Sandbox,
) -> None:
    async with raw_call(sandbox) as call:
        old, secret = await call.answered()
        pipe = media_link(sandbox).up
        old.send(ruler(0, 480))
        await asyncio.sleep(0.001)
        pipe.hold()
        old.send(ruler(480, 480), offset=480)
        old.say(type="command", seq=2, data={"command_id": "k2", "command": "call.disconnect"})
        old.send(ruler(50_000, 480), generation=7)
        old.link.send_binary(b"\xff")

        new = await call.open(secret)
        welcome = await new.hello(2)
        pipe.release()
        await asyncio.sleep(0.001)

        assert old.lost is not None
        assert old.lost[0] == 4421
        assert (welcome["received"], welcome["seen"], welcome["generation"]) == (480, 1, 0)
        new.send(ruler(240, 1_200), offset=240)  # what is there already is trimmed
        new.seq = 1
        repeated = {"command_id": "x", "command": "call.disconnect", "timeout_ms": 10_000}
        new.say(type="command", seq=1, data=repeated)  # a number seen before is ignored
        assert (await new.command("agent.mark", (0, 1_440), name="end"))["success"]
        await asyncio.sleep(0.2)
        assert call.phone.state is PhoneState.TALKING
        assert_heard_once(call.phone.heard.samples, 0, 1_440)
        assert [(one["event"], one["name"]) for one in new.events()] == [("mark.played", "end")]


@virtual_time
async def test_an_attempt_that_was_overtaken_is_closed(sandbox: Sandbox) -> None:
    async with raw_call(sandbox) as call:
        _, secret = await call.answered()
        late = await call.open(secret)
        new = await call.open(secret)
        await new.hello(3)

        assert await late.hello(2) is None
        assert late.lost is not None
        assert late.lost[0] == CloseCode.SUPERSEDED
        new.send(ruler(0, 480))
        await asyncio.sleep(0.1)
        assert_heard_once(call.phone.heard.samples, 0, 480)


@virtual_time
async def test_a_welcome_that_is_lost_locks_nobody_out(sandbox: Sandbox) -> None:
    async with raw_call(sandbox) as call:
        first = await call.open()
        await first.hello(1)  # its welcome counts as lost: nothing was said since
        second = await call.open()
        secret = (await second.hello(2))["secret"]
        second.acknowledge()
        await asyncio.sleep(0.001)
        third = await call.open(secret)
        await third.hello(3)  # lost as well
        fourth = await call.open(secret)
        welcome = await fourth.hello(4)

        assert welcome["epoch"] == 4
        fourth.acknowledge()
        await asyncio.sleep(0.001)
        with pytest.raises(LinkRefused):
            await call.open(secret)


@virtual_time
async def test_goodbye_means_no_grace(sandbox: Sandbox) -> None:
    async with raw_call(sandbox) as call:
        link, _ = await call.answered()
        loop = asyncio.get_running_loop()
        said_s = loop.time()
        link.link.close()

        assert await call.phone.ended() is EndReason.AGENT_LOST
        assert loop.time() - said_s < 0.1


@virtual_time
async def test_what_is_said_during_an_outage_is_kept_in_its_place(sandbox: Sandbox) -> None:
    async with raw_call(sandbox) as call:
        first, secret = await call.answered()
        talking = asyncio.create_task(call.phone.say(ruler(0, 120_000)))
        await asyncio.sleep(1.0)
        media_link(sandbox).cut()
        received = first.audio[-1].offset + 480 - 4_800  # some of it got lost with the link
        await asyncio.sleep(3.0)
        second = await call.open(secret)
        welcome = await second.hello(2, received=[received])
        await talking

        assert welcome["continues"] == [received]
        assert second.audio[0].offset == received
        offsets = np.array([one.offset for one in second.audio])
        assert (np.diff(offsets) == 480).all()
        before = b"".join(one.pcm for one in first.audio)[: -4_800 * 2]
        heard = np.frombuffer(before + b"".join(one.pcm for one in second.audio), np.int16)
        assert read(heard).is_without_a_hole
