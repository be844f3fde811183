"""Calls that come: a scripted phone on UDP, the real process, and what the edge says."""

from __future__ import annotations

import pytest

from telcoflow_server.sip.accounts import Private
from telcoflow_server.sip.commands import (
    Accept,
    AnswerReOffer,
    HangUp,
    Overload,
    Refuse,
    RefuseReOffer,
    ReOffer,
    Ring,
    SendDtmfInfo,
)
from telcoflow_server.sip.events import (
    Cancelled,
    DtmfInfo,
    Ending,
    Established,
    HungUp,
    IncomingCall,
    OfferAnswered,
    OfferRefused,
    ReOffered,
)
from tests.server.sip.conftest import Stage
from tests.support.sip_phone import ANSWER, OFFER

HOLD = OFFER.replace("o=- 1 1", "o=- 1 2") + "a=sendonly\r\n"

pytestmark = pytest.mark.slow


async def test_options_are_answered_at_once(open_stage: Stage) -> None:
    phone = await open_stage.phone()
    phone.call().send("OPTIONS")

    response = await phone.receive()

    assert response.status == 200
    assert "INVITE" in response.header("allow")
    assert response.to_tag


async def test_call_from_invite_to_bye(open_stage: Stage) -> None:
    edge, phone = open_stage.edge, await open_stage.phone()
    call = phone.call("100")
    call.invite()
    assert (await phone.receive()).status == 100
    incoming = await edge.hears(IncomingCall)
    assert (incoming.number.value, incoming.caller.value) == ("100", "alice")
    assert incoming.sdp == Private(OFFER)
    assert incoming.source == ("127.0.0.1", phone.port)

    edge.send(Ring(dialog=incoming.dialog))
    ringing = await phone.receive()
    edge.send(Accept(dialog=incoming.dialog, sdp=Private(ANSWER)))
    answered = await phone.receive()
    call.ack(answered)
    established = await edge.hears(Established)
    call.send("BYE")

    assert (await phone.response("BYE")).status == 200
    assert (ringing.status, answered.status, answered.body) == (180, 200, ANSWER)
    assert ringing.to_tag == answered.to_tag
    contact = f"<sip:127.0.0.1:{edge.edge.address[1]}>"
    assert answered.header("contact") == ringing.header("contact") == contact
    assert established.sdp is None
    assert (await edge.hears(HungUp)).ending is Ending.FAR_END


async def test_early_media_is_183_with_a_description(open_stage: Stage) -> None:
    edge, phone = open_stage.edge, await open_stage.phone()
    phone.call().invite()
    incoming = await edge.hears(IncomingCall)

    edge.send(Ring(dialog=incoming.dialog, sdp=Private(ANSWER)))

    early = await phone.response()
    assert (early.status, early.body) == (183, ANSWER)


async def test_invite_sent_three_times_before_the_answer_and_again_after_it_is_one_call(
    open_stage: Stage,
) -> None:
    edge, phone = open_stage.edge, await open_stage.phone()
    call = phone.call()
    invite = call.invite()
    phone.send(invite)
    phone.send(invite)
    incoming = await edge.hears(IncomingCall)
    edge.send(Accept(dialog=incoming.dialog, sdp=Private(ANSWER)))
    answered = await phone.response()

    phone.send(invite)
    again = await phone.response()
    call.ack(again)

    assert (answered.status, again.status) == (200, 200)
    assert answered.to_tag == again.to_tag
    await edge.hears(Established)
    assert edge.count(IncomingCall) == 1


async def test_same_invite_by_another_way_is_merged(open_stage: Stage) -> None:
    phone = await open_stage.phone()
    call = phone.call()
    invite = call.invite()
    await open_stage.edge.hears(IncomingCall)

    phone.send(invite.replace(call.branch, call.branch + "x"))

    assert (await phone.response()).status == 482


