"""An agent that does blocking work on its event loop, as people do; prints what it was told of it.

Arguments: where the sandbox is, how long it blocks at a time (ms), how often.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, TelcoflowClient, TelcoflowClientConfig

EVERY_S = 0.6
SPEECH = bytes((0, 16)) * 12_000  # half a second


async def main(base_url: str, block_ms: int, times: int) -> None:
    is_over = asyncio.Event()
    config = TelcoflowClientConfig.sandbox(
        api_key="sandbox", connector_uuid="sandbox", base_url=base_url
    )
    async with TelcoflowClient(config) as client:

        @client.on(events.INCOMING_CALL)
        async def talk(call: ActiveCall) -> None:
            loop = asyncio.get_running_loop()
            await call.answer()
            for _ in range(round(times * EVERY_S * 2) + 1):
                await call.send_audio(SPEECH)
            for number in range(times):
                loop.call_later((number + 1) * EVERY_S, time.sleep, block_ms / 1000)
            await call.drain()
            await asyncio.sleep(0.3)
            told = call.statistics()
            numbers = {"gaps": told.gaps, "gap_ms": told.gap_ms, "loop_lag_ms": told.loop_lag_ms}
            sys.stdout.write(json.dumps(numbers))
            await call.close()
            is_over.set()

        await is_over.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
