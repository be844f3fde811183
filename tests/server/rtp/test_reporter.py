"""Reports of two parties, exchanged in virtual time."""

from __future__ import annotations

import pytest

from telcoflow_server.rtp.packet import RtpError, RtpPacket
from telcoflow_server.rtp.receiver import RtpReceiver
from telcoflow_server.rtp.reporter import INTERVAL_S, Reporter
from telcoflow_server.rtp.rtcp import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    SenderReport,
    SourceDescription,
    build_compound,
    parse_compound,
)
from telcoflow_server.rtp.sender import RtpSender

WALL_S = 1_700_000_000.0
"""Time of day when the monotonic clock says 0."""


class Party:
    """One end of a call."""

    def __init__(self, ssrc: int, factor: float = 1.0) -> None:
        self.receiver = RtpReceiver({0: 8_000})
        self.sender = RtpSender(ssrc=ssrc, seq=0, ts=0, clock_rate_hz=8_000)
        self.reporter = Reporter(
            self.receiver, lambda: self.sender, cname=f"party-{ssrc}", now_s=0.0, factor=factor
        )

    def send(self, now_s: float) -> bytes:
        return self.sender.send(0, bytes(160), 20, now_s)

    def hear(self, datagram: bytes, now_s: float) -> None:
        self.receiver.receive(RtpPacket.parse(datagram), now_s)

    def report(self, now_s: float) -> bytes:
        return self.reporter.report(now_s, WALL_S + now_s, 1.0)

    def read(self, datagram: bytes, now_s: float) -> None:
        self.reporter.receive(datagram, now_s, WALL_S + now_s)


@pytest.fixture
def one() -> Party:
    return Party(1)


@pytest.fixture
def other() -> Party:
    return Party(2)


def test_first_report_is_due_after_half_an_interval(one: Party) -> None:
    """RFC 3550 §6.2."""
    assert one.reporter.due_s == INTERVAL_S / 2


def test_reports_are_five_seconds_apart_times_the_random_factor(one: Party) -> None:
    one.reporter.report(10.0, WALL_S, 0.5)
    assert one.reporter.due_s == 12.5

    one.reporter.report(12.5, WALL_S, 1.5)
    assert one.reporter.due_s == 20.0


@pytest.mark.parametrize("factor", [0.49, 1.51])
def test_factor_out_of_range_is_refused(one: Party, factor: float) -> None:
    with pytest.raises(ValueError, match=r"0\.5 to 1\.5"):
        one.reporter.report(0.0, WALL_S, factor)
    with pytest.raises(ValueError, match=r"0\.5 to 1\.5"):
        Party(1, factor)


def test_party_that_only_listens_sends_a_receiver_report_with_its_name(one: Party) -> None:
    packets = parse_compound(one.report(2.5))

    assert packets == (ReceiverReport(1), SourceDescription(((1, "party-1"),)))
    assert one.reporter.statistics().sent == 1


def test_party_that_sends_reports_on_what_it_sends_and_hears(one: Party, other: Party) -> None:
    for number in range(3):
        one.hear(other.send(number * 0.02), number * 0.02)
        one.send(number * 0.02)

    report = parse_compound(one.report(0.04))[0]

    assert isinstance(report, SenderReport)
    assert (report.packets, report.ts) == (3, 320)
    assert report.blocks == (ReportBlock(2, 0, 0, 2, 0),)


def test_who_stopped_sending_is_a_receiver_from_the_second_report_on(one: Party) -> None:
    """RFC 3550 §6.4: a sender is who sent since the last report or the one before it."""
    one.send(0.0)

    kinds = [type(parse_compound(one.report(at_s))[0]) for at_s in (1.0, 6.0, 11.0)]

    assert kinds == [SenderReport, SenderReport, ReceiverReport]


def test_farewell_follows_the_last_report(one: Party) -> None:
    packets = parse_compound(one.reporter.goodbye(3.0, WALL_S))

    assert packets[0] == ReceiverReport(1)
    assert packets[2] == Goodbye((1,))


def test_round_trip_is_what_is_left_without_the_far_ends_delay(one: Party, other: Party) -> None:
    """RFC 3550 §6.4.1: A - LSR - DLSR, here 30 ms there, 2 s of waiting and 50 ms back."""
    for number in range(2):
        other.hear(one.send(number * 0.02), number * 0.02)
    other.read(one.report(1.0), 1.030)

    one.read(other.report(3.030), 3.080)

    assert one.reporter.statistics().round_trip_ms == pytest.approx(80.0, abs=0.1)


def test_far_ends_loss_and_jitter_are_read(one: Party) -> None:
    block = ReportBlock(1, 64, 5, 100, 40)

    one.read(build_compound([ReceiverReport(2, (block,))]), 5.0)

    statistics = one.reporter.statistics()
    assert (statistics.received, statistics.far_lost_fraction) == (1, 0.25)
    assert statistics.far_jitter_ms == 5.0
    assert statistics.round_trip_ms is None  # it has had no report of ours yet


def test_block_about_somebody_else_means_nothing(one: Party) -> None:
    one.read(build_compound([ReceiverReport(2, (ReportBlock(3, 64, 5, 100, 40, 7),))]), 5.0)

    statistics = one.reporter.statistics()
    assert (statistics.far_lost_fraction, statistics.far_jitter_ms) == (None, None)
    assert statistics.round_trip_ms is None


def test_impossible_round_trip_is_not_believed(one: Party, other: Party) -> None:
    for number in range(2):
        other.hear(one.send(number * 0.02), number * 0.02)
    other.read(one.report(1.0), 1.0)
    lie = parse_compound(other.report(3.0))[0]
    assert isinstance(lie, ReceiverReport)

    one.read(build_compound([lie]), 2.0)  # claims to have waited 2 s of 1 s

    assert one.reporter.statistics().round_trip_ms is None


def test_farewell_lets_another_source_in(one: Party, other: Party) -> None:
    for number in range(2):
        one.hear(other.send(number * 0.02), number * 0.02)

    one.read(other.reporter.goodbye(0.04, WALL_S), 0.05)
    last = other.send(0.04)
    newcomer = Party(3)
    one.hear(newcomer.send(0.0), 0.06)
    one.hear(last, 0.06)
    one.hear(newcomer.send(0.02), 0.08)

    assert one.receiver.ssrc == 3


def test_malformed_report_is_refused_whole(one: Party) -> None:
    block = ReportBlock(1, 64, 5, 100, 40)

    with pytest.raises(RtpError):
        one.read(build_compound([ReceiverReport(2, (block,))]) + b"\x80", 5.0)

    assert one.reporter.statistics().received == 0
    assert one.reporter.statistics().far_lost_fraction is None
