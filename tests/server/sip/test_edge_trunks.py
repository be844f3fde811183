"""Calls over a trunk, both ways, registration there, and transfers."""

from __future__ import annotations

import re

import pytest

from telcoflow_server.sip.accounts import EdgeSettings, Private
from telcoflow_server.sip.commands import Configure, Dial, HangUp, Refer, ReportTransfer
from telcoflow_server.sip.events import (
    Answered,
    DialogId,
    Ending,
    Failed,
    HungUp,
    IncomingCall,
    Progress,
    TransferProgress,
    TransferRequested,
    TrunkReachable,
    TrunkRegistered,
    TrunkUnregistered,
)
from tests.server.sip.conftest import Stage, Start, trunk_of
from tests.support.sip_phone import ANSWER, OFFER, Message, PhoneCall, SipPhone

CHALLENGE = 'Digest realm="carrier", nonce="abc", algorithm=MD5, qop="auth,auth-int"'

pytestmark = pytest.mark.slow


class Carrier:
    """An edge with a trunk, and the carrier at the other end."""

    def __init__(self, stage: Stage, phone: SipPhone) -> None:
        self.stage = stage
        self.edge = stage.edge
        self.phone = phone

    def dial(self, number: str = "+4940", dialog: str = "d1", caller: str = "+4930") -> DialogId:
        self.edge.send(
            Dial(
                dialog=DialogId(dialog),
                trunk="carrier",
                number=Private(number),
                caller=Private(caller),
                sdp=Private(OFFER),
            )
        )
        return DialogId(dialog)

    async def answered(self) -> tuple[DialogId, PhoneCall, Message]:
        """Dial, and answer."""
        dialog = self.dial()
        invite = await self.phone.request("INVITE")
        self.phone.respond(invite, 200, body=ANSWER)
        await self.edge.hears(Answered)
        await self.phone.request("ACK")
        return dialog, PhoneCall.answered_by(self.phone, invite), invite


async def carrier_of(start: Start, **more: object) -> Carrier:
    stage = await start(EdgeSettings(port=0, numbers=("+49301000",)))
    phone = await stage.phone("carrier")
    settings = EdgeSettings(port=0, numbers=("+49301000",), trunks=(trunk_of(phone, **more),))
    stage.edge.send(Configure(settings=settings))
    return Carrier(stage, phone)


@pytest.fixture
async def carrier(start: Start) -> Carrier:
    return await carrier_of(start)


async def test_dialled_call_rings_is_answered_and_ends(carrier: Carrier) -> None:
    edge, phone = carrier.edge, carrier.phone
    dialog = carrier.dial("+4940", caller="+4930")
    invite = await phone.request("INVITE")
    phone.respond(invite, 180)
    ringing = await edge.hears(Progress)
    phone.respond(invite, 183, body=ANSWER)
    early = await edge.hears(Progress)
    phone.respond(invite, 200, body=ANSWER)
    answered = await edge.hears(Answered)
    ack = await phone.request("ACK")
    PhoneCall.answered_by(phone, invite).send("BYE")

    assert (await phone.response("BYE")).status == 200
    assert invite.uri == f"sip:+4940@{phone.address}"
    assert invite.header("from").startswith(f"<sip:+4930@{phone.address}>;tag=")
    assert invite.body == OFFER
    assert (ringing.status, ringing.sdp) == (180, None)
    assert (early.status, early.sdp) == (183, Private(ANSWER))
    assert (answered.dialog, answered.sdp) == (dialog, Private(ANSWER))
    assert answered.source == ("127.0.0.1", phone.port)
    assert (ack.cseq, ack.uri) == (invite.cseq, f"sip:carrier@{phone.address}")
    assert (await edge.hears(HungUp)).ending is Ending.FAR_END


@pytest.mark.parametrize("status", [404, 486, 488, 503, 603])
async def test_refusal_is_told_with_its_status(carrier: Carrier, status: int) -> None:
    carrier.dial()
    invite = await carrier.phone.request("INVITE")

    carrier.phone.respond(invite, status, headers=(("Retry-After", "30 (busy);duration=5"),))

    failed = await carrier.edge.hears(Failed)
    ack = await carrier.phone.request("ACK")
    assert (failed.status, failed.retry_after_s) == (status, 30)
    assert ack.header("via").partition(";")[2] == invite.header("via").partition(";")[2]


