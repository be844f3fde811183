"""What an agent on Gemini Live must do whichever of the vendor's libraries it uses.

Each module that tests one has a class of these tests, and makes the `stage` for them.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from telcoflow_sdk.testing import LivePhone, Sandbox
from tests.integrations.findings import Findings
from tests.integrations.gemini_live import GeminiService, GeminiSession, say, whole_turn
from tests.integrations.stage import (
    ANSWER,
    ANSWER_MS,
    MS,
    NEXT,
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
    """Who takes part; `name` is that of the library."""

    name: str
    sandbox: Sandbox
    service: GeminiService

    async def call(self) -> tuple[LivePhone, GeminiSession]:
        """Call the agent; returns when it waits for the greeting."""
        phone = await dial(self.sandbox)
        session = await self.service.session()
        await session.greeting_wanted()
        return phone, session


class AnyGeminiAgent:
    """Tests of one agent."""

    async def test_many_turns_are_heard(self, stage: Stage) -> None:
        phone, session = await stage.call()

        for first_ms in range(0, 600, 60):
            await whole_turn(session, piece(first_ms, 60))
        await phone.listen_until_quiet(0.5)

        assert spoken(phone.heard.samples) == piece(0, 600)

    async def test_the_model_hears_every_sample_of_the_caller(self, stage: Stage) -> None:
        phone, session = await stage.call()

        await phone.say(ruler(0, 24_000))
        await phone.listen(0.2)
        await phone.hang_up()
        await session.is_closed.wait()

        assert ruler(0, 24_000).tobytes() in bytes(session.audio)

    async def test_interrupted_before_the_first_byte_nothing_of_it_is_heard(
        self, stage: Stage
    ) -> None:
        phone, session = await stage.call()
        await session.interrupt()
        await say(session, ANSWER)  # late: it was under way
        await session.content(turnComplete=True)

        await whole_turn(session, NEXT)
        await phone.listen_until_quiet(0.5)

        assert heard_of_answer(phone) == 0

    @pytest.mark.parametrize("is_sent", [False, True], ids=["in the middle", "after all was sent"])
    async def test_interrupted_while_it_is_heard_nothing_of_it_comes_back(
        self, stage: Stage, is_sent: bool, findings: Findings
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
        findings.note(
            f"{stage.name}, {moment}", stop_ms(phone, frames, samples), None, samples / MS
        )

    async def test_a_tool_is_called_and_the_model_told(self, stage: Stage) -> None:
        _, session = await stage.call()
        call_id = await session.call_tool("get_time")

        (told,) = (await session.wanted("tool_response"))["functionResponses"]

        assert told.pop("response")["result"].startswith("20")
        assert told == {"id": call_id, "name": "get_time"}

    async def test_the_goodbye_after_the_tool_is_heard_before_the_hang_up(
        self, stage: Stage
    ) -> None:
        phone, session = await stage.call()
        await session.call_tool("hang_up")
        await session.wanted("tool_response")
        await whole_turn(session, ANSWER)

        assert await phone.ended() == "agent_closed"

        assert spoken(phone.heard.samples) == ANSWER
        await session.is_closed.wait()

    async def test_the_caller_hangs_up_first_and_the_session_is_closed(self, stage: Stage) -> None:
        phone, session = await stage.call()
        await say(session, ANSWER)
        await listen_to(phone, 100)

        assert await phone.hang_up() == "caller_hung_up"

        await session.is_closed.wait()