async def test_cancel_is_answered_200_and_487_with_one_tag(open_stage: Stage) -> None:
    edge, phone = open_stage.edge, await open_stage.phone()
    call = phone.call()
    call.invite()
    incoming = await edge.hears(IncomingCall)
    edge.send(Ring(dialog=incoming.dialog))
    ringing = await phone.response()

    call.cancel()

    cancelled = await phone.response("CANCEL")
    terminated = await phone.response("INVITE")
    call.ack(terminated)
    assert (cancelled.status, terminated.status) == (200, 487)
    assert ringing.to_tag == cancelled.to_tag == terminated.to_tag
    assert (await edge.hears(Cancelled)).dialog == incoming.dialog
    edge.send(Accept(dialog=incoming.dialog, sdp=Private(ANSWER)))
    assert await phone.hears_nothing()


async def test_cancel_before_it_rings_has_one_tag_too(open_stage: Stage) -> None:
    phone = await open_stage.phone()
    call = phone.call()
    call.invite()
    await open_stage.edge.hears(IncomingCall)

    call.cancel()

    assert (await phone.response("CANCEL")).to_tag == (await phone.response("INVITE")).to_tag


async def test_cancel_of_nothing_is_481(open_stage: Stage) -> None:
    phone = await open_stage.phone()
    call = phone.call()
    call.text("INVITE")

    call.cancel()

    assert (await phone.receive()).status == 481


@pytest.mark.parametrize("offered", [None, 20])
async def test_refusal_carries_its_status(open_stage: Stage, offered: int | None) -> None:
    edge, phone = open_stage.edge, await open_stage.phone()
    call = phone.call()
    call.invite()
    incoming = await edge.hears(IncomingCall)

    edge.send(Refuse(dialog=incoming.dialog, status=486, retry_after_s=offered))

    busy = await phone.response()
    call.ack(busy)
    assert busy.status == 486
    assert busy.header("retry-after") == ("" if offered is None else "20")
    assert await edge.says_nothing()


async def test_hanging_up_on_a_caller_who_waits_declines(open_stage: Stage) -> None:
    edge, phone = open_stage.edge, await open_stage.phone()
    phone.call().invite()
    incoming = await edge.hears(IncomingCall)

    edge.send(HangUp(dialog=incoming.dialog))

    assert (await phone.response()).status == 603


async def test_hanging_up_sends_bye(open_stage: Stage) -> None:
    phone = await open_stage.phone()
    call, incoming, _ = await open_stage.answered_call(phone)

    open_stage.edge.send(HangUp(dialog=incoming.dialog))

    bye = await phone.request("BYE")
    phone.respond(bye, 200)
    assert bye.header("call-id") == call.call_id
    assert bye.to_tag == call.from_tag
    assert await open_stage.edge.says_nothing()


async def test_hanging_up_before_the_ack_waits_for_it(open_stage: Stage) -> None:
    edge, phone = open_stage.edge, await open_stage.phone()
    call = phone.call()
    call.invite()
    incoming = await edge.hears(IncomingCall)
    edge.send(Accept(dialog=incoming.dialog, sdp=Private(ANSWER)))
    answered = await phone.response()
    edge.send(HangUp(dialog=incoming.dialog))
    assert await phone.hears_nothing()

    call.ack(answered)

    assert (await phone.request("BYE")).header("call-id") == call.call_id


async def test_late_offer_is_ours_and_its_answer_comes_with_the_ack(open_stage: Stage) -> None:
    edge, phone = open_stage.edge, await open_stage.phone()
    call = phone.call()
    call.invite(body="")
    incoming = await edge.hears(IncomingCall)
    assert incoming.sdp is None

    edge.send(Accept(dialog=incoming.dialog, sdp=Private(OFFER)))
    answered = await phone.response()
    call.ack(answered, body=ANSWER)

    assert answered.body == OFFER
    assert (await edge.hears(Established)).sdp == Private(ANSWER)


async def test_hold_and_resume(open_stage: Stage) -> None:
    edge, phone = open_stage.edge, await open_stage.phone()
    call, incoming, answered = await open_stage.answered_call(phone)
    held_answer = ANSWER + "a=recvonly\r\n"

    call.invite(body=HOLD)
    assert (await edge.hears(ReOffered)).sdp == Private(HOLD)
    edge.send(AnswerReOffer(dialog=incoming.dialog, sdp=Private(held_answer)))
    held = await phone.response()
    call.ack(held)
    call.invite(body=OFFER)
    resumed_offer = await edge.hears(ReOffered)
    edge.send(AnswerReOffer(dialog=incoming.dialog, sdp=Private(ANSWER)))
    resumed = await phone.response()
    call.ack(resumed)

    assert (held.status, held.body) == (200, held_answer)
    assert (resumed.status, resumed.body) == (200, ANSWER)
    assert resumed_offer.source == ("127.0.0.1", phone.port)
    assert held.to_tag == resumed.to_tag == answered.to_tag
    assert held.header("contact")