async def test_redirection_is_a_refusal_acknowledged_where_the_invite_went(
    carrier: Carrier,
) -> None:
    carrier.dial()
    invite = await carrier.phone.request("INVITE")

    carrier.phone.respond(invite, 302, contact="<sip:other@192.0.2.200>")

    assert (await carrier.edge.hears(Failed)).status == 302
    assert (await carrier.phone.request("ACK")).uri == invite.uri


async def test_credentials_are_shown_when_asked_for(start: Start) -> None:
    carrier = await carrier_of(start, user="acct", password=Private("pw"))
    carrier.dial()
    first = await carrier.phone.request("INVITE")
    carrier.phone.respond(first, 407, headers=(("Proxy-Authenticate", CHALLENGE),))

    second = await carrier.phone.request("INVITE")

    shown = second.header("proxy-authorization")
    assert second.cseq == first.cseq + 1
    assert 'username="acct"' in shown
    assert "qop=auth," in shown
    assert f'uri="{second.uri}"' in shown
    carrier.phone.respond(second, 407, headers=(("Proxy-Authenticate", CHALLENGE),))
    assert (await carrier.edge.hears(Failed)).status == 407


async def test_hanging_up_a_ringing_call_cancels_it(carrier: Carrier) -> None:
    dialog = carrier.dial()
    invite = await carrier.phone.request("INVITE")
    carrier.phone.respond(invite, 180)
    await carrier.edge.hears(Progress)

    carrier.edge.send(HangUp(dialog=dialog))

    cancel = await carrier.phone.request("CANCEL")
    carrier.phone.respond(cancel, 200)
    carrier.phone.respond(invite, 487)
    await carrier.phone.request("ACK")
    assert (cancel.cseq, cancel.uri) == (invite.cseq, invite.uri)
    assert cancel.header("via") == invite.header("via")
    assert await carrier.edge.says_nothing()


async def test_cancel_waits_for_a_provisional_response(carrier: Carrier) -> None:
    dialog = carrier.dial()
    invite = await carrier.phone.request("INVITE")
    carrier.edge.send(HangUp(dialog=dialog))
    assert await carrier.phone.hears_nothing()

    carrier.phone.respond(invite, 100)

    assert (await carrier.phone.request("CANCEL")).cseq == invite.cseq


async def test_answer_that_crosses_the_cancel_is_hung_up(carrier: Carrier) -> None:
    dialog = carrier.dial()
    invite = await carrier.phone.request("INVITE")
    carrier.phone.respond(invite, 180)
    await carrier.edge.hears(Progress)
    carrier.edge.send(HangUp(dialog=dialog))
    await carrier.phone.request("CANCEL")

    carrier.phone.respond(invite, 200, body=ANSWER)

    await carrier.phone.request("ACK")
    await carrier.phone.request("BYE")
    assert carrier.edge.count(Answered) == 0


async def test_answer_without_a_contact_fails_the_call(carrier: Carrier) -> None:
    carrier.dial()
    invite = await carrier.phone.request("INVITE")

    carrier.phone.respond(invite, 200, body=ANSWER, contact="nonsense")

    assert (await carrier.edge.hears(Failed)).status == 502


async def test_trunk_may_be_known_by_a_name(start: Start) -> None:
    carrier = await carrier_of(start, host="localhost")
    carrier.dial()
    first = await carrier.phone.request("INVITE")
    carrier.phone.respond(first, 486)
    await carrier.edge.hears(Failed)
    carrier.dial(dialog="d2")

    second = await carrier.phone.request("INVITE")

    assert first.uri == second.uri == f"sip:+4940@localhost:{carrier.phone.port}"


async def test_trunk_has_no_limit_of_messages(start: Start) -> None:
    carrier = await carrier_of(start)
    trunk = trunk_of(carrier.phone)
    carrier.edge.send(
        Configure(settings=EdgeSettings(port=0, messages_per_second=1, trunks=(trunk,)))
    )

    for _ in range(20):
        carrier.phone.call().send("OPTIONS")

    for _ in range(20):
        assert (await carrier.phone.response("OPTIONS")).status == 200


async def test_unknown_trunk_is_404(carrier: Carrier) -> None:
    carrier.edge.send(
        Dial(
            dialog=DialogId("x"),
            trunk="nowhere",
            number=Private("1"),
            caller=Private(""),
            sdp=Private(OFFER),
        )
    )

    assert (await carrier.edge.hears(Failed)).status == 404


