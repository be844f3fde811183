"""Softphones that register and call with a password, and those who guess it."""

from __future__ import annotations

import logging

import pytest

from telcoflow_server.sip.accounts import EdgeSettings, Private
from telcoflow_server.sip.commands import Accept, Dial, HangUp
from telcoflow_server.sip.events import (
    Answered,
    DialogId,
    Failed,
    IncomingCall,
    LoginsRefused,
    Registered,
    Unregistered,
)
from telcoflow_server.sip.guard import MAX_FAILURES
from tests.server.sip.conftest import NUMBER, Stage, Start, extension
from tests.support.sip_phone import ANSWER, OFFER, Message, SipPhone, authorization, register

pytestmark = pytest.mark.slow


async def called_with_password(phone: SipPhone, number: str = NUMBER) -> Message:
    """Place a call that meets the challenge; return the first answer to it above 100."""
    call = phone.call(number)
    call.invite()
    challenged = await phone.response()
    call.ack(challenged)
    call.to_tag = None
    login = authorization(
        challenged.header("www-authenticate"), phone.user, "secret", "INVITE", call.target
    )
    call.invite(headers=(login,))
    return await phone.receive()


@pytest.mark.parametrize(("user", "algorithm"), [("alice", "MD5"), ("bob", "SHA-256")])
async def test_phone_registers_with_its_password(
    guarded_stage: Stage, user: str, algorithm: str
) -> None:
    phone = await guarded_stage.phone(user)
    phone.call(user).send("REGISTER")
    challenged = await phone.response("REGISTER")

    registered = await register(phone, headers=(("Expires", "600"),))

    assert challenged.status == 401
    assert f"algorithm={algorithm}" in challenged.header("www-authenticate")
    assert registered.status == 200
    assert registered.header("contact") == f"{phone.contact};expires=600"
    event = await guarded_stage.edge.hears(Registered)
    assert (event.extension, event.expires_s) == (user, 600)
    assert event.source == ("127.0.0.1", phone.port)


async def test_phone_withdraws_its_registration(guarded_stage: Stage) -> None:
    phone = await guarded_stage.phone()
    await register(phone)

    withdrawn = await register(phone, headers=(("Expires", "0"),))

    assert (withdrawn.status, withdrawn.header("contact")) == (200, "")
    assert (await guarded_stage.edge.hears(Unregistered)).extension == "alice"


async def test_registration_for_too_short_a_time_is_423(guarded_stage: Stage) -> None:
    phone = await guarded_stage.phone()

    refused = await register(phone, headers=(("Expires", "5"),))

    assert (refused.status, refused.header("min-expires")) == (423, "60")


async def test_registering_somebody_else_is_forbidden(guarded_stage: Stage) -> None:
    phone = await guarded_stage.phone("alice")
    call = phone.call("bob")
    call.send("REGISTER")
    challenged = await phone.response("REGISTER")
    challenge = challenged.header("www-authenticate").replace("SHA-256", "MD5")

    call.send(
        "REGISTER",
        headers=(authorization(challenge, "alice", "secret", "REGISTER", call.target),),
    )

    assert (await phone.response("REGISTER")).status == 403


async def test_unknown_user_is_challenged_like_a_known_one(guarded_stage: Stage) -> None:
    phone = await guarded_stage.phone("nobody")

    refused = await register(phone)

    assert refused.status == 401


async def test_registered_phone_is_called_where_it_registered_from(guarded_stage: Stage) -> None:
    edge, phone = guarded_stage.edge, await guarded_stage.phone()
    await register(phone, headers=(("Contact", "<sip:alice@10.1.2.3:5060>"),))
    dialog = DialogId("d1")

    edge.send(
        Dial(
            dialog=dialog,
            trunk="",
            number=Private("alice"),
            caller=Private("200"),
            sdp=Private(OFFER),
        )
    )
    invite = await phone.request("INVITE")
    phone.respond(invite, 200, body=ANSWER, contact="<sip:alice@10.1.2.3:5060>")
    await edge.hears(Answered)
    ack = await phone.request("ACK")
    edge.send(HangUp(dialog=dialog))
    bye = await phone.request("BYE")

    assert invite.uri == bye.uri == "sip:alice@10.1.2.3:5060"
    assert ack.cseq == invite.cseq


