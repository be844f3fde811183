"""Handlers that are slow, that block, that command their own call: nobody else waits for them."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, CallState, TelcoflowClient, TelcoflowClientConfig
from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_sdk.testing import Sandbox
from telcoflow_server.app import CONTROL_PATH
from tests.support.traces import run_without_a_trace

NO_AUDIO = bytes(9)  # less than the header of a message of audio

BLOCKED_S = 0.3


def client_of(sandbox: Sandbox) -> TelcoflowClient:
    return TelcoflowClient(TelcoflowClientConfig.sandbox(**sandbox.credentials))


def test_a_lookup_of_a_second_delays_its_own_call_only() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        async with Sandbox() as sandbox, client_of(sandbox) as client:

            @client.on(events.INCOMING_CALL)
            async def on_call(call: ActiveCall) -> None:
                await asyncio.sleep(1)
                await call.answer()

            async def call_in() -> float:
                began_s = loop.time()
                await (await sandbox.dial()).answered()
                return loop.time() - began_s

            return await asyncio.gather(*(call_in() for _ in range(4)))

    assert all(waited_s < 1.1 for waited_s in run_without_a_trace(main()))


def test_a_handler_that_waits_for_its_calls_end_keeps_no_other_call_waiting() -> None:
    async def main() -> None:
        async with Sandbox() as sandbox, client_of(sandbox) as client:

            @client.on(events.INCOMING_CALL)
            async def on_call(call: ActiveCall) -> None:
                over = asyncio.Event()
                call.on(events.CALL_TERMINATED)(over.set)
                await call.answer()
                await over.wait()

            phones = [await sandbox.dial() for _ in range(10)]
            for phone in phones:
                await phone.answered(1)
            for phone in phones:
                assert await phone.hang_up() is EndReason.CALLER_HUNG_UP

    run_without_a_trace(main())


def test_hanging_up_in_a_handler_of_errors_takes_no_time() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        async with Sandbox() as sandbox, client_of(sandbox) as client:

            @client.on(events.INCOMING_CALL)
            async def on_call(call: ActiveCall) -> None:
                @call.on(events.CALL_ERROR)
                async def give_up(details: dict[str, str]) -> None:
                    assert details["error_code"] == "MALFORMED_AUDIO"
                    await call.disconnect()

                await call.answer()

            phone = await sandbox.dial()
            await phone.answered()
            (link,) = (one for one in sandbox.links if one.path != CONTROL_PATH)
            began_s = loop.time()
            link.agent.send_binary(NO_AUDIO)
            assert await phone.ended() is EndReason.AGENT_DISCONNECTED
            return loop.time() - began_s

    assert run_without_a_trace(main()) < 0.1


def test_every_event_handler_may_command_its_call() -> None:
    async def main() -> list[str]:
        done: list[str] = []
        async with Sandbox() as sandbox, client_of(sandbox) as client:
            sandbox.callee()

            @client.on(events.INCOMING_CALL)
            async def on_call(call: ActiveCall) -> None:
                @call.on(events.CALL_ANSWERED)
                async def answered() -> None:
                    await call.interrupt()
                    done.append("answered")
                    await call.connect()

                @call.on(events.CALL_PROGRESS)
                async def progressed() -> None:
                    await call.clear_send_audio_buffer()
                    done.append("progressed")

                @call.on(events.CALL_CONNECTED)
                async def connected() -> None:
                    await call.whisper()
                    await call.barge()
                    done.append("connected")
                    await call.disconnect()

                @call.on(events.CALL_TERMINATED)
                async def terminated() -> None:
                    await call.close()
                    await call.disconnect()
                    done.append("terminated")

                await call.answer()

            await (await sandbox.dial()).ended()
            await asyncio.sleep(0.1)
        return done

    done = run_without_a_trace(main())

    assert [one for one in done if one != "progressed"] == ["answered", "connected", "terminated"]
    assert done.count("progressed") == 2


@pytest.mark.slow
async def test_a_handler_that_blocks_loses_no_audio() -> None:
    said = np.arange(1, 24_001, dtype=np.int16)
    heard = bytearray()
    async with Sandbox() as sandbox, client_of(sandbox) as client:

        @client.on(events.INCOMING_CALL)
        async def on_call(call: ActiveCall) -> None:
            @call.on(events.CALL_ANSWERED)
            def block() -> None:
                threading.Event().wait(BLOCKED_S)  # what no handler should do

            await call.answer()
            async for chunk in call.audio_stream():
                heard.extend(chunk)
            assert call.state is CallState.DISCONNECTED

        phone = await sandbox.dial()
        await phone.say(said)
        await phone.hang_up()

    samples = np.frombuffer(bytes(heard), np.int16)
    assert np.array_equal(samples[samples != 0], said)
