"""`examples/gemini_live.py`, with the vendor's client, against a stand-in of the service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np
import pytest

from telcoflow_sdk.testing import LivePhone, Sandbox
from tests.integrations.findings import Findings
from tests.integrations.gemini_live import KEY, GeminiService, GeminiSession, say, whole_turn
from tests.integrations.stage import (
    ANSWER,
    ANSWER_MS,
    MS,
    NEXT,
    agent,
    dial,
    heard_frames,
    heard_of_answer,
    listen_to,
    piece,
    spoken,
    stop_ms,
)
from tests.positions.ruler import ruler


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
    async with agent(sandbox, "gemini_live", monkeypatch, GEMINI_API_KEY=KEY):
        yield Stage(sandbox, service)


@pytest.mark.parametrize("size", [9_600, 4_801, 1])
async def test_an_answer_faster_than_real_time_is_heard_whole(stage: Stage, size: int) -> None:
    phone, session = await stage.call()
    pcm = piece(0, 1_200 if size > 1 else 60)

    await whole_turn(session, pcm, size)
    recording = await phone.listen_until_quiet(0.5)

    assert spoken(recording.samples) == pcm


async def test_many_turns_are_heard_though_receive_ends_with_each(stage: Stage) -> None:
    phone, session = await stage.call()

    for first_ms in range(0, 600, 60):
        await whole_turn(session, piece(first_ms, 60))
    recording = await phone.listen_until_quiet(0.5)

    assert spoken(recording.samples) == piece(0, 600)


async def test_the_end_of_a_turn_may_come_with_its_last_audio(stage: Stage) -> None:
    phone, session = await stage.call()

    await session.say(piece(0, 100), turnComplete=True)
    await session.say(piece(100, 100), turnComplete=True)
    recording = await phone.listen_until_quiet(0.5)

    assert spoken(recording.samples) == piece(0, 200)


async def test_the_model_hears_every_sample_of_the_caller(stage: Stage) -> None:
    phone, session = await stage.call()

    await phone.say(ruler(0, 24_000))
    await phone.listen(0.1)
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
    findings.note(f"gemini, {moment}", stop_ms(phone, frames, samples), None, samples / MS)


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


async def test_a_goodbye_that_the_caller_interrupts_ends_nothing(stage: Stage) -> None:
    phone, session = await stage.call()
    await session.call_tool("hang_up")
    await session.wanted("tool_response")
    await say(session, ANSWER)
    await listen_to(phone, 100)
    await session.interrupt()
    await session.content(turnComplete=True)

    await whole_turn(session, NEXT)
    await phone.listen_until_quiet(0.5)

    assert heard_of_answer(phone) < ANSWER_MS * MS
    assert phone.end_reason is None


async def test_the_caller_hangs_up_first_and_the_session_is_closed(stage: Stage) -> None:
    phone, session = await stage.call()
    await say(session, ANSWER)
    await listen_to(phone, 100)

    assert await phone.hang_up() == "caller_hung_up"

    await session.is_closed.wait()


# --- sessions end, and go on -----------------------------------------------------------------


async def test_the_service_goes_away_and_another_connection_goes_on(stage: Stage) -> None:
    phone, session = await stage.call()
    await session.offer_handle("handle-1")
    await say(session, piece(0, 300))
    await session.go_away()  # in the middle of a turn, which is let finish
    await say(session, piece(300, 300))
    await session.end_turn()

    again = await stage.service.session()
    await again.wanted("setup")
    await whole_turn(again, piece(600, 300))
    await phone.listen_until_quiet(0.5)

    assert again.resumed == "handle-1"
    assert spoken(phone.heard.samples) == piece(0, 900)
    await session.is_closed.wait()


async def test_the_service_goes_away_in_silence(stage: Stage) -> None:
    phone, session = await stage.call()
    await session.offer_handle("handle-1")
    await whole_turn(session, piece(0, 100))
    await session.go_away()

    again = await stage.service.session()
    await again.wanted("setup")
    await whole_turn(again, piece(100, 300))
    await phone.listen_until_quiet(0.5)

    assert spoken(phone.heard.samples) == piece(0, 400)


async def test_of_the_caller_nothing_is_lost_between_two_connections(stage: Stage) -> None:
    phone, session = await stage.call()
    await session.offer_handle("handle-1")
    await session.go_away()
    await phone.say(ruler(0, 36_000))

    again = await stage.service.session()
    await phone.listen(0.1)
    await phone.hang_up()
    await again.is_closed.wait()

    said = np.frombuffer(bytes(session.audio + again.audio), "<i2")
    assert ruler(0, 36_000).tobytes() in said[said != 0].astype("<i2").tobytes()


async def test_a_lost_connection_is_made_anew(stage: Stage) -> None:
    phone, session = await stage.call()
    await session.offer_handle("handle-1")
    await say(session, piece(0, 300))
    await listen_to(phone, 20)
    session.drop()

    again = await stage.service.session()
    await again.wanted("setup")
    await whole_turn(again, piece(300, 300))
    await phone.listen_until_quiet(0.5)

    assert again.resumed == "handle-1"
    assert spoken(phone.heard.samples) == piece(0, 600)
