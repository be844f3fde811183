"""`examples/adk_agent.py`, with the vendor's kit, against a stand-in of Gemini Live.

Written against `google-adk` 2.13.0, which makes lost connections anew by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from telcoflow_sdk.testing import LivePhone, Sandbox
from tests.integrations.findings import Findings
from tests.integrations.gemini_live import KEY, GeminiService, GeminiSession, say, whole_turn
from tests.integrations.stage import (
    ANSWER,
    ANSWER_MS,
    APOLOGY,
    MS,
    NEXT,
    agent,
    apology_file,
    dial,
    example_finished,
    heard_frames,
    heard_of_answer,
    listen_to,
    piece,
    spoken,
    stop_ms,
)
from tests.positions.ruler import ruler
from tests.support.commands import ROOT

Step = Callable[[GeminiSession], Awaitable[object]]


@dataclass(slots=True)
class Stage:
    """Who takes part."""

    sandbox: Sandbox
    service: GeminiService

    async def call(self) -> tuple[LivePhone, GeminiSession]:
        """Call the agent; returns when it waits for the greeting."""
        phone = await dial(self.sandbox)
        session = await self.service.session()
        await session.greeting_wanted()
        return phone, session


@pytest.fixture
async def stage(
    sandbox: Sandbox, service: GeminiService, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    async with agent(sandbox, "adk_agent", monkeypatch, GOOGLE_API_KEY=KEY):
        yield Stage(sandbox, service)


@pytest.mark.parametrize("size", [9_600, 4_801])
async def test_an_answer_faster_than_real_time_is_heard_whole(stage: Stage, size: int) -> None:
    phone, session = await stage.call()

    await whole_turn(session, ANSWER, size)
    await phone.listen_until_quiet(0.5)

    assert spoken(phone.heard.samples) == ANSWER


async def test_many_turns_are_heard(stage: Stage) -> None:
    phone, session = await stage.call()

    for first_ms in range(0, 600, 60):
        await whole_turn(session, piece(first_ms, 60))
    await phone.listen_until_quiet(0.5)

    assert spoken(phone.heard.samples) == piece(0, 600)


async def test_the_model_hears_every_sample_of_the_caller(stage: Stage) -> None:
    phone, session = await stage.call()

    await phone.say(ruler(0, 24_000))
    await phone.listen(0.2)
    await phone.hang_up()
    await session.is_closed.wait()

    assert ruler(0, 24_000).tobytes() in bytes(session.audio)


async def test_interrupted_before_the_first_byte_nothing_of_it_is_heard(stage: Stage) -> None:
    phone, session = await stage.call()
    await session.interrupt()
    await say(session, ANSWER)  # late: it was under way
    await session.content(turnComplete=True)

    await whole_turn(session, NEXT)
    await phone.listen_until_quiet(0.5)

    assert heard_of_answer(phone) == 0


@pytest.mark.parametrize("is_sent", [False, True], ids=["in the middle", "after all was sent"])
async def test_interrupted_while_it_is_heard_nothing_of_it_comes_back(
    stage: Stage, is_sent: bool, findings: Findings
) -> None:
    phone, session = await stage.call()
    await say(session, ANSWER if is_sent else ANSWER[:-9_600])
    if is_sent:  # the turn itself ends when the service believes that it was heard
        await session.content(generationComplete=True)
    await listen_to(phone, 600)

    frames = heard_frames(phone)
    await session.interrupt(b"" if is_sent else ANSWER[-9_600:-4_800])
    if not is_sent:
        await session.say(ANSWER[-4_800:])  # late
    await session.content(turnComplete=True)
    await whole_turn(session, NEXT)
    await phone.listen_until_quiet(0.5)

    samples = heard_of_answer(phone)
    assert 600 <= samples / MS < ANSWER_MS
    moment = "after all was sent" if is_sent else "in the middle"
    findings.note(f"adk, {moment}", stop_ms(phone, frames, samples), None, samples / MS)


async def test_a_tool_is_called_and_the_model_told(stage: Stage) -> None:
    _, session = await stage.call()
    call_id = await session.call_tool("get_time")

    (told,) = (await session.wanted("tool_response"))["functionResponses"]

    assert told.pop("response")["result"].startswith("20")
    assert told == {"id": call_id, "name": "get_time"}


async def test_the_goodbye_after_the_tool_is_heard_before_the_hang_up(stage: Stage) -> None:
    phone, session = await stage.call()
    await session.call_tool("hang_up")
    await session.wanted("tool_response")
    await whole_turn(session, ANSWER)

    assert await phone.ended() == "agent_closed"

    assert spoken(phone.heard.samples) == ANSWER
    await session.is_closed.wait()


async def test_the_caller_hangs_up_first_and_the_session_is_closed(stage: Stage) -> None:
    phone, session = await stage.call()
    await say(session, ANSWER)
    await listen_to(phone, 100)

    assert await phone.hang_up() == "caller_hung_up"

    await session.is_closed.wait()


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
        phone, session = await Stage(sandbox, service).call()
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
