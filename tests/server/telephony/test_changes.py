"""What phones and agents change while they talk: hold, codec, digits, transfers."""

from __future__ import annotations

import numpy as np
import pytest

from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_sdk.protocol.states import CallState
from telcoflow_server.call.call import Call
from telcoflow_server.codec.table import L16_CODECS, PCMU
from telcoflow_server.telephony.dialog import MAX_INFO_DIGITS
from tests.server.telephony.conftest import OpenOffice
from tests.support.office import G711, Office, Talking
from tests.support.positions import PositionedAgent
from tests.support.rtp_phone import DIGITS_PT
from tests.support.sip_phone import Message
from tests.support.tones import amplitudes, tone

pytestmark = pytest.mark.slow

PERSON_HZ, AGENT_HZ = 500, 1000
WIDE = L16_CODECS[1]


def hears(sound: np.ndarray, hz: int, rate_hz: int = 8_000, ticks: int = 20) -> bool:
    levels = amplitudes(sound, hz, rate_hz) > 3000
    return "#" * ticks in "".join("#" if level else "." for level in levels)


def agent_heard(agent: PositionedAgent, since: int = 0) -> np.ndarray:
    return np.frombuffer(bytes(agent.heard[0]), "<i2")[since:]


async def change(talking: Talking, sdp: str) -> Message:
    """Send a re-INVITE; return what it came to."""
    talking.dialog.invite(sdp)
    response = await talking.phone.response(above=199)
    talking.dialog.ack(response)
    return response


# --- hold, codec -------------------------------------------------------------------------


async def test_who_holds_hears_nothing_until_it_resumes(office: Office) -> None:
    talking, _, agent = await office.answered_call()
    sound = talking.sound
    agent.say(tone(AGENT_HZ, 10_000).tobytes())
    await office.until(lambda: hears(sound.heard, AGENT_HZ))

    held = await change(talking, sound.offer(direction="sendonly"))
    await office.until(lambda: agent.written > 0)
    sound.forget()
    since = agent_heard(agent).size
    await office.until(lambda: agent_heard(agent).size > since + 12_000)
    while_held = len(sound.packets)
    resumed = await change(talking, sound.offer())
    await office.until(lambda: hears(sound.heard, AGENT_HZ))

    assert "a=recvonly" in held.body
    assert "a=sendrecv" in resumed.body
    assert while_held <= 2  # under way when it was answered
    talking.hang_up()
    await office.free()


async def test_an_address_of_zeros_is_the_old_way_to_hold(office: Office) -> None:
    talking, _, agent = await office.answered_call()
    agent.say(tone(AGENT_HZ, 10_000).tobytes())
    await office.until(lambda: hears(talking.sound.heard, AGENT_HZ))

    response = await change(talking, talking.sound.offer(host="0.0.0.0"))
    talking.sound.forget()
    since = agent_heard(agent).size
    await office.until(lambda: agent_heard(agent).size > since + 12_000)

    assert response.status == 200
    assert len(talking.sound.packets) <= 2


async def test_a_phone_may_change_to_a_codec_of_another_rate(open_office: OpenOffice) -> None:
    office = await open_office(codecs=(WIDE, *G711))
    talking, call, agent = await office.answered_call(PCMU)
    sound = talking.sound
    agent.say(tone(AGENT_HZ, 10_000).tobytes())
    await office.until(lambda: hears(sound.heard, AGENT_HZ))

    sound.forget()
    sound.speak(WIDE)
    sound.say(tone(PERSON_HZ, 5_000, 16_000))
    response = await change(talking, sound.offer())
    since = agent_heard(agent).size
    await office.until(lambda: hears(sound.heard, AGENT_HZ, 16_000))
    await office.until(lambda: hears(agent_heard(agent, since), PERSON_HZ, 24_000))

    assert "L16/16000" in response.body
    assert call.state is CallState.ANSWERED
    talking.hang_up()
    await office.free()


async def test_a_phone_may_move_its_audio_to_another_port(office: Office) -> None:
    talking, _, agent = await office.answered_call()
    moved = await office.sound()
    agent.say(tone(AGENT_HZ, 10_000).tobytes())
    await office.until(lambda: hears(talking.sound.heard, AGENT_HZ))

    talking.sound.is_sending = False
    response = await change(talking, moved.offer())
    moved.obey(response.body)
    moved.say(tone(PERSON_HZ, 5_000, 8_000))
    since = agent_heard(agent).size

    await office.until(lambda: hears(moved.heard, AGENT_HZ))
    await office.until(lambda: hears(agent_heard(agent, since), PERSON_HZ, 24_000))


async def test_an_offer_that_is_refused_changes_nothing(office: Office) -> None:
    talking, _, agent = await office.answered_call()
    agent.say(tone(AGENT_HZ, 10_000).tobytes())

    statuses = [
        (await change(talking, talking.sound.offer().replace("RTP/AVP", "RTP/SAVP"))).status,
        (await change(talking, "m=audio\r\n")).status,
    ]
    talking.sound.forget()
    await office.until(lambda: hears(talking.sound.heard, AGENT_HZ))

    assert statuses == [488, 488]


async def test_a_phone_that_asks_for_our_offer_gets_it(office: Office) -> None:
    talking, _, agent = await office.answered_call()
    agent.say(tone(AGENT_HZ, 10_000).tobytes())
    talking.dialog.invite("")
    response = await talking.phone.response(above=199)
    talking.dialog.ack(response, talking.sound.offer())

    talking.sound.forget()
    await office.until(lambda: hears(talking.sound.heard, AGENT_HZ))

    assert "m=audio" in response.body