async def test_lost_final_answer_is_acknowledged_again(carrier: Carrier) -> None:
    carrier.dial()
    invite = await carrier.phone.request("INVITE")
    carrier.phone.respond(invite, 200, body=ANSWER)
    first = await carrier.phone.request("ACK")

    carrier.phone.respond(invite, 200, body=ANSWER)

    assert await carrier.phone.request("ACK") == first
    await carrier.edge.hears(Answered)
    assert carrier.edge.count(Answered) == 1


async def test_call_from_a_trunk_needs_no_password_and_its_identity_is_believed(
    carrier: Carrier,
) -> None:
    call = carrier.phone.call("+49301000")
    call.invite(
        headers=(
            ("P-Asserted-Identity", '"Ann" <sip:+4989@carrier.example>'),
            ("Privacy", "id"),
        )
    )

    incoming = await carrier.edge.hears(IncomingCall)

    assert (incoming.origin, incoming.is_trunk) == ("carrier", True)
    assert (incoming.caller.value, incoming.is_private) == ("+4989", True)


async def test_identity_asserted_by_others_is_not_believed(open_stage: Stage) -> None:
    phone = await open_stage.phone()
    phone.call().invite(headers=(("P-Asserted-Identity", "<sip:+4989@carrier.example>"),))

    assert (await open_stage.edge.hears(IncomingCall)).caller.value == "alice"


async def test_anonymous_caller_has_no_number(carrier: Carrier) -> None:
    call = carrier.phone.call("+49301000")
    call.from_uri = "sip:anonymous@anonymous.invalid"
    call.invite()

    incoming = await carrier.edge.hears(IncomingCall)

    assert (incoming.caller.value, incoming.is_private) == ("", True)


@pytest.mark.parametrize("header", ["To", "P-Called-Party-ID"])
async def test_trunk_that_calls_our_account_says_elsewhere_whom_it_wants(
    start: Start, header: str
) -> None:
    carrier = await carrier_of(start, user="acct")
    call = carrier.phone.call("+49301000" if header == "To" else "acct")
    named = () if header == "To" else ((header, "<sip:+49301000@example.com>"),)

    carrier.phone.send(call.text("INVITE", body=OFFER, headers=named, uri="sip:acct@127.0.0.1"))

    assert (await carrier.edge.hears(IncomingCall)).number.value == "+49301000"


async def test_number_that_is_nobodys_is_404(carrier: Carrier) -> None:
    carrier.phone.call("+4911").invite()

    assert (await carrier.phone.response()).status == 404


async def test_server_registers_at_a_trunk_and_withdraws_when_it_stops(start: Start) -> None:
    carrier = await carrier_of(
        start, user="acct", password=Private("pw"), registers=True, expires_s=300
    )
    first = await carrier.phone.request("REGISTER")
    carrier.phone.respond(first, 401, headers=(("WWW-Authenticate", CHALLENGE),))
    second = await carrier.phone.request("REGISTER")
    granted = second.header("contact") + ";expires=120"
    carrier.phone.respond(second, 200, contact=granted)

    registered = await carrier.edge.hears(TrunkRegistered)

    assert registered.expires_s == 120
    assert first.uri == f"sip:{carrier.phone.address}"
    assert first.header("expires") == "300"
    assert first.header("to") == f"<sip:acct@{carrier.phone.address}>"
    assert second.header("call-id") == first.header("call-id")
    assert 'username="acct"' in second.header("authorization")
    await carrier.edge.edge.stop()
    assert (await carrier.phone.request("REGISTER")).header("expires") == "0"


async def test_trunk_that_wants_longer_gets_it(start: Start) -> None:
    carrier = await carrier_of(start, user="acct", registers=True, expires_s=60)
    brief = await carrier.phone.request("REGISTER")

    carrier.phone.respond(brief, 423, headers=(("Min-Expires", "900"),))

    assert (await carrier.phone.request("REGISTER")).header("expires") == "900"


async def test_refused_registration_is_told(start: Start) -> None:
    carrier = await carrier_of(start, user="acct", registers=True)

    carrier.phone.respond(await carrier.phone.request("REGISTER"), 403)

    refused = await carrier.edge.hears(TrunkUnregistered)
    assert (refused.trunk, refused.status) == ("carrier", 403)


async def test_trunk_is_asked_whether_it_is_there(start: Start) -> None:
    carrier = await carrier_of(start, keep_alive_s=0.2)
    first = await carrier.phone.request("OPTIONS")
    carrier.phone.respond(first, 404)

    assert (await carrier.edge.hears(TrunkReachable)).is_reachable
    second = await carrier.phone.until(
        lambda one: one.method == "OPTIONS" and one.cseq > first.cseq
    )
    carrier.phone.respond(second, 503)
    assert not (await carrier.edge.hears(TrunkReachable)).is_reachable