async def test_unchanged_re_invite_is_a_refresh_that_nobody_hears_of(open_stage: Stage) -> None:
    phone = await open_stage.phone()
    call, _, _ = await open_stage.answered_call(phone)

    call.invite(
        body=OFFER, headers=(("Session-Expires", "1800;refresher=uac"), ("Supported", "timer"))
    )

    refreshed = await phone.response()
    call.ack(refreshed)
    assert (refreshed.status, refreshed.body) == (200, ANSWER)
    assert refreshed.header("session-expires") == "1800;refresher=uac"
    assert refreshed.header("require") == "timer"
    assert await open_stage.edge.says_nothing()


async def test_session_shorter_than_allowed_is_422(open_stage: Stage) -> None:
    phone = await open_stage.phone()
    phone.call().invite(headers=(("Session-Expires", "60"), ("Supported", "timer")))

    refused = await phone.response()

    assert (refused.status, refused.header("min-se")) == (422, "90")


async def test_update_refreshes_and_changes(open_stage: Stage) -> None:
    edge, phone = open_stage.edge, await open_stage.phone()
    call, incoming, _ = await open_stage.answered_call(phone)

    call.send("UPDATE")
    refreshed = await phone.response("UPDATE")
    call.send("UPDATE", HOLD)
    await edge.hears(ReOffered)
    edge.send(AnswerReOffer(dialog=incoming.dialog, sdp=Private(ANSWER)))
    changed = await phone.response("UPDATE")

    assert (refreshed.status, refreshed.body) == (200, "")
    assert (changed.status, changed.body) == (200, ANSWER)


async def test_re_invite_without_an_offer_asks_for_ours(open_stage: Stage) -> None:
    edge, phone = open_stage.edge, await open_stage.phone()
    call, incoming, _ = await open_stage.answered_call(phone)

    call.invite(body="")
    assert (await edge.hears(ReOffered)).sdp is None
    edge.send(AnswerReOffer(dialog=incoming.dialog, sdp=Private(OFFER)))
    offered = await phone.response()
    call.ack(offered, body=ANSWER)

    assert offered.body == OFFER
    assert (await edge.hears(OfferAnswered)).sdp == Private(ANSWER)


async def test_refused_re_offer_leaves_the_call(open_stage: Stage) -> None:
    edge, phone = open_stage.edge, await open_stage.phone()
    call, incoming, _ = await open_stage.answered_call(phone)
    call.invite(body=HOLD)
    await edge.hears(ReOffered)

    edge.send(RefuseReOffer(dialog=incoming.dialog))
    refused = await phone.response()
    call.ack(refused)
    call.send("BYE")

    assert refused.status == 488
    assert (await phone.response("BYE")).status == 200


async def test_re_invite_while_one_waits_is_500_and_while_ours_does_491(open_stage: Stage) -> None:
    edge, phone = open_stage.edge, await open_stage.phone()
    call, incoming, _ = await open_stage.answered_call(phone)
    call.invite(body=HOLD)
    await edge.hears(ReOffered)
    call.invite(body=OFFER)
    second = await phone.response()
    edge.send(AnswerReOffer(dialog=incoming.dialog, sdp=Private(ANSWER)))
    await phone.response(above=199)

    edge.send(ReOffer(dialog=incoming.dialog, sdp=Private(HOLD)))
    ours = await phone.request("INVITE")
    call.invite(body=OFFER)
    third = await phone.response()
    phone.respond(ours, 491)

    assert (second.status, second.header("retry-after")) == (500, "1")
    assert third.status == 491
    assert (await edge.hears(OfferRefused)).status == 491


