"""`examples/adk_agent.py`, with the vendor's kit, against a stand-in of Gemini Live.

Written against `google-adk` 2.13.0, which makes lost connections anew by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from telcoflow_sdk.testing import Sandbox
from tests.integrations.gemini_contract import AnyGeminiAgent, Stage
from tests.integrations.gemini_live import KEY, GeminiService, GeminiSession, whole_turn
from tests.integrations.stage import (
    ANSWER,
    APOLOGY,
    agent,
    apology_file,
    dial,
    example_finished,
    listen_to,
    piece,
    spoken,
)
from tests.support.commands import ROOT

Step = Callable[[GeminiSession], Awaitable[object]]


@pytest.fixture
async def stage(
    sandbox: Sandbox, service: GeminiService, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    async with agent(sandbox, "adk_agent", monkeypatch, GOOGLE_API_KEY=KEY):
        yield Stage("adk", sandbox, service)


class TestAdkAgent(AnyGeminiAgent):
    """What any agent on Gemini Live must do."""


@pytest.mark.parametrize("size", [9_600, 4_801])
async def test_an_answer_faster_than_real_time_is_heard_whole(stage: Stage, size: int) -> None:
    phone, session = await stage.call()

    await whole_turn(session, ANSWER, size)
    await phone.listen_until_quiet(0.5)

    assert spoken(phone.heard.samples) == ANSWER


@pytest.mark.parametrize("loss", ["goes away", "drops"])
async def test_another_connection_goes_on(stage: Stage, loss: str) -> None:
    phone, session = await stage.call()
    await session.offer_handle("handle-1")
    await whole_turn(session, piece(0, 300))
    await listen_to(phone, 20)
    if loss == "drops":
        session.drop()
    else:
        await session.go_away()

    again = await stage.service.session()
    await again.wanted("setup")
    await whole_turn(again, piece(300, 300))
    await phone.listen_until_quiet(0.5)

    assert again.resumed == "handle-1"
    assert spoken(phone.heard.samples) == piece(0, 600)


async def drop(session: GeminiSession) -> None:
    session.drop()


FAILURES: dict[str, tuple[Step, str]] = {
    "the model is not there": (
        lambda session: session.close(1008, "models/x is not found"),
        "the model's service refused us (",
    ),
    "another rate": (
        lambda session: session.say(ANSWER, "audio/pcm;rate=16000"),
        "the model sends audio of 16000 Hz and the call carries 24000 Hz: set sample_rate",
    ),
    "text in place of audio": (
        lambda session: session.say(b"Hello!", "text/plain"),
        "the model sent 'text/plain' where raw PCM was expected",
    ),
    "the connection is lost": (drop, "the conversation with the model failed ("),
    "an internal error": (lambda session: session.close(1011, "oops"), "1011)"),
    "the session ends": (lambda session: session.close(1000), "Gemini has ended the session"),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_the_caller_hears_an_apology_and_the_developer_the_reason(
    failure: str,
    sandbox: Sandbox,
    service: GeminiService,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    step, reason = FAILURES[failure]
    variables = {"GOOGLE_API_KEY": KEY, "APOLOGY_WAV": apology_file(tmp_path)}
    async with agent(sandbox, "adk_agent", monkeypatch, **variables):
        phone, session = await Stage("adk", sandbox, service).call()
        await step(session)

        assert await phone.ended() == "agent_closed"

    assert spoken(phone.heard.samples) == APOLOGY
    assert reason in caplog.text


async def test_a_rejected_key_is_named(
    sandbox: Sandbox,
    service: GeminiService,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    wrong = "key-not-the-right-one"
    variables = {"GOOGLE_API_KEY": wrong, "APOLOGY_WAV": apology_file(tmp_path)}
    async with agent(sandbox, "adk_agent", monkeypatch, **variables):
        phone = await dial(sandbox)
        assert await phone.ended() == "agent_closed"

    assert spoken(phone.heard.samples) == APOLOGY
    assert ", 1007): check GOOGLE_API_KEY" in caplog.text
    assert wrong not in caplog.text


async def test_without_a_key_it_says_which_variable_is_missing() -> None:
    finished = await example_finished("adk_agent", GOOGLE_API_KEY="")

    assert finished.exit_code == 1
    assert "GOOGLE_API_KEY is not set" in finished.stderr


async def test_without_the_library_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "google").mkdir()
    (tmp_path / "google" / "__init__.py").write_text("")
    path = f"{tmp_path}:{ROOT / 'src'}"
    finished = await example_finished("adk_agent", PYTHONPATH=path)

    assert finished.exit_code == 1
    assert 'pip install "telcoflow-sdk[adk]"' in finished.stderr
