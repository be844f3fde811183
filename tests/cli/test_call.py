from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from telcoflow_server import speech
from telcoflow_server.cli.commands import app
from tests.support.commands import (
    START_TIMEOUT_S,
    example,
    shared_sandbox,
    telcoflow_finished,
    telcoflow_here,
)

pytestmark = pytest.mark.slow

KEYS = {
    "states",
    "duration_ms",
    "gaps",
    "tick_lateness_ms",
    "frames_to_agent",
    "frames_from_agent",
    "end_reason",
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with shared_sandbox(variables={"TELCOFLOW_CALLS_RING_TIMEOUT_S": "2"}) as url:
        yield url


async def test_json_is_one_object_with_the_promised_keys(url: str, tmp_path: Path) -> None:
    heard = tmp_path / "heard.wav"

    async with example("echo.py", url):
        finished = await telcoflow_finished(
            "call", "--url", url, "--play", speech.GOODBYE, "--record", heard, "--json"
        )

    assert finished.exit_code == 0, finished.stderr
    assert finished.stdout.count("\n") == 1
    report = json.loads(finished.stdout)
    assert set(report) >= KEYS
    assert [state["name"] for state in report["states"]] == ["PENDING", "ANSWERED", "DISCONNECTED"]
    assert report["end_reason"] == "caller_hung_up"
    assert finished.stderr == ""
    with wave.open(str(heard)) as recording:
        assert (recording.getnchannels(), recording.getframerate()) == (1, 24_000)
        assert recording.getnframes() > 0


async def test_without_json_the_call_is_summed_up_for_people(url: str) -> None:
    async with example("echo.py", url):
        finished = await telcoflow_finished("call", "--url", url, "--hang-up-after", "0.3")

    assert finished.exit_code == 0
    for words in ("states", "ANSWERED", "caller_hung_up", "gaps", "tick lateness", "p99"):
        assert words in finished.stdout


async def test_callee_is_put_through_and_what_each_heard_is_kept(url: str, tmp_path: Path) -> None:
    heard, callee_heard = tmp_path / "heard.wav", tmp_path / "callee-heard.wav"

    async with example("handoff.py", url):
        finished = await telcoflow_finished(
            *("call", "--url", url, "--play", speech.GOODBYE, "--play-at", "2"),
            *("--callee-play", speech.GOODBYE, "--callee-play", speech.GOODBYE),
            *("--record", heard, "--callee-record", callee_heard, "--hang-up-after", "4"),
        )

    assert finished.exit_code == 0, finished.stderr
    for words in ("CONNECTED", "modes", "barge", "caller_hung_up"):
        assert words in finished.stdout
    lengths = []
    for file in (heard, callee_heard):
        with wave.open(str(file)) as recording:
            lengths.append(recording.getnframes())
            assert any(recording.readframes(lengths[-1]))
    assert lengths[0] == lengths[1], "both begin with the call"


@pytest.mark.parametrize(
    ("behaviour", "code"), [("busy", "CALL_BUSY"), ("decline", "CALL_DECLINED")]
)
async def test_callee_who_does_not_come_leaves_the_call_a_good_one(
    url: str, behaviour: str, code: str
) -> None:
    async with example("handoff.py", url):
        finished = await telcoflow_finished("call", "--url", url, "--callee", behaviour, "--json")

    assert finished.exit_code == 0, finished.stderr
    report = json.loads(finished.stdout)
    assert report["end_reason"] == "agent_closed"
    assert report["refusals"] == {code: 1}


async def test_recording_of_a_callee_who_was_never_called_is_a_failure(
    url: str, tmp_path: Path
) -> None:
    file = tmp_path / "callee-heard.wav"
    async with example("echo.py", url):
        finished = await telcoflow_finished(
            *("call", "--url", url, "--hang-up-after", "0.3"),
            *("--callee", "answer", "--callee-record", file),
        )

    assert finished.exit_code == 1
    assert "caller_hung_up" in finished.stdout
    assert "the callee never came to the call" in finished.stderr
    assert not file.exists()


def test_unanswered_call_exits_1_with_the_reason_on_stderr(url: str) -> None:
    finished = telcoflow_here("call", "--url", url, "--json")

    assert finished.exit_code == 1
    assert json.loads(finished.stdout)["end_reason"] == "no_agent"
    assert "no agent took the call: start one" in finished.stderr


async def test_ctrl_c_hangs_up_and_still_sums_up(url: str) -> None:
    arguments = ("call", "--url", url, "--hang-up-after", "60")
    async with example("echo.py", url):
        exit_code, shown = await on_a_terminal(*arguments, ctrl_c_after="ANSWERED")

    assert exit_code == 0
    assert "caller_hung_up" in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"junk", "not a WAV file; export it again as 16-bit PCM WAV"), (b"", "WAV")],
)
def test_bad_sound_is_refused_with_what_to_do(
    url: str, tmp_path: Path, content: bytes, said: str
) -> None:
    sound = tmp_path / "sound.wav"
    sound.write_bytes(content)

    finished = telcoflow_here("call", "--url", url, "--play", sound, "--json")

    assert finished.exit_code == 1
    assert said in finished.stderr
    assert finished.stdout == ""


