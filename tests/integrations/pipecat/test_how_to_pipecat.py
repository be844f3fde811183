"""The code of docs/how-to/pipecat.md, run."""

from __future__ import annotations

from typing import Any

from telcoflow_sdk import TelcoflowClientConfig
from telcoflow_sdk.testing import Conversation, Sandbox, running, virtual_time
from tests.integrations.stage import listen_to, spoken
from tests.positions.ruler import ruler
from tests.support.pages import ROOT, blocks

PAGE = ROOT / "docs" / "how-to" / "pipecat.md"


def names() -> dict[str, Any]:
    """Return all that the page's files define."""
    defined: dict[str, Any] = {}
    for block in blocks("python"):
        if block.page == PAGE:
            exec(compile(block.text, block.name, "exec"), defined)
    return defined


@virtual_time
async def test_the_parrot_says_back_what_it_hears_and_is_interrupted(sandbox: Sandbox) -> None:
    page = names()
    config = TelcoflowClientConfig.sandbox(**sandbox.credentials)
    async with running(page["serve"](config, page["processors"])):
        phone = await sandbox.dial()
        await phone.answered()
        await phone.say(ruler(0, 24_000))
        await listen_to(phone, 500)
        await phone.say(ruler(30_000, 4_800))
        await phone.listen_until_quiet(0.7)
        conversation = Conversation.of(phone)
        await phone.hang_up()

    said = spoken(phone.heard.samples)
    assert said.endswith(ruler(30_000, 4_800).tobytes())
    assert ruler(0, 24_000).tobytes().startswith(said[: -2 * 4_800])
    assert conversation.between(1).assert_stops_within(80) <= 80
    assert conversation.assert_answers_within(650) >= 500
