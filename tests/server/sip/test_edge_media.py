"""Offers over the wire, answered by the negotiation: what a phone hears to each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from telcoflow_server.sip.accounts import EdgeSettings, Private
from telcoflow_server.sip.agreement import Agreement, CodecDescription, LocalMedia
from telcoflow_server.sip.commands import Accept, AnswerReOffer, Refuse, RefuseReOffer
from telcoflow_server.sip.edge import SipEdge
from telcoflow_server.sip.events import Established, Event, HungUp, IncomingCall, ReOffered
from telcoflow_server.sip.negotiation import Accepted, OfferAnswer
from telcoflow_server.sip.sdp import SdpError, parse_sdp
from tests.server.sip.descriptions import PHONES
from tests.support.sip_phone import ANSWER, OFFER, Message, PhoneCall, SipPhone

pytestmark = pytest.mark.slow

CODECS = (
    CodecDescription("opus", 48000, 111, channels=2),
    CodecDescription("PCMU", 8000, 0),
    CodecDescription("PCMA", 8000, 8),
)


class Desk:
    """Answers every call and every change as the negotiation says."""

    def __init__(self) -> None:
        self.edge = SipEdge(EdgeSettings(port=0, unauthenticated_calls=True), self._hear)
        self.leg = OfferAnswer(LocalMedia("127.0.0.1", 30_000, CODECS), 1000)
        self.established = asyncio.Event()
        self.ended = asyncio.Event()

    def _hear(self, event: Event) -> None:
        match event:
            case IncomingCall(sdp=None):
                offer = Private(self.leg.offer())
                self.edge.send(Accept(dialog=event.dialog, sdp=offer))
            case IncomingCall(sdp=Private() as offered):
                outcome = self._answer(offered)
                if isinstance(outcome, Accepted):
                    self.edge.send(Accept(dialog=event.dialog, sdp=Private(outcome.answer)))
                else:
                    self.edge.send(Refuse(dialog=event.dialog, status=outcome))
            case ReOffered(sdp=Private() as offered):
                outcome = self._answer(offered)
                if isinstance(outcome, Accepted):
                    answer = Private(outcome.answer)
                    self.edge.send(AnswerReOffer(dialog=event.dialog, sdp=answer))
                else:
                    self.edge.send(RefuseReOffer(dialog=event.dialog, status=outcome))
            case Established():
                if event.sdp is not None:
                    self.leg.take_answer(event.sdp.value)
                self.established.set()
            case HungUp():
                self.ended.set()

    def _answer(self, offer: Private) -> Accepted | int:
        try:
            outcome = self.leg.answer(offer.value)
        except SdpError as error:
            return error.status
        return outcome if isinstance(outcome, Accepted) else outcome.status

    @property
    def agreement(self) -> Agreement:
        assert self.leg.agreement is not None
        return self.leg.agreement


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    await desk.edge.start()
    yield desk
    await desk.edge.stop()


@pytest.fixture
async def phone(desk: Desk) -> AsyncIterator[SipPhone]:
    phone = await SipPhone.open(desk.edge.address)
    yield phone
    phone.close()


async def connected(
    desk: Desk, phone: SipPhone, offer: str = OFFER, answer: str = ""
) -> tuple[PhoneCall, Message]:
    call = phone.call()
    call.invite(body=offer)
    response = await phone.response()
    call.ack(response, body=answer)
    async with asyncio.timeout(3):
        await desk.established.wait()
    return call, response


@pytest.mark.parametrize(
    ("offer", "status"),
    [
        (PHONES["SRTP phone"], 488),
        (PHONES["browser"], 488),
        (OFFER.replace("0 8 101", "18"), 488),
        (OFFER.replace("m=audio", "m=video"), 488),
        (OFFER.replace("v=0", "v=1"), 400),
    ],
)
async def test_offer_that_cannot_be_taken_is_refused(
    desk: Desk, phone: SipPhone, offer: str, status: int
) -> None:
    call = phone.call()
    call.invite(body=offer.replace("\r\n", "\n").replace("\n", "\r\n"))

    refused = await phone.response()
    call.ack(refused)

    assert refused.status == status
    assert desk.leg.agreement is None


async def test_opus_and_digits_keep_the_numbers_of_the_offer(desk: Desk, phone: SipPhone) -> None:
    offer = OFFER.replace("0 8 101", "107 0 96").replace("rtpmap:101", "rtpmap:96")

    _, answered = await connected(desk, phone, offer + "a=rtpmap:107 opus/48000/2\r\n")

    assert parse_sdp(answered.body).media[0].formats == ("107", "96")
    assert (desk.agreement.codec.encoding, desk.agreement.pt) == ("opus", 107)


async def test_call_without_an_offer_gets_ours(desk: Desk, phone: SipPhone) -> None:
    _, answered = await connected(desk, phone, offer="", answer=ANSWER)

    assert parse_sdp(answered.body).media[0].formats == ("111", "0", "8", "101")
    assert desk.agreement.remote == ("127.0.0.1", 30_000)


async def test_hold_resume_move_and_a_change_that_cannot_be(desk: Desk, phone: SipPhone) -> None:
    call, _ = await connected(desk, phone)
    answers = []

    for offer in (
        OFFER + "a=sendonly\r\n",
        OFFER.replace("IP4 127.0.0.1\r\nt=", "IP4 0.0.0.0\r\nt="),
        OFFER.replace("40000", "41000").replace("0 8 101", "8"),
        OFFER.replace("0 8 101", "18"),
    ):
        call.invite(body=offer)
        response = await phone.response(above=199)
        call.ack(response)
        answers.append((response.status, desk.agreement.direction.value, desk.agreement.remote[1]))

    assert answers == [
        (200, "recvonly", 40000),
        (200, "recvonly", 40000),
        (200, "sendrecv", 41000),
        (488, "sendrecv", 41000),
    ]
    call.send("BYE")
    async with asyncio.timeout(3):
        await desk.ended.wait()
