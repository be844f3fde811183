"""Phones that call: SIP and RTP over loopback, an agent in memory."""

from __future__ import annotations

import asyncio
import os
import signal
import socket

import numpy as np
import pytest

from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_sdk.protocol.states import CallState
from telcoflow_server.codec.table import L16_CODECS, PCMA, PCMU, Codec, find
from telcoflow_server.legs.agent_array import LEAST_LEGS as LEAST_AGENTS
from telcoflow_server.legs.rtp import DEAD_AFTER_S
from telcoflow_server.legs.rtp_array import LEAST_LEGS
from telcoflow_server.sip.accounts import EdgeSettings
from telcoflow_server.telephony.routes import Routes
from tests.server.telephony.conftest import OpenOffice
from tests.support.joint_link import JointPositionedLink
from tests.support.office import OPEN, Office
from tests.support.positions import PositionedAgent
from tests.support.tones import amplitudes, tone

pytestmark = pytest.mark.slow

PERSON_HZ, AGENT_HZ = 500, 1000
OPUS = find("opus", 48_000, 2)
G722 = find("G722", 8_000)
assert OPUS is not None
assert G722 is not None


def agent_heard(agent: PositionedAgent) -> np.ndarray:
    return np.frombuffer(bytes(agent.heard[0]), "<i2")


def is_whole(sound: np.ndarray, hz: int, rate_hz: int, ticks: int) -> bool:
    """Whether a tone is heard for so many ticks without a break, and nothing louder besides."""
    levels = amplitudes(sound, hz, rate_hz) > 4500
    runs = "".join("#" if level else "." for level in levels)
    return "#" * ticks in runs


# --- audio -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "codec", [PCMU, PCMA, G722, OPUS, L16_CODECS[1]], ids=lambda one: one.encoding
)
async def test_a_caller_and_an_agent_hear_each_other(open_office: OpenOffice, codec: Codec) -> None:
    office = await open_office(codecs=(codec,))
    talking, call, agent = await office.answered_call(codec)
    rate_hz = codec.sample_rate_hz

    talking.sound.say(tone(PERSON_HZ, 2_000, rate_hz))
    agent.say(tone(AGENT_HZ, 1_000).tobytes(), end=True)
    await office.until(lambda: agent_heard(agent).size > 24_000 * 1.6)

    assert is_whole(talking.sound.heard, AGENT_HZ, rate_hz, 48)
    assert is_whole(agent_heard(agent), PERSON_HZ, 24_000, 48)
    assert call.state is CallState.ANSWERED


@pytest.mark.slow
async def test_many_phones_at_once_are_each_heard_both_ways(office: Office) -> None:
    """With their agents in an array, too: then calls rest, and wake for a key and a hang-up."""
    office.link = JointPositionedLink
    lines = [await office.answered_call(PCMU) for _ in range(max(LEAST_LEGS, LEAST_AGENTS))]
    legs = office.telephony.legs
    await office.until(lambda: legs.together > 0)

    for talking, _, agent in lines:
        talking.sound.forget()
        talking.sound.say(tone(PERSON_HZ, 2_000, 8_000))
        agent.say(tone(AGENT_HZ, 1_000).tobytes(), end=True)
    (first, call, _), (second, _, other), *_ = lines
    rested, over = set(), call.tick + 100
    while call.tick <= over:
        tick = call.tick
        await office.until(lambda: call.tick > tick)  # noqa: B023 (it is awaited here)
        rested |= {number for number, (_, its, _) in enumerate(lines) if its.may_rest}
    first.hang_up()
    await office.until(lambda: office.telephony.dialogs == len(lines) - 1)
    second.sound.press("5")
    await office.until(lambda: bool(other.events("call.dtmf")))

    assert len(rested) > len(lines) / 2
    for talking, _, agent in lines:
        assert is_whole(talking.sound.heard, AGENT_HZ, 8_000, 48)
        assert is_whole(agent_heard(agent), PERSON_HZ, 24_000, 48)


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
async def test_a_call_over_ipv6_is_heard_both_ways(open_office: OpenOffice) -> None:
    office = await open_office(EdgeSettings(host="::1", port=0, unauthenticated_calls=True))
    talking, call, agent = await office.answered_call()

    talking.sound.say(tone(PERSON_HZ, 2_000, 8_000))
    agent.say(tone(AGENT_HZ, 1_000).tobytes(), end=True)
    await office.until(lambda: agent_heard(agent).size > 24_000 * 1.6)
    talking.hang_up()
    await office.free()

    assert "c=IN IP6 ::1\r\n" in talking.answer.body
    assert is_whole(talking.sound.heard, AGENT_HZ, 8_000, 48)
    assert is_whole(agent_heard(agent), PERSON_HZ, 24_000, 48)
    assert call.end_reason is EndReason.CALLER_HUNG_UP


