from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from tests.support.commands import telcoflow_finished


@pytest.mark.slow
@pytest.mark.timeout(90)  # two calls in real time, 24 s of them
async def test_demo_leaves_recording_picture_and_table(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"

    finished = await telcoflow_finished("demo", "--out", out, variables={"COLUMNS": "200"})

    assert finished.exit_code == 0, finished.stdout
    for words in ("added delay", "stop time", "detector", "gaps", "lateness", "call.png"):
        assert words in finished.stdout
    check_recording(out / "call.wav")
    assert (out / "call.png").read_bytes().startswith(b"\x89PNG")


def check_recording(file: Path) -> None:
    """Both voices are there, the agent's after the caller's."""
    with wave.open(str(file)) as recording:
        assert recording.getnchannels() == 2
        samples = np.frombuffer(recording.readframes(recording.getnframes()), "<i2")
    caller, agent = (np.flatnonzero(np.abs(samples[side::2].astype(int)) > 500) for side in (0, 1))
    assert len(caller) > 24_000
    assert len(agent) > 24_000
    assert caller[0] < agent[0]


async def test_demo_says_why_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    finished = await telcoflow_finished("demo", "--out", tmp_path / "file")

    assert finished.exit_code == 1
    assert "The demo failed" in finished.stdout
    assert "Traceback" not in finished.stderr
