"""Times the published client's `ConcurrentByteBuffer`, run by its own interpreter.

Not here: the same of ours, `buffer_ours.py`. Its methods are coroutines, and are awaited as its
call does.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable

from telcoflow.concurrent_byte_buffer import ConcurrentByteBuffer

FRAME = bytes(960)
BURST = bytes(100_000)
ROUNDS = 7


async def best_us(use: Callable[[int], Awaitable[None]], times: int) -> float:
    """Return the time of one of many."""
    rounds: list[float] = []
    for _ in range(ROUNDS):
        started_s = time.perf_counter()
        await use(times)
        rounds.append(time.perf_counter() - started_s)
    return min(rounds) / times * 1e6


async def main() -> None:
    """Time each use."""
    buffer = ConcurrentByteBuffer(1 << 20)

    async def write_read(times: int) -> None:
        for _ in range(times):
            await buffer.write_all_no_wait(FRAME)
            await buffer.read_bytes(960, 960)

    async def burst(times: int) -> None:
        for _ in range(times):
            await buffer.write_all_no_wait(BURST)
            left = len(BURST)
            while left:
                left -= len(await buffer.read_bytes(1, 960))

    async def clear(times: int) -> None:
        for _ in range(times):
            await buffer.write_all_no_wait(FRAME)
            await buffer.clear()

    found = {
        "write_read": await best_us(write_read, 50_000),
        "burst": await best_us(burst, 200),
        "clear": await best_us(clear, 50_000),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main())
