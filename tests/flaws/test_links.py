"""What becomes of a client when its links do: no storm, no zombie, no call lost."""

from __future__ import annotations

import asyncio
import gc

import numpy as np
import pytest

import telcoflow_sdk.events as events
from telcoflow_sdk import (
    ActiveCall,
    CallState,
    TelcoflowClient,
    TelcoflowClientConfig,
    WSSCallError,
    WSSConnectionError,
)
from telcoflow_sdk.testing import Sandbox
from telcoflow_server.app import CONTROL_PATH
from tests.support.bad_servers import DroppingServer, MuteServer, RefusingServer, in_place_of
from tests.support.traces import run_without_a_trace

NOWHERE = "ws://127.0.0.1:9"

WORDS = np.repeat(np.arange(1, 51, dtype=np.int16) * 400, 480)
"""A second, each 20 ms of another height."""


def client_of(sandbox: Sandbox) -> TelcoflowClient:
    return TelcoflowClient(TelcoflowClientConfig.sandbox(**sandbox.credentials))


def cut(sandbox: Sandbox, *, control: bool) -> None:
    """Break the agents' links of one kind."""
    for link in sandbox.links:
        if (link.path == CONTROL_PATH) is control:
            link.cut()


def test_a_server_that_accepts_and_drops_gets_eight_attempts_in_half_a_minute() -> None:
    async def main() -> None:
        async with Sandbox() as sandbox, client_of(sandbox) as client:
            client.on(events.INCOMING_CALL)(ActiveCall.answer)
            tasks = len(asyncio.all_tasks())
            dropping = DroppingServer()
            with in_place_of(sandbox.base_url, dropping):
                cut(sandbox, control=True)
                await asyncio.sleep(31)

            assert 5 <= len(dropping.links) <= 10
            assert len(asyncio.all_tasks()) <= tasks + 1
            await (await sandbox.dial()).answered(15)

    run_without_a_trace(main())


def test_a_set_up_that_is_never_answered_leaves_nothing() -> None:
    async def main() -> None:
        mute = MuteServer()
        with in_place_of(NOWHERE, mute):
            config = TelcoflowClientConfig.sandbox(
                api_key="k", connector_uuid="c", base_url=NOWHERE
            )
            with pytest.raises(WSSConnectionError):
                async with TelcoflowClient(config):
                    pass
            loop = asyncio.get_running_loop()
            assert loop.time() <= 10.1
            mute.links[0].cut()
            await asyncio.sleep(60)

            assert len(mute.links) == 1, "nothing connects in the background"
            assert not mute.links[0].agent.is_open

    run_without_a_trace(main())


def test_calls_go_on_while_the_control_link_is_away() -> None:
    async def main() -> None:
        async with Sandbox() as sandbox, client_of(sandbox) as client:
            calls: list[ActiveCall] = []
            ended: list[str] = []

            @client.on(events.INCOMING_CALL)
            async def echo(call: ActiveCall) -> None:
                calls.append(call)
                call.on(events.CALL_TERMINATED)(lambda: ended.append(call.call_id))
                await call.answer()
                async for chunk in call.audio_stream():
                    await call.send_audio(chunk)

            phones = [await sandbox.dial() for _ in range(3)]
            for phone in phones:
                await phone.answered()
            for _ in range(3):
                cut(sandbox, control=True)
                await asyncio.gather(*(phone.say(WORDS) for phone in phones))
            await phones[0].listen(0.5)

            assert ended == []
            assert [call.state for call in calls] == [CallState.ANSWERED] * 3
            for phone in phones:
                heard = phone.heard.samples
                assert np.array_equal(heard[heard != 0], np.tile(WORDS, 3))
                await phone.hang_up()
            another = await sandbox.dial()
            await another.answered(15)
            await another.hang_up()
            await asyncio.sleep(0.1)
            assert sorted(ended) == sorted(call.call_id for call in calls), "once each"

    run_without_a_trace(main())


def test_two_clients_that_claim_at_once_get_each_call_once() -> None:
    async def main() -> None:
        async with Sandbox() as sandbox, client_of(sandbox) as first, client_of(sandbox) as second:
            handled: list[str] = []
            for client in (first, second):

                @client.on(events.INCOMING_CALL)
                async def on_call(call: ActiveCall) -> None:
                    handled.append(call.call_id)
                    await call.answer()

            phones = [await sandbox.dial() for _ in range(50)]
            for phone in phones:
                await phone.answered()

            assert len(set(handled)) == len(handled) == len(phones)

    run_without_a_trace(main())


def test_a_command_that_waits_outlives_its_media_link() -> None:
    async def main() -> CallState:
        async with Sandbox() as sandbox, client_of(sandbox) as client:
            taken: asyncio.Queue[ActiveCall] = asyncio.Queue()
            client.on(events.INCOMING_CALL)(taken.put_nowait)
            sandbox.callee(after_s=10)
            await sandbox.dial()
            call = await taken.get()
            await call.answer()
            connecting = asyncio.ensure_future(call.connect(60))
            await asyncio.sleep(5)
            cut(sandbox, control=False)
            await connecting
            return call.state

    assert run_without_a_trace(main()) is CallState.CONNECTED


def test_commands_that_are_cancelled_leave_no_future_behind() -> None:
    async def main() -> None:
        async with Sandbox() as sandbox, client_of(sandbox) as client:
            taken: asyncio.Queue[ActiveCall] = asyncio.Queue()
            client.on(events.INCOMING_CALL)(taken.put_nowait)
            phone = await sandbox.dial()
            call = await taken.get()
            await call.answer()
            (link,) = (one for one in sandbox.links if one.path != CONTROL_PATH)
            link.down.hold()
            before = futures()

            for _ in range(300):
                command = asyncio.ensure_future(call.interrupt())
                await asyncio.sleep(0)
                command.cancel()
                await asyncio.wait([command])
            link.down.release()
            await asyncio.sleep(0.1)

            assert futures() <= before + 3
            await phone.hang_up()

    run_without_a_trace(main())


def futures() -> int:
    gc.collect()
    return sum(isinstance(one, asyncio.Future) for one in gc.get_objects())


def test_a_media_link_lost_for_good_fails_the_command_that_waits_at_once() -> None:
    async def main() -> float:
        async with Sandbox() as sandbox, client_of(sandbox) as client:
            taken: asyncio.Queue[ActiveCall] = asyncio.Queue()
            client.on(events.INCOMING_CALL)(taken.put_nowait)
            sandbox.callee(answers="no-answer")
            await sandbox.dial()
            call = await taken.get()
            await call.answer()
            loop = asyncio.get_running_loop()
            connecting = asyncio.ensure_future(call.connect(60))
            await asyncio.sleep(5)
            began_s = loop.time()
            with in_place_of(sandbox.base_url, RefusingServer()):
                cut(sandbox, control=False)
                with pytest.raises(WSSCallError):
                    await connecting
            return loop.time() - began_s

    assert run_without_a_trace(main()) < 0.1
