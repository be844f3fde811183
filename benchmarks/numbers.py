"""Percentiles of what was measured, and which machine it was measured on.

Not here: measuring.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile; infinity when nothing was measured, which is no good result."""
    return float(np.percentile(np.asarray(values), percent)) if len(values) else float("inf")


class _Counter:
    """Something to call."""

    def __init__(self) -> None:
        self._count = 0

    def add(self, number: int) -> None:
        """Do what most methods do: read an attribute, and write it."""
        self._count += number


def method_call_ns() -> float:
    """Return what calling a small method costs in Python, now: what shares of a core are worth.

    The best of 20 times a hundredth of a second: a shared machine is slow for a while.
    """
    calls, best_s, add = 100_000, float("inf"), _Counter().add
    for _ in range(20):
        started_s = time.perf_counter()
        for number in range(calls):
            add(number)
        best_s = min(best_s, time.perf_counter() - started_s)
    return best_s / calls * 1e9


def machine() -> str:
    """Name the machine, and how busy it is."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    cores = len(os.sched_getaffinity(0))
    return (
        f"{model}, {cores} cores, Linux {platform.release()}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.2f} before the first run, "
        f"a method call {method_call_ns():.0f} ns"
    )
