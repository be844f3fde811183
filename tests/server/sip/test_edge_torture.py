"""RFC 4475: every message has its outcome, and nobody is the worse for it."""

from __future__ import annotations

import pytest

from telcoflow_server.sip.events import IncomingCall
from tests.server.sip.conftest import Stage
from tests.server.sip.torture import CALL, MESSAGES, SDP, SILENCE, SKIPPED
from tests.support.sip_phone import SipPhone

pytestmark = pytest.mark.slow


async def send(phone: SipPhone, name: str) -> None:
    text = MESSAGES[name].text
    via = f"SIP/2.0/UDP host5.example.net;rport;branch=z9hG4bK{name}"
    text = text.replace("{via}", via).replace("{length}", str(len(SDP))).replace("{{", "{")
    phone.send(text)


async def outcome_of(stage: Stage, phone: SipPhone, name: str) -> int:
    """Return what becomes of a message; what is expected says how long to look."""
    calls = stage.edge.count(IncomingCall)
    await send(phone, name)
    if MESSAGES[name].outcome == SILENCE:
        return SILENCE if await phone.hears_nothing() else CALL
    if MESSAGES[name].outcome == CALL:
        await stage.edge.hears(IncomingCall)
        return CALL
    status = (await phone.until(lambda one: one.status > 100)).status
    return status if stage.edge.count(IncomingCall) == calls else CALL


async def test_torture_messages_have_their_outcomes(open_stage: Stage) -> None:
    outcomes: dict[str, int] = {}

    for name in MESSAGES:
        phone = await open_stage.phone()
        outcomes[name] = await outcome_of(open_stage, phone, name)
        phone.call().send("OPTIONS")
        await phone.until(lambda one: one.status == 200 and one.method == "OPTIONS")

    assert outcomes == {name: message.outcome for name, message in MESSAGES.items()}
    assert open_stage.edge.edge.restarts == 0


def test_all_sections_of_the_rfc_are_played_or_skipped_with_a_reason() -> None:
    played = {message.section for message in MESSAGES.values()}
    skipped = {name.partition(" ")[0] for name in SKIPPED}

    assert played & skipped == set()
    assert played | skipped == {
        *(f"3.1.1.{n}" for n in range(1, 14)),
        *(f"3.1.2.{n}" for n in range(1, 20)),
        "3.2.1",
        *(f"3.3.{n}" for n in range(1, 16)),
        "3.4.1",
    }
    assert all(SKIPPED.values())


async def test_escaped_numbers_are_read(open_stage: Stage) -> None:
    phone = await open_stage.phone()

    await send(phone, "esc01")

    assert (await open_stage.edge.hears(IncomingCall)).number.value == "sips:user@example.com"