async def test_a_caller_who_hangs_up_ends_the_call_and_frees_everything(office: Office) -> None:
    talking, call, _ = await office.answered_call()

    talking.hang_up()
    response = await talking.phone.response("BYE")
    await office.free()

    assert response.status == 200
    assert call.end_reason is EndReason.CALLER_HUNG_UP


async def test_an_agent_that_hangs_up_is_heard_to_its_last_word(office: Office) -> None:
    talking, call, agent = await office.answered_call()
    agent.say(tone(AGENT_HZ, 600).tobytes(), end=True)
    agent.command("call.disconnect")

    bye = await talking.phone.request("BYE")
    talking.phone.respond(bye, 200)
    await office.free()

    assert call.end_reason is EndReason.AGENT_DISCONNECTED
    # The last packets may be read after the BYE.
    await office.until(lambda: is_whole(talking.sound.heard, AGENT_HZ, 8_000, 30))


async def test_a_phone_that_never_sends_is_heard_of_no_more_after_a_minute(office: Office) -> None:
    talking, call, _ = await office.answered_call()
    talking.sound.is_sending = False
    await office.until(lambda: len(talking.sound.packets) > 10)

    office.ahead_s = DEAD_AFTER_S + 1
    bye = await talking.phone.request("BYE")
    talking.phone.respond(bye, 200)
    await office.free()

    assert call.end_reason is EndReason.CALLER_HUNG_UP


async def test_a_phone_that_rings_for_long_is_not_taken_for_dead(office: Office) -> None:
    phone, sound = await office.phone(), await office.sound()
    phone.call().invite(sound.offer())
    call, agent = await office.incoming(answers=False)

    office.ahead_s = DEAD_AFTER_S + 1
    await phone.response()
    await office.until(lambda: call.tick > 10)
    agent.command("call.answer", placed=False)

    assert (await phone.response(above=199)).status == 200
    assert call.end_reason is None


async def test_nothing_is_sent_before_the_answer(office: Office) -> None:
    phone, sound = await office.phone(), await office.sound()
    phone.call().invite(sound.offer())
    call, _ = await office.incoming(answers=False)

    ringing = await phone.response()
    await office.until(lambda: call.tick > 15)

    assert (ringing.status, ringing.body) == (180, "")
    assert sound.packets == []


async def test_a_stranger_s_media_is_not_heard(office: Office) -> None:
    talking, _, agent = await office.answered_call()
    stranger = await office.sound()
    await office.until(lambda: len(talking.sound.packets) > 5)
    stranger.remote = talking.sound.remote
    stranger.say(tone(PERSON_HZ, 1_000, 8_000))
    await office.until(lambda: agent_heard(agent).size > 24_000)

    (phone,) = office.telephony.phones()
    assert phone.leg is not None
    assert phone.leg.statistics().latch.strangers > 10
    assert amplitudes(agent_heard(agent), PERSON_HZ).max() < 50
    assert stranger.packets == []


async def test_a_flood_at_one_call_makes_no_gap_in_another(office: Office) -> None:
    flooded, _, _ = await office.answered_call()
    talking, _, agent = await office.answered_call()
    target = flooded.sound.remote
    assert target is not None
    agent.say(tone(AGENT_HZ, 1_000).tobytes(), end=True)
    talking.sound.say(tone(PERSON_HZ, 1_500, 8_000))

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        while agent_heard(agent).size < 24_000 * 1.3:
            for _ in range(100):
                stranger.sendto(bytes(172), target)
            await asyncio.sleep(0.005)

    assert is_whole(talking.sound.heard, AGENT_HZ, 8_000, 48)
    assert is_whole(agent_heard(agent), PERSON_HZ, 24_000, 48)
    assert office.pool.flooded_ticks > 10


# --- calls that come to nothing ----------------------------------------------------------


async def test_a_caller_who_gives_up_leaves_nothing(office: Office) -> None:
    phone, sound = await office.phone(), await office.sound()
    dialog = phone.call()
    dialog.invite(sound.offer())
    call, _ = await office.incoming(answers=False)
    await phone.response()

    dialog.cancel()
    final = await phone.response("INVITE", above=199)
    await office.free()

    assert final.status == 487
    assert call.end_reason is EndReason.CALLER_HUNG_UP


@pytest.mark.parametrize(
    ("reason", "status"), [("nobody", 486), ("rejected", 603), ("shutdown", 503)]
)
async def test_a_caller_is_told_why_nobody_answers(
    open_office: OpenOffice, reason: str, status: int
) -> None:
    office = await open_office(ring_timeout_s=0.3 if reason == "nobody" else 60.0)
    phone, sound = await office.phone(), await office.sound()
    phone.call().invite(sound.offer())
    _, agent = await office.incoming(answers=False)

    if reason == "rejected":
        agent.command("call.disconnect", placed=False)
    elif reason == "shutdown":
        office.node.exchange.shut_down()
    final = await phone.response(above=199)
    await office.free()

    assert final.status == status
    assert bool(final.header("retry-after")) is (status == 503)


