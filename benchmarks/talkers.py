"""Agents on our SDK: one talks and is interrupted, the others echo.

Not here: the callers (`node.py`), what the times mean (`stop.py`).

Argument: base URL.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import time
from contextlib import suppress

from benchmarks import lines
from benchmarks.echo_ours import echo
from telcoflow_sdk import (
    ActiveCall,
    ClientEvent,
    TelcoflowClient,
    TelcoflowClientConfig,
    WSSCallError,
)

EAR = "+3"
"""The caller whose agent talks."""

SENTENCE = (8_000).to_bytes(2, "little") * 24_000 * 5
"""Five seconds without a quiet sample."""

TALK_S = 0.12
QUIET_S = 0.08
"""How long it talks at least before an interruption, and is quiet after it."""


async def main(base_url: str) -> None:
    """Take calls until the input ends."""
    logging.getLogger("telcoflow_sdk").setLevel(logging.ERROR)
    config = TelcoflowClientConfig.sandbox(
        api_key="sandbox", connector_uuid="sandbox", base_url=base_url, sample_rate=24_000
    )
    talking: asyncio.Queue[ActiveCall] = asyncio.Queue()

    async def interrupt(times: int) -> list[float]:
        """Talk and stop; tell when `clear_send_audio_buffer` was called: CLOCK_MONOTONIC."""
        call = await talking.get()
        called_s: list[float] = []
        for _ in range(times):
            await call.send_audio(SENTENCE)
            await asyncio.sleep(TALK_S + random.random() * 0.02)  # at any moment of a tick
            called_s.append(time.monotonic())
            await call.clear_send_audio_buffer()
            await asyncio.sleep(QUIET_S)
        talking.put_nowait(call)
        return called_s

    taken = 0

    async def calls_taken() -> int:
        """Tell how many calls came."""
        return taken

    async with TelcoflowClient(config) as client:

        @client.on(ClientEvent.INCOMING_CALL)
        async def on_call(call: ActiveCall) -> None:
            nonlocal taken
            taken += 1
            if call.caller_number != EAR:
                with suppress(WSSCallError):  # the caller was faster
                    await echo(call)
                return
            await call.answer()
            talking.put_nowait(call)
            async for _ in call.audio_stream():
                pass

        await lines.serve({"interrupt": interrupt, "calls_taken": calls_taken})


if __name__ == "__main__":
    lines.run(main(sys.argv[1]), "uvloop")
