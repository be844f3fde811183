"""`examples/openai_realtime.py` when something is wrong: what is said, heard, and left."""

from __future__ import annotations

import platform
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from telcoflow_sdk.testing import LivePhone, Sandbox
from tests.integrations.openai.standin import KEY, OpenAIService, OpenAISession
from tests.integrations.service import serving
from tests.integrations.stage import (
    ANSWER,
    APOLOGY,
    NEXT,
    agent,
    apology_file,
    chunks,
    dial,
    example_finished,
    listen_to,
    spoken,
    wav,
)
from tests.support.commands import ROOT

# Runs `uname`, once in a process. The client does it for a header, on the event loop.
platform.platform()

Step = Callable[[OpenAISession], Awaitable[object]]


@pytest.fixture
async def service() -> AsyncIterator[OpenAIService]:
    running = OpenAIService()
    async with serving(running, "/v1/realtime"):
        yield running


@asynccontextmanager
async def calling(
    sandbox: Sandbox,
    service: OpenAIService,
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    **variables: str,
) -> AsyncIterator[LivePhone]:
    """Call an agent that has an apology."""
    variables = {
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": f"{service.url}/v1",
        "APOLOGY_WAV": apology_file(folder),
    } | variables
    async with agent(sandbox, "openai_realtime", monkeypatch, **variables):
        yield await dial(sandbox)


async def test_a_rejected_key_is_named(
    sandbox: Sandbox,
    service: OpenAIService,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    wrong = "sk-not-the-right-one"
    async with calling(sandbox, service, monkeypatch, tmp_path, OPENAI_API_KEY=wrong) as phone:
        assert await phone.ended() == "agent_closed"

    assert spoken(phone.heard.samples) == APOLOGY
    assert "refused us (InvalidStatus, 401): check OPENAI_API_KEY" in caplog.text
    assert wrong not in caplog.text


async def test_a_service_that_is_not_there_is_said(
    sandbox: Sandbox,
    service: OpenAIService,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    nowhere = "http://127.0.0.1:1/v1"
    async with calling(sandbox, service, monkeypatch, tmp_path, OPENAI_BASE_URL=nowhere) as phone:
        assert await phone.ended() == "agent_closed"

    assert spoken(phone.heard.samples) == APOLOGY
    assert "the conversation with the model failed (ConnectionRefusedError)" in caplog.text


async def say(session: OpenAISession, pcm: bytes) -> None:
    response = await session.begin()
    await session.say(response, pcm)


async def fail(session: OpenAISession) -> None:
    details = {"type": "failed", "error": {"type": "t", "code": "insufficient_quota"}}
    await session.end(await session.begin(), "failed", details=details)


async def write(session: OpenAISession) -> None:
    where = {"response_id": "resp_0", "item_id": "item_0", "output_index": 0, "content_index": 0}
    await session.event("response.output_text.delta", delta="Hello!", **where)


async def send_text_as_audio(session: OpenAISession) -> None:
    where = {"response_id": "resp_0", "item_id": "item_0", "output_index": 0, "content_index": 0}
    await session.event("response.output_audio.delta", delta="Hello, caller!", **where)


async def expire(session: OpenAISession) -> None:
    await session.error("session_expired")
    await session.close(1001)


async def drop(session: OpenAISession) -> None:
    session.drop()


FAILURES: dict[str, tuple[Step, str]] = {
    "the session is refused": (
        lambda session: session.error("invalid_value"),
        "OpenAI refuses MODEL or SESSION: invalid_value",
    ),
    "no answer": (fail, "OpenAI cannot answer: insufficient_quota"),
    "text instead of audio": (write, "output_modalities must be audio"),
    "text in place of audio": (send_text_as_audio, "the conversation with the model failed (Error"),
    "a WAV file of another rate": (
        lambda session: say(session, wav(16_000, ANSWER)),
        "the model's audio cannot be played: this WAV is 16000 Hz",
    ),
    "half a WAV header": (
        lambda session: say(session, wav(24_000, ANSWER)[:20]),
        "the WAV header is cut short",
    ),
    "the hour is over": (expire, "OpenAI has ended the session"),
    "the connection is lost": (drop, "the conversation with the model failed (Connection"),
    "an internal error": (lambda session: session.close(1011, "oops"), "Error, 1011)"),
    "no JSON": (
        lambda session: session.socket.send_str("Hello!"),
        "the conversation with the model failed (JSONDecodeError)",
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_the_caller_hears_an_apology_and_the_developer_the_reason(
    failure: str,
    sandbox: Sandbox,
    service: OpenAIService,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    step, reason = FAILURES[failure]
    async with calling(sandbox, service, monkeypatch, tmp_path) as phone:
        session = await service.session()
        if failure != "the session is refused":
            await session.wanted("response.create")
        await step(session)

        assert await phone.ended() == "agent_closed"

    assert spoken(phone.heard.samples) == APOLOGY
    assert f"ModelError: {reason}" in caplog.text or reason in caplog.text


async def test_what_was_said_before_the_failure_is_heard_before_the_apology(
    sandbox: Sandbox, service: OpenAIService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with calling(sandbox, service, monkeypatch, tmp_path) as phone:
        session = await service.session()
        response = await session.begin()
        for chunk in chunks(NEXT, 9_600):
            await session.say(response, chunk)
        await listen_to(phone, 20)
        session.drop()

        await phone.ended()

    assert spoken(phone.heard.samples) == NEXT + APOLOGY


async def test_a_wav_header_in_front_of_audio_of_the_right_kind_is_left_out(
    sandbox: Sandbox, service: OpenAIService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with calling(sandbox, service, monkeypatch, tmp_path) as phone:
        session = await service.session()
        await say(session, wav(24_000, NEXT))
        await phone.listen_until_quiet(0.5)

    assert spoken(phone.heard.samples) == NEXT


@pytest.mark.long  # until the buffers of both kernels are full
async def test_a_service_that_stops_reading_is_given_up(
    sandbox: Sandbox,
    service: OpenAIService,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with calling(sandbox, service, monkeypatch, tmp_path) as phone:
        session = await service.session()
        await session.wanted("response.create")
        session.stop_reading()

        assert await phone.ended() == "agent_closed"
        session.drop()

    assert spoken(phone.heard.samples) == APOLOGY
    assert "the model has taken no audio for 5 s" in caplog.text


async def test_without_a_key_it_says_which_variable_is_missing() -> None:
    finished = await example_finished("openai_realtime", OPENAI_API_KEY="")

    assert finished.exit_code == 1
    assert finished.stderr.startswith("OPENAI_API_KEY is not set")


async def test_without_the_library_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "openai.py").write_text("raise ImportError")
    path = f"{tmp_path}:{ROOT / 'src'}"
    finished = await example_finished("openai_realtime", PYTHONPATH=path)

    assert finished.exit_code == 1
    assert 'pip install "telcoflow-sdk[openai]"' in finished.stderr
