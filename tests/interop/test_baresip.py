"""baresip and an agent: speech both ways, hold, digits, and who hangs up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_sdk.protocol.states import CallState
from telcoflow_server.call.call import Call
from telcoflow_server.codec.table import PCMA, PCMU, Codec, find
from telcoflow_server.legs import rtp_array
from telcoflow_server.legs.rtp_array import LEAST_LEGS
from telcoflow_server.sip.accounts import EdgeSettings, Trunk
from tests.interop.baresip import Baresip
from tests.interop.conftest import Measure, OpenOffice, OpenRelay, needs
from tests.interop.recordings import (
    LEAD_IN_S,
    Quality,
    check_clean,
    compare,
    padded,
    sentence,
    write,
)
from tests.interop.relay import Relay
from tests.interop.test_sipp import heard_by
from tests.support.network import Impairment
from tests.support.office import Office
from tests.support.positions import PositionedAgent

TALK_S = LEAD_IN_S + 8

G722 = find("G722", 8_000)
OPUS = find("opus", 48_000, 2)
assert G722 is not None
assert OPUS is not None


@pytest.fixture(autouse=True)
def is_there() -> None:
    """Baresip."""
    needs("baresip")


class Line:
    """A call of baresip's that an agent has answered."""

    def __init__(
        self, baresip: Baresip, office: Office, relay: Relay, call: Call, agent: PositionedAgent
    ) -> None:
        self.baresip = baresip
        self.office = office
        self.relay = relay
        self.call = call
        self.agent = agent


Dial = Callable[..., Awaitable[Line]]


@pytest.fixture
def dial(
    open_office: OpenOffice, open_relay: OpenRelay, folder: Path, stack: AsyncExitStack
) -> Dial:
    """Let baresip call, and an agent answer; both begin to talk."""

    async def begin(codec: Codec = PCMU, network: Impairment | None = None, seed: int = 1) -> Line:
        office = await open_office(codecs=(codec,))
        relay = await open_relay(office, network, seed)
        name = codec.encoding.lower()
        module = "g711" if name.startswith("pcm") else name
        rate_hz = 48_000 if codec is OPUS else codec.sample_rate_hz
        baresip = Baresip(folder, f"{name}/48000/2" if codec is OPUS else name, (module,), rate_hz)
        await baresip.start(padded(sentence(rate_hz), rate_hz))
        stack.push_async_callback(baresip.stop)
        baresip.tell("dial", f"sip:100@{relay.address[0]}:{relay.address[1]}")
        call, agent = await office.incoming()
        agent.say(padded(sentence(24_000), 24_000).tobytes())
        await baresip.until("CALL_ESTABLISHED")
        return Line(baresip, office, relay, call, agent)

    return begin


async def talk(line: Line, folder: Path, measured: Measure) -> tuple[Quality, Quality]:
    """Let both say their sentence, and baresip hang up; return how they were heard: up, down."""
    await asyncio.sleep(TALK_S)
    line.baresip.tell("hangup")
    await line.office.free()
    assert line.call.end_reason is EndReason.CALLER_HUNG_UP
    await line.baresip.stop()
    said = write(folder / "said.wav", sentence(24_000), 24_000)
    up = await compare(said, write(folder / "heard-up.wav", heard_by(line.agent), 24_000))
    down = await compare(said, line.baresip.recordings()[-1])
    measured("up", up)
    measured("down", down)
    return up, down


@pytest.mark.parametrize("codec", [PCMU, PCMA], ids=lambda one: one.encoding)
@pytest.mark.parametrize("least_legs", [LEAST_LEGS, 1], ids=["alone", "as one of many"])
async def test_each_is_heard_as_well_as_the_codec_permits(
    dial: Dial,
    folder: Path,
    measured: Measure,
    monkeypatch: pytest.MonkeyPatch,
    codec: Codec,
    least_legs: int,
) -> None:
    monkeypatch.setattr(rtp_array, "LEAST_LEGS", least_legs)
    line = await dial(codec)
    if least_legs == 1:
        await line.office.until(lambda: line.office.telephony.legs.together == 1)

    up, down = await talk(line, folder, measured)

    check_clean(up)
    check_clean(down)


