"""The reports of one RTP session: when they are due, what they say, what the far end's mean.

Not here: their bytes (`rtcp.py`), what is measured (`receiver.py`, `sender.py`).
Implements RFC 3550 §6.2 to §6.6, for two parties.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from telcoflow_server.rtp.receiver import RtpReceiver
from telcoflow_server.rtp.rtcp import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    RtcpPacket,
    SenderReport,
    SourceDescription,
    build_compound,
    middle_of,
    ntp_timestamp,
    parse_compound,
)
from telcoflow_server.rtp.sender import RtpSender

INTERVAL_S = 5.0
"""Between reports on average (RFC 3550 §6.2). Two parties' reports of 100 bytes take 320 bit/s,
so the limit of 5 % of the bandwidth allows more of them even for the slowest codec."""

MIN_FACTOR, MAX_FACTOR = 0.5, 1.5
"""Randomness of the interval (RFC 3550 §6.3.1), so that calls that began together report apart."""

_FIRST_SHARE = 0.5  # of the interval, before the first report (RFC 3550 §6.2)
_ROUND_TRIP_UNITS_PER_S = 65_536
_MIDDLE_MODULUS = 1 << 32
_FRACTION_UNITS = 256


@dataclass(frozen=True, slots=True)
class ReporterStatistics:
    """What the far end reports.

    Attributes:
        sent: Reports of ours.
        received: Reports of the far end's.
        round_trip_ms: By its last report block on us; None before.
        far_lost_fraction: Of our packets in its last interval, 0 to 1; None before.
        far_jitter_ms: Of our packets at the far end; None before.
    """

    sent: int
    received: int
    round_trip_ms: float | None
    far_lost_fraction: float | None
    far_jitter_ms: float | None


class Reporter:
    """Sends and reads the reports of one session.

    Nothing reconsiders the interval (RFC 3550 §6.3.6): the group never grows beyond two, so the
    divisor e - 3/2 that makes up for reconsideration is left out too, and the mean is 5 s.

    Args:
        receiver: Whose source the reports are about.
        sender: Asked for the present sending half each time, because a re-INVITE may bring
            another one.
        cname: The canonical name: random per session (RFC 7022), for a name that stays would
            let strangers follow a party from call to call.
        now_s: The session's beginning, monotonic seconds.
        factor: Random, uniform in 0.5 to 1.5.
    """

    def __init__(
        self,
        receiver: RtpReceiver,
        sender: Callable[[], RtpSender],
        *,
        cname: str,
        now_s: float,
        factor: float,
    ) -> None:
        self._receiver = receiver
        self._sender = sender
        self._cname = cname
        self._due_s = now_s + INTERVAL_S * _FIRST_SHARE * _checked(factor)
        self._packets_at_reports = (0, 0)  # sent in all, at the last two reports
        self._sent = 0
        self._received = 0
        self._round_trip_s: float | None = None
        self._far_block: ReportBlock | None = None

    @property
    def due_s(self) -> float:
        """When the next report is to be sent, monotonic seconds."""
        return self._due_s

    def report(self, now_s: float, wall_s: float, factor: float) -> bytes:
        """Return the compound packet to send now, and set when the next one is due.

        A sender report if anything was sent since the last report but one, else a receiver
        report (RFC 3550 §6.4).

        Args:
            now_s: Monotonic seconds.
            wall_s: The same moment, seconds since 1970.
            factor: Random, uniform in 0.5 to 1.5, for the next interval.
        """
        self._due_s = now_s + INTERVAL_S * _checked(factor)
        return build_compound(self._compose(now_s, wall_s))

    def goodbye(self, now_s: float, wall_s: float) -> bytes:
        """Return the last compound packet: reports, and that this source leaves.

        At once: RFC 3550 §6.3.7 spreads farewells in groups of more than 50 only.
        """
        farewell = Goodbye((self._sender().ssrc,))
        return build_compound([*self._compose(now_s, wall_s), farewell])

    def receive(self, data: bytes, now_s: float, wall_s: float) -> None:
        """Take a datagram with RTCP from an address that is believed.

        Raises:
            RtpError: malformed; nothing in it was believed.
        """
        for packet in parse_compound(data):
            if isinstance(packet, SenderReport):
                self._receiver.note_report(packet, now_s)
            if isinstance(packet, SenderReport | ReceiverReport):
                self._note_blocks(packet.blocks, wall_s)
            elif isinstance(packet, Goodbye):
                for ssrc in packet.ssrcs:
                    self._receiver.note_goodbye(ssrc)
            # Not descriptions: who the far end is, signalling says.
        self._received += 1

    def statistics(self) -> ReporterStatistics:
        """Return what the far end reports."""
        far, round_trip_s = self._far_block, self._round_trip_s
        clock_rate_hz = self._sender().clock_rate_hz
        return ReporterStatistics(
            sent=self._sent,
            received=self._received,
            round_trip_ms=None if round_trip_s is None else round_trip_s * 1000,
            far_lost_fraction=None if far is None else far.fraction_lost / _FRACTION_UNITS,
            far_jitter_ms=None if far is None else far.jitter * 1000 / clock_rate_hz,
        )

    def _compose(self, now_s: float, wall_s: float) -> list[RtcpPacket]:
        sender = self._sender()
        block = self._receiver.report_block(now_s)
        blocks = () if block is None else (block,)
        packets = sender.statistics().packets
        before, self._packets_at_reports = (
            self._packets_at_reports[0],
            (self._packets_at_reports[1], packets),
        )
        report: SenderReport | ReceiverReport | None = None
        if packets != before:
            report = sender.report(now_s, wall_s, blocks)
        self._sent += 1
        return [
            report or ReceiverReport(sender.ssrc, blocks),
            SourceDescription(((sender.ssrc, self._cname),)),
        ]

    def _note_blocks(self, blocks: tuple[ReportBlock, ...], wall_s: float) -> None:
        """Read what is said about our stream (RFC 3550 §6.4.1: round trip = A - LSR - DLSR)."""
        ssrc = self._sender().ssrc
        for block in blocks:
            if block.ssrc != ssrc:
                continue
            self._far_block = block
            if block.last_sr:
                now = middle_of(ntp_timestamp(wall_s))
                units = (now - block.last_sr - block.delay_since_sr) % _MIDDLE_MODULUS
                # Above half of the circle it is below zero: a far end that counts its own delay
                # too long, or one that lies. Neither says anything about the network.
                if units < _MIDDLE_MODULUS // 2:
                    self._round_trip_s = units / _ROUND_TRIP_UNITS_PER_S


def _checked(factor: float) -> float:
    if not MIN_FACTOR <= factor <= MAX_FACTOR:
        raise ValueError(f"factor must be {MIN_FACTOR} to {MAX_FACTOR}, not {factor}")
    return factor