async def test_we_may_change_the_media(open_stage: Stage) -> None:
    edge, phone = open_stage.edge, await open_stage.phone()
    call, incoming, _ = await open_stage.answered_call(phone)

    edge.send(ReOffer(dialog=incoming.dialog, sdp=Private(HOLD)))
    offer = await phone.request("INVITE")
    phone.respond(offer, 200, body=ANSWER)

    assert offer.body == HOLD
    assert offer.to_tag == call.from_tag
    assert (await edge.hears(OfferAnswered)).sdp == Private(ANSWER)
    assert (await phone.request("ACK")).cseq == offer.cseq


async def test_bye_with_a_re_invite_pending_ends_both(open_stage: Stage) -> None:
    edge, phone = open_stage.edge, await open_stage.phone()
    call, _, _ = await open_stage.answered_call(phone)
    call.invite(body=HOLD)
    await edge.hears(ReOffered)

    call.send("BYE")

    finals = [await phone.until(lambda one: one.status >= 200) for _ in range(2)]
    assert {(one.method, one.status) for one in finals} == {("BYE", 200), ("INVITE", 487)}
    await edge.hears(HungUp)


async def test_bye_again_is_replayed_and_a_second_bye_is_481(open_stage: Stage) -> None:
    phone = await open_stage.phone()
    call, _, _ = await open_stage.answered_call(phone)

    bye = call.send("BYE")
    first = await phone.response("BYE")
    phone.send(bye)
    again = await phone.response("BYE")
    call.send("BYE")
    second = await phone.response("BYE")

    assert (first.status, again.status, second.status) == (200, 200, 481)
    assert open_stage.edge.count(HungUp) == 1


async def test_request_out_of_order_is_500(open_stage: Stage) -> None:
    phone = await open_stage.phone()
    call, _, _ = await open_stage.answered_call(phone)
    call.cseq = -1

    call.send("INFO")

    assert (await phone.response("INFO")).status == 500


async def test_request_of_a_stranger_to_the_dialog_is_481(open_stage: Stage) -> None:
    phone = await open_stage.phone()
    call, _, _ = await open_stage.answered_call(phone)
    call.from_tag = "other"

    call.send("BYE")

    assert (await phone.response("BYE")).status == 481


@pytest.mark.parametrize(
    ("content_type", "body", "digit", "duration_ms"),
    [
        ("application/dtmf-relay", "Signal=5\r\nDuration=250\r\n", "5", 250),
        ("application/dtmf-relay", "Signal= 11\r\n", "#", 160),
        ("application/dtmf", "*", "*", 160),
    ],
)
async def test_digit_by_info(
    open_stage: Stage, content_type: str, body: str, digit: str, duration_ms: int
) -> None:
    phone = await open_stage.phone()
    call, _, _ = await open_stage.answered_call(phone)

    phone.send(call.text("INFO", body=body, content_type=content_type))

    assert (await phone.response("INFO")).status == 200
    heard = await open_stage.edge.hears(DtmfInfo)
    assert (heard.digit.value, heard.duration_ms) == (digit, duration_ms)


async def test_other_requests_within_a_call(open_stage: Stage) -> None:
    phone = await open_stage.phone()
    call, _, _ = await open_stage.answered_call(phone)
    statuses: dict[str, int] = {}

    for method, body, content_type in (
        ("INFO", "", ""),
        ("INFO", "x", "text/plain"),
        ("OPTIONS", "", ""),
        ("MESSAGE", "hello", "text/plain"),
        ("INVITE", "<xml/>", "application/xml"),
    ):
        phone.send(call.text(method, body=body, content_type=content_type))
        statuses[f"{method} {content_type}"] = (await phone.response(method)).status

    assert statuses == {
        "INFO ": 200,
        "INFO text/plain": 415,
        "OPTIONS ": 200,
        "MESSAGE text/plain": 405,
        "INVITE application/xml": 415,
    }


async def test_digit_is_sent_by_info(open_stage: Stage) -> None:
    phone = await open_stage.phone()
    _, incoming, _ = await open_stage.answered_call(phone)

    open_stage.edge.send(SendDtmfInfo(dialog=incoming.dialog, digit=Private("7"), duration_ms=100))

    info = await phone.request("INFO")
    phone.respond(info, 200)
    assert info.body == "Signal=7\r\nDuration=100\r\n"
    assert info.header("content-type") == "application/dtmf-relay"


