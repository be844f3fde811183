"""Conversations between a call and a model that is a few lines of a test: who ends what."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from telcoflow_sdk import ActiveCall
from telcoflow_sdk.bridge import Bridge, ModelError
from telcoflow_sdk.testing import LivePhone, Sandbox, virtual_time
from tests.integrations.bridge.conversation import (
    converse_in,
    hang_up_soon,
    nothing,
    wait_for_the_end,
)
from tests.integrations.stage import ANSWER, NEXT, spoken
from tests.positions.ruler import ruler
from tests.positions.stage import serving


@virtual_time
async def test_what_was_said_is_heard_before_the_agent_leaves(sandbox: Sandbox) -> None:
    async def converse(bridge: Bridge) -> None:
        assert await bridge.say(ANSWER)
        bridge.end_turn()
        assert await bridge.say(NEXT, turn="next")

    phone, outcome = await converse_in(sandbox, converse, wait_for_the_end)

    assert outcome.error is None
    assert phone.end_reason == "agent_closed"
    assert spoken(phone.heard.samples) == ANSWER + NEXT


@virtual_time
async def test_the_caller_hangs_up_first_and_the_conversation_is_cancelled(
    sandbox: Sandbox,
) -> None:
    ends: list[str] = []

    async def converse(bridge: Bridge) -> None:
        try:
            async with bridge.listening(nothing):
                await bridge.say(ANSWER)
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    phone, outcome = await converse_in(sandbox, converse, hang_up_soon)

    assert outcome.error is None
    assert ends == ["cancelled"]
    assert phone.end_reason == "caller_hung_up"


@virtual_time
async def test_a_conversation_that_swallows_its_cancellation_is_cancelled_again(
    sandbox: Sandbox,
) -> None:
    swallowed: list[float] = []

    async def converse(_: Bridge) -> None:
        while len(swallowed) < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed.append(asyncio.get_running_loop().time())

    _, outcome = await converse_in(sandbox, converse, hang_up_soon)

    assert outcome.error is None
    assert np.allclose(np.diff(swallowed), 5.0)


@virtual_time
async def test_the_end_of_the_call_inside_a_task_group_is_no_failure(sandbox: Sandbox) -> None:
    async def converse(bridge: Bridge) -> None:
        async with asyncio.TaskGroup() as group:
            async for _ in bridge.call.audio_stream():
                pass
            group.create_task(bridge.call.connect())

    _, outcome = await converse_in(sandbox, converse, hang_up_soon, linger_s=1.0)

    assert outcome.error is None


@virtual_time
async def test_what_fails_while_it_is_cancelled_is_only_logged(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    async def converse(bridge: Bridge) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("the socket of the model")

    _, outcome = await converse_in(sandbox, converse, hang_up_soon)

    assert outcome.error is None
    assert "leaving the model failed: OSError" in caplog.text


@virtual_time
async def test_after_the_last_words_the_model_may_finish(sandbox: Sandbox) -> None:
    heard, finished = bytearray(), asyncio.Event()
    said: list[object] = []

    async def hear(pcm: bytes) -> None:
        heard.extend(pcm)

    async def finish() -> None:
        await asyncio.sleep(0.5)
        finished.set()

    async def converse(bridge: Bridge) -> None:
        async with bridge.listening(hear, finish=finish):
            await finished.wait()
        said.append(await bridge.say(ANSWER))
        await bridge.interrupt()
        bridge.end_turn()

    async def user(phone: LivePhone) -> None:
        await phone.say(ruler(0, 24_000))
        await phone.hang_up()

    _, outcome = await converse_in(sandbox, converse, user, linger_s=1.0)

    assert outcome.error is None
    assert finished.is_set()
    assert said == [False]
    assert ruler(0, 24_000).tobytes() in bytes(heard)


@virtual_time
async def test_a_model_that_does_not_finish_in_time_is_cancelled(sandbox: Sandbox) -> None:
    async def converse(bridge: Bridge) -> None:
        await asyncio.Event().wait()

    _, outcome = await converse_in(sandbox, converse, hang_up_soon, linger_s=1.0)

    assert outcome.error is None


@virtual_time
async def test_a_command_after_the_end_of_the_call_is_no_failure(sandbox: Sandbox) -> None:
    async def converse(bridge: Bridge) -> None:
        async for _ in bridge.call.audio_stream():
            pass
        await bridge.call.connect()

    _, outcome = await converse_in(sandbox, converse, hang_up_soon, linger_s=1.0)

    assert outcome.error is None


@virtual_time
async def test_cancelled_from_outside_the_call_goes_on(sandbox: Sandbox) -> None:
    async def take(call: ActiveCall) -> None:
        await call.answer()
        running = asyncio.create_task(Bridge(call).run(converse))
        await asyncio.sleep(0.5)
        running.cancel()
        await asyncio.wait({running})
        assert running.cancelled()
        await call.send_audio(NEXT)

    async def converse(bridge: Bridge) -> None:
        async with bridge.listening(nothing):
            await asyncio.Event().wait()

    async with serving(sandbox, take):
        phone = await sandbox.dial()
        await phone.listen_until_quiet(0.2)
        await phone.hang_up()

    assert spoken(phone.heard.samples) == NEXT


@virtual_time
async def test_blocks_that_follow_each_other_lose_nothing_of_the_caller(sandbox: Sandbox) -> None:
    heard = bytearray()
    number = 0

    async def hear(pcm: bytes) -> None:
        if pcm.startswith(b"\0\0") and not pcm.strip(b"\0"):
            return
        await asyncio.sleep(0.015)
        heard.extend(pcm)

    async def converse(bridge: Bridge) -> None:
        nonlocal number
        for number in range(20):  # noqa: B007
            async with bridge.listening(hear):
                await asyncio.sleep(0.1234)
            await asyncio.sleep(0.05)  # connecting anew

    async def user(phone: LivePhone) -> None:
        await phone.say(ruler(0, 48_000))
        await phone.ended()

    _, outcome = await converse_in(sandbox, converse, user)

    assert outcome.error is None
    assert number == 19
    assert bytes(heard) == ruler(0, 48_000).tobytes()


@virtual_time
async def test_the_first_of_several_failures_of_a_block_is_raised(sandbox: Sandbox) -> None:
    raised: list[Exception] = []

    async def hear(_: bytes) -> None:
        raise OSError("first")

    async def converse(bridge: Bridge) -> None:
        try:
            async with bridge.listening(hear):
                try:
                    await asyncio.Event().wait()
                finally:
                    raise KeyError("second")
        except Exception as error:
            raised.append(error)

    _, outcome = await converse_in(sandbox, converse, wait_for_the_end)

    assert outcome.error is None
    assert [str(error) for error in raised] == ["first"]


@virtual_time
async def test_a_failure_of_the_block_itself_is_raised_as_it_is(sandbox: Sandbox) -> None:
    raised: list[Exception] = []

    async def converse(bridge: Bridge) -> None:
        try:
            async with bridge.listening(nothing):
                raise KeyError("mine")
        except KeyError as error:
            raised.append(error)

    await converse_in(sandbox, converse, wait_for_the_end)

    assert len(raised) == 1


@virtual_time
async def test_a_model_that_takes_no_audio_is_given_up(sandbox: Sandbox) -> None:
    async def hear(_: bytes) -> None:
        await asyncio.Event().wait()

    async def converse(bridge: Bridge) -> None:
        async with bridge.listening(hear):
            await asyncio.Event().wait()

    phone, outcome = await converse_in(sandbox, converse, wait_for_the_end, stall_timeout_s=2.0)

    assert isinstance(outcome.error, ModelError)
    assert "no audio for 2 s" in str(outcome.error)
    assert 2.0 <= phone.heard.duration_s < 2.5


@virtual_time
async def test_a_timeout_of_the_models_own_is_another(sandbox: Sandbox) -> None:
    async def hear(_: bytes) -> None:
        raise TimeoutError

    async def converse(bridge: Bridge) -> None:
        async with bridge.listening(hear):
            await asyncio.Event().wait()

    _, outcome = await converse_in(sandbox, converse, wait_for_the_end, settings="MODEL_KEY")

    text = "the conversation with the model failed (TimeoutError): if it goes on, check MODEL_KEY"
    assert str(outcome.error) == text
