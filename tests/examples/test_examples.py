from __future__ import annotations

import json
import re
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from telcoflow_server import speech
from telcoflow_server.call.report import ClearReport
from telcoflow_server.cli.measure import AUDIBLE, Samples, interruption, read_recording
from tests.support.commands import ROOT, example, shared_sandbox, telcoflow_finished
from tests.support.tones import WINDOW_MS, amplitudes

RATE_HZ = 24_000
FRAME_SAMPLES = 480

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
MODELS = {
    "adk_agent.py",
    "cascade.py",
    "deepgram_transcript.py",
    "gemini_live.py",
    "openai_realtime.py",
}
"""Run in tests/integrations."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A call that has ended, and both sides of its recording."""

    call_id: str
    entered_ms: dict[str, int]
    """When the call came to each of its states."""
    modes: list[tuple[str, int]]
    clears: list[ClearReport]
    said: Samples
    heard: Samples

    @property
    def answered_ms(self) -> int:
        return self.entered_ms["ANSWERED"]


@dataclass(frozen=True, slots=True)
class Server:
    """A sandbox, and where it leaves its recordings."""

    url: str
    folder: Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("recordings")
    with shared_sandbox("--record-dir", folder) as url:
        yield Server(url, folder)


async def place(server: Server, *arguments: str | Path) -> Ended:
    finished = await telcoflow_finished("call", "--url", server.url, "--json", *arguments)
    assert finished.exit_code == 0, finished.stderr
    report = json.loads(finished.stdout)
    said, heard = recording(server.folder / f"{report['call_id']}.wav")
    entered_ms = {one["name"]: one["at_ms"] for one in report["states"]}
    modes = [(one["mode"], one["at_ms"]) for one in report["modes"]]
    clears = [ClearReport(**clear) for clear in report["clears"]]
    return Ended(report["call_id"], entered_ms, modes, clears, said, heard)


def recording(file: Path) -> tuple[Samples, ...]:
    return read_recording(file.read_bytes()).channels


def sounding(samples: Samples) -> Samples:
    """Return the frames that are not silent, one after the other.

    On a busy machine a frame comes late and leaves a silent tick: order and content stay.
    """
    frames = samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    return frames[frames.any(axis=1)].reshape(-1)


def audible(samples: Samples, start_ms: float, end_ms: float) -> bool:
    start, end = (round(ms * RATE_HZ / 1000) for ms in (start_ms, end_ms))
    return bool(np.any(np.abs(samples[start:end].astype(np.int32)) > AUDIBLE))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: str(file.name))
def test_example_is_short_enough_to_copy(file: Path) -> None:
    lines = [line for line in file.read_text().splitlines() if line]
    assert len(lines) < (120 if file.name in MODELS else 60)


def test_every_example_is_run_below() -> None:
    run = {"announce.py", "coach.py", "echo.py", "handoff.py", "parrot.py", "record.py"}
    assert {file.name for file in EXAMPLES} == run | MODELS


@pytest.mark.slow
async def test_echo_says_back_every_sample(server: Server, tmp_path: Path) -> None:
    async with example("echo.py", server.url):
        call = await place(
            server, "--play", speech.GOODBYE, "--play-at", "0.2", "--hang-up-after", "2"
        )

    assert np.array_equal(sounding(call.heard), sounding(call.said))


@pytest.mark.slow
async def test_parrot_waits_for_a_pause_says_it_back_and_stops_when_talked_over(
    server: Server, tmp_path: Path
) -> None:
    # 3.3 s of speech, 0.6 s of pause: the parrot talks from 4.1 s on and is talked over at 5 s.
    talks = ("--play", speech.INTERRUPTION, "--play-at", "0.2")
    interrupts = ("--play", speech.GOODBYE, "--play-at", "5")
    async with example("parrot.py", server.url) as agent:
        call = await place(server, *talks, *interrupts, "--hang-up-after", "8")
        told = await agent.line()

    start_ms = call.answered_ms
    found = interruption(call.said, call.heard, RATE_HZ, start_ms + 4900, call.clears)
    assert found is not None
    assert not audible(call.heard, start_ms, start_ms + 3500)  # it lets the caller finish
    assert audible(call.heard, start_ms + 4000, found.clear_ms)  # says it back
    assert not audible(call.heard, found.clear_ms + 200, found.clear_ms + 600)  # falls silent
    assert audible(call.heard, found.clear_ms + 700, start_ms + 8000)  # and listens on
    heard_ms = next(clear.heard_ms for clear in call.clears if clear.at_ms == found.clear_ms)
    assert told == f"{call.call_id}: heard {heard_ms} ms of it"
    assert 500 < heard_ms < 2000


