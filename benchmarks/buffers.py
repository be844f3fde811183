"""`ConcurrentByteBuffer`, ours beside the published client's.

Not here: the timing (`buffer_ours.py`, `buffer_published.py`).
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.child import PUBLISHED_PYTHON, run_once
from benchmarks.progress import Progress

USES = {
    "write_read": "write and read 960 bytes",
    "burst": "write 100 kB, read it by 960 bytes",
    "clear": "write 960 bytes, clear",
}


@dataclass(frozen=True, slots=True)
class BufferTimes:
    """Microseconds for one use of each buffer."""

    use: str
    ours_us: float
    published_us: float


def measure_buffers(progress: Progress) -> list[BufferTimes]:
    """Time both, each in a process of its own."""
    progress.note("ours")
    ours = json.loads(run_once("benchmarks.buffer_ours", python=Path(sys.executable)))
    progress.note("published")
    published = json.loads(run_once("benchmarks.buffer_published", python=PUBLISHED_PYTHON))
    return [BufferTimes(name, ours[key], published[key]) for key, name in USES.items()]