@pytest.mark.parametrize("codec", [G722, OPUS], ids=lambda one: one.encoding)
async def test_wider_codecs_lose_a_little_of_the_narrow_band(
    dial: Dial, folder: Path, measured: Measure, codec: Codec
) -> None:
    line = await dial(codec)

    up, down = await talk(line, folder, measured)

    assert up.pesq >= 3.6, up
    assert down.pesq >= 3.6, down
    assert up.longest_gap_ms <= 40, up
    assert down.longest_gap_ms <= 40, down


async def test_a_bad_network_is_borne(dial: Dial, folder: Path, measured: Measure) -> None:
    line = await dial(PCMU, Impairment(loss=0.03, jitter_ms=30), seed=7)

    up, _ = await talk(line, folder, measured)

    assert up.pesq >= 3.1, up
    assert up.longest_gap_ms <= 60, up


async def test_held_it_hears_nothing_and_resumed_it_hears_on(dial: Dial) -> None:
    line = await dial()
    await asyncio.sleep(1.0)

    line.baresip.tell("hold")
    await line.office.until(lambda: is_held(line))
    before = len(line.relay.passed)
    await asyncio.sleep(1.0)
    while_held = len(line.relay.passed) - before
    line.baresip.tell("resume")
    await line.office.until(lambda: not is_held(line))
    since = len(line.relay.passed)
    (phone,) = line.office.telephony.phones()
    assert phone.leg is not None
    sent = phone.leg.statistics().sent.packets
    await asyncio.sleep(1.0)

    assert while_held <= 2
    assert phone.leg.statistics().sent.packets - sent >= 45
    assert len(line.relay.passed) >= since
    line.baresip.tell("hangup")
    await line.office.free()


def is_held(line: Line) -> bool:
    (phone,) = line.office.telephony.phones()
    return phone.leg is not None and phone.leg.is_on_hold


async def test_its_keys_are_told_to_the_agent(dial: Dial) -> None:
    line = await dial()
    await asyncio.sleep(1.0)

    for key in "15#":
        line.baresip.tell("sndcode", key)
        await asyncio.sleep(0.4)
    await line.office.until(lambda: len(line.agent.events("call.dtmf")) == 3)

    assert [event["digit"] for event in line.agent.events("call.dtmf")] == list("15#")
    line.baresip.tell("hangup")
    await line.office.free()


async def test_an_agent_that_hangs_up_ends_its_call(dial: Dial) -> None:
    line = await dial()
    line.agent.interrupt()
    line.agent.command("call.disconnect")

    await line.baresip.until("CALL_CLOSED")
    await line.office.free()

    assert line.call.end_reason is EndReason.AGENT_DISCONNECTED


async def test_a_caller_who_gives_up_while_it_rings_leaves_nothing(
    open_office: OpenOffice, folder: Path, stack: AsyncExitStack
) -> None:
    office = await open_office()
    baresip = Baresip(folder, "pcmu", ("g711",), 8_000)
    await baresip.start(padded(sentence(8_000), 8_000))
    stack.push_async_callback(baresip.stop)
    host, port = office.telephony.edge.address
    baresip.tell("dial", f"sip:100@{host}:{port}")
    call, _ = await office.incoming(answers=False)
    await baresip.until("CALL_RINGING")

    baresip.tell("hangup")
    await office.free()

    assert call.end_reason is EndReason.CALLER_HUNG_UP


async def test_it_is_called_and_answers(
    open_office: OpenOffice, folder: Path, stack: AsyncExitStack
) -> None:
    baresip = Baresip(folder, "pcmu", ("g711",), 8_000)
    await baresip.start(padded(sentence(8_000), 8_000), ";answermode=auto")
    stack.push_async_callback(baresip.stop)
    trunk = Trunk(
        name="carrier",
        host="127.0.0.1",
        port=baresip.sip_port,
        sources=("127.0.0.1/32",),
        keep_alive_s=0,
    )
    office = await open_office(
        settings=EdgeSettings(port=0, unauthenticated_calls=True, trunks=(trunk,)),
        trunk="carrier",
    )
    session = office.telephony.make_call("c1", "alice", 30)
    call = office.node.exchange.find(session.call_id)
    assert call is not None
    agent = office.agent(call)

    await baresip.until("CALL_ESTABLISHED")
    await office.until(lambda: call.state is CallState.ANSWERED)
    await office.until(lambda: bool(heard_by(agent).any()), patience_s=6)
    baresip.tell("hangup")
    await office.free()

    assert call.end_reason is EndReason.CALLER_HUNG_UP