async def test_far_end_that_lost_the_dialog_ends_it(open_stage: Stage) -> None:
    phone = await open_stage.phone()
    _, incoming, _ = await open_stage.answered_call(phone)
    open_stage.edge.send(SendDtmfInfo(dialog=incoming.dialog, digit=Private("7"), duration_ms=100))

    phone.respond(await phone.request("INFO"), 481)

    assert (await open_stage.edge.hears(HungUp)).ending is Ending.GONE


@pytest.mark.parametrize(
    ("method", "status"),
    [("SUBSCRIBE", 405), ("MESSAGE", 405), ("REFER", 405), ("FROBNICATE", 501), ("BYE", 481)],
)
async def test_methods_outside_a_dialog(open_stage: Stage, method: str, status: int) -> None:
    phone = await open_stage.phone()
    phone.call().send(method)

    refused = await phone.receive()

    assert refused.status == status
    assert ("INVITE" in refused.header("allow")) is (status != 481)


async def test_unknown_extension_that_is_required_is_420(open_stage: Stage) -> None:
    phone = await open_stage.phone()
    phone.call().invite(headers=(("Require", "100rel, timer"),))

    refused = await phone.response()

    assert (refused.status, refused.header("unsupported")) == (420, "100rel")


async def test_body_that_is_no_description_is_415(open_stage: Stage) -> None:
    phone = await open_stage.phone()
    phone.send(phone.call().text("INVITE", body="<x/>", content_type="text/xml"))

    refused = await phone.response()

    assert (refused.status, refused.header("accept")) == (415, "application/sdp")


async def test_description_may_be_one_part_of_a_body(open_stage: Stage) -> None:
    phone = await open_stage.phone()
    parts = f"--x\r\nContent-Type: application/sdp\r\n\r\n{OFFER}\r\n--x--\r\n"

    phone.send(phone.call().text("INVITE", body=parts, content_type='multipart/mixed;boundary="x"'))

    assert (await open_stage.edge.hears(IncomingCall)).sdp == Private(OFFER)


async def test_invite_without_a_contact_is_400(open_stage: Stage) -> None:
    phone = await open_stage.phone()
    invite = phone.call().text("INVITE", body=OFFER)

    phone.send(invite.replace(f"Contact: {phone.contact}\r\n", ""))

    assert (await phone.response()).status == 400


async def test_overload_is_503_and_ends(open_stage: Stage) -> None:
    edge, phone = open_stage.edge, await open_stage.phone()
    edge.send(Overload(is_overloaded=True))
    phone.call().invite()
    busy = await phone.response()
    edge.send(Overload(is_overloaded=False))
    phone.call().invite()

    await edge.hears(IncomingCall)
    assert (busy.status, busy.header("retry-after")) == (503, "10")
    assert edge.count(IncomingCall) == 1


async def test_non_ascii_names_and_bodies_pass_whole(open_stage: Stage) -> None:
    edge, phone = open_stage.edge, await open_stage.phone()
    offer = OFFER.replace("s=-", "s=Gespräch Åß")
    call = phone.call()
    invite = call.text("INVITE", body=offer)
    phone.send(invite.replace("From: <", 'From: "Åsa Öberg" <'))

    incoming = await edge.hears(IncomingCall)
    edge.send(Refuse(dialog=incoming.dialog, status=486))

    assert '"Åsa Öberg"' in (await phone.response()).header("from")
    assert incoming.sdp is not None
    assert len(incoming.sdp.value) == len(offer.encode())


async def test_route_set_of_proxies_is_kept(open_stage: Stage) -> None:
    edge, phone = open_stage.edge, await open_stage.phone()
    call = phone.call()
    proxies = (f"<sip:{phone.address};lr>", "<sip:192.0.2.7;lr>")
    call.invite(headers=tuple(("Record-Route", one) for one in proxies))
    incoming = await edge.hears(IncomingCall)
    edge.send(Accept(dialog=incoming.dialog, sdp=Private(ANSWER)))
    answered = await phone.response()
    call.ack(answered)
    await edge.hears(Established)

    edge.send(HangUp(dialog=incoming.dialog))

    bye = await phone.request("BYE")
    assert answered.every("record-route") == list(proxies)
    assert bye.every("route") == list(proxies)
    assert bye.uri == f"sip:alice@{phone.address}"
