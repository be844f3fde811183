"""The receiving half of one RTP stream: which packets are the stream, in what order, and how it is.

Not here: whether the sender's address is to be believed (`latch.py`), when a packet is played and
so whether it is late (the jitter buffer), when reports go out (`reporter.py`).
Implements RFC 3550 §6.4.1, A.1, A.3 and A.8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from telcoflow_server.rtp.packet import SEQ_MODULUS, TS_MODULUS, RtpPacket
from telcoflow_server.rtp.rtcp import ReportBlock, SenderReport, middle_of

MAX_DROPOUT = 3_000
"""A gap of fewer packets is loss; of more, a restart. One minute at 20 ms (RFC 3550 A.1)."""
MAX_MISORDER = 100
"""A packet that is fewer behind is reordered; of more, a restart (RFC 3550 A.1)."""

_SEEN_MASK = (1 << MAX_MISORDER) - 1
_SEQ_MASK, _HALF_SEQ = SEQ_MODULUS - 1, SEQ_MODULUS >> 1
_TS_MASK, _HALF_TS = TS_MODULUS - 1, TS_MODULUS >> 1
_MAX_CUMULATIVE_LOST = (1 << 23) - 1
_DELAY_UNITS_PER_S = 65_536


class SequencedPacket(NamedTuple):
    """A packet of the stream, on its line of sequence numbers and timestamps.

    Attributes:
        packet: As it came.
        seq: Extended sequence number; does not wrap.
        ts: Extended timestamp in units of the clock rate; does not wrap.
        stream: Grows when the source changes or restarts: numbers of different streams have
            nothing to do with each other.
        arrived_s: When it came, monotonic seconds.
    """

    packet: RtpPacket
    seq: int
    ts: int
    stream: int
    arrived_s: float


class SteadyReceiver(NamedTuple):
    """A stream whose packets come in turn: what changes in its receiver then.

    Attributes:
        pt: Of the last packet.
        ssrc: Of the stream.
        seq: Of the last packet, 16 bits.
        ts: Likewise, 32 bits.
        arrived_s: Likewise.
        jitter_units: See `ReceiverStatistics`, in units of the clock rate.
        max_jitter_s: Likewise, seconds.
    """

    pt: int
    ssrc: int
    seq: int
    ts: int
    arrived_s: float
    jitter_units: float
    max_jitter_s: float


@dataclass(frozen=True, slots=True)
class ReceiverStatistics:
    """What came, all streams since the beginning; all but `jitter_ms` only grow.

    Attributes:
        packets: Given to the jitter buffer; duplicates and what is refused are not.
        octets: Of their payload.
        lost: Missing between the first and the last packet of a stream, so far: what is
            reordered is lost until it comes.
        duplicates: Seen twice.
        reordered: Came after a packet sent later; whether in time, the jitter buffer knows.
        unproven: From a new source or after a jump, without a second one in a row.
        foreign: Of a payload type that was not negotiated.
        streams: Sources and restarts, 1 for an undisturbed call.
        payload_changes: Packets with another payload type than the one before.
        jitter_ms: Interarrival jitter now.
        max_jitter_ms: And at its highest.
    """

    packets: int
    octets: int
    lost: int
    duplicates: int
    reordered: int
    unproven: int
    foreign: int
    streams: int
    payload_changes: int
    jitter_ms: float
    max_jitter_ms: float


class _Line:
    """One source from its first packet on, until it restarts or another takes its place."""

    def __init__(self, first: RtpPacket, stream: int) -> None:
        self.ssrc = first.ssrc
        self.stream = stream
        self.has_left = False
        # One cycle up, so that what was sent before the first packet stays above 0.
        self.base_seq = self.highest_seq = first.seq + SEQ_MODULUS
        self.latest_ts = first.ts + TS_MODULUS
        self.received = 0  # duplicates included, as A.3 counts
        self.unique = 0
        self.seen = 0  # bit n: highest_seq - n came
        self.jitter_units = 0.0
        self.clock_rate_hz = 0
        self.expected_prior = 0
        self.received_prior = 0
        self.last_sr = 0
        self.last_sr_at_s = 0.0

    @property
    def expected(self) -> int:
        """Packets from the first to the highest."""
        return self.highest_seq - self.base_seq + 1

    @property
    def lost(self) -> int:
        """Those of them that did not come."""
        return self.expected - self.unique


class RtpReceiver:
    """Tells the packets of one stream from everything else that arrives beside them.

    A source is believed at its second packet in a row (RFC 3550 A.1), and so is another source or
    a jump of the sequence numbers: the first packet is kept meanwhile, and nothing is lost. While
    the present source goes on sending, nobody takes its place: of two that send at once the
    first is heard, without flapping.

    Args:
        clock_rates_hz: Clock rate by payload type; other payload types are refused.
    """

    def __init__(self, clock_rates_hz: Mapping[int, int]) -> None:
        self._clock_rates_hz = dict(clock_rates_hz)
        self._line: _Line | None = None
        self._candidate: tuple[RtpPacket, float] | None = None
        self._pt = -1  # of the last packet
        self._measured: tuple[float, int] | None = None  # arrival and timestamp, for the jitter
        self._streams = 0
        self._past_lost = 0  # of the lines before this one
        self._packets = 0
        self._octets = 0
        self._duplicates = 0
        self._reordered = 0
        self._unproven = 0
        self._foreign = 0
        self._payload_changes = 0
        self._max_jitter_s = 0.0

    @property
    def ssrc(self) -> int | None:
        """The present source; None before there is one."""
        return None if self._line is None else self._line.ssrc

    def renegotiate(self, clock_rates_hz: Mapping[int, int]) -> None:
        """Take other payload types from now on; the stream goes on."""
        self._clock_rates_hz = dict(clock_rates_hz)

    def receive(self, packet: RtpPacket, now_s: float) -> tuple[SequencedPacket, ...]:
        """Return what may be played or acted on now, in the order in which it came.

        Args:
            packet: From an address that is believed.
            now_s: When it arrived, monotonic seconds.

        Returns:
            Nothing: a duplicate, a payload type nobody agreed to, or a packet still unproven.
            One packet: the usual.
            Two packets: this one proved the one before.
        """
        line = self._line
        if line is None or packet.ssrc != line.ssrc:
            return self._receive_unproven(packet, now_s)
        # The shorter way round, here and below: the numbers are on a circle.
        ahead = (packet.seq - line.highest_seq + _HALF_SEQ & _SEQ_MASK) - _HALF_SEQ
        if not -MAX_MISORDER < ahead < MAX_DROPOUT:
            return self._receive_unproven(packet, now_s)
        if self._candidate is not None and not line.has_left:
            self._refuse_candidate()
        line.received += 1
        seq = line.highest_seq + ahead
        if ahead > 0:
            line.seen = (line.seen << ahead | 1) & _SEEN_MASK
            line.highest_seq = seq
        elif not self._note_behind(line, seq):
            return ()
        line.unique += 1
        clock_rate_hz = self._clock_rates_hz.get(packet.pt)
        if clock_rate_hz is None:
            self._foreign += 1
            return ()
        if packet.pt != self._pt or clock_rate_hz != line.clock_rate_hz:
            self._change_payload(line, packet.pt, clock_rate_hz)
        latest_ts = line.latest_ts
        ts = latest_ts + (packet.ts - latest_ts + _HALF_TS & _TS_MASK) - _HALF_TS
        if ahead >= 0:
            line.latest_ts = ts
        measured = self._measured
        if measured is None:
            self._measured = now_s, ts
        elif ts != measured[1]:
            # RFC 3550 A.8. Deviation: a packet with the timestamp of the one before is left out.
            # All packets of a telephone event share one (RFC 4733 §2.2.1), and would read as
            # jitter of its length.
            self._measured = now_s, ts
            difference = (now_s - measured[0]) * clock_rate_hz - (ts - measured[1])
            line.jitter_units += (abs(difference) - line.jitter_units) / 16
            jitter_s = line.jitter_units / clock_rate_hz
            if jitter_s > self._max_jitter_s:
                self._max_jitter_s = jitter_s
        self._packets += 1
        self._octets += len(packet.payload)
        fields = packet, seq, ts, line.stream, now_s
        return (tuple.__new__(SequencedPacket, fields),)  # why not by name: see `RtpPacket.parse`

    def steady(self) -> SteadyReceiver | None:
        """Return what there is to go on from elsewhere, if nothing is the matter.

        Nothing may be received before `catch_up`.
        """
        line, measured = self._line, self._measured
        if line is None or measured is None or self._candidate is not None or line.has_left:
            return None
        if measured[1] != line.latest_ts:
            return None  # the last packet was out of order
        return SteadyReceiver(
            self._pt,
            line.ssrc,
            line.highest_seq & _SEQ_MASK,
            line.latest_ts & _TS_MASK,
            measured[0],
            line.jitter_units,
            self._max_jitter_s,
        )

    def catch_up(self, now: SteadyReceiver, packets: int, octets: int, duration_units: int) -> None:
        """Go on from what elsewhere became of `steady`.

        Args:
            now: What there is now.
            packets: That have come since, each the next one.
            octets: Of their payload.
            duration_units: What their timestamps have advanced by.
        """
        line = self._line
        assert line is not None  # or nothing was steady
        line.received += packets
        line.unique += packets
        line.highest_seq += packets
        line.latest_ts += duration_units
        shift = min(packets, MAX_MISORDER)
        line.seen = (line.seen << shift | (1 << shift) - 1) & _SEEN_MASK
        line.jitter_units = now.jitter_units
        self._max_jitter_s = now.max_jitter_s
        self._measured = now.arrived_s, line.latest_ts
        self._packets += packets
        self._octets += octets

    def note_report(self, report: SenderReport, now_s: float) -> None:
        """Remember a sender report, for the next report block."""
        if self._line is not None and report.ssrc == self._line.ssrc:
            self._line.last_sr = middle_of(report.ntp)
            self._line.last_sr_at_s = now_s

    def note_goodbye(self, ssrc: int) -> None:
        """The source has left: another may take its place while its last packets still come.

        The farewell of any other source, such as the one before, means nothing.
        """
        if self._line is not None and ssrc == self._line.ssrc:
            self._line.has_left = True

    def report_block(self, now_s: float) -> ReportBlock | None:
        """Return what to report on the source, and begin the next interval.

        Args:
            now_s: When the report is sent, monotonic seconds.

        Returns:
            None: nothing came since the last report (RFC 3550 §6.4).

        Source: RFC 3550 §6.4.1, A.3.
        """
        line = self._line
        if line is None or line.received == line.received_prior:
            return None
        expected = line.expected - line.expected_prior
        received = line.received - line.received_prior
        line.expected_prior, line.received_prior = line.expected, line.received
        # Fewer than expected, so below 256; duplicates may make it more.
        fraction = ((expected - received) << 8) // expected if expected > received else 0
        cumulative = line.expected - line.received
        delay_s = now_s - line.last_sr_at_s if line.last_sr else 0.0
        return ReportBlock(
            ssrc=line.ssrc,
            fraction_lost=fraction,
            cumulative_lost=max(min(cumulative, _MAX_CUMULATIVE_LOST), -_MAX_CUMULATIVE_LOST - 1),
            # The line began a cycle up; to the far end it began at its first.
            highest_seq=(line.highest_seq - SEQ_MODULUS) % (1 << 32),
            jitter=min(int(line.jitter_units), (1 << 32) - 1),
            last_sr=line.last_sr,
            delay_since_sr=min(round(delay_s * _DELAY_UNITS_PER_S), (1 << 32) - 1),
        )

    def statistics(self) -> ReceiverStatistics:
        """Return what came."""
        line = self._line
        jitter_ms = 0.0
        if line is not None:
            jitter_ms = line.jitter_units * 1000 / line.clock_rate_hz
        return ReceiverStatistics(
            packets=self._packets,
            octets=self._octets,
            lost=self._past_lost + (0 if line is None else line.lost),
            duplicates=self._duplicates,
            reordered=self._reordered,
            unproven=self._unproven,
            foreign=self._foreign,
            streams=self._streams,
            payload_changes=self._payload_changes,
            jitter_ms=jitter_ms,
            max_jitter_ms=self._max_jitter_s * 1000,
        )

    def _receive_unproven(self, packet: RtpPacket, now_s: float) -> tuple[SequencedPacket, ...]:
        """Keep a packet that belongs to no line, until the next one proves it."""
        if packet.pt not in self._clock_rates_hz:
            # RTCP that strayed here (A.1), or somebody else's media: proves nothing.
            self._foreign += 1
            return ()
        first = self._candidate
        if (
            first is None
            or packet.ssrc != first[0].ssrc
            or packet.seq != (first[0].seq + 1) % SEQ_MODULUS
        ):
            self._refuse_candidate()
            self._candidate = packet, now_s
            return ()
        if self._line is not None:
            self._past_lost += self._line.lost
        self._streams += 1
        self._candidate = None
        self._measured = None
        self._line = _Line(first[0], self._streams)
        return self.receive(*first) + self.receive(packet, now_s)

    def _refuse_candidate(self) -> None:
        if self._candidate is not None:
            self._unproven += 1
            self._candidate = None

    def _note_behind(self, line: _Line, seq: int) -> bool:
        """Note a number that is not above the highest; return whether for the first time."""
        behind = line.highest_seq - seq
        bit = 1 << behind
        if line.seen & bit:
            self._duplicates += 1
            return False
        self._reordered += behind > 0
        # Sent before the packet by which the line was found: expected from here on.
        line.base_seq = min(line.base_seq, seq)
        line.seen |= bit
        return True

    def _change_payload(self, line: _Line, pt: int, clock_rate_hz: int) -> None:
        """Go on with another payload type, or another clock, or both."""
        self._payload_changes += self._pt not in (-1, pt)
        self._pt = pt
        if line.clock_rate_hz not in (0, clock_rate_hz):
            # Timestamps of two clocks cannot be compared (RFC 7160): what was measured stays
            # the estimate, in the new unit, and the next packet pair goes on from there.
            line.jitter_units *= clock_rate_hz / line.clock_rate_hz
            self._measured = None
        line.clock_rate_hz = clock_rate_hz
