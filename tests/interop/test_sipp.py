"""SIPp calls an agent: over a good network, and over bad ones."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
import pytest

from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_server.codec.table import PCMA, PCMU, Codec
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
from tests.interop.sipp import Sipp
from tests.support.network import Bursts, Impairment
from tests.support.office import Office
from tests.support.positions import PositionedAgent

TALK_S = LEAD_IN_S + 8


@pytest.fixture(autouse=True)
def is_there() -> None:
    """SIPp."""
    needs("sipp")


async def conversation(
    office: Office, relay: Relay, folder: Path, codec: Codec, stack: AsyncExitStack
) -> tuple[Quality, Quality]:
    """Let SIPp and an agent talk at the same time; return how each was heard: up, down."""
    sipp = Sipp(folder, codec)
    stack.callback(sipp.kill)
    await sipp.call(relay.address, padded(sentence(8_000), 8_000), TALK_S * 1000)
    call, agent = await office.incoming()
    agent.say(padded(sentence(24_000), 24_000).tobytes())
    assert await sipp.done() == 0
    await office.free()
    assert call.end_reason is EndReason.CALLER_HUNG_UP
    said_up = write(folder / "said-up.wav", sentence(8_000), 8_000)
    said_down = write(folder / "said-down.wav", sentence(24_000), 24_000)
    heard_up = write(folder / "heard-up.wav", heard_by(agent), 24_000)
    heard_down = relay.heard_by_phone(codec, codec.static_pt or 0)
    return (
        await compare(said_up, heard_up),
        await compare(said_down, write(folder / "heard-down.wav", heard_down, 8_000)),
    )


def heard_by(agent: PositionedAgent) -> np.ndarray:
    """Return what an agent heard, 24 kHz."""
    return np.frombuffer(bytes(agent.heard[0]), "<i2")


@pytest.mark.parametrize("codec", [PCMU, PCMA], ids=lambda one: one.encoding)
async def test_each_is_heard_as_well_as_the_codec_permits(
    open_office: OpenOffice,
    open_relay: OpenRelay,
    folder: Path,
    stack: AsyncExitStack,
    measured: Measure,
    codec: Codec,
) -> None:
    office = await open_office()
    relay = await open_relay(office)

    up, down = await conversation(office, relay, folder, codec, stack)

    measured("up", up)
    measured("down", down)
    check_clean(up)
    check_clean(down)


NETWORKS = {
    "1 % loss": (Impairment(loss=0.01), 3.4, 40),
    "3 % loss": (Impairment(loss=0.03), 3.1, 60),
    "5 % loss": (Impairment(loss=0.05), 2.8, 60),
    "bursts": (Impairment(bursts=Bursts(begin=0.02, end=0.4)), 2.4, 60),
    "30 ms jitter": (Impairment(jitter_ms=30), 3.4, 40),
    "reordered": (Impairment(reorder=0.05), 3.4, 40),
    "duplicates": (Impairment(duplicate=0.1), 3.8, 40),
    "3 % loss and 30 ms jitter": (Impairment(loss=0.03, jitter_ms=30), 3.1, 60),
}


@pytest.mark.parametrize(("network", "least_pesq", "most_gap_ms"), NETWORKS.values(), ids=NETWORKS)
async def test_a_bad_network_is_borne(
    open_office: OpenOffice,
    open_relay: OpenRelay,
    folder: Path,
    stack: AsyncExitStack,
    measured: Measure,
    network: Impairment,
    least_pesq: float,
    most_gap_ms: int,
) -> None:
    office = await open_office()
    relay = await open_relay(office, network, seed=7)

    up, down = await conversation(office, relay, folder, PCMU, stack)

    measured("up", up)
    measured("down", down)
    assert up.pesq >= least_pesq, up
    assert up.longest_gap_ms <= most_gap_ms, up
    check_clean(down)  # the other way is good
