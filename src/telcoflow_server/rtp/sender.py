"""The sending half of one RTP stream: numbers, timestamps and the marker.

Not here: where packets go (`latch.py`), what a digit's packets say (`dtmf.py`), when reports go
out (`reporter.py`).
Implements RFC 3550 §5.1 and §6.4.1, RFC 3551 §4.1.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from telcoflow_server.rtp.packet import SEQ_MODULUS, TS_MODULUS, VERSION
from telcoflow_server.rtp.rtcp import ReportBlock, SenderReport, ntp_timestamp

_HEADER = struct.Struct("!BBHII")
_COUNTER_MODULUS = 1 << 32
_FLAGS = VERSION << 6
_MARKED = 0x80


@dataclass(frozen=True, slots=True)
class SenderStatistics:
    """What was sent.

    Attributes:
        packets: Audio and digits.
        octets: Of their payload.
        talkspurts: Packets with the marker set, digits' not counted.
    """

    packets: int
    octets: int
    talkspurts: int


class RtpSender:
    """Numbers the packets of one stream; its timestamp runs on whether anything is sent or not.

    The start of all three numbers is to be chosen at random (RFC 3550 §5.1, §8), by the caller.
    A codec with another clock rate needs another sender with another SSRC (RFC 7160); codecs
    of one clock rate share one.

    Args:
        ssrc: 0 to 2^32 - 1.
        seq: Sequence number of the first packet, 0 to 65535.
        ts: Timestamp of the first sample, 0 to 2^32 - 1.
        clock_rate_hz: Of the timestamp. For G.722 it is 8000, though it samples at 16000
            (RFC 3551 §4.5.2).

    Raises:
        ValueError: a number is out of its range.
    """

    def __init__(self, *, ssrc: int, seq: int, ts: int, clock_rate_hz: int) -> None:
        if not (0 <= ssrc < 1 << 32 and 0 <= seq < SEQ_MODULUS and 0 <= ts < TS_MODULUS):
            raise ValueError("ssrc and ts have 32 bits, seq has 16")
        self.ssrc = ssrc
        self.clock_rate_hz = clock_rate_hz
        self._seq = seq
        self._ts = ts
        self._is_in_talkspurt = False
        self._sent_at_s: float | None = None  # the last frame
        self._sent_ts = 0
        self._packets = 0
        self._octets = 0
        self._talkspurts = 0

    @property
    def ts(self) -> int:
        """The timestamp of the next frame."""
        return self._ts

    def send(self, pt: int, payload: bytes, duration_ms: int, now_s: float) -> bytes:
        """Return the datagram that carries the next frame.

        The first one, and the first after `skip`, bears the marker.

        Args:
            pt: Payload type, 0 to 127.
            payload: The encoded frame.
            duration_ms: How long it is. Times the clock rate it must be whole units.
            now_s: Monotonic seconds, for the timestamp of the next report.
        """
        ts = self._ts
        self._ts = (ts + duration_ms * self.clock_rate_hz // 1000) % TS_MODULUS
        self._sent_at_s, self._sent_ts = now_s, ts
        if self._is_in_talkspurt:
            return self._build(pt, payload, ts)
        self._talkspurts += 1
        self._is_in_talkspurt = True
        return self._build(pt | _MARKED, payload, ts)

    def steady(self) -> tuple[int, int] | None:
        """Return sequence number and timestamp of the next frame, to be sent elsewhere.

        None where that begins a talkspurt. Nothing may be sent here before `catch_up`.
        """
        return (self._seq, self._ts) if self._is_in_talkspurt else None

    def catch_up(self, packets: int, octets: int, duration_units: int, sent_at_s: float) -> None:
        """Go on from what elsewhere became of `steady`.

        Args:
            packets: That were sent, one at least.
            octets: Of their payload.
            duration_units: Their length, each the same.
            sent_at_s: When the last one was.
        """
        self._sent_at_s = sent_at_s
        self._sent_ts = (self._ts + duration_units - duration_units // packets) % TS_MODULUS
        self._seq = (self._seq + packets) % SEQ_MODULUS
        self._ts = (self._ts + duration_units) % TS_MODULUS
        self._packets += packets
        self._octets += octets

    def send_event(self, pt: int, payload: bytes, ts: int, *, is_first: bool) -> bytes:
        """Return the datagram that carries a telephone-event in place of or beside a frame.

        The timestamp of the stream stays; `skip` the frame that is not sent.

        Args:
            pt: Payload type of telephone-event.
            payload: Of the event.
            ts: Timestamp at which the event began.
            is_first: Whether nothing was sent of this event before (RFC 4733 §2.2.1: marker).
        """
        return self._build(pt | _MARKED if is_first else pt, payload, ts)

    def skip(self, duration_ms: int) -> None:
        """Let time pass with nothing to hear: what is sent next begins a talkspurt."""
        self._is_in_talkspurt = False
        self._ts = (self._ts + duration_ms * self.clock_rate_hz // 1000) % TS_MODULUS

    def report(
        self, now_s: float, wall_s: float, blocks: tuple[ReportBlock, ...] = ()
    ) -> SenderReport | None:
        """Return what to report on this stream, or None while nothing has been sent.

        Args:
            now_s: Monotonic seconds, on the clock of `send`.
            wall_s: The same moment, seconds since 1970.
            blocks: About what is received.
        """
        if self._sent_at_s is None:
            return None
        ts = self._sent_ts + round((now_s - self._sent_at_s) * self.clock_rate_hz)
        return SenderReport(
            ssrc=self.ssrc,
            ntp=ntp_timestamp(wall_s),
            ts=ts % TS_MODULUS,
            packets=self._packets % _COUNTER_MODULUS,
            octets=self._octets % _COUNTER_MODULUS,
            blocks=blocks,
        )

    def statistics(self) -> SenderStatistics:
        """Return what was sent."""
        return SenderStatistics(self._packets, self._octets, self._talkspurts)

    def _build(self, marked_pt: int, payload: bytes, ts: int) -> bytes:
        # `RtpPacket.build` costs three times as much, and this runs for every leg and tick.
        seq = self._seq
        self._seq = (seq + 1) % SEQ_MODULUS
        header = _HEADER.pack(_FLAGS, marked_pt, seq, ts, self.ssrc)
        self._packets += 1
        self._octets += len(payload)
        return header + payload
