"""However many calls a client has taken, it takes the next one, and holds nothing of the last."""

from __future__ import annotations

import asyncio
import gc

import pytest

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, TelcoflowClient, TelcoflowClientConfig
from telcoflow_sdk.testing import Sandbox
from tests.support.traces import run_without_a_trace

WARM = 1_500
"""The server remembers the last thousand sessions: from then on nothing may grow."""

OVER_SOCKETS, AT_ONCE = 500, 10


def count_handled(client: TelcoflowClient) -> list[str]:
    """Let the client answer and listen to every call; returns the ids of those that ended."""
    handled: list[str] = []

    @client.on(events.INCOMING_CALL)
    async def on_call(call: ActiveCall) -> None:
        await call.answer()
        async for _ in call.audio_stream():
            pass
        handled.append(call.call_id)

    return handled


async def take_call(sandbox: Sandbox) -> None:
    phone = await sandbox.dial()
    await phone.answered()
    await phone.hang_up()


def objects() -> int:
    gc.collect()
    return len(gc.get_objects())


@pytest.mark.parametrize(
    "in_a_row", [4_000, pytest.param(10_000, marks=(pytest.mark.long, pytest.mark.timeout(60)))]
)
def test_thousands_of_calls_in_a_row_on_one_client(in_a_row: int) -> None:
    async def main() -> None:
        async with (
            Sandbox() as sandbox,
            TelcoflowClient(TelcoflowClientConfig.sandbox(**sandbox.credentials)) as client,
        ):
            handled = count_handled(client)
            tasks = len(asyncio.all_tasks())
            for _ in range(WARM):
                await take_call(sandbox)
            held = objects()
            for _ in range(in_a_row - WARM):
                await take_call(sandbox)
            await asyncio.sleep(0.1)

            assert len(set(handled)) == len(handled) == in_a_row
            assert len(asyncio.all_tasks()) == tasks
            assert [client.get_call(one) for one in handled[-3:]] == [None] * 3
            assert objects() - held < (in_a_row - WARM) // 8, "a call leaves something behind"

    run_without_a_trace(main())


@pytest.mark.slow
async def test_five_hundred_calls_over_sockets() -> None:
    async with (
        Sandbox() as sandbox,
        TelcoflowClient(TelcoflowClientConfig.sandbox(**sandbox.credentials)) as client,
    ):
        handled = count_handled(client)
        for _ in range(OVER_SOCKETS // AT_ONCE):
            await asyncio.gather(*(take_call(sandbox) for _ in range(AT_ONCE)))
        await client.disconnect()  # waits for handlers, too

        assert len(set(handled)) == OVER_SOCKETS
