"""Our SDK and our server: three parties, calls placed, calls given away. Judged by sound.

In virtual time, but for what hangs on how messages and audio overtake each other: that runs over
sockets, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import telcoflow_sdk.events as events
from telcoflow_sdk import (
    ActiveCall,
    CallState,
    DialProgress,
    OfferedCall,
    TelcoflowClient,
    TelcoflowClientConfig,
    WSSCallClosedError,
    WSSCallCommandError,
)
from telcoflow_sdk.testing import LivePhone, Sandbox, run_virtual, virtual_time
from tests.support.agent import happenings
from tests.support.server import noise

NUMBER = "+15550142"

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(
    params=[run_virtual, pytest.param(asyncio.run, marks=pytest.mark.slow)],
    ids=["virtual", "sockets"],
)
def run(request: pytest.FixtureRequest) -> Run:
    chosen: Run = request.param
    return chosen


@asynccontextmanager
async def rung(
    sandbox: Sandbox, audio_mode: str = "mixed"
) -> AsyncIterator[tuple[ActiveCall, LivePhone]]:
    """Have a caller call an agent; give the call, which rings, and the caller."""
    calls: asyncio.Queue[ActiveCall] = asyncio.Queue()
    config = TelcoflowClientConfig.sandbox(**sandbox.credentials, audio_mode=audio_mode)
    async with TelcoflowClient(config) as client:
        client.on(events.INCOMING_CALL)(calls.put_nowait)
        caller = await sandbox.dial(callee=NUMBER)
        yield await calls.get(), caller


def connected_client(sandbox: Sandbox) -> TelcoflowClient:
    return TelcoflowClient(TelcoflowClientConfig.sandbox(**sandbox.credentials))


def sounding(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    sound: NDArray[np.int16] = samples[samples != 0]
    return sound


def test_no_whisper_reaches_the_caller_however_little_the_agent_waits(run: Run) -> None:
    aloud, whispered, nothing, last = (noise(480 * 20, seed) for seed in range(4))

    async def main() -> None:
        async with Sandbox() as sandbox:
            callee = sandbox.callee(NUMBER, after_s=0.04)
            async with rung(sandbox) as (call, caller):
                await call.answer()
                await call.connect()

                # Not one of these is waited for before the next audio is queued.
                call.send_audio_nowait(aloud.tobytes())
                changes = [asyncio.ensure_future(call.whisper())]
                await asyncio.sleep(0)
                call.send_audio_nowait(whispered.tobytes())
                changes.append(asyncio.ensure_future(call.spy()))
                await asyncio.sleep(0)
                call.send_audio_nowait(nothing.tobytes())
                changes.append(asyncio.ensure_future(call.barge()))
                await asyncio.sleep(0)
                call.send_audio_nowait(last.tobytes())
                await asyncio.gather(*changes)
                await call.disconnect()
                await caller.ended()

        to_caller, to_callee = sounding(caller.heard.samples), sounding(callee.heard.samples)
        assert np.array_equal(to_callee, np.concatenate([aloud, whispered, last]))
        # Ringback came first.
        expected = np.concatenate([aloud, last])
        assert np.array_equal(to_caller[-len(expected) :], expected)

    run(main())


@pytest.mark.parametrize(
    ("answers", "code"),
    [("busy", "CALL_BUSY"), ("decline", "CALL_DECLINED"), ("no-answer", "CALL_UNANSWERED")],
)
@pytest.mark.parametrize("answered", [False, True])
@virtual_time
async def test_callee_who_does_not_come_leaves_the_call_usable(
    sandbox: Sandbox, answers: str, code: str, answered: bool
) -> None:
    sandbox.callee(NUMBER, answers=answers)
    async with rung(sandbox) as (call, _):
        if answered:
            await call.answer()

        for _ in range(2):
            with pytest.raises(WSSCallCommandError) as caught:
                await call.connect(ring_time_seconds=5)
            assert caught.value.error_code == code

        assert call.state is (CallState.ANSWERED if answered else CallState.PENDING)
        if not answered:
            await call.answer()


@virtual_time
async def test_what_was_said_before_is_heard_before_it_rings(sandbox: Sandbox) -> None:
    said = noise(480 * 30)
    callee = sandbox.callee(NUMBER)
    async with rung(sandbox) as (call, caller):
        await call.answer()
        await call.send_audio(said.tobytes())
        await call.connect()
        await call.disconnect()
        await caller.ended()

    assert sounding(callee.heard.samples).size == 0
    assert np.array_equal(sounding(caller.heard.samples)[: len(said)], said)


@virtual_time
async def test_caller_who_hangs_up_ends_the_ringing(sandbox: Sandbox) -> None:
    sandbox.callee(NUMBER, answers="no-answer")
    async with rung(sandbox) as (call, caller):
        await call.answer()
        connecting = asyncio.ensure_future(call.connect())
        progress = happenings(call, events.CALL_PROGRESS)
        assert await progress.get() == (DialProgress.RINGING,)

        await caller.hang_up()

        with pytest.raises(WSSCallClosedError):
            await connecting


@virtual_time
async def test_agent_that_leaves_leaves_the_humans_to_themselves(sandbox: Sandbox) -> None:
    spoken = noise(480 * 60)
    callee = sandbox.callee(NUMBER)
    async with rung(sandbox) as (call, caller):
        await call.connect()
        await call.close()
        assert call.state is CallState.DISCONNECTED

        await caller.say(spoken)

        assert await caller.hang_up() == "caller_hung_up"
    assert np.array_equal(sounding(callee.heard.samples), spoken)


@virtual_time
async def test_isolated_audio_is_apart_and_in_step(sandbox: Sandbox) -> None:
    by_caller, by_callee = noise(480 * 40, seed=5), noise(480 * 40, seed=6)
    person = sandbox.callee(NUMBER)
    async with rung(sandbox, "isolated") as (call, phone):
        streams = [call.audio_stream(channel) for channel in range(3)]
        await call.connect()
        await phone.say(by_caller)
        await person.say(by_callee)
        await phone.hang_up()
        mixed, caller, callee = [
            np.frombuffer(b"".join([chunk async for chunk in stream]), np.int16)
            for stream in streams
        ]
    assert np.array_equal(mixed, caller + callee)
    assert np.array_equal(sounding(caller), by_caller)
    assert np.array_equal(sounding(callee), by_callee)
    assert not (caller.astype(bool) & callee.astype(bool)).any()


@virtual_time
async def test_person_called_answers(sandbox: Sandbox) -> None:
    sandbox.callee(NUMBER)
    async with connected_client(sandbox) as client:
        call = await client.call(NUMBER, ring_time_seconds=10)
        progress = happenings(call, events.CALL_PROGRESS)
        before = call.state
        await call.answer()

        assert (before, call.state) == (CallState.PENDING, CallState.ANSWERED)
        assert call.callee_number == NUMBER
        assert call.progress is DialProgress.ANSWERED
        assert [await progress.get() for _ in range(2)][-1] == (DialProgress.ANSWERED,)
        async for chunk in call.audio_stream():
            assert len(chunk) == 960
            break
        await call.close()


@pytest.mark.parametrize(
    ("answers", "code"),
    [("busy", "CALL_BUSY"), ("decline", "CALL_DECLINED"), ("no-answer", "CALL_UNANSWERED")],
)
@pytest.mark.parametrize("asks_late", [False, True])
@virtual_time
async def test_person_called_does_not_come(
    sandbox: Sandbox, answers: str, code: str, asks_late: bool
) -> None:
    sandbox.callee(NUMBER, answers=answers)
    async with connected_client(sandbox) as client:
        call = await client.call(NUMBER, ring_time_seconds=5)
        terminated = happenings(call, events.CALL_TERMINATED)
        if asks_late:
            await terminated.get()

        with pytest.raises(WSSCallCommandError) as caught:
            await call.answer()

        assert caught.value.error_code == code
        if not asks_late:
            await terminated.get()
        assert call.state is CallState.DISCONNECTED


@pytest.mark.parametrize("number", ["not a number", "+" * 200])
@virtual_time
async def test_number_that_is_none_is_refused_with_a_code(sandbox: Sandbox, number: str) -> None:
    async with connected_client(sandbox) as client:
        with pytest.raises(WSSCallCommandError) as caught:
            await client.call(number)

        assert caught.value.error_code == "INVALID_REQUEST"


def test_call_given_away_goes_on_without_the_client_that_gave_it(run: Run) -> None:
    said = noise(480 * 20)

    async def main() -> None:
        texts: asyncio.Queue[str] = asyncio.Queue()
        async with Sandbox() as sandbox:
            async with connected_client(sandbox) as client:

                @client.on(events.CALL_OFFERED)
                def give_away(offer: OfferedCall) -> None:
                    texts.put_nowait(offer.to_json())

                caller = await sandbox.dial(caller="")
                call = await ActiveCall.from_json(await texts.get())
                await call.answer()
            await call.send_audio(said.tobytes())
            await call.close()

            assert await caller.ended() == "agent_closed"
        assert np.array_equal(sounding(caller.heard.samples), said)

    run(main())
