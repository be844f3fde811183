"""linphonec and an agent: speech both ways, digits, and who hangs up."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_server.call.call import Call
from tests.interop.conftest import Measure, OpenOffice, OpenRelay, needs
from tests.interop.linphone import Linphone
from tests.interop.recordings import (
    LEAD_IN_S,
    Quality,
    check_clean,
    compare,
    padded,
    sentence,
    write,
)
from tests.interop.test_sipp import heard_by
from tests.support.network import Impairment
from tests.support.office import Office
from tests.support.positions import PositionedAgent

TALK_S = LEAD_IN_S + 8


@pytest.fixture(autouse=True)
def is_there() -> None:
    """Linphone."""
    needs("linphonec")


async def called(
    office: Office, address: tuple[str, int], folder: Path, stack: AsyncExitStack
) -> tuple[Linphone, Call, PositionedAgent]:
    """Return a call of linphonec's that an agent has answered; both talk."""
    linphone = Linphone(folder)
    await linphone.start(padded(sentence(8_000), 8_000))
    stack.push_async_callback(linphone.stop)
    linphone.tell(f"call sip:100@{address[0]}:{address[1]}")
    call, agent = await office.incoming()
    agent.say(padded(sentence(24_000), 24_000).tobytes())
    return linphone, call, agent


async def talk(
    office: Office,
    address: tuple[str, int],
    folder: Path,
    stack: AsyncExitStack,
    measured: Measure,
) -> tuple[Quality, Quality]:
    linphone, call, agent = await called(office, address, folder, stack)
    await asyncio.sleep(TALK_S)
    linphone.tell("terminate")
    await office.free()
    assert call.end_reason is EndReason.CALLER_HUNG_UP
    await linphone.stop()
    said = write(folder / "said.wav", sentence(24_000), 24_000)
    up = await compare(said, write(folder / "heard-up.wav", heard_by(agent), 24_000))
    down = await compare(said, linphone.heard)
    measured("up", up)
    measured("down", down)
    return up, down


async def test_each_is_heard_as_well_as_the_codec_permits(
    open_office: OpenOffice, folder: Path, stack: AsyncExitStack, measured: Measure
) -> None:
    """Straight, as it answers with an IPv6 address where it likes."""
    office = await open_office()

    up, down = await talk(office, office.telephony.edge.address, folder, stack, measured)

    check_clean(up)
    check_clean(down)


async def test_a_bad_network_is_borne(
    open_office: OpenOffice,
    open_relay: OpenRelay,
    folder: Path,
    stack: AsyncExitStack,
    measured: Measure,
) -> None:
    office = await open_office()
    relay = await open_relay(office, Impairment(loss=0.03, jitter_ms=30), 7)

    up, _ = await talk(office, relay.address, folder, stack, measured)

    assert up.pesq >= 3.1, up
    assert up.longest_gap_ms <= 60, up


async def test_its_keys_are_told_to_the_agent(
    open_office: OpenOffice, folder: Path, stack: AsyncExitStack
) -> None:
    office = await open_office()
    linphone, _, agent = await called(office, office.telephony.edge.address, folder, stack)
    await linphone.until("Media streams established")

    for key in "15#":
        linphone.tell(key)
        await asyncio.sleep(0.4)
    await office.until(lambda: len(agent.events("call.dtmf")) == 3)

    assert [event["digit"] for event in agent.events("call.dtmf")] == list("15#")
    linphone.tell("terminate")
    await office.free()


async def test_an_agent_that_hangs_up_ends_its_call(
    open_office: OpenOffice, folder: Path, stack: AsyncExitStack
) -> None:
    office = await open_office()
    _, call, agent = await called(office, office.telephony.edge.address, folder, stack)
    agent.interrupt()
    agent.command("call.disconnect")

    await office.free()

    assert call.end_reason is EndReason.AGENT_DISCONNECTED
