"""What *heard* counts from, in whole calls: virtual time."""

from __future__ import annotations

import asyncio

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, TelcoflowClient, TelcoflowClientConfig
from telcoflow_sdk.testing import Sandbox, running, virtual_time

PIECE = b"\x10\x10" * 4_800  # 200 ms


@virtual_time
async def test_a_pause_in_the_first_utterance_is_part_of_it_if_ends_are_told(
    sandbox: Sandbox,
) -> None:
    """The pause was taken for the end, because nothing had told the server of ends before."""
    heard: list[float | None] = []

    async def on_call(call: ActiveCall) -> None:
        call.end_utterance()
        await call.answer()
        await call.send_audio(PIECE)
        await asyncio.sleep(1)  # the model thinks
        await call.send_audio(PIECE)
        await asyncio.sleep(1)
        heard.append((await call.interrupt()).heard_ms)
        await call.close()

    async def serve() -> None:
        config = TelcoflowClientConfig.sandbox(**sandbox.credentials)
        async with TelcoflowClient(config) as client:
            client.on(events.INCOMING_CALL)(on_call)
            await client.run_forever()

    async with running(serve()):
        phone = await sandbox.dial()
        await phone.ended()

    assert heard == [400.0]


@virtual_time
async def test_a_connect_that_is_called_off_while_audio_plays_rings_nobody(
    sandbox: Sandbox,
) -> None:
    callee = sandbox.callee()

    async def on_call(call: ActiveCall) -> None:
        await call.answer()
        await call.send_audio(PIECE * 10)
        connecting = asyncio.create_task(call.connect())
        await asyncio.sleep(1)
        connecting.cancel()
        await call.drain()
        await asyncio.sleep(2)
        await call.close()

    async def serve() -> None:
        config = TelcoflowClientConfig.sandbox(**sandbox.credentials)
        async with TelcoflowClient(config) as client:
            client.on(events.INCOMING_CALL)(on_call)
            await client.run_forever()

    async with running(serve()):
        phone = await sandbox.dial()
        await phone.ended()

    assert callee.line.rung_ticks == 0
    assert len(phone.heard.samples[phone.heard.samples != 0]) == 48_000
