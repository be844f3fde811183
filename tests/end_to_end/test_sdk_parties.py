"""Our SDK and our server: three parties, calls placed, calls given away. Judged by sound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
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
from telcoflow_server.app import Server
from tests.support.agent import happenings
from tests.support.server import CONNECTOR, HEADERS, KEY, Caller, http_url, noise, sandbox

pytestmark = pytest.mark.slow

NUMBER = "+15550142"


def config(server: Server, **more: Any) -> TelcoflowClientConfig:
    return TelcoflowClientConfig.sandbox(
        api_key=KEY,
        connector_uuid=CONNECTOR,
        base_url=f"ws://127.0.0.1:{server.control_port}",
        **more,
    )


@asynccontextmanager
async def rung(
    *sounds: NDArray[np.int16], client_more: dict[str, Any] | None = None, **script: Any
) -> AsyncIterator[tuple[ActiveCall, Caller]]:
    """Have a caller call an agent; give the call, which rings, and the caller."""
    script = {"hang_up_after_ms": None, "plays": [], **script}
    async with sandbox() as server, aiohttp.ClientSession() as http:
        calls: asyncio.Queue[ActiveCall] = asyncio.Queue()
        async with TelcoflowClient(config(server, **(client_more or {}))) as client:
            client.on(events.INCOMING_CALL)(calls.put_nowait)
            caller = Caller(server, http)
            await caller.dial(*sounds, **{"from": "+15550100", "to": NUMBER, **script})
            yield await calls.get(), caller


def sounding(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    sound: NDArray[np.int16] = samples[samples != 0]
    return sound


async def test_no_whisper_reaches_the_caller_however_little_the_agent_waits() -> None:
    aloud, whispered, nothing, last = (noise(480 * 20, seed) for seed in range(4))
    async with rung(callee={"behaviour": "answer", "after_ms": 40}, hang_up_after_ms=8_000) as (
        call,
        caller,
    ):
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

        to_caller = sounding(await caller.recording("heard.wav"))
        to_callee = sounding(await caller.recording("callee-heard.wav"))
    assert np.array_equal(to_callee, np.concatenate([aloud, whispered, last]))
    # Ringback came first.
    expected = np.concatenate([aloud, last])
    assert np.array_equal(to_caller[-len(expected) :], expected)


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [("busy", "CALL_BUSY"), ("decline", "CALL_DECLINED"), ("no-answer", "CALL_UNANSWERED")],
)
@pytest.mark.parametrize("answered", [False, True])
async def test_callee_who_does_not_come_leaves_the_call_usable(
    behaviour: str, code: str, answered: bool
) -> None:
    async with rung(callee={"behaviour": behaviour, "after_ms": 40}) as (call, _):
        if answered:
            await call.answer()

        for _ in range(2):
            with pytest.raises(WSSCallCommandError) as caught:
                await call.connect(ring_time_seconds=1)
            assert caught.value.error_code == code

        assert call.state is (CallState.ANSWERED if answered else CallState.PENDING)
        if not answered:
            await call.answer()


async def test_what_was_said_before_is_heard_before_it_rings() -> None:
    said = noise(480 * 30)
    async with rung(callee={"behaviour": "answer", "after_ms": 40}) as (call, caller):
        await call.answer()
        await call.send_audio(said.tobytes())
        await call.connect()
        await call.disconnect()
        await caller.ended()

        heard = sounding(await caller.recording("heard.wav"))
        assert sounding(await caller.recording("callee-heard.wav")).size == 0
    assert np.array_equal(heard[: len(said)], said)


async def test_caller_who_hangs_up_ends_the_ringing() -> None:
    async with rung(callee={"behaviour": "no-answer"}) as (call, caller):
        await call.answer()
        connecting = asyncio.ensure_future(call.connect())
        progress = happenings(call, events.CALL_PROGRESS)
        assert await progress.get() == (DialProgress.RINGING,)

        await caller.hang_up()

        with pytest.raises(WSSCallClosedError):
            await connecting


async def test_agent_that_leaves_leaves_the_humans_to_themselves() -> None:
    spoken = noise(480 * 60)
    async with rung(
        spoken,
        callee={"behaviour": "answer", "after_ms": 40},
        plays=[{"sound": 0, "at_ms": 600}],
        hang_up_after_ms=2_200,
    ) as (call, caller):
        await call.connect()
        await call.close()
        assert call.state is CallState.DISCONNECTED

        report = await caller.ended()

        assert report["end_reason"] == "caller_hung_up"
        heard = sounding(await caller.recording("callee-heard.wav"))
    assert np.array_equal(heard, spoken)


async def test_isolated_audio_is_apart_and_in_step() -> None:
    by_caller = noise(480 * 40, seed=5)
    async with rung(
        by_caller,
        client_more={"audio_mode": "isolated"},
        plays=[{"sound": 0, "at_ms": 400}],
        hang_up_after_ms=1_800,
        callee={"behaviour": "answer", "after_ms": 40},
    ) as (call, _):
        streams = [call.audio_stream(channel) for channel in range(3)]
        await call.connect()
        mixed, caller, callee = [
            np.frombuffer(b"".join([chunk async for chunk in stream]), np.int16)
            for stream in streams
        ]
    assert np.array_equal(mixed, caller)
    assert np.array_equal(sounding(caller), by_caller)
    assert len(callee) == len(mixed)
    assert not callee.any()


async def register(server: Server, http: aiohttp.ClientSession, **phone: Any) -> None:
    url = http_url(server, "/sandbox/v1/phones")
    body = {"number": NUMBER, **phone}
    async with http.post(url, json=body, headers=HEADERS) as response:
        assert response.status == 201, await response.text()


async def test_person_called_answers() -> None:
    async with sandbox() as server, aiohttp.ClientSession() as http:
        await register(server, http, behaviour="answer", after_ms=200)
        async with TelcoflowClient(config(server)) as client:
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
    ("behaviour", "code"),
    [("busy", "CALL_BUSY"), ("decline", "CALL_DECLINED"), ("no-answer", "CALL_UNANSWERED")],
)
@pytest.mark.parametrize("asks_late", [False, True])
async def test_person_called_does_not_come(behaviour: str, code: str, asks_late: bool) -> None:
    async with sandbox() as server, aiohttp.ClientSession() as http:
        await register(server, http, behaviour=behaviour, after_ms=40)
        async with TelcoflowClient(config(server)) as client:
            call = await client.call(NUMBER, ring_time_seconds=1)
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
async def test_number_that_is_none_is_refused_with_a_code(number: str) -> None:
    async with sandbox() as server, TelcoflowClient(config(server)) as client:
        with pytest.raises(WSSCallCommandError) as caught:
            await client.call(number)

        assert caught.value.error_code == "INVALID_REQUEST"


async def test_call_given_away_goes_on_without_the_client_that_gave_it() -> None:
    said = noise(480 * 20)
    async with sandbox() as server, aiohttp.ClientSession() as http:
        texts: asyncio.Queue[str] = asyncio.Queue()
        async with TelcoflowClient(config(server)) as client:

            @client.on(events.CALL_OFFERED)
            def give_away(offer: OfferedCall) -> None:
                texts.put_nowait(offer.to_json())

            caller = Caller(server, http)
            await caller.dial(**{"from": "", "to": NUMBER, "plays": []})
            call = await ActiveCall.from_json(await texts.get())
            await call.answer()
        await call.send_audio(said.tobytes())
        await call.close()
        report = await caller.ended()

        assert report["end_reason"] == "agent_closed"
        assert np.array_equal(sounding(await caller.recording("heard.wav")), said)