async def test_far_end_asks_for_a_transfer_and_hears_how_it_goes(carrier: Carrier) -> None:
    edge, phone = carrier.edge, carrier.phone
    dialog, call, _ = await carrier.answered()

    call.send("REFER", headers=(("Refer-To", "<sip:+4950@carrier.example>"),))
    accepted = await phone.response("REFER")
    trying = await phone.request("NOTIFY")
    phone.respond(trying, 200)
    requested = await edge.hears(TransferRequested)
    edge.send(ReportTransfer(dialog=dialog, status=200))
    done = await phone.request("NOTIFY")
    phone.respond(done, 200)

    assert accepted.status == 202
    assert requested.number.value == "+4950"
    assert trying.body.startswith("SIP/2.0 100 ")
    assert trying.header("subscription-state").startswith("active")
    assert trying.header("event") == "refer"
    assert done.body.startswith("SIP/2.0 200 ")
    assert done.header("subscription-state").startswith("terminated")
    assert re.match(r"message/sipfrag", done.header("content-type"))


@pytest.mark.parametrize(
    ("refer_to", "status"),
    [
        (None, 400),
        ("<sip:carrier.example>", 400),
        ("<mailto:a@example.com>", 416),
        ("<sip:1@example.com?Replaces=x%3Bto-tag%3D1>", 501),
        ("<sip:1@example.com;method=SUBSCRIBE>", 501),
    ],
)
async def test_transfers_we_cannot_do(carrier: Carrier, refer_to: str | None, status: int) -> None:
    _, call, _ = await carrier.answered()

    call.send("REFER", headers=() if refer_to is None else (("Refer-To", refer_to),))

    assert (await carrier.phone.response("REFER")).status == status
    assert carrier.edge.count(TransferRequested) == 0


async def test_second_transfer_waits_for_the_first(carrier: Carrier) -> None:
    _, call, _ = await carrier.answered()
    refer_to = (("Refer-To", "<sip:+4950@carrier.example>"),)
    call.send("REFER", headers=refer_to)
    await carrier.phone.response("REFER")

    call.send("REFER", headers=refer_to)

    assert (await carrier.phone.response("REFER")).status == 491


async def test_we_ask_for_a_transfer_and_hear_how_it_goes(carrier: Carrier) -> None:
    edge, phone = carrier.edge, carrier.phone
    dialog, call, invite = await carrier.answered()

    edge.send(Refer(dialog=dialog, number=Private("+4950")))
    refer = await phone.request("REFER")
    phone.respond(refer, 202)
    statuses = []
    for status, state in ((100, "active"), (180, "active"), (200, "terminated;reason=noresource")):
        phone.send(
            call.text(
                "NOTIFY",
                body=f"SIP/2.0 {status} Whatever",
                content_type="message/sipfrag",
                headers=(("Event", "refer"), ("Subscription-State", state)),
            )
        )
        statuses.append((await edge.hears(TransferProgress)).status)
        assert (await phone.response("NOTIFY")).status == 200

    assert statuses == [100, 180, 200]
    assert refer.header("refer-to") == f"<sip:+4950@{phone.address}>"
    assert refer.header("referred-by") == invite.header("from").partition(";tag=")[0]


async def test_transfer_the_far_end_refuses(carrier: Carrier) -> None:
    dialog, _, _ = await carrier.answered()

    carrier.edge.send(Refer(dialog=dialog, number=Private("+4950")))
    carrier.phone.respond(await carrier.phone.request("REFER"), 603)

    assert (await carrier.edge.hears(TransferProgress)).status == 603


@pytest.mark.parametrize(
    ("event", "body", "state", "status"),
    [
        ("presence", "SIP/2.0 200 OK", "active", 489),
        ("refer", "", "active", 400),
        ("refer", "SIP/2.0 200 OK", "active", 481),
    ],
)
async def test_notices_we_did_not_ask_for(
    carrier: Carrier, event: str, body: str, state: str, status: int
) -> None:
    _, call, _ = await carrier.answered()

    phone = carrier.phone
    headers = (("Event", event), ("Subscription-State", state))
    phone.send(call.text("NOTIFY", body=body, content_type="message/sipfrag", headers=headers))

    assert (await phone.response("NOTIFY")).status == status