def test_wrong_key_is_refused_without_showing_it(url: str) -> None:
    finished = telcoflow_here("call", "--url", url, variables={"TELCOFLOW_API_KEY": "wr0ng"})

    assert finished.exit_code == 1
    assert "UNAUTHORIZED" in finished.stderr
    assert "wr0ng" not in finished.stdout + finished.stderr


def test_no_sandbox_says_how_to_start_one() -> None:
    finished = telcoflow_here("call", "--url", "ws://127.0.0.1:9")

    assert finished.exit_code == 1
    assert finished.stderr == (
        "telcoflow: no sandbox at ws://127.0.0.1:9: start one with `telcoflow sandbox`\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--play-at", "1"], "given more often (1) than --play (0)"),
        (["--play", "absent.wav"], "does not exist"),
        (["--record", "absent/heard.wav"], "no directory absent"),
        (["--callee-record", "absent/heard.wav"], "no directory absent"),
        (["--callee", "sleep"], "'answer', 'busy', 'decline', 'no-answer'"),
        (["--callee", "busy", "--callee-play", str(speech.GOODBYE)], "only a callee that answers"),
        (["--callee", "busy", "--callee-record", "x.wav"], "only a callee that answers"),
        (["--hang-up-after", "-1"], "'-1' is not 0 to 86400 seconds"),
        (["--hang-up-after", "inf"], "'inf' is not 0 to 86400 seconds"),
        (["--play-at", "nan"], "'nan' is not 0 to 86400 seconds"),
        (["--play-at", "1e400"], "'1e400' is not 0 to 86400 seconds"),
        (["--hang-up-after", "soon"], "'soon' is not 0 to 86400 seconds"),
        (["--url", "ws://127.0.0.1:99999"], "no address such as ws://127.0.0.1:8080"),
        (["--url", "ws://[::1"], "no address such as ws://127.0.0.1:8080"),
        (["--url", "http://127.0.0.1:9"], "no address such as ws://127.0.0.1:8080"),
    ],
)
def test_wrong_use_is_explained(arguments: list[str], said: str) -> None:
    finished = CliRunner().invoke(app, ["call", *arguments])

    assert finished.exit_code != 0
    # Usage errors are framed, and wrapped at the frame.
    assert said in " ".join(finished.stderr.replace("│", " ").split())


async def test_terminal_shows_the_call_while_it_runs(url: str) -> None:
    arguments = ("call", "--url", url, "--play", str(speech.GOODBYE), "--hang-up-after", "1")
    async with example("echo.py", url):
        exit_code, shown = await on_a_terminal(*arguments)

    assert exit_code == 0
    before_summary, _, summary = shown.rpartition("states")
    for words in (
        "ANSWERED",
        "caller",
        "agent",
        "queued",
        "in flight",
        "lead",
        "heard",
        " ms",
        " dB",
    ):
        assert words in before_summary
    assert "caller_hung_up" in summary


async def test_terminal_shows_who_is_connected_and_who_hears_the_agent(url: str) -> None:
    arguments = ("call", "--url", url, "--callee-play", str(speech.SENTENCE))
    async with example("coach.py", url):
        exit_code, shown = await on_a_terminal(*arguments, "--hang-up-after", "1.5")

    assert exit_code == 0
    before_summary, _, _ = shown.rpartition("states")
    for words in ("PENDING", "CONNECTED", "spy", "caller", "callee", "hears"):
        assert words in before_summary


async def on_a_terminal(*arguments: str, ctrl_c_after: str | None = None) -> tuple[int, str]:
    """Run the command line on a pseudo-terminal; return its exit code and all that it showed."""
    here, there = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "telcoflow_server.cli",
        *arguments,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        stdin=there,
        stdout=there,
        stderr=there,
    )
    os.close(there)
    loop = asyncio.get_running_loop()
    shown, ended = bytearray(), loop.create_future()

    def read() -> None:
        nonlocal ctrl_c_after
        try:
            shown.extend(os.read(here, 65536))
        except OSError:  # EIO: the other end is closed
            loop.remove_reader(here)
            ended.set_result(None)
        if ctrl_c_after is not None and ctrl_c_after.encode() in shown:
            ctrl_c_after = None
            process.send_signal(signal.SIGINT)

    loop.add_reader(here, read)
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            await ended
            return await process.wait(), shown.decode(errors="replace")
    finally:
        loop.remove_reader(here)
        os.close(here)
        if process.returncode is None:
            process.kill()
            await process.wait()
