"""Times our `ConcurrentByteBuffer`; prints microseconds as one JSON object.

Not here: the same of the published client's, `buffer_published.py`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

from telcoflow_sdk.audio.buffer import ConcurrentByteBuffer

FRAME = bytes(960)
BURST = bytes(100_000)
ROUNDS = 7
"""The best of these counts: what is slower was disturbed."""


def best_us(use: Callable[[int], None], times: int) -> float:
    """Return the time of one of many."""
    rounds: list[float] = []
    for _ in range(ROUNDS):
        started_s = time.perf_counter()
        use(times)
        rounds.append(time.perf_counter() - started_s)
    return min(rounds) / times * 1e6


def main() -> None:
    """Time each use."""
    buffer = ConcurrentByteBuffer(1 << 20)

    def write_read(times: int) -> None:
        for _ in range(times):
            buffer.write(FRAME)
            buffer.read(960)

    def burst(times: int) -> None:
        for _ in range(times):
            buffer.write(BURST)
            while len(buffer):
                buffer.read(960)

    def clear(times: int) -> None:
        for _ in range(times):
            buffer.write(FRAME)
            buffer.clear()

    found = {
        "write_read": best_us(write_read, 100_000),
        "burst": best_us(burst, 500),
        "clear": best_us(clear, 100_000),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