@pytest.mark.slow
async def test_coach_whispers_to_the_callee_alone_when_the_caller_pauses(
    server: Server, tmp_path: Path
) -> None:
    caller_file, callee_file = tmp_path / "heard.wav", tmp_path / "callee-heard.wav"
    async with example("coach.py", server.url):
        call = await place(
            server,
            *("--play", speech.INTERRUPTION, "--play-at", "0.2", "--record", caller_file),
            *("--callee", "answer", "--callee-record", callee_file, "--hang-up-after", "6"),
        )

    # 3.3 s of speech from 0.2 s on, a pause of 600 ms, then half a second of the hint.
    connected = call.entered_ms["CONNECTED"] // WINDOW_MS
    # The barge that `connect` begins with may not last a tick.
    assert [mode for mode, _ in call.modes[-3:]] == ["spy", "whisper", "spy"]
    (by_callee,) = (amplitudes(samples, 600) for samples in recording(callee_file))
    hinted = np.flatnonzero(by_callee > 5000)
    assert 24 <= len(hinted) <= 25, "all of the hint, but for its padded end"
    whispered_ms, spied_ms = (at_ms for _, at_ms in call.modes[-2:])
    assert whispered_ms <= hinted[0] * WINDOW_MS
    assert hinted[-1] * WINDOW_MS <= spied_ms
    assert 3500 <= hinted[0] * WINDOW_MS - call.entered_ms["CONNECTED"] <= 4700
    (by_caller,) = recording(caller_file)
    assert by_caller[: connected * FRAME_SAMPLES].any(), "it rang"
    assert not by_caller[connected * FRAME_SAMPLES :].any(), "then not a sample of the hint"


@pytest.mark.slow
async def test_handoff_leaves_the_two_talking(server: Server, tmp_path: Path) -> None:
    caller_file, callee_file = tmp_path / "heard.wav", tmp_path / "callee-heard.wav"
    async with example("handoff.py", server.url):
        call = await place(
            server,
            *("--play", speech.INTERRUPTION, "--play-at", "2.5", "--record", caller_file),
            *("--callee-play", speech.INTERRUPTION, "--callee-record", callee_file),
        )

    connected = call.entered_ms["CONNECTED"] // WINDOW_MS
    (by_caller,), (by_callee,) = recording(caller_file), recording(callee_file)
    greeted = np.flatnonzero(amplitudes(by_caller, 600)[: connected - 50] > 5000)
    assert 24 <= len(greeted) <= 25
    rang = amplitudes(by_caller, 450)[greeted[-1] + 1 : connected]
    assert rang.max() > 1000, "the greeting is over when it rings"
    after = slice(connected * FRAME_SAMPLES, None)
    # What each of them said arrived whole at the other, long after the agent had gone.
    assert np.array_equal(sounding(by_callee[after]), sounding(call.said[after]))
    assert np.array_equal(by_caller[after], call.heard[after])
    assert audible(call.heard, connected * WINDOW_MS, connected * WINDOW_MS + 3000)


@pytest.mark.slow
async def test_handoff_says_goodbye_when_the_callee_is_busy(server: Server, tmp_path: Path) -> None:
    async with example("handoff.py", server.url) as agent:
        call = await place(server, "--callee", "busy")
        said_so = await agent.line()

    assert said_so == f"{call.call_id}: CALL_BUSY"
    assert "CONNECTED" not in call.entered_ms
    assert 24 <= np.count_nonzero(amplitudes(call.heard, 300) > 5000) <= 25


@pytest.mark.slow
async def test_announce_plays_its_files_tells_what_was_heard_and_hangs_up(
    server: Server, tmp_path: Path
) -> None:
    # 24 kHz: what is heard is what is in the files, bit for bit.
    files = [tmp_path / "welcome.wav", tmp_path / "goodbye.wav"]
    said = [np.arange(1, 24_001, dtype="<i2") % 9_000 + 1, np.full(12_345, 2_000, "<i2")]
    for file, samples in zip(files, said, strict=True):
        with wave.open(str(file), "wb") as written:
            written.setparams((1, 2, RATE_HZ, 0, "NONE", "not compressed"))
            written.writeframes(samples.tobytes())

    async with example("announce.py", server.url, *files) as agent:
        call = await place(server)
        lines = [await agent.line(), await agent.line()]

    heard = call.heard[call.heard != 0]
    assert np.array_equal(heard, np.concatenate(said))
    pattern = rf"{call.call_id}: (\w+\.wav) heard at (\S+) ms"
    told = [match.groups() for line in lines if (match := re.fullmatch(pattern, line))]
    assert [name for name, _ in told] == ["welcome.wav", "goodbye.wav"]
    last_ms = np.flatnonzero(call.heard)[-1] / 24
    assert abs(float(told[1][1]) - last_ms) < 0.1


@pytest.mark.slow
async def test_announce_refuses_what_it_cannot_play(server: Server, tmp_path: Path) -> None:
    async with example("announce.py", server.url, speech.GOODBYE) as agent:  # 22050 Hz
        finished = await agent.finished()

    assert (finished.exit_code, finished.stderr[:6]) == (1, "usage:")


@pytest.mark.slow
async def test_record_keeps_every_sample(server: Server, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    async with example("record.py", server.url, kept) as agent:
        call = await place(
            server, "--play", speech.GOODBYE, "--play-at", "0.2", "--hang-up-after", "1"
        )
        said_so = await agent.line()

    (written,) = recording(kept / f"{call.call_id}.wav")
    assert np.array_equal(sounding(written), sounding(call.said))
    assert call.call_id in said_so
