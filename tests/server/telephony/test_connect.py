"""Phones that are called: by `connect()` and by agents, registered ones and over a trunk."""

from __future__ import annotations

import numpy as np
import pytest

from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_sdk.protocol.states import CallState
from telcoflow_server.call.call import Call
from telcoflow_server.call.placing import CallRefused
from telcoflow_server.codec.table import L16_CODECS, PCMA, PCMU
from telcoflow_server.sip.accounts import EdgeSettings, Extension, Private, Trunk
from telcoflow_server.sip.digest import Algorithm, ha1
from telcoflow_server.sip.events import Event, TrunkRegistered, TrunkUnregistered
from tests.server.telephony.conftest import OpenOffice
from tests.support.office import Office, Talking
from tests.support.positions import PositionedAgent
from tests.support.rtp_phone import RtpPhone
from tests.support.sip_phone import Message, PhoneCall, SipPhone, register
from tests.support.tones import amplitudes, tone

pytestmark = pytest.mark.slow

CALLER_HZ, CALLEE_HZ, AGENT_HZ = 500, 700, 1000
HOST = "127.0.0.1"
NUMBER = "200"
CALLED = "100"
"""Whom phones call in these tests, and whom `connect` rings therefore."""


def trunk_to(phone: SipPhone) -> EdgeSettings:
    """Return settings in which calls leave to a phone that plays the carrier."""
    carrier = Trunk(
        name="carrier", host=HOST, port=phone.port, sources=(f"{HOST}/32",), keep_alive_s=0
    )
    return EdgeSettings(port=0, unauthenticated_calls=True, trunks=(carrier,))


class Carrier:
    """An office whose calls leave by a trunk, which a phone plays."""

    def __init__(self, office: Office, phone: SipPhone, sound: RtpPhone) -> None:
        self.office = office
        self.phone = phone
        self.sound = sound

    async def invited(self) -> Message:
        """Return the INVITE that comes."""
        invite = await self.phone.request("INVITE")
        self.sound.obey(invite.body)
        return invite

    async def answers(self, invite: Message) -> Talking:
        """Answer it."""
        self.phone.respond(invite, 200, body=self.sound.offer())
        await self.phone.request("ACK")
        return Talking(self.phone, self.sound, PhoneCall.answered_by(self.phone, invite), invite)

    async def free(self) -> None:
        await self.office.free()


@pytest.fixture
async def carrier(open_office: OpenOffice) -> Carrier:
    """A carrier at the other end of a trunk of an office's."""
    phone = await SipPhone.open((HOST, 9), "carrier")
    office = await open_office(trunk_to(phone), trunk="carrier")
    office.closes(phone.close)
    phone.server = office.telephony.edge.address
    return Carrier(office, phone, await office.sound())


def hears(sound: np.ndarray, hz: int, rate_hz: int = 8_000, ticks: int = 20) -> bool:
    levels = amplitudes(sound, hz, rate_hz) > 3000
    return "#" * ticks in "".join("#" if level else "." for level in levels)


def agent_heard(agent: PositionedAgent) -> np.ndarray:
    return np.frombuffer(bytes(agent.heard[0]), "<i2")


async def called(office: Office) -> tuple[Talking, Call, PositionedAgent, str]:
    """Return a call whose agent has asked for the callee."""
    talking, call, agent = await office.answered_call()
    return talking, call, agent, agent.command("call.connect")


# --- connect() ---------------------------------------------------------------------------


