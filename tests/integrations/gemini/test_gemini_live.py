"""`examples/gemini_live.py`, with the vendor's client, against a stand-in of the service."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest

from telcoflow_sdk.testing import Sandbox
from tests.integrations.gemini_contract import AnyGeminiAgent, Stage
from tests.integrations.gemini_live import KEY, GeminiService, say, whole_turn
from tests.integrations.stage import (
    ANSWER,
    ANSWER_MS,
    MS,
    NEXT,
    agent,
    heard_of_answer,
    listen_to,
    piece,
    spoken,
)
from tests.positions.ruler import ruler


@pytest.fixture
async def stage(
    sandbox: Sandbox, service: GeminiService, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    async with agent(sandbox, "gemini_live", monkeypatch, GEMINI_API_KEY=KEY):
        yield Stage("gemini", sandbox, service)


class TestGeminiLive(AnyGeminiAgent):
    """What any agent on Gemini Live must do."""


@pytest.mark.parametrize("size", [9_600, 4_801, 1])
async def test_an_answer_faster_than_real_time_is_heard_whole(stage: Stage, size: int) -> None:
    phone, session = await stage.call()
    pcm = piece(0, 1_200 if size > 1 else 60)

    await whole_turn(session, pcm, size)
    recording = await phone.listen_until_quiet(0.5)

    assert spoken(recording.samples) == pcm


async def test_the_end_of_a_turn_may_come_with_its_last_audio(stage: Stage) -> None:
    phone, session = await stage.call()

    await session.say(piece(0, 100), turnComplete=True)
    await session.say(piece(100, 100), turnComplete=True)
    recording = await phone.listen_until_quiet(0.5)

    assert spoken(recording.samples) == piece(0, 200)


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
