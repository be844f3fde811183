"""`examples/openai_realtime.py`, with the vendor's client, against a stand-in of the service."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from telcoflow_sdk.testing import LivePhone, Sandbox
from tests.integrations.findings import Findings
from tests.integrations.openai.standin import (
    KEY,
    OpenAIService,
    OpenAISession,
    Response,
    function_call,
)
from tests.integrations.service import serving
from tests.integrations.stage import (
    ANSWER,
    ANSWER_MS,
    MS,
    NEXT,
    agent,
    chunks,
    dial,
    heard_frames,
    heard_of_answer,
    listen_to,
    piece,
    spoken,
    stop_ms,
)
from tests.positions.ruler import ruler

# Runs `uname`, once in a process. The client does it for a header, on the event loop.
platform.platform()


@dataclass(slots=True)
class Stage:
    """Who takes part."""

    sandbox: Sandbox
    service: OpenAIService

    async def call(self) -> tuple[LivePhone, OpenAISession]:
        """Call the agent; returns when it waits for the greeting."""
        phone = await dial(self.sandbox)
        session = await self.service.session()
        await session.wanted("session.update")
        await session.wanted("response.create")
        return phone, session


@pytest.fixture
async def stage(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    service = OpenAIService()
    async with serving(service, "/v1/realtime"):
        base = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{service.url}/v1"}
        async with agent(sandbox, "openai_realtime", monkeypatch, **base):
            yield Stage(sandbox, service)


async def whole_answer(session: OpenAISession, pcm: bytes, size: int = 9_600) -> Response:
    """Send an answer as fast as it goes."""
    response = await begin_answer(session, pcm, size)
    await session.end(response)
    return response


async def begin_answer(session: OpenAISession, pcm: bytes, size: int = 9_600) -> Response:
    """Send the audio of an answer as fast as it goes."""
    response = await session.begin()
    await session.audio_begins(response)
    for chunk in chunks(pcm, size):
        await session.say(response, chunk)
    return response


@pytest.mark.parametrize("size", [9_600, 4_801, 1])
async def test_an_answer_faster_than_real_time_is_heard_whole(stage: Stage, size: int) -> None:
    phone, session = await stage.call()
    pcm = piece(0, 1_200 if size > 1 else 60)

    await whole_answer(session, pcm, size)
    recording = await phone.listen_until_quiet(0.5)

    assert spoken(recording.samples) == pcm


async def test_the_model_hears_every_sample_of_the_caller(stage: Stage) -> None:
    phone, session = await stage.call()

    await phone.say(ruler(0, 24_000))
    await phone.listen(0.1)
    await phone.hang_up()
    await session.is_closed.wait()

    assert ruler(0, 24_000).tobytes() in bytes(session.audio)


async def test_interrupted_before_the_first_byte_nothing_of_it_is_heard(stage: Stage) -> None:
    phone, session = await stage.call()
    response = await session.begin()
    await session.caller_speaks(response)
    await session.audio_begins(response)
    await session.say(response, ANSWER)  # late: it was under way

    await whole_answer(session, NEXT)
    await phone.listen_until_quiet(0.5)

    assert heard_of_answer(phone) == 0
    assert session.not_yet_received == 0  # there was nothing to be truncated


@pytest.mark.parametrize("is_sent", [False, True], ids=["in the middle", "after all was sent"])
async def test_interrupted_while_it_is_heard_the_model_is_told_what_was(
    stage: Stage, is_sent: bool, findings: Findings
) -> None:
    phone, session = await stage.call()
    response = await begin_answer(session, ANSWER[:-9_600])
    if is_sent:
        await session.say(response, ANSWER[-9_600:])
        await session.end(response)
    await listen_to(phone, 600)

    frames = heard_frames(phone)
    await session.caller_speaks(None if is_sent else response)
    if not is_sent:
        await session.say(response, ANSWER[-9_600:])  # late
    await whole_answer(session, NEXT)  # at once: it is not waited for the truncation
    truncation = await session.wanted("conversation.item.truncate")
    await phone.listen_until_quiet(0.5)

    samples = heard_of_answer(phone)
    assert session.refused == 0
    assert truncation["item_id"] == response.item
    assert truncation["audio_end_ms"] == int(samples / MS)
    assert 600 <= truncation["audio_end_ms"] < ANSWER_MS
    moment = "after all was sent" if is_sent else "in the middle"
    findings.note(
        f"openai, {moment}",
        stop_ms(phone, frames, samples),
        truncation["audio_end_ms"],
        samples / MS,
    )


async def test_interrupted_with_two_answers_queued_the_second_was_not_heard_at_all(
    stage: Stage,
) -> None:
    phone, session = await stage.call()
    first = await whole_answer(session, ANSWER[: 1_000 * 48])
    second = await whole_answer(session, ANSWER[1_000 * 48 :])
    await listen_to(phone, 300)

    await session.caller_speaks()
    truncations = [await session.wanted("conversation.item.truncate") for _ in range(2)]
    await whole_answer(session, NEXT)
    await phone.listen_until_quiet(0.5)

    cuts = [(one["item_id"], one["audio_end_ms"]) for one in truncations]
    assert cuts == [(first.item, int(heard_of_answer(phone) / MS)), (second.item, 0)]


async def test_an_answer_heard_to_its_end_is_not_truncated(stage: Stage) -> None:
    phone, session = await stage.call()
    await whole_answer(session, ANSWER)
    await phone.listen_until_quiet(0.3)

    await session.caller_speaks()
    await whole_answer(session, NEXT)
    await phone.listen_until_quiet(0.5)

    assert heard_of_answer(phone) == ANSWER_MS * MS
    assert session.not_yet_received == 0


async def test_a_tool_is_called_and_the_model_told(stage: Stage) -> None:
    _, session = await stage.call()
    response = await session.begin()
    call = function_call("get_time")
    await session.end(response, "completed", call)

    told = (await session.wanted("conversation.item.create"))["item"]
    await session.wanted("response.create")

    assert told.pop("output").startswith("20")
    assert told == {"type": "function_call_output", "call_id": call["call_id"]}


async def test_the_goodbye_is_heard_before_the_hang_up(stage: Stage) -> None:
    phone, session = await stage.call()
    response = await begin_answer(session, ANSWER)
    await session.end(response, "completed", function_call("hang_up"))

    assert await phone.ended() == "agent_closed"

    assert spoken(phone.heard.samples) == ANSWER
    await session.is_closed.wait()


async def test_a_goodbye_that_the_caller_interrupts_ends_nothing(stage: Stage) -> None:
    phone, session = await stage.call()
    response = await begin_answer(session, ANSWER)
    await listen_to(phone, 100)
    await session.caller_speaks()
    await session.end(response, "cancelled", function_call("hang_up"))

    await whole_answer(session, NEXT)
    await phone.listen_until_quiet(0.5)

    assert heard_of_answer(phone) < ANSWER_MS * MS
    assert phone.end_reason is None


async def test_the_caller_hangs_up_first_and_the_session_is_closed(stage: Stage) -> None:
    phone, session = await stage.call()
    response = await begin_answer(session, ANSWER)
    await listen_to(phone, 100)

    assert await phone.hang_up() == "caller_hung_up"

    await session.is_closed.wait()
    with pytest.raises(ConnectionError):
        await session.say(response, ANSWER)


async def test_an_error_that_the_service_goes_on_after_is_only_printed(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    phone, session = await stage.call()
    await session.error("conversation_already_has_active_response")
    await whole_answer(session, NEXT)
    await phone.listen_until_quiet(0.5)

    assert heard_of_answer(phone) == 0
    assert "conversation_already_has_active_response" in capsys.readouterr().out


async def test_calls_do_not_disturb_each_other(stage: Stage) -> None:
    calls = [await stage.call() for _ in range(2)]
    await asyncio.gather(*(whole_answer(session, ANSWER) for _, session in calls))
    await asyncio.gather(*(phone.listen_until_quiet(0.5) for phone, _ in calls))

    assert [spoken(phone.heard.samples) for phone, _ in calls] == [ANSWER, ANSWER]