async def test_three_hear_each_other(carrier: Carrier) -> None:
    caller, call, agent, command = await called(carrier.office)
    callee = await carrier.answers(await carrier.invited())
    assert (await carrier.office.result(agent, command))["success"]

    caller.sound.say(tone(CALLER_HZ, 3_000, 8_000))
    callee.sound.say(tone(CALLEE_HZ, 3_000, 8_000))
    agent.say(tone(AGENT_HZ, 3_000).tobytes(), end=True)
    before = agent_heard(agent).size
    await carrier.office.until(lambda: agent_heard(agent).size > before + 24_000 * 1.5)

    assert call.state is CallState.CONNECTED
    assert hears(caller.sound.heard, CALLEE_HZ)
    assert hears(caller.sound.heard, AGENT_HZ)
    assert hears(callee.sound.heard, CALLER_HZ)
    assert hears(callee.sound.heard, AGENT_HZ)
    assert hears(agent_heard(agent), CALLER_HZ, 24_000)
    assert hears(agent_heard(agent), CALLEE_HZ, 24_000)
    assert not hears(caller.sound.heard, CALLER_HZ)


async def test_after_close_the_two_go_on_and_each_can_end_it(carrier: Carrier) -> None:
    caller, call, agent, _ = await called(carrier.office)
    callee = await carrier.answers(await carrier.invited())
    await carrier.office.until(lambda: call.state is CallState.CONNECTED)
    agent.command("call.close")
    await carrier.office.until(lambda: call.seat.present is None)

    caller.sound.forget()
    callee.sound.forget()
    caller.sound.say(tone(CALLER_HZ, 3_000, 8_000))
    callee.sound.say(tone(CALLEE_HZ, 3_000, 8_000))
    await carrier.office.until(lambda: hears(caller.sound.heard, CALLEE_HZ, ticks=40))
    await carrier.office.until(lambda: hears(callee.sound.heard, CALLER_HZ, ticks=40))

    callee.hang_up()
    bye = await caller.phone.request("BYE")
    caller.phone.respond(bye, 200)
    await carrier.free()
    assert call.end_reason is EndReason.CALLEE_HUNG_UP


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (486, "CALL_BUSY"),
        (600, "CALL_BUSY"),
        (603, "CALL_DECLINED"),
        (403, "CALL_DECLINED"),
        (480, "CALL_UNANSWERED"),
        (408, "CALL_UNANSWERED"),
        (404, "CALLEE_UNREACHABLE"),
        (488, "CALLEE_UNREACHABLE"),
        (503, "CALLEE_UNREACHABLE"),
    ],
)
async def test_who_does_not_come_says_why_and_the_caller_talks_on(
    carrier: Carrier, status: int, code: str
) -> None:
    caller, call, agent, command = await called(carrier.office)
    invite = await carrier.invited()

    carrier.phone.respond(invite, 180)
    carrier.phone.respond(invite, status)
    response = await carrier.office.result(agent, command)

    assert (response["success"], response["error_code"]) == (False, code)
    assert call.state is CallState.ANSWERED
    await carrier.office.until(lambda: carrier.office.telephony.dialogs == 1)
    assert carrier.office.pool.used == 1
    agent.say(tone(AGENT_HZ, 800).tobytes(), end=True)
    await carrier.office.until(lambda: hears(caller.sound.heard, AGENT_HZ, ticks=30))


async def test_nobody_answers_in_the_ring_time(carrier: Carrier) -> None:
    _, call, agent = await carrier.office.answered_call()
    command = agent.command("call.connect", ringTimeSeconds=1)
    invite = await carrier.invited()
    carrier.phone.respond(invite, 180)

    cancel = await carrier.phone.request("CANCEL")
    carrier.phone.respond(cancel, 200)
    carrier.phone.respond(invite, 487)
    response = await carrier.office.result(agent, command)

    assert response["error_code"] == "CALL_UNANSWERED"
    assert call.state is CallState.ANSWERED
    await carrier.office.until(lambda: carrier.office.pool.used == 1)


async def test_a_number_without_a_way_is_unreachable(office: Office) -> None:
    _, _, agent, command = await called(office)

    assert (await office.result(agent, command))["error_code"] == "CALLEE_UNREACHABLE"


