"""`examples/gemini_live.py` when something is wrong: what is said, heard, and left."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from telcoflow_sdk.testing import LivePhone, Sandbox
from tests.integrations.gemini_live import KEY, GeminiService, GeminiSession
from tests.integrations.stage import (
    ANSWER,
    APOLOGY,
    NEXT,
    agent,
    apology_file,
    dial,
    example_finished,
    listen_to,
    spoken,
    wav,
)
from tests.support.commands import ROOT

Step = Callable[[GeminiSession], Awaitable[object]]


@asynccontextmanager
async def calling(
    sandbox: Sandbox,
    service: GeminiService,
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    **variables: str,
) -> AsyncIterator[LivePhone]:
    """Call an agent that has an apology."""
    variables = {"GEMINI_API_KEY": KEY, "APOLOGY_WAV": apology_file(folder)} | variables
    async with agent(sandbox, "gemini_live", monkeypatch, **variables):
        yield await dial(sandbox)


async def test_a_rejected_key_is_named(
    sandbox: Sandbox,
    service: GeminiService,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    wrong = "key-not-the-right-one"
    async with calling(sandbox, service, monkeypatch, tmp_path, GEMINI_API_KEY=wrong) as phone:
        assert await phone.ended() == "agent_closed"

    assert spoken(phone.heard.samples) == APOLOGY
    # The client finds out while it sends, or while it waits for an answer.
    assert "refused us (" in caplog.text
    assert ", 1007): check GEMINI_API_KEY" in caplog.text
    assert wrong not in caplog.text


async def drop(session: GeminiSession) -> None:
    session.drop()


async def say_wav(session: GeminiSession) -> None:
    await session.say(wav(16_000, ANSWER))


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
    "a WAV file of another rate": (say_wav, "this WAV is 16000 Hz"),
    "the connection is lost": (drop, "the conversation with the model failed ("),
    "an internal error": (lambda session: session.close(1011, "oops"), "1011)"),
    "the session ends": (lambda session: session.close(1000), "the conversation with the model"),
    "no JSON": (
        lambda session: session.socket.send_str("Hello!"),
        "the conversation with the model failed (ValueError)",
    ),
    "a tool that there is not": (
        lambda session: session.call_tool("fly"),
        "the conversation with the model failed (KeyError)",
    ),
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
    async with calling(sandbox, service, monkeypatch, tmp_path) as phone:
        session = await service.session()
        await session.greeting_wanted()
        await step(session)

        assert await phone.ended() == "agent_closed"

    assert spoken(phone.heard.samples) == APOLOGY
    assert reason in caplog.text


async def test_a_connection_that_is_lost_again_at_once_is_given_up(
    sandbox: Sandbox,
    service: GeminiService,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with calling(sandbox, service, monkeypatch, tmp_path) as phone:
        session = await service.session()
        await session.greeting_wanted()
        await session.offer_handle("handle-1")
        await session.say(NEXT)
        await listen_to(phone, 20)
        session.drop()
        again = await service.session()
        await again.wanted("setup")
        again.drop()

        assert await phone.ended() == "agent_closed"

    assert spoken(phone.heard.samples) == NEXT + APOLOGY
    assert "the conversation with the model failed (" in caplog.text


@pytest.mark.long  # until the buffers of both kernels are full
async def test_a_service_that_stops_reading_is_given_up(
    sandbox: Sandbox,
    service: GeminiService,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with calling(sandbox, service, monkeypatch, tmp_path) as phone:
        session = await service.session()
        await session.greeting_wanted()
        session.stop_reading()

        assert await phone.ended() == "agent_closed"
        session.drop()

    assert spoken(phone.heard.samples) == APOLOGY
    # Which of the two is first depends on the buffers of TLS: the client's own pings go unanswered.
    texts = ("the model has taken no audio for 5 s", "the conversation with the model failed (")
    assert any(text in caplog.text for text in texts)


async def test_without_a_key_it_says_which_variable_is_missing() -> None:
    finished = await example_finished("gemini_live", GEMINI_API_KEY="")

    assert finished.exit_code == 1
    assert finished.stderr.startswith("GEMINI_API_KEY is not set")


async def test_without_the_library_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "google").mkdir()
    (tmp_path / "google" / "__init__.py").write_text("")
    path = f"{tmp_path}:{ROOT / 'src'}"
    finished = await example_finished("gemini_live", PYTHONPATH=path)

    assert finished.exit_code == 1
    assert 'pip install "telcoflow-sdk[gemini]"' in finished.stderr