async def test_phone_that_is_not_registered_is_480_and_an_unknown_one_404(
    guarded_stage: Stage,
) -> None:
    edge = guarded_stage.edge
    statuses = []
    for number in ("alice", "nobody"):
        edge.send(
            Dial(
                dialog=DialogId(number),
                trunk="",
                number=Private(number),
                caller=Private(""),
                sdp=Private(OFFER),
            )
        )
        statuses.append((await edge.hears(Failed)).status)

    assert statuses == [480, 404]


async def test_call_of_an_extension_is_proved_and_named(guarded_stage: Stage) -> None:
    edge, phone = guarded_stage.edge, await guarded_stage.phone()

    trying = await called_with_password(phone)

    incoming = await edge.hears(IncomingCall)
    assert trying.status == 100
    assert (incoming.origin, incoming.is_trunk) == ("alice", False)
    assert (incoming.number.value, incoming.caller.value) == (NUMBER, "alice")


async def test_stranger_is_challenged_and_nobody_hears_of_it(guarded_stage: Stage) -> None:
    phone = await guarded_stage.phone("stranger")
    phone.call(NUMBER).invite()

    challenged = await phone.response()

    assert challenged.status == 401
    assert guarded_stage.edge.count(IncomingCall) == 0


@pytest.mark.parametrize(
    ("number", "status"), [("+4999", 404), ("bob", 480), ("0049", 404), ("", 404)]
)
async def test_numbers_that_lead_nowhere(guarded_stage: Stage, number: str, status: int) -> None:
    phone = await guarded_stage.phone()

    await called_with_password(phone, number or "%20")

    assert (await phone.response()).status == status
    assert guarded_stage.edge.count(IncomingCall) == 0


@pytest.mark.parametrize("written", ["+49-30-1000", "49301000", "+49(30)1000"])
async def test_number_is_found_however_it_is_written(guarded_stage: Stage, written: str) -> None:
    phone = await guarded_stage.phone()

    await called_with_password(phone, written)

    assert (await guarded_stage.edge.hears(IncomingCall)).number.value == written


async def test_extension_that_is_registered_can_be_called(guarded_stage: Stage) -> None:
    edge, alice, bob = (
        guarded_stage.edge,
        await guarded_stage.phone("alice"),
        await guarded_stage.phone("bob"),
    )
    await register(bob)

    await called_with_password(alice, "bob")

    incoming = await edge.hears(IncomingCall)
    edge.send(Accept(dialog=incoming.dialog, sdp=Private(ANSWER)))
    assert (await alice.response()).status == 200
    assert incoming.number.value == "bob"


async def test_wrong_passwords_are_slowed_then_refused_with_one_line(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    stage = await start(EdgeSettings(port=0, extensions=(extension("alice"),)))
    phones = [await stage.phone("alice") for _ in range(MAX_FAILURES)]
    challenges = []
    for phone in phones:
        phone.call("alice").send("REGISTER")
        challenges.append((await phone.response("REGISTER")).header("www-authenticate"))

    calls = [phone.call("alice") for phone in phones]
    for call, challenge in zip(calls, challenges, strict=True):
        login = authorization(challenge, "alice", "guess", "REGISTER", call.target)
        call.send("REGISTER", headers=(login,))

    first = await phones[0].response("REGISTER")
    assert first.status == 401
    assert await phones[-1].hears_nothing()  # its answer waits
    assert (await stage.edge.hears(LoginsRefused)).failures == MAX_FAILURES
    right = await register(await stage.phone("alice"))
    assert right.status == 403
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [f"logins from 127.0.0.1 are refused: {MAX_FAILURES} wrong passwords"]


async def test_right_password_forgives_mistakes_before_it(guarded_stage: Stage) -> None:
    phone = await guarded_stage.phone()
    for _ in range(3):
        assert (await register(phone, "guess")).status == 401

    assert (await register(phone)).status == 200
