"""What went over all legs: sums that only grow."""

from __future__ import annotations

from dataclasses import asdict, fields

from telcoflow_server.legs.rtp import RtpLegStatistics
from telcoflow_server.media.pieces import JitterStatistics
from telcoflow_server.rtp.latch import LatchStatistics
from telcoflow_server.rtp.receiver import ReceiverStatistics
from telcoflow_server.rtp.reporter import ReporterStatistics
from telcoflow_server.rtp.sender import SenderStatistics
from telcoflow_server.telephony.totals import RtpTotals

LEG = RtpLegStatistics(
    received=ReceiverStatistics(2, 0, 0, 0, 0, 0, 8, 1, 0, 0.0, 0.0),
    jitter=JitterStatistics(0, 0, 0, 0, 4, 3, 0, 0, 0, 5, 0, 0),
    sent=SenderStatistics(1, 0, 0),
    reports=ReporterStatistics(0, 0, None, None, None),
    latch=LatchStatistics(None, None, 0, 6, None),
    malformed=7,
    undecodable=9,
    unsendable=10,
)


def test_every_number_of_a_leg_is_added_to_its_own_sum() -> None:
    totals = RtpTotals()
    totals.add_leg(LEG)
    totals.add_leg(LEG)

    once = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert list(asdict(totals).values()) == [2 * number for number in once]


def test_sums_never_fall() -> None:
    higher, lower = RtpTotals(sent=5, lost=3), RtpTotals(sent=6, lost=2)

    assert lower.at_least(higher) == RtpTotals(sent=6, lost=3)
    assert RtpTotals().at_least(higher) == higher
    assert {one.type for one in fields(RtpTotals)} == {"int"}
