"""What `telcoflow sip-check` says of what was counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from telcoflow_server.cli.finding import Finding, Verdict
from telcoflow_server.cli.sip_findings import Evidence, findings_of
from telcoflow_server.legs.rtp import RtpLegStatistics
from telcoflow_server.media.pieces import JitterStatistics
from telcoflow_server.rtp.latch import LatchStatistics
from telcoflow_server.rtp.receiver import ReceiverStatistics
from telcoflow_server.rtp.reporter import ReporterStatistics
from telcoflow_server.rtp.sender import SenderStatistics
from telcoflow_server.sip.events import EdgeStatistics
from telcoflow_server.sip.negotiation import Refusal

PHONE, SERVER = ("192.0.2.77", 5061), ("192.0.2.5", 5060)
ANNOUNCED, STRANGER = ("192.0.2.77", 7078), ("198.51.100.9", 40_001)

NOTHING = Evidence(
    server=SERVER, reached_at="192.0.2.5", media_ports=(16_384, 32_766), sip=EdgeStatistics()
)

LEG = RtpLegStatistics(
    received=ReceiverStatistics(500, 80_000, 0, 0, 0, 0, 0, 1, 0, 1.2, 2.0),
    jitter=JitterStatistics(42.0, 40.0, 500, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    sent=SenderStatistics(520, 83_200, 1),
    reports=ReporterStatistics(2, 1, 3.0, 0.0, 1.0),
    latch=LatchStatistics(ANNOUNCED, ANNOUNCED, 500, 0, None),
    malformed=0,
    undecodable=0,
    unsendable=0,
)

CALL = replace(
    NOTHING, registered_from=PHONE, called_from=PHONE, codec="PCMU", leg=LEG, loudest_db=-12.4
)


def found(evidence: Evidence) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings_of(evidence)}


def leg(
    *,
    received: dict[str, Any] | None = None,
    jitter: dict[str, Any] | None = None,
    reports: dict[str, Any] | None = None,
    latch: dict[str, Any] | None = None,
    **more: Any,
) -> Evidence:
    """Return a call whose leg differs in some numbers."""
    changed = replace(
        LEG,
        received=replace(LEG.received, **(received or {})),
        jitter=replace(LEG.jitter, **(jitter or {})),
        reports=replace(LEG.reports, **(reports or {})),
        latch=replace(LEG.latch, **(latch or {})),
        **more,
    )
    return replace(CALL, leg=changed)


def test_a_call_that_went_well_is_told_with_addresses_and_numbers() -> None:
    said = found(CALL)

    assert {finding.verdict for finding in said.values()} == {Verdict.OK}
    assert {what: finding.text for what, finding in said.items()} == {
        "registration": "from 192.0.2.77:5061",
        "call": "from 192.0.2.77:5061, codec PCMU",
        "from the phone": "500 packets from 192.0.2.77:7078, loudest -12 dB",
        "to the phone": "520 packets to 192.0.2.77:7078; the phone reports that they came",
        "quality": "0.0 % lost, 0 late, jitter 1 ms, delay 42 ms",
    }


@pytest.mark.parametrize(
    ("counted", "verdict", "said"),
    [
        ({}, Verdict.MISSING, "nothing at all came to UDP 192.0.2.5:5060"),
        ({"garbage": 2}, Verdict.BROKEN, "what came to UDP 192.0.2.5:5060 is no SIP"),
        ({"malformed": 2}, Verdict.BROKEN, "what came to UDP 192.0.2.5:5060 is no SIP"),
        ({"requests": 3}, Verdict.MISSING, "3 SIP messages came"),
        (
            {"requests": 9, "logins_failed": 4, "logins_refused": 1},
            Verdict.BROKEN,
            "5 times with a wrong user or password",
        ),
    ],
)
def test_why_no_phone_registered(counted: dict[str, int], verdict: Verdict, said: str) -> None:
    findings = found(replace(NOTHING, sip=EdgeStatistics(**counted)))

    assert list(findings) == ["registration"]
    assert findings["registration"].verdict is verdict
    assert said in findings["registration"].text
    assert findings["registration"].remedy


def test_a_phone_that_only_calls_is_let_pass_with_a_word() -> None:
    findings = found(replace(CALL, registered_from=None))

    assert findings["registration"].verdict is Verdict.WARNING
    assert findings["from the phone"].verdict is Verdict.OK


def test_a_phone_that_never_calls_is_asked_to() -> None:
    findings = found(replace(NOTHING, registered_from=PHONE))

    assert list(findings) == ["registration", "call"]
    assert findings["call"] == Finding(
        "call", Verdict.MISSING, "none came", "dial any number on the phone"
    )


@pytest.mark.parametrize(
    ("refusal", "said", "remedy"),
    [
        (Refusal.ENCRYPTED, "encrypted streams only", "media encryption to none"),
        (Refusal.NOTHING_COMMON, "no codec in common", "switch on PCMU or PCMA"),
        (Refusal.NO_AUDIO, "no audio stream", "log"),
        (None, "no audio was agreed on", "log"),
    ],
)
def test_why_a_call_led_nowhere(refusal: Refusal | None, said: str, remedy: str) -> None:
    findings = found(replace(NOTHING, registered_from=PHONE, called_from=PHONE, refusal=refusal))

    assert list(findings) == ["registration", "call"]
    assert findings["call"].verdict is Verdict.BROKEN
    assert said in findings["call"].text
    assert remedy in findings["call"].remedy


DEAF: dict[str, Any] = {"packets": 0}
UNLATCHED: dict[str, Any] = {"source": None, "admitted": 0}


@pytest.mark.parametrize(
    ("evidence", "verdict", "said"),
    [
        (
            leg(received=DEAF, latch=UNLATCHED),
            Verdict.MISSING,
            "one-way audio: not one packet came to 192.0.2.5, UDP 16384 to 32766",
        ),
        (
            leg(received=DEAF, latch={**UNLATCHED, "strangers": 480, "last_stranger": STRANGER}),
            Verdict.BROKEN,
            "480 packets came from 198.51.100.9:40001, and were not believed: its SDP names 192.0",
        ),
        (
            leg(
                received=DEAF,
                latch={
                    **UNLATCHED,
                    "strangers": 1,
                    "last_stranger": STRANGER,
                    "announced": None,
                },
            ),
            Verdict.BROKEN,
            "its SDP names none",
        ),
        (
            leg(received={**DEAF, "foreign": 90}),
            Verdict.BROKEN,
            "90 packets of another codec than PCMU, which was agreed",
        ),
        (
            leg(received=DEAF, latch=UNLATCHED, malformed=7),
            Verdict.BROKEN,
            "7 datagrams that are no RTP",
        ),
        (leg(undecodable=12, received=DEAF), Verdict.BROKEN, "12 packets that are no PCMU"),
    ],
)
def test_why_the_phone_is_not_heard(evidence: Evidence, verdict: Verdict, said: str) -> None:
    finding = found(replace(evidence, loudest_db=float("-inf")))["from the phone"]

    assert finding.verdict is verdict
    assert said in finding.text
    assert finding.remedy


def test_any_ports_are_not_named_by_number() -> None:
    evidence = leg(received=DEAF, latch=UNLATCHED)

    finding = found(replace(evidence, media_ports=(0, 0)))["from the phone"]

    assert "192.0.2.5, any UDP port" in finding.text


def test_silence_is_no_voice() -> None:
    finding = found(replace(CALL, loudest_db=-72.0))["from the phone"]

    assert finding.verdict is Verdict.BROKEN
    assert finding.text == "500 packets, and all of them silence"


@pytest.mark.parametrize(
    ("evidence", "verdict", "said"),
    [
        (
            leg(sent=SenderStatistics(0, 0, 0), latch=UNLATCHED, unsendable=500),
            Verdict.BROKEN,
            "nothing was sent: the address for it in the phone's SDP is 192.0.2.77:7078",
        ),
        (
            leg(sent=SenderStatistics(0, 0, 0), latch={**UNLATCHED, "announced": None}),
            Verdict.BROKEN,
            "the address for it in the phone's SDP is none",
        ),
        (
            leg(reports={"far_lost_fraction": 0.9}),
            Verdict.BROKEN,
            "the phone reports 90 % of them lost",
        ),
        (
            leg(reports={"far_lost_fraction": None}, latch=UNLATCHED),
            Verdict.WARNING,
            "the address in its SDP, from where nothing came back",
        ),
        (
            leg(reports={"far_lost_fraction": None}),
            Verdict.WARNING,
            "the phone does not say whether they came",
        ),
        (
            replace(leg(reports={"far_lost_fraction": None}), pressed_keys=1),
            Verdict.OK,
            "520 packets to 192.0.2.77:7078; a key was pressed",
        ),
    ],
)
def test_whether_the_phone_hears(evidence: Evidence, verdict: Verdict, said: str) -> None:
    finding = found(evidence)["to the phone"]

    assert finding.verdict is verdict
    assert said in finding.text


def test_lost_packets_are_a_warning() -> None:
    finding = found(leg(jitter={"lost": 50}))["quality"]

    assert finding.verdict is Verdict.WARNING
    assert finding.text.startswith("9.1 % lost")


def test_an_ipv6_address_has_brackets() -> None:
    finding = found(replace(CALL, registered_from=("2001:db8::7", 5060)))["registration"]

    assert finding.text == "from [2001:db8::7]:5060"
