"""The code of docs/how-to/livekit-agents.md, run."""

from __future__ import annotations

from typing import Any

from livekit.agents import Agent, AgentSession

from telcoflow_sdk import ActiveCall, TelcoflowClientConfig
from telcoflow_sdk.testing import Conversation, Sandbox, running, virtual_time
from tests.integrations.livekit.stage import frames
from tests.integrations.stage import ANSWER, spoken
from tests.positions.stage import serving
from tests.support.pages import ROOT, blocks

PAGE = ROOT / "docs" / "how-to" / "livekit-agents.md"


def names() -> dict[str, Any]:
    """Return all that the page's files define."""
    defined: dict[str, Any] = {}
    for block in blocks("python"):
        if block.page == PAGE:
            exec(compile(block.text, block.name, "exec"), defined)
    return defined


@virtual_time
async def test_the_greeter_greets_and_leaves(sandbox: Sandbox) -> None:
    page = names()
    config = TelcoflowClientConfig.sandbox(**sandbox.credentials)
    async with running(page["serve"](config, page["make_session"], page["Greeter"])):
        phone = await sandbox.dial()
        reason = await phone.ended()

    assert reason == "agent_closed"
    assert spoken(phone.heard.samples) == page["GREETING"]
    assert Conversation.of(phone).assert_greets_within(100) <= 100


@virtual_time
async def test_the_parts_are_enough(sandbox: Sandbox) -> None:
    start = names()["start"]

    async def take(call: ActiveCall) -> None:
        await call.answer()
        session: AgentSession[Any] = AgentSession()
        output = await start(session, Agent(instructions=""), call)
        await session.say("...", audio=frames(ANSWER))
        await session.aclose()
        await output.aclose()
        await call.close()

    async with serving(sandbox, take):
        phone = await sandbox.dial()
        await phone.ended()

    assert spoken(phone.heard.samples) == ANSWER
