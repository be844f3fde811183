"""Phones as the settings want them, without a socket; and a whole server that serves them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from telcoflow_server import real_phones
from telcoflow_server.app import Server
from telcoflow_server.call.ports import Callee, DialRequest
from telcoflow_server.codec.table import PCMA, PCMU
from telcoflow_server.legs.simulated import CalleeScript, SimulatedCallee
from telcoflow_server.real_phones import (
    Ways,
    check_reload,
    edge_settings_of,
    routes_of,
    telephony_of,
)
from telcoflow_server.settings import (
    CallSettings,
    ConnectorSettings,
    ServerSettings,
    Settings,
    SettingsError,
)
from telcoflow_server.sip.accounts import Extension, Private
from telcoflow_server.sip.edge import EdgeError
from telcoflow_server.sip_settings import (
    ExtensionSettings,
    NumberSettings,
    SipSettings,
    TrunkSettings,
)
from tests.support.exchange import Node
from tests.support.rtp_phone import rtp_phone
from tests.support.server import (
    CONNECTOR,
    KEY,
    RawAgent,
    RawClient,
    http_url,
    noise,
    wav_samples,
)
from tests.support.sip_phone import PATIENCE_S, SipPhone

PHONES: dict[str, Any] = {
    "port": 0, "rtp_first_port": 0, "rtp_last_port": 0, "unauthenticated_calls": True,
}  # fmt: skip
TRUNK = TrunkSettings(name="carrier", host="203.0.113.9", connectors=("a",))


def test_without_a_port_there_are_no_phones() -> None:
    assert telephony_of(Settings(), Node().exchange, None) is None


def test_settings_of_the_sip_process_are_those_of_the_server() -> None:
    settings = Settings(
        sip=SipSettings(port=5060, host="192.0.2.7", realm="r", retry_after_s=7),
        extensions=(ExtensionSettings(user="101", ha1_md5="a" * 32),),
        trunks=(replace(TRUNK, user="u", password="p", registers=True),),
        numbers=(NumberSettings(number="+1", connector="a"),),
    )

    edge = edge_settings_of(settings)

    assert (edge.host, edge.port, edge.advertised_host, edge.realm) == ("192.0.2.7", 5060, "", "r")
    assert edge.retry_after_s == 7
    assert edge.extensions == (Extension(user="101", ha1_md5=Private("a" * 32)),)
    assert edge.numbers == ("+1",)
    [trunk] = edge.trunks
    assert (trunk.name, trunk.sources, trunk.registers) == ("carrier", ("203.0.113.9",), True)
    assert trunk.password == Private("p")


def test_with_a_default_connector_every_number_is_let_in() -> None:
    settings = Settings(sip=SipSettings(port=5060, default_connector="a"))

    assert edge_settings_of(settings).numbers is None
    assert routes_of(settings).connector_of("anything") == "a"


@pytest.mark.parametrize("dialled", ["+4930901820", "4930901820", "+49 (30) 90-1820"])
def test_a_number_is_found_however_it_is_written(dialled: str) -> None:
    routes = routes_of(Settings(numbers=(NumberSettings(number="+49 30 901820", connector="a"),)))

    assert routes.connector_of(dialled) == "a"
    assert routes.connector_of("+49309018") is None


def test_calls_leave_by_the_trunk_of_their_connector_and_with_its_codecs() -> None:
    routes = routes_of(Settings(trunks=(replace(TRUNK, codecs=("PCMA", "pcmu")),)))

    assert routes.trunks == {"a": "carrier"}
    assert routes.codecs_of("carrier") == (PCMA, PCMU)
    assert PCMU in routes.codecs_of("")


def test_codecs_that_are_not_installed_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_phones, "offered", lambda: (PCMU, PCMA))

    with pytest.raises(SettingsError, match=r"trunks\[0\]\.codecs are not installed"):
        routes_of(Settings(trunks=(replace(TRUNK, codecs=("opus",)),)))


def test_ways_are_asked_in_turn() -> None:
    class Way:
        def __init__(self, callee: Callee | None) -> None:
            self.callee = callee

        def dial(self, request: DialRequest) -> Callee | None:
            del request
            return self.callee

    simulated, real = SimulatedCallee(CalleeScript()), SimulatedCallee(CalleeScript())
    request = DialRequest("c", "a", "1", "2")
    ways = Ways(Way(simulated))

    assert ways.dial(request) is simulated
    ways.prefer(Way(None))
    assert ways.dial(request) is simulated
    ways.prefer(Way(real))
    assert ways.dial(request) is real
    assert Ways().dial(request) is None


def test_what_phones_were_told_does_not_change_on_reload() -> None:
    running = SipSettings(port=5060)

    check_reload(running, replace(running, retry_after_s=3, default_connector="a"))
    with pytest.raises(SettingsError, match=r"sip\.port was changed: that takes a restart"):
        check_reload(running, replace(running, port=5070))


# --- a whole server ------------------------------------------------------------------------------


def settings_of(record_dir: Path | None = None, **more: Any) -> Settings:
    return Settings(
        server=ServerSettings(port=0, drain_timeout_s=1.0),
        connectors=(ConnectorSettings(connector_uuid=CONNECTOR, api_key=KEY),),
        sip=SipSettings(**{**PHONES, "default_connector": CONNECTOR, **more}),
        calls=CallSettings(record_dir=record_dir, record_split=record_dir is not None),
    )


@asynccontextmanager
async def server(settings: Settings, *, sandbox: bool = False) -> AsyncIterator[Server]:
    made = Server(settings, sandbox=sandbox)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


@asynccontextmanager
async def phone(made: Server, user: str = "stranger") -> AsyncIterator[SipPhone]:
    assert made.telephony is not None
    one = await SipPhone.open(made.telephony.edge.address, user)
    try:
        yield one
    finally:
        one.close()
        await asyncio.sleep(0)


def loudest(pcm: bytearray) -> int:
    return int(np.abs(np.frombuffer(pcm[: len(pcm) // 2 * 2], "<i2")).max(initial=0))


async def until_loud(pcm: bytearray) -> None:
    """Return when there is a voice in what an agent was sent."""
    async with asyncio.timeout(PATIENCE_S):
        while loudest(pcm) < 4_000:  # noqa: ASYNC110 (it comes with the ticks)
            await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_a_phone_talks_with_an_agent_and_is_recorded_and_counted(tmp_path: Path) -> None:
    said = (np.sin(np.arange(16_000) / 4) * 8_000).astype(np.int16)
    async with (
        server(settings_of(tmp_path)) as made,
        phone(made) as caller,
        rtp_phone(PCMU) as sound,
        RawClient.joined(made) as client,
    ):
        caller.call("5551234").invite(sound.offer())
        call_in = await client.take_call()
        async with RawAgent.on(call_in) as agent:
            await agent.command("call.answer")
            agent.queue += noise(24_000).tobytes()
            serving = asyncio.create_task(agent.serve())
            response = await caller.response(above=180)
            sound.obey(response.body)
            sound.say(said)
            heard = await sound.until_heard(900)
            await until_loud(agent.heard)
            async with (
                aiohttp.ClientSession() as http,
                http.get(http_url(made, "/metrics")) as got,
            ):
                metrics = await got.text()
            await made.stop()
            await serving

    assert call_in["to"] == "5551234"
    assert np.abs(heard).max() > 4_000, "the agent"
    assert "telcoflow_sip_dialogs 1.0" in metrics
    for direction in ("from_phone", "to_phone"):
        [count] = [
            float(line.rpartition(" ")[2])
            for line in metrics.splitlines()
            if line.startswith(f'telcoflow_rtp_packets_total{{direction="{direction}"}}')
        ]
        assert count > 30
    kept = wav_samples((tmp_path / f"{call_in['callId']}.wav").read_bytes())
    assert (np.abs(kept).max(axis=0) > 4_000).all(), "left the phone, right the agent"
    assert (tmp_path / f"{call_in['callId']}.caller.wav").exists()


@pytest.mark.slow
async def test_a_server_that_drains_refuses_calls_before_anything_is_set_up() -> None:
    async with server(settings_of()) as made, phone(made) as caller, rtp_phone() as sound:
        await made.drain()

        caller.call().invite(sound.offer())
        refused = await caller.response()

        assert refused.status == 503
        assert refused.header("retry-after") == "10"


@pytest.mark.slow
async def test_numbers_are_taken_over_on_reload_and_ports_are_not() -> None:
    settings = settings_of(default_connector=None)
    async with server(settings) as made, phone(made) as caller, rtp_phone() as sound:
        caller.call("200").invite(sound.offer())
        before = await caller.response()
        made.reload(replace(settings, numbers=(NumberSettings(number="200", connector=CONNECTOR),)))
        with pytest.raises(SettingsError, match="takes a restart"):
            made.reload(replace(settings, sip=replace(settings.sip, port=None)))

        caller.call("200").invite(sound.offer())
        after = await caller.response()

        assert (before.status, after.status) == (404, 180)


@pytest.mark.slow
async def test_a_sip_port_that_is_taken_leaves_nothing_open() -> None:
    async with server(settings_of()) as made:
        assert made.telephony is not None
        port = made.telephony.edge.address[1]

        with pytest.raises(EdgeError, match="cannot listen"):
            await Server(settings_of(port=port)).start()
