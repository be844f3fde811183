"""Percentiles of what was measured, and which machine it was measured on.

Not here: measuring.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile; infinity when nothing was measured, which is no good result."""
    return float(np.percentile(np.asarray(values), percent)) if len(values) else float("inf")


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
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.2f} before the first run"
    )
