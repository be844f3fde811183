"""What `telcoflow doctor` says of real phones."""

from __future__ import annotations

import importlib.util
import socket
from typing import Any

import pytest

from telcoflow_server.cli.finding import Finding, Verdict
from telcoflow_server.cli.phone_findings import phone_findings
from telcoflow_server.settings import ConnectorSettings, Settings
from telcoflow_server.sip_settings import NumberSettings, SipSettings, TrunkSettings
from telcoflow_server.udp import PortPool, PortRange

FREE: dict[str, Any] = {"port": 0, "rtp_first_port": 0, "rtp_last_port": 0}


def found(settings: Settings, *, is_running: bool = False) -> dict[str, Finding]:
    return {finding.what: finding for finding in phone_findings(settings, is_running=is_running)}


def test_without_a_port_there_is_nothing_to_examine() -> None:
    assert list(found(Settings())) == ["phones"]


def test_all_is_well_where_everything_is_installed_and_free() -> None:
    findings = found(Settings(sip=SipSettings(**FREE)))

    assert list(findings) == ["sippy", "av", "SIP port", "RTP ports"]
    assert {finding.verdict for finding in findings.values()} == {Verdict.OK}


def test_libraries_that_are_missing_are_named_with_what_brings_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    findings = found(Settings(sip=SipSettings(**FREE)))

    assert findings["sippy"].verdict is Verdict.MISSING
    assert findings["sippy"].remedy == "pip install 'telcoflow-sdk[sip]'"
    assert findings["av"].verdict is Verdict.WARNING
    assert findings["av"].remedy == "pip install 'telcoflow-sdk[av]'"


def test_a_port_that_is_taken_is_broken_unless_our_server_has_it() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        settings = Settings(sip=SipSettings(port=taken.getsockname()[1]))

        assert found(settings)["SIP port"].verdict is Verdict.BROKEN
        assert found(settings, is_running=True)["SIP port"].verdict is Verdict.OK


def test_an_address_that_is_not_this_machines_is_broken() -> None:
    findings = found(Settings(sip=SipSettings(port=5060, host="192.0.2.251")))

    assert findings["SIP port"].verdict is Verdict.BROKEN
    assert findings["RTP ports"].verdict is Verdict.BROKEN


def test_a_range_tells_for_how_many_calls_it_is(free_pair: int) -> None:
    sip = SipSettings(port=0, rtp_first_port=free_pair, rtp_last_port=free_pair + 1)

    assert found(Settings(sip=sip))["RTP ports"].text.startswith(
        f"{free_pair} to {free_pair + 1}, 1 calls"
    )


def test_a_trunk_without_sources_is_for_calls_out_only() -> None:
    trunks = (
        TrunkSettings(name="in", host="203.0.113.9"),
        TrunkSettings(name="out", host="sip.example"),
    )

    findings = found(Settings(sip=SipSettings(**FREE), trunks=trunks))

    assert findings["trunk in"].verdict is Verdict.OK
    assert findings["trunk out"].verdict is Verdict.WARNING


@pytest.mark.parametrize(
    ("more", "is_warned"),
    [
        ({}, True),
        ({"numbers": (NumberSettings(number="1", connector="a"),)}, False),
        ({"sip": SipSettings(**FREE, default_connector="a")}, False),
        ({"connectors": ()}, False),
    ],
)
def test_numbers_must_belong_to_somebody(more: dict[str, Any], is_warned: bool) -> None:
    usual: dict[str, Any] = {
        "connectors": (ConnectorSettings(connector_uuid="a", api_key="k"),),
        "sip": SipSettings(**FREE),
    }

    assert ("numbers" in found(Settings(**{**usual, **more}))) is is_warned


@pytest.fixture
def free_pair() -> int:
    """The first of two ports of which nobody has either."""
    pool = PortPool(PortRange("127.0.0.1", 0, 0))
    pair = pool.open()
    pool.close()
    return pair.port
