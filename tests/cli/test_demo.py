from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

import telcoflow_server.cli.demo
from telcoflow_server import speech
from telcoflow_server.cli.demo import demo
from tests.support.commands import telcoflow_finished, telcoflow_here


@pytest.mark.long
@pytest.mark.timeout(90)  # two calls in real time, 24 s of them
async def test_demo_leaves_recording_picture_and_table(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"

    finished = await telcoflow_finished("demo", "--out", out, variables={"COLUMNS": "200"})

    assert finished.exit_code == 0, finished.stdout
    check(finished.stdout, out, least_samples=24_000)


@pytest.mark.slow
def test_a_shorter_demo_leaves_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The parrot begins at 4.6 s, after 3.3 s of speech and a pause; at 6 s it is talked over."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(speech, "SENTENCE", speech.INTERRUPTION)
    monkeypatch.setattr(speech, "INTERRUPTION", speech.GOODBYE)
    shorter = {"PULSES": 2, "INTERRUPT_AT_MS": 6_000, "HANG_UP_AFTER_MS": 7_000}
    for name, value in shorter.items():
        monkeypatch.setattr(telcoflow_server.cli.demo, name, value)

    exit_code = demo(tmp_path / "new" / "out")

    said = capsys.readouterr().out
    assert exit_code == 0, said
    check(said, tmp_path / "new" / "out", least_samples=9_600)


def check(said: str, out: Path, least_samples: int) -> None:
    for words in ("added delay", "stop time", "detector", "gaps", "lateness", "call.png"):
        assert words in said
    check_recording(out / "call.wav", least_samples)
    assert (out / "call.png").read_bytes().startswith(b"\x89PNG")


def check_recording(file: Path, least_samples: int) -> None:
    """Both voices are there and loud for so long, the agent's after the caller's."""
    with wave.open(str(file)) as recording:
        assert recording.getnchannels() == 2
        samples = np.frombuffer(recording.readframes(recording.getnframes()), "<i2")
    caller, agent = (np.flatnonzero(np.abs(samples[side::2].astype(int)) > 500) for side in (0, 1))
    assert len(caller) > least_samples
    assert len(agent) > least_samples
    assert caller[0] < agent[0]


def test_demo_says_why_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    finished = telcoflow_here("demo", "--out", tmp_path / "file")

    assert finished.exit_code == 1
    assert "The demo failed" in finished.stdout
    assert "Traceback" not in finished.stderr
