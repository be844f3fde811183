"""`telcoflow top` against a running sandbox, and what it makes of an overview."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sys

import pytest
from rich.console import Console

from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_server.api.overview import EndedCall, LiveCall, Overview
from telcoflow_server.call.report import Percentiles
from telcoflow_server.cli.top import view
from tests.support.commands import (
    START_TIMEOUT_S,
    example,
    sandbox,
    telcoflow,
    telcoflow_finished,
    telcoflow_here,
)


def overview(calls: int = 1, **more: object) -> Overview:
    call = LiveCall("0123456789ab", "front[bold]desk", "CONNECTED", "whisper", 61_000, 3_661_000,
                    -23.4, -96.0, 40.4, 60.0, 2, 60, 1)  # fmt: skip
    ended = EndedCall("ba9876543210", EndReason.AGENT_LOST, 5_000, 0, 0)
    fields: dict[str, object] = {
        "is_draining": False,
        "tick_lateness_ms": Percentiles(0.08, 0.31),
        "skipped_ticks": 0,
        "calls": [call] * calls,
        "ended": [ended],
    }
    return Overview(**(fields | more))  # type: ignore[arg-type]


def shown(one: Overview, rows: int | None = None) -> str:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(view(one, rows))
    return capture.get()


def test_a_call_is_a_line() -> None:
    lines = shown(overview()).splitlines()

    assert lines[0] == "1 call  tick lateness p50 0.08 ms, p99 0.31 ms"
    assert lines[2].split() == [
        "01234567", "front[bold]desk", "CONNECTED", "whisper", "1:01", "-23", "dB", "silent",
        "40", "ms", "60", "ms", "2", "(60", "ms)", "1",
    ]  # fmt: skip
    assert lines[4].split() == ["ba987654", "agent_lost", "0:05", "0"]


def test_more_calls_than_there_is_room_for_are_counted() -> None:
    text = shown(overview(calls=12), rows=4)

    assert "12 calls" in text
    assert text.count("01234567") == 4
    assert "and 8 more" in text


def test_an_idle_server_is_a_line() -> None:
    text = shown(overview(calls=0, ended=[], is_draining=True, skipped_ticks=3))

    assert text == ("0 calls  tick lateness p50 0.08 ms, p99 0.31 ms  3 ticks skipped  draining\n")


@pytest.mark.slow
async def test_shows_the_calls_of_a_sandbox_once_without_a_terminal() -> None:
    async with sandbox() as server, example("echo.py", server.url):
        call = ("call", "--url", server.url, "--hang-up-after", "60", "--json")
        async with telcoflow(*call) as calling:
            async with asyncio.timeout(START_TIMEOUT_S):
                calls: list[dict[str, object]] = []
                while not any(one["state"] == "ANSWERED" for one in calls):
                    finished = await telcoflow_finished("top", "--url", server.url, "--json")
                    assert finished.exit_code == 0, finished.stderr
                    assert finished.stdout.count("\n") == 1
                    calls = json.loads(finished.stdout)["calls"]
            table = await telcoflow_finished(
                "top", "--url", server.url, variables={"COLUMNS": "120"}
            )
            calling.signal(signal.SIGINT)
            await calling.finished()
        after = await telcoflow_finished("top", "--url", server.url)

    assert table.exit_code == 0
    assert "1 call " in table.stdout
    assert "ANSWERED" in table.stdout
    assert str(calls[0]["call_id"])[:8] in table.stdout
    assert "0 calls" in after.stdout
    assert "caller_hung_up" in after.stdout


@pytest.mark.slow
async def test_on_a_terminal_it_goes_on_until_told_to_stop() -> None:
    async with sandbox() as server:
        ours, theirs = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "telcoflow_server.cli", "top", "--url", server.url,
            "--interval", "0.1", stdout=theirs, stderr=theirs,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
        )  # fmt: skip
        os.close(theirs)
        seen = b""
        while seen.count(b"0 calls") < 3:
            seen += await asyncio.to_thread(os.read, ours, 65536)
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
        os.close(ours)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ws://127.0.0.1:1", "no server at ws://127.0.0.1:1"),
        ("http://127.0.0.1:1", "'http://127.0.0.1:1' is no address such as ws://127.0.0.1:8080"),
    ],
)
def test_says_in_one_line_where_no_server_is(url: str, said: str) -> None:
    finished = telcoflow_here("top", "--url", url)

    assert finished.exit_code == 1
    assert finished.stdout == ""
    assert finished.stderr == f"telcoflow: {said}\n"
