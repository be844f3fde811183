"""Arithmetic stays on the thread that ticks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TASKS = Path("/proc/self/task")


@pytest.mark.skipif(not TASKS.exists(), reason="counts threads as Linux lists them")
def test_importing_the_plane_starts_no_threads() -> None:
    count = f"import telcoflow_server.media.plane, os; print(len(os.listdir({str(TASKS)!r})))"
    # This process has set the variables for itself; a server starts without them.
    variables = {name: value for name, value in os.environ.items() if "NUM_THREADS" not in name}

    result = subprocess.run(
        [sys.executable, "-c", count],
        env={**variables, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )

    assert result.stdout.split() == ["1"]
