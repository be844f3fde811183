"""RFC 4475: every message has its outcome, and nobody is the worse for it."""

from __future__ import annotations

import pytest

from telcoflow_server.sip.events import IncomingCall
from tests.server.sip.conftest import Stage
from tests.server.sip.torture import CALL, MESSAGES, SDP, SILENCE
from tests.support.sip_phone import SipPhone


async def send(phone: SipPhone, name: str) -> None:
    text = MESSAGES[name].text
    via = f"SIP/2.0/UDP host5.example.net;rport;branch=z9hG4bK{name}"
    text = text.replace("{via}", via).replace("{length}", str(len(SDP))).replace("{{", "{")
    phone.send(text)


@pytest.mark.parametrize("name", sorted(MESSAGES))
async def test_torture_message_has_its_outcome(open_stage: Stage, name: str) -> None:
    phone = await open_stage.phone()
    expected = MESSAGES[name].outcome

    await send(phone, name)

    if expected == SILENCE:
        assert await phone.hears_nothing()
    elif expected == CALL:
        await open_stage.edge.hears(IncomingCall)
    else:
        response = await phone.until(lambda one: one.status > 100)
        assert response.status == expected
        assert open_stage.edge.count(IncomingCall) == 0
    phone.call().send("OPTIONS")
    await phone.until(lambda one: one.status == 200 and one.method == "OPTIONS")
    assert open_stage.edge.edge.restarts == 0


async def test_escaped_numbers_are_read(open_stage: Stage) -> None:
    phone = await open_stage.phone()

    await send(phone, "esc01")

    assert (await open_stage.edge.hears(IncomingCall)).number.value == "sips:user@example.com"