async def test_a_node_without_ports_reaches_nobody(
    carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, agent = await carrier.office.answered_call()
    monkeypatch.setattr(type(carrier.office.pool), "_bind_at", lambda self, port: None)

    command = agent.command("call.connect")

    response = await carrier.office.result(agent, command)
    assert response["error_code"] == "CALLEE_UNREACHABLE"


@pytest.mark.parametrize("port", ["0", "x"], ids=["refused", "unreadable"])
async def test_an_answer_without_media_is_no_answer(carrier: Carrier, port: str) -> None:
    _, call, agent, command = await called(carrier.office)
    invite = await carrier.invited()
    answer = carrier.sound.offer().replace(f"m=audio {carrier.sound.port}", f"m=audio {port}")

    carrier.phone.respond(invite, 200, body=answer)
    bye = await carrier.phone.request("BYE")
    carrier.phone.respond(bye, 200)

    response = await carrier.office.result(agent, command)
    assert response["error_code"] == "CALLEE_UNREACHABLE"
    assert call.state is CallState.ANSWERED


async def test_a_caller_who_hangs_up_cancels_the_ringing(carrier: Carrier) -> None:
    caller, call, _, _ = await called(carrier.office)
    invite = await carrier.invited()
    carrier.phone.respond(invite, 180)
    await carrier.office.until(lambda: carrier.office.telephony.dialogs == 2)

    caller.hang_up()
    cancel = await carrier.phone.request("CANCEL")
    carrier.phone.respond(cancel, 200)
    carrier.phone.respond(invite, 487)
    await carrier.free()

    assert call.end_reason is EndReason.CALLER_HUNG_UP


# --- before the answer -------------------------------------------------------------------


async def ringing_from_pending(carrier: Carrier) -> tuple[Talking, PositionedAgent, str, Message]:
    """Return a caller whose call rings on at the callee's, before anybody has answered."""
    phone, sound = await carrier.office.phone(), await carrier.office.sound()
    dialog = phone.call()
    dialog.invite(sound.offer())
    _, agent = await carrier.office.incoming(answers=False)
    command = agent.command("call.connect", placed=False)
    invite = await carrier.invited()
    early = await phone.response(above=180)
    assert early.status == 183
    sound.obey(early.body)
    return Talking(phone, sound, dialog, early), agent, command, invite


async def test_a_caller_hears_ringback_before_the_answer(carrier: Carrier) -> None:
    caller, *_ = await ringing_from_pending(carrier)

    # The tone of most of Europe: 425 Hz, which is between two bins.
    await carrier.office.until(lambda: np.abs(caller.sound.heard[-160:]).max(initial=0) > 1_000)


@pytest.mark.parametrize("answer_codec", [PCMU, L16_CODECS[1]], ids=lambda one: one.encoding)
async def test_early_media_of_the_callee_is_heard_by_the_caller(
    open_office: OpenOffice, answer_codec: object
) -> None:
    phone = await SipPhone.open((HOST, 9), "carrier")
    office = await open_office(trunk_to(phone), codecs=(PCMU, L16_CODECS[1]), trunk="carrier")
    office.closes(phone.close)
    phone.server = office.telephony.edge.address
    carrier = Carrier(office, phone, await office.sound())
    caller, agent, command, invite = await ringing_from_pending(carrier)

    carrier.phone.respond(invite, 183, body=carrier.sound.offer())
    carrier.sound.say(tone(CALLEE_HZ, 10_000, 8_000))
    await office.until(lambda: hears(caller.sound.heard, CALLEE_HZ))
    assert not agent.events("call.dtmf")
    if answer_codec is not PCMU:
        carrier.sound.speak(L16_CODECS[1])
        carrier.sound.say(tone(CALLEE_HZ, 10_000, 16_000))
    callee = await carrier.answers(invite)
    response = await caller.phone.response(above=199)
    caller.dialog.ack(response)
    assert (await office.result(agent, command))["success"]
    caller.sound.forget()
    callee.sound.forget()
    caller.sound.say(tone(CALLER_HZ, 5_000, 8_000))

    await office.until(lambda: hears(caller.sound.heard, CALLEE_HZ))
    rate_hz = callee.sound.codec.sample_rate_hz
    await office.until(lambda: hears(callee.sound.heard, CALLER_HZ, rate_hz))


async def test_who_announces_that_it_is_busy_was_heard_and_rings_no_more(carrier: Carrier) -> None:
    caller, agent, command, invite = await ringing_from_pending(carrier)
    carrier.phone.respond(invite, 183, body=carrier.sound.offer())
    carrier.sound.say(tone(CALLEE_HZ, 10_000, 8_000))
    await carrier.office.until(lambda: hears(caller.sound.heard, CALLEE_HZ))

    carrier.phone.respond(invite, 486)
    response = await carrier.office.result(agent, command)
    caller.sound.forget()
    await carrier.office.until(lambda: caller.sound.heard.size > 1_600)

    assert response["error_code"] == "CALL_BUSY"
    assert not caller.sound.heard[800:].any()
    assert carrier.office.pool.used == 1


async def test_a_caller_without_an_offer_hears_nothing_before_the_answer(carrier: Carrier) -> None:
    phone = await carrier.office.phone()
    phone.call().invite("")
    _, agent = await carrier.office.incoming(answers=False)
    assert (await phone.response()).status == 180

    agent.command("call.connect", placed=False)
    await carrier.invited()

    assert await phone.hears_nothing()


async def test_a_caller_who_gives_up_before_the_answer_cancels_both(carrier: Carrier) -> None:
    caller, _, _, invite = await ringing_from_pending(carrier)
    carrier.phone.respond(invite, 180)

    caller.dialog.cancel()
    cancel = await carrier.phone.request("CANCEL")
    carrier.phone.respond(cancel, 200)
    carrier.phone.respond(invite, 487)
    await carrier.free()


# --- registered phones -------------------------------------------------------------------


BOB = Extension(user=CALLED, ha1_md5=Private(ha1(Algorithm.MD5, CALLED, "telcoflow", "secret")))


async def test_a_registered_phone_is_rung_until_it_unregisters(open_office: OpenOffice) -> None:
    settings = EdgeSettings(port=0, unauthenticated_calls=True, extensions=(BOB,))
    office = await open_office(settings)
    bob, tablet = await office.phone(CALLED), await office.phone(CALLED)
    assert (await register(bob)).status == 200
    assert (await register(tablet)).status == 200
    assert (await register(tablet, headers=(("Expires", "0"),))).status == 200
    sound = await office.sound(PCMA)

    caller, call, agent, command = await called(office)
    invite = await bob.request("INVITE")
    sound.obey(invite.body)
    bob.respond(invite, 200, body=sound.offer())
    await bob.request("ACK")
    assert (await office.result(agent, command))["success"]
    sound.say(tone(CALLEE_HZ, 2_000, 8_000))
    await office.until(lambda: hears(caller.sound.heard, CALLEE_HZ))
    PhoneCall.answered_by(bob, invite).send("BYE")
    await office.until(lambda: call.end_reason is EndReason.CALLEE_HUNG_UP)

    assert (await register(bob, headers=(("Expires", "0"),))).status == 200
    caller.phone.call(CALLED).invite(caller.sound.offer())
    assert (await caller.phone.response(above=199)).status == 480


# --- calls that agents place -------------------------------------------------------------


async def test_an_agent_calls_somebody(carrier: Carrier) -> None:
    office = carrier.office
    session = office.telephony.make_call("c1", NUMBER, 30)
    call = office.node.exchange.find(session.call_id)
    assert call is not None
    agent = office.agent(call, answers=False)
    command = agent.command("call.answer", placed=False)
    invite = await carrier.invited()
    carrier.phone.respond(invite, 180)
    await office.until(lambda: bool(agent.events("call.progress")))
    carrier.phone.respond(invite, 183, body=carrier.sound.offer())
    await office.until(lambda: len(agent.events("call.progress")) == 2)
    callee = await carrier.answers(invite)
    assert (await office.result(agent, command))["success"]

    agent.say(tone(AGENT_HZ, 1_000).tobytes(), end=True)
    callee.sound.say(tone(CALLEE_HZ, 1_000, 8_000))
    await office.until(lambda: hears(callee.sound.heard, AGENT_HZ, ticks=40))
    await office.until(lambda: hears(agent_heard(agent), CALLEE_HZ, 24_000, ticks=40))

    states = [event["state"] for event in agent.events("call.progress")]
    assert states == ["ringing", "early", "answered"]
    assert invite.uri.startswith(f"sip:{NUMBER}@")
    callee.hang_up()
    await carrier.free()


async def test_a_call_of_an_agent_that_nobody_answers_says_why(carrier: Carrier) -> None:
    office = carrier.office
    session = office.telephony.make_call("c1", NUMBER, 30)
    call = office.node.exchange.find(session.call_id)
    assert call is not None
    office.agent(call, answers=False)
    invite = await carrier.invited()

    carrier.phone.respond(invite, 486)
    await carrier.free()

    assert call.end_reason is EndReason.CALLEE_BUSY


@pytest.mark.parametrize(
    ("is_draining", "code"), [(True, "DRAINING"), (False, "OUTBOUND_OVERFLOW")]
)
async def test_a_call_for_which_there_is_no_room_is_refused(
    open_office: OpenOffice, is_draining: bool, code: str
) -> None:
    office = await open_office(calls_per_connector=0)
    office.node.exchange.is_draining = is_draining

    with pytest.raises(CallRefused) as refused:
        office.telephony.make_call("c1", NUMBER, 30)

    assert refused.value.code == code


async def test_without_a_process_of_signalling_calls_fail_at_once(carrier: Carrier) -> None:
    await carrier.office.telephony.edge.stop()
    session = carrier.office.telephony.make_call("c1", NUMBER, 30)
    call = carrier.office.node.exchange.find(session.call_id)
    assert call is not None

    carrier.office.agent(call, answers=False)
    await carrier.free()

    assert call.end_reason is EndReason.CALLEE_UNANSWERED


# --- trunks ------------------------------------------------------------------------------


async def test_whether_a_trunk_answers_is_known(open_office: OpenOffice) -> None:
    phone = await SipPhone.open((HOST, 9), "carrier")
    trunk = Trunk(name="carrier", host=HOST, port=phone.port, keep_alive_s=0.1)
    office = await open_office(EdgeSettings(port=0, trunks=(trunk,)))
    office.closes(phone.close)
    phone.server = office.telephony.edge.address
    before = dict(office.telephony.trunks)

    phone.respond(await phone.request("OPTIONS"), 200)
    await office.until(lambda: office.telephony.trunks["carrier"])

    assert before == {"carrier": False}


@pytest.mark.parametrize(("status", "is_usable"), [(200, True), (403, False)])
async def test_whether_a_trunk_takes_our_registration_is_known(
    open_office: OpenOffice, status: int, is_usable: bool
) -> None:
    phone = await SipPhone.open((HOST, 9), "carrier")
    trunk = Trunk(
        name="carrier", host=HOST, port=phone.port, user="us", registers=True, keep_alive_s=0
    )
    said: list[Event] = []
    office = await open_office(EdgeSettings(port=0, trunks=(trunk,)))
    office.closes(phone.close)
    office.telephony.on_event = said.append
    phone.server = office.telephony.edge.address

    phone.respond(await phone.request("REGISTER"), status, headers=(("Expires", "60"),))
    await office.until(
        lambda: any(isinstance(one, TrunkRegistered | TrunkUnregistered) for one in said)
    )

    assert office.telephony.trunks == {"carrier": is_usable}


async def test_a_node_that_takes_no_new_calls_goes_on_with_those_it_has(
    carrier: Carrier,
) -> None:
    office = carrier.office
    caller, call, _ = await office.answered_call()
    office.telephony.refuse_calls()
    other = await office.phone("bob")

    other.call().invite(caller.sound.offer())

    assert (await other.response(above=199)).status == 503
    assert call.end_reason is None
