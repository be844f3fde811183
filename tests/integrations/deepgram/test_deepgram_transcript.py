"""`examples/deepgram_transcript.py`, with the vendor's client, against a stand-in."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from telcoflow_sdk.testing import LiveCallee, LivePhone, Sandbox
from tests.integrations.deepgram.standin import KEY, PATH, DeepgramService, DeepgramSession
from tests.integrations.service import serving
from tests.integrations.stage import agent, example_finished
from tests.positions.ruler import ruler
from tests.support.commands import ROOT

# The client is written for an older `websockets`, and works with the current one.
pytestmark = pytest.mark.filterwarnings("ignore:websockets")


@dataclass(slots=True)
class Connected:
    """Two people who talk, and whoever listens."""

    caller: LivePhone
    callee: LiveCallee
    sessions: dict[str, DeepgramSession]


@pytest.fixture
async def service() -> AsyncIterator[DeepgramService]:
    running = DeepgramService()
    async with serving(running, PATH):
        yield running


@asynccontextmanager
async def transcribed(
    sandbox: Sandbox, service: DeepgramService, monkeypatch: pytest.MonkeyPatch, **variables: str
) -> AsyncIterator[tuple[LivePhone, LiveCallee]]:
    """Let two people be connected by the agent."""
    url = service.url.replace("http", "ws")
    variables = {"DEEPGRAM_API_KEY": KEY, "DEEPGRAM_URL": url} | variables
    async with agent(sandbox, "deepgram_transcript", monkeypatch, **variables):
        callee = sandbox.callee(after_s=0.1)
        caller = await sandbox.dial()
        await caller.answered()
        await callee.answered()
        yield caller, callee


@asynccontextmanager
async def connected(
    sandbox: Sandbox, service: DeepgramService, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Connected]:
    """Let two people talk, once both are listened to; each says a little."""
    async with transcribed(sandbox, service, monkeypatch) as (caller, callee):
        pair = [await service.session(), await service.session()]
        await caller.say(ruler(0, 12_000))
        await callee.say(ruler(30_000, 12_000))
        await caller.listen(0.1)
        by_caller = [ruler(0, 12_000).tobytes() in one.audio for one in pair]
        assert sorted(by_caller) == [False, True], "one leg for each connection"
        sessions = {"caller": pair[by_caller.index(True)], "callee": pair[by_caller.index(False)]}
        assert ruler(30_000, 12_000).tobytes() in sessions["callee"].audio
        yield Connected(caller, callee, sessions)


async def test_each_leg_is_heard_alone_and_shown_on_the_calls_axis(
    sandbox: Sandbox,
    service: DeepgramService,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with connected(sandbox, service, monkeypatch) as call:
        for leg, session in call.sessions.items():
            samples = np.frombuffer(bytes(session.audio), "<i2")
            start_s = float(np.flatnonzero(samples)[0]) / 24_000
            await session.result("not yet", start_s, is_final=False)
            await session.result("", start_s)
            await session.result(f"words of the {leg}", start_s)
        await call.caller.hang_up()
        for session in call.sessions.values():
            await session.is_closed.wait()

    lines = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1)[1] for line in sorted(lines)] == [
        "caller: words of the caller",
        "callee: words of the callee",
    ]
    spoke_ms = [1000 * float(line.split()[0]) for line in sorted(lines)]
    # Of the call's report: when each of them began to speak, in ms from when it was placed.
    assert spoke_ms[1] - spoke_ms[0] == pytest.approx(500, abs=100)
    assert call.caller.report is not None
    connected_ms = {one.name: one.at_ms for one in call.caller.report.states}["CONNECTED"]
    assert spoke_ms[0] >= connected_ms


async def test_the_last_words_are_shown_after_the_hang_up(
    sandbox: Sandbox,
    service: DeepgramService,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with connected(sandbox, service, monkeypatch) as call:
        session = call.sessions["caller"]
        session.finishes = False
        await call.caller.hang_up()
        await session.received(lambda message: message["type"] == "CloseStream")
        await session.finish(("goodbye", 1.0))
        await session.is_closed.wait()

    assert capsys.readouterr().out.endswith("caller: goodbye\n")


async def test_a_service_that_does_not_finish_is_left_after_five_seconds(
    sandbox: Sandbox, service: DeepgramService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(sandbox, service, monkeypatch) as call:
        for session in call.sessions.values():
            session.finishes = False
        await call.caller.hang_up()
        for session in call.sessions.values():
            await session.is_closed.wait()


async def test_a_lost_connection_is_made_anew_and_nothing_is_lost_of_what_was_said(
    sandbox: Sandbox,
    service: DeepgramService,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with connected(sandbox, service, monkeypatch) as call:
        session = call.sessions["caller"]
        await session.result("one", 0.0)
        await call.caller.listen(0.1)
        session.drop()
        await call.caller.say(ruler(12_000, 12_000))
        again = await service.session()
        await call.caller.listen(0.2)
        await again.result("two", again.duration_s)
        await call.caller.hang_up()
        await again.is_closed.wait()

    said = np.frombuffer(bytes(session.audio + again.audio), "<i2")
    assert ruler(12_000, 12_000).tobytes()[-20_000:] in said[said != 0].tobytes()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1)[1] for line in lines] == ["caller: one", "caller: two"]
    first_s, second_s = (float(line.split()[0]) for line in lines)
    assert second_s - first_s >= 1.0 + 0.5


@pytest.mark.parametrize("failure", ["key", "closes at once"])
async def test_without_the_transcript_the_two_go_on_talking(
    failure: str,
    sandbox: Sandbox,
    service: DeepgramService,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    wrong = "key-not-the-right-one"
    variables = {"DEEPGRAM_API_KEY": wrong} if failure == "key" else {}
    async with transcribed(sandbox, service, monkeypatch, **variables) as (caller, callee):
        if failure != "key":
            for _ in range(2):
                await (await service.session()).close(1008, "DATA-0000")
        while "ModelError" not in caplog.text:
            await caller.listen(0.02)
        await caller.say(ruler(0, 12_000))
        await callee.listen(0.1)
        samples = callee.heard.samples
        await caller.hang_up()

    assert ruler(0, 12_000).tobytes() in samples[samples != 0].tobytes()
    reasons = {
        "key": r"refused us \(ApiError, 401\): check DEEPGRAM_API_KEY",
        "closes at once": "Deepgram closes the connection: check DEEPGRAM_MODEL",
    }
    assert re.search(reasons[failure], caplog.text)
    assert wrong not in caplog.text


async def test_if_the_callee_does_not_come_it_says_so(
    sandbox: Sandbox,
    service: DeepgramService,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = service.url.replace("http", "ws")
    variables = {"DEEPGRAM_API_KEY": KEY, "DEEPGRAM_URL": url}
    async with agent(sandbox, "deepgram_transcript", monkeypatch, **variables):
        sandbox.callee(answers="busy", after_s=0.0)
        caller = await sandbox.dial()
        await caller.ended()

    assert capsys.readouterr().out.endswith(": CALL_BUSY\n")


async def test_without_a_key_it_says_which_variable_is_missing() -> None:
    finished = await example_finished("deepgram_transcript", DEEPGRAM_API_KEY="")

    assert finished.exit_code == 1
    assert "DEEPGRAM_API_KEY is not set" in finished.stderr


async def test_without_the_library_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "deepgram.py").write_text("")
    path = f"{tmp_path}:{ROOT / 'src'}"
    finished = await example_finished("deepgram_transcript", PYTHONPATH=path)

    assert finished.exit_code == 1
    assert 'pip install "telcoflow-sdk[deepgram]"' in finished.stderr
