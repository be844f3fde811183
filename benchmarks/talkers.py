"""Agents on our SDK: one talks and is interrupted, the others echo.

Not here: the callers (`node.py`), what the times mean (`stop.py`).

Argument: base URL.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import sys
import time
from contextlib import suppress

from benchmarks import lines
from benchmarks.echo_ours import echo
from telcoflow_sdk import (
    ActiveCall,
    CallEvent,
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


class Talker:
    """The call whose agent talks, and what is done with it."""

    def __init__(self) -> None:
        self._calls: asyncio.Queue[ActiveCall] = asyncio.Queue()
        self._taken = 0
        self._resumed_ms: list[float] = []

    async def take(self, call: ActiveCall) -> None:
        """Take a call: the one with the ear talks, the others echo."""
        self._taken += 1
        if call.caller_number != EAR:
            with suppress(WSSCallError):  # the caller was faster
                await echo(call)
            return
        await call.answer()
        self._calls.put_nowait(call)
        async for _ in call.audio_stream():
            pass

    async def interrupt(self, times: int) -> list[tuple[float, float | None]]:
        """Talk and stop; tell when `interrupt` was called (CLOCK_MONOTONIC), what was heard."""
        call = await self._calls.get()
        called: list[tuple[float, float | None]] = []
        for _ in range(times):
            await call.send_audio(SENTENCE)
            await asyncio.sleep(TALK_S + random.random() * 0.02)  # at any moment of a tick
            called_s = time.monotonic()
            interruption = await call.interrupt()
            called.append((called_s, interruption.heard_ms))
            await asyncio.sleep(QUIET_S)
        self._calls.put_nowait(call)
        return called

    async def block(self, block_ms: int, seconds: float) -> float:
        """Talk without a pause while the event loop is blocked once a second; tell for how long."""
        call = await self._calls.get()
        begun_s = time.monotonic()
        playing = asyncio.create_task(call.play(SENTENCE * math.ceil(seconds / 5 + 1)))
        await asyncio.sleep(0.2)
        while time.monotonic() - begun_s < seconds:
            await asyncio.sleep(0.5 + random.random())
            time.sleep(block_ms / 1000)  # noqa: ASYNC251 - what is measured
        await call.interrupt()
        await playing
        self._calls.put_nowait(call)
        return time.monotonic() - begun_s

    async def talk(self, seconds: float) -> float:
        """Begin to talk for so long."""
        call = await self._calls.get()
        call.on(CallEvent.MEDIA_RESUMED)(lambda one: self._resumed_ms.append(one.outage_ms))
        await call.send_audio(SENTENCE * math.ceil(seconds / 5))
        self._calls.put_nowait(call)
        return seconds

    async def outages_ms(self) -> list[float]:
        """Tell how long the media link was away each time."""
        return self._resumed_ms

    async def calls_taken(self) -> int:
        """Tell how many calls came."""
        return self._taken


async def main(base_url: str) -> None:
    """Take calls until the input ends."""
    logging.getLogger("telcoflow_sdk").setLevel(logging.ERROR)
    config = TelcoflowClientConfig.sandbox(
        api_key="sandbox", connector_uuid="sandbox", base_url=base_url, sample_rate=24_000
    )
    talker = Talker()
    async with TelcoflowClient(config) as client:
        client.on(ClientEvent.INCOMING_CALL)(talker.take)
        await lines.serve(
            {
                "interrupt": talker.interrupt,
                "block": talker.block,
                "talk": talker.talk,
                "outages_ms": talker.outages_ms,
                "calls_taken": talker.calls_taken,
            }
        )


if __name__ == "__main__":
    lines.run(main(sys.argv[1]), "uvloop")