# --- digits ------------------------------------------------------------------------------


async def test_keys_are_told_to_the_agent_whichever_way_they_come(office: Office) -> None:
    talking, _, agent = await office.answered_call()
    await office.until(lambda: agent_heard(agent).size > 4_800)
    talking.sound.press("5")
    talking.sound.press("#", ticks=10)
    await office.until(lambda: len(agent.events("call.dtmf")) == 2)
    text = talking.dialog.text(
        "INFO", body="Signal=7\r\nDuration=180\r\n", content_type="application/dtmf-relay"
    )
    talking.phone.send(text)
    await office.until(lambda: len(agent.events("call.dtmf")) == 3)

    told = [(event["digit"], event["ms"]) for event in agent.events("call.dtmf")]
    assert told == [("5", 100.0), ("#", 200.0), ("7", 180.0)]


async def test_digits_of_the_agent_are_events_behind_what_was_said(office: Office) -> None:
    talking, _, agent = await office.answered_call()
    agent.say(tone(AGENT_HZ, 400).tobytes())
    command = agent.command("call.send_dtmf", digits="1#")
    agent.say(tone(AGENT_HZ, 400).tobytes(), end=True)
    sound = talking.sound
    await office.until(lambda: len({p.ts for p in sound.packets if p.pt == DIGITS_PT}) == 2)
    await office.until(lambda: sound.packets[-1].pt == 0 and len(sound.packets) > 60)

    events = [packet for packet in sound.packets if packet.pt == DIGITS_PT]
    assert (await office.result(agent, command))["success"]
    assert "".join(dict.fromkeys("0123456789*#"[one.payload[0]] for one in events)) == "1#"
    first = sound.packets.index(events[0])
    before = [packet for packet in sound.packets[:first] if packet.pt == 0]
    said = [one for one in before if len(set(one.payload)) > 5]
    assert len(said) in (20, 21)


async def test_a_phone_without_events_is_sent_digits_by_info_one_by_one(office: Office) -> None:
    talking, _, agent = await office.answered_call(digits=False)
    agent.command("call.send_dtmf", digits="12")

    bodies = []
    for _ in range(2):
        info = await talking.phone.request("INFO")
        bodies.append(info.body.split()[0])
        talking.phone.respond(info, 200)
    assert bodies == ["Signal=1", "Signal=2"]


async def test_more_digits_by_info_than_can_wait_are_refused(office: Office) -> None:
    _, _, agent = await office.answered_call(digits=False)
    for _ in range(MAX_INFO_DIGITS // 50 + 1):
        agent.command("call.send_dtmf", digits="1" * 50)

    await office.until(lambda: bool(agent.events("call.error")))

    assert agent.events("call.error")[0]["error_code"] == "DTMF_REFUSED"


# --- transfers ---------------------------------------------------------------------------


async def transfer(office: Office, *frags: str) -> tuple[Talking, Call, PositionedAgent, str]:
    """Have a phone transferred, which tells so far how it goes."""
    talking, call, agent = await office.answered_call()
    command = agent.command("call.transfer", number="+15550111")
    refer = await talking.phone.request("REFER")
    assert "+15550111@" in refer.header("refer-to")
    talking.phone.respond(refer, 202)
    for frag in frags:
        is_last = int(frag.split()[1]) >= 200
        state = "terminated;reason=noresource" if is_last else "active;expires=60"
        notify = talking.dialog.text(
            "NOTIFY",
            body=f"{frag}\r\n",
            content_type="message/sipfrag;version=2.0",
            headers=(("Event", "refer"), ("Subscription-State", state)),
        )
        talking.phone.send(notify)
        assert (await talking.phone.response("NOTIFY")).status == 200
    return talking, call, agent, command


async def test_a_transferred_caller_leaves_the_call(office: Office) -> None:
    talking, call, agent, command = await transfer(office, "SIP/2.0 100 Trying", "SIP/2.0 200 OK")

    assert (await office.result(agent, command))["success"]
    bye = await talking.phone.request("BYE")
    talking.phone.respond(bye, 200)
    await office.free()
    assert call.end_reason is EndReason.TRANSFERRED


async def test_a_transfer_that_fails_leaves_the_caller_with_the_agent(office: Office) -> None:
    talking, _, agent, command = await transfer(office, "SIP/2.0 486 Busy Here")

    assert (await office.result(agent, command))["error_code"] == "TRANSFER_FAILED"
    agent.say(tone(AGENT_HZ, 800).tobytes(), end=True)
    await office.until(lambda: hears(talking.sound.heard, AGENT_HZ))


async def test_a_phone_that_refuses_a_transfer_is_told_of(office: Office) -> None:
    talking, _, agent = await office.answered_call()
    command = agent.command("call.transfer", number="+15550111")
    refer = await talking.phone.request("REFER")
    talking.phone.respond(refer, 603)

    assert (await office.result(agent, command))["error_code"] == "TRANSFER_FAILED"


async def test_a_phone_cannot_send_its_agent_to_somebody_else(office: Office) -> None:
    talking, _, _ = await office.answered_call()
    talking.dialog.send("REFER", headers=(("Refer-To", "<sip:300@127.0.0.1>"),))
    assert (await talking.phone.response("REFER")).status == 202

    while True:
        notify = await talking.phone.request("NOTIFY")
        talking.phone.respond(notify, 200)
        if "100" not in notify.body:
            break

    assert "603" in notify.body
