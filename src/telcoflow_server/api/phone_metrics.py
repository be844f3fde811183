"""What the server counts of real phones, as Prometheus reads it.

Not here: everything else (`metrics.py`), the counting (`telephony/`, `sip/`, `legs/rtp.py`).
Implements docs/reference/metrics.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from prometheus_client.core import Metric

from telcoflow_server.api.families import counter, gauge
from telcoflow_server.legs.sip import SipPhone
from telcoflow_server.sip.events import EdgeStatistics
from telcoflow_server.telephony.service import Telephony
from telcoflow_server.telephony.totals import RtpTotals

AT_A_TIME = 32
"""Calls looked at before the event loop, and with it the tick, has its turn: under 1 ms."""


def of_signalling(telephony: Telephony | None) -> Iterator[Metric]:
    """Yield what is counted of SIP; None: no real phones are served."""
    edge = EdgeStatistics() if telephony is None else telephony.edge.statistics()
    yield gauge(
        "telcoflow_sip_dialogs",
        "Calls with real phones.",
        None,
        0 if telephony is None else telephony.dialogs,
    )
    yield gauge(
        "telcoflow_sip_registrations",
        "Softphones that are registered.",
        None,
        edge.registrations,
    )
    yield gauge(
        "telcoflow_sip_trunk_up",
        "Whether a trunk answers, and lets us register where that is wanted.",
        "trunk",
        {} if telephony is None else {name: int(up) for name, up in telephony.trunks.items()},
    )
    yield counter(
        "telcoflow_sip_messages",
        "SIP messages that came, by what they were; from 0 again when the process restarts.",
        ("kind",),
        {
            ("request",): edge.requests,
            ("response",): edge.responses,
            ("keep_alive",): edge.keep_alives,
            ("garbage",): edge.garbage,
            ("malformed",): edge.malformed,
            ("dropped",): edge.messages_dropped,
        },
    )
    yield counter(
        "telcoflow_sip_logins_refused",
        "Wrong passwords, and requests of addresses that showed too many of them.",
        ("why",),
        {("password",): edge.logins_failed, ("address",): edge.logins_refused},
    )
    yield counter(
        "telcoflow_sip_calls_refused",
        "Calls that were refused before anything was set up for them.",
        ("why",),
        {("busy",): edge.calls_refused_busy, ("unknown",): edge.calls_refused_unknown},
    )
    yield counter(
        "telcoflow_sip_process_restarts",
        "How often the SIP process died and was started again.",
        (),
        0 if telephony is None else telephony.edge.restarts,
    )


def of_rtp(rtp: RtpTotals) -> Iterator[Metric]:
    """Yield what is counted of RTP."""
    yield counter(
        "telcoflow_rtp_packets",
        "RTP packets of real phones, and to them.",
        ("direction",),
        {("from_phone",): rtp.received, ("to_phone",): rtp.sent},
    )
    for name, what, count in (
        ("lost", "Packets of phones that never came.", rtp.lost),
        ("late", "Packets of phones that came after they were due.", rtp.late),
    ):
        yield counter(f"telcoflow_rtp_{name}_packets", what, (), count)
    yield counter(
        "telcoflow_rtp_concealed_seconds",
        "Sound made up for packets that were not there.",
        (),
        rtp.concealed_ms / 1000,
    )
    yield counter(
        "telcoflow_rtp_discarded_packets",
        "Datagrams at RTP ports that were not played, by why.",
        ("why",),
        {
            ("stranger",): rtp.strangers,
            ("malformed",): rtp.malformed,
            ("payload_type",): rtp.foreign,
            ("undecodable",): rtp.undecodable,
        },
    )
    yield counter(
        "telcoflow_rtp_unsendable_frames",
        "Frames for phones of which no address was known.",
        (),
        rtp.unsendable,
    )


async def totals_of(telephony: Telephony) -> RtpTotals:
    """Return what went over all legs, with pauses in which the node does its work."""
    running: list[tuple[SipPhone, RtpTotals]] = []
    for number, phone in enumerate(telephony.phones()):
        if number % AT_A_TIME == AT_A_TIME - 1:
            await asyncio.sleep(0)
        if phone.leg is not None:
            of_leg = RtpTotals()
            of_leg.add_leg(phone.leg.statistics())
            running.append((phone, of_leg))
    totals = RtpTotals()
    totals.add(telephony.ended_legs)
    still_there = {id(phone) for phone in telephony.phones()}
    for phone, of_leg in running:
        if id(phone) in still_there:
            totals.add(of_leg)
    return totals