async def refused(office: Office, offer: str | None = None, number: str = "100") -> int:
    """Return the status with which a call is refused."""
    phone, sound = await office.phone(), await office.sound()
    dialog = phone.call(number)
    dialog.invite(sound.offer() if offer is None else offer)
    final = await phone.response(above=199)
    dialog.ack(final)
    assert office.node.exchange.call_count == office.telephony.dialogs == office.pool.used == 0
    if final.status == 503:
        assert final.header("retry-after")
    return final.status


async def test_a_number_that_is_nobody_s_is_not_found(open_office: OpenOffice) -> None:
    office = await open_office()
    office.telephony.reconfigure(
        OPEN,
        Routes(
            connectors={"100": "c1"},
            default_connector=None,
            trunks={},
            default_trunk="",
            codecs={},
        ),
    )

    assert await refused(office, number="200") == 404


async def test_a_node_that_drains_asks_callers_to_try_again(office: Office) -> None:
    office.node.exchange.is_draining = True

    assert await refused(office) == 503


async def test_a_connector_has_no_more_calls_than_it_may(open_office: OpenOffice) -> None:
    office = await open_office(calls_per_connector=0)

    assert await refused(office) == 503


async def test_a_node_without_ports_asks_callers_to_try_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(office.pool), "_bind_at", lambda self, port: None)

    assert await refused(office) == 503


SAVP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"


@pytest.mark.parametrize(
    ("offer", "status"),
    [
        (SAVP + "m=audio 4000 RTP/SAVP 0\r\n", 488),
        (SAVP + "m=audio 4000 RTP/AVP 18\r\n", 488),
        (SAVP + "m=audio x RTP/AVP 0\r\n", 400),
    ],
    ids=["encrypted", "another codec", "no SDP"],
)
async def test_an_offer_that_leads_nowhere_is_refused(
    office: Office, offer: str, status: int
) -> None:
    assert await refused(office, offer) == status


# --- late offer --------------------------------------------------------------------------


async def test_a_call_without_an_offer_is_offered_and_talks(office: Office) -> None:
    phone, sound = await office.phone(), await office.sound(PCMA)
    dialog = phone.call()
    dialog.invite("")
    call, agent = await office.incoming()
    response = await phone.response(above=199)
    assert "m=audio" in response.body
    dialog.ack(response, sound.offer())
    sound.obey(response.body)

    sound.say(tone(PERSON_HZ, 2_000, 8_000))
    agent.say(tone(AGENT_HZ, 800).tobytes(), end=True)
    await office.until(lambda: agent_heard(agent).size > 24_000 * 1.5)

    assert is_whole(sound.heard, AGENT_HZ, 8_000, 38)
    assert is_whole(agent_heard(agent), PERSON_HZ, 24_000, 40)
    dialog.send("BYE")
    await office.free()
    assert call.end_reason is EndReason.CALLER_HUNG_UP


# --- logins ------------------------------------------------------------------------------


async def test_a_caller_who_wants_no_name_has_none(office: Office) -> None:
    phone, sound = await office.phone(), await office.sound()
    phone.call().invite(sound.offer(), (("Privacy", "id"),))

    call, _ = await office.incoming(answers=False)

    assert call.identity.caller == ""


async def test_the_process_of_signalling_may_die_and_audio_goes_on(office: Office) -> None:
    talking, call, agent = await office.answered_call()
    edge = office.telephony.edge
    children = {int(pid) for pid in os.listdir("/proc") if pid.isdigit()}
    process = next(pid for pid in children if is_sip_process_of(pid, os.getpid()))

    agent.say(tone(AGENT_HZ, 1_500).tobytes(), end=True)
    await office.until(lambda: talking.sound.heard.size > 3_000)
    os.kill(process, signal.SIGKILL)
    await office.until(lambda: edge.restarts == 1 and edge.is_alive, patience_s=10)
    await office.until(lambda: talking.sound.heard.size > 14_000)

    assert is_whole(talking.sound.heard, AGENT_HZ, 8_000, 74)
    assert call.state is CallState.ANSWERED
    agent.command("call.disconnect")
    bye = await talking.phone.request("BYE")
    talking.phone.respond(bye, 200)
    await office.free()


def is_sip_process_of(pid: int, parent: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            words = stat.read().rsplit(")", 1)[1].split()
        with open(f"/proc/{pid}/cmdline") as command:
            line = command.read()
    except OSError:
        return False
    return int(words[1]) == parent and "telcoflow_server.sip.child" in line
