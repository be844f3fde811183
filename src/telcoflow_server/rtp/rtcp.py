"""RTCP: compound packets of reports, names and farewells, bytes to fields and back.

Not here: when reports are sent and what they say (`reporter.py`).
Implements RFC 3550 §6.4 to §6.6 and the validity checks of A.2.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

from telcoflow_server.rtp.packet import VERSION, RtpError

SR, RR, SDES, BYE = 200, 201, 202, 203
"""Packet types (RFC 3550 §12.1)."""

MAX_ITEMS = 31
"""What the five bits of a header can count: report blocks, chunks or sources."""

_HEADER = struct.Struct("!BBH")
_SENDER = struct.Struct("!IQIII")
_BLOCK = struct.Struct("!IB3sIIII")
_WORD_BYTES = 4
_PADDED = 0x20
_COUNT = 0x1F
_CNAME = 1
_MAX_CNAME_BYTES = 255

# RFC 5761 §4: with RTP and RTCP on one port, RTP keeps clear of payload types 64 to 95, so that
# a second octet of 192 to 223 is an RTCP type.
_MUXED_TYPES = range(192, 224)

_NTP_EPOCH_OFFSET_S = 2_208_988_800  # from 1900 to 1970, RFC 868
_NTP_FRACTION = 1 << 32


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """What a receiver says about one source.

    Attributes:
        ssrc: The source reported on.
        fraction_lost: Since the previous report, in 1/256, 0 to 255.
        cumulative_lost: Since the beginning, -2^23 to 2^23 - 1; below 0 with duplicates.
        highest_seq: Extended highest sequence number received, 32 bits.
        jitter: Interarrival jitter in units of the clock rate.
        last_sr: Middle 32 bits of the NTP time in the last sender report, 0 for none.
        delay_since_sr: From receiving it to sending this, in 1/65536 s.
    """

    ssrc: int
    fraction_lost: int
    cumulative_lost: int
    highest_seq: int
    jitter: int
    last_sr: int = 0
    delay_since_sr: int = 0


@dataclass(frozen=True, slots=True)
class SenderReport:
    """What a source says about itself.

    Attributes:
        ssrc: The source.
        ntp: Time of day as a 64-bit NTP timestamp, see `ntp_timestamp`.
        ts: The same moment as an RTP timestamp.
        packets: Sent since the beginning, modulo 2^32.
        octets: Of payload sent since the beginning, modulo 2^32.
        blocks: About the sources it hears.
    """

    ssrc: int
    ntp: int
    ts: int
    packets: int
    octets: int
    blocks: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    """What a party that sends nothing says about the sources it hears."""

    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """Sources with their canonical names.

    Other items (names, numbers, addresses of people) are skipped, never kept.
    """

    cnames: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Goodbye:
    """Sources that send no more."""

    ssrcs: tuple[int, ...]


RtcpPacket = SenderReport | ReceiverReport | SourceDescription | Goodbye


def ntp_timestamp(wall_s: float) -> int:
    """Return seconds since 1970 as a 64-bit NTP timestamp (RFC 3550 §4)."""
    return round((wall_s + _NTP_EPOCH_OFFSET_S) * _NTP_FRACTION) % (1 << 64)


def middle_of(ntp: int) -> int:
    """Return the middle 32 bits of an NTP timestamp: 1/65536 s, modulo 18 hours."""
    return ntp >> 16 & 0xFFFF_FFFF


def is_rtcp(data: bytes) -> bool:
    """Return whether a datagram on a port that carries both is RTCP rather than RTP."""
    return len(data) > 1 and data[1] in _MUXED_TYPES


def parse_compound(data: bytes) -> tuple[RtcpPacket, ...]:
    """Return the packets of a compound packet; those of unknown types are left out.

    Raises:
        RtpError: one of them is malformed, or it does not begin with a report. Then nothing in
            it is to be believed.

    Source: RFC 3550 §6.1 and A.2.
    """
    packets: list[RtcpPacket] = []
    for position, (kind, count, body) in enumerate(_split(data)):
        if position == 0 and kind not in (SR, RR):
            raise RtpError("does not begin with a report")
        if parse := _PARSERS.get(kind):
            packets.append(parse(count, body))
    return tuple(packets)


def build_compound(packets: Sequence[RtcpPacket]) -> bytes:
    """Return the datagram for a compound packet.

    Raises:
        ValueError: it does not begin with a report, or a field is out of its range.
    """
    if not packets or not isinstance(packets[0], SenderReport | ReceiverReport):
        raise ValueError("a compound packet begins with a report")
    try:
        return b"".join(map(_build, packets))
    except struct.error as error:
        raise ValueError(f"a field of RTCP is out of range: {error}") from None


def _split(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield type, count and body of each packet; the lengths must add up exactly."""
    if not data:
        raise RtpError("empty")
    at = 0
    while at < len(data):
        if len(data) - at < _HEADER.size:
            raise RtpError("shorter than a header")
        flags, kind, words = _HEADER.unpack_from(data, at)
        if flags >> 6 != VERSION:
            raise RtpError("not version 2")
        begin, end = at + _HEADER.size, at + (words + 1) * _WORD_BYTES
        at = end
        if end > len(data):
            raise RtpError("longer than the datagram")
        if flags & _PADDED:
            if end < len(data):
                raise RtpError("padding before the last packet")
            padding_bytes = data[end - 1]
            if padding_bytes == 0 or padding_bytes % _WORD_BYTES or padding_bytes > end - begin:
                raise RtpError("padding of an impossible length")
            end -= padding_bytes
        yield kind, flags & _COUNT, data[begin:end]


def _parse_blocks(count: int, body: bytes, begin: int) -> tuple[ReportBlock, ...]:
    # Whatever follows the blocks is an extension of some profile, and skipped.
    if len(body) < begin + count * _BLOCK.size:
        raise RtpError("report blocks beyond the end")
    blocks = []
    for number in range(count):
        ssrc, fraction, lost, highest, jitter, last_sr, delay = _BLOCK.unpack_from(
            body, begin + number * _BLOCK.size
        )
        cumulative = int.from_bytes(lost, "big", signed=True)
        blocks.append(ReportBlock(ssrc, fraction, cumulative, highest, jitter, last_sr, delay))
    return tuple(blocks)


def _parse_sender_report(count: int, body: bytes) -> SenderReport:
    if len(body) < _SENDER.size:
        raise RtpError("sender report too short")
    blocks = _parse_blocks(count, body, _SENDER.size)
    ssrc, ntp, ts, packets, octets = _SENDER.unpack_from(body)
    return SenderReport(ssrc, ntp, ts, packets, octets, blocks)


def _parse_receiver_report(count: int, body: bytes) -> ReceiverReport:
    if len(body) < _WORD_BYTES:
        raise RtpError("receiver report too short")
    return ReceiverReport(
        int.from_bytes(body[:_WORD_BYTES], "big"), _parse_blocks(count, body, _WORD_BYTES)
    )


def _parse_source_description(count: int, body: bytes) -> SourceDescription:
    cnames = []
    at = 0
    for _ in range(count):
        if len(body) < at + _WORD_BYTES:
            raise RtpError("source description too short")
        ssrc = int.from_bytes(body[at : at + _WORD_BYTES], "big")
        cname, at = _parse_cname(body, at + _WORD_BYTES)
        if cname is not None:
            cnames.append((ssrc, cname))
    return SourceDescription(tuple(cnames))


def _parse_cname(body: bytes, at: int) -> tuple[str | None, int]:
    """Return the canonical name among a chunk's items, if any, and where the next chunk begins."""
    cname = None
    while at < len(body) and body[at]:
        if at + 2 > len(body) or at + 2 + body[at + 1] > len(body):
            raise RtpError("item beyond the end")
        kind, length = body[at], body[at + 1]
        at += 2
        if kind == _CNAME:
            cname = body[at : at + length].decode("utf-8", "replace")
        at += length
    if at >= len(body):
        raise RtpError("items without an end")
    # RFC 3550 §6.5: one or more null octets, up to the next 32-bit boundary.
    return cname, at + _WORD_BYTES - at % _WORD_BYTES


def _parse_goodbye(count: int, body: bytes) -> Goodbye:
    reason_at = count * _WORD_BYTES
    if len(body) < reason_at:
        raise RtpError("sources beyond the end")
    if len(body) > reason_at and reason_at + 1 + body[reason_at] > len(body):
        raise RtpError("reason beyond the end")
    return Goodbye(struct.unpack_from(f"!{count}I", body))


_PARSERS: dict[int, Callable[[int, bytes], RtcpPacket]] = {
    SR: _parse_sender_report,
    RR: _parse_receiver_report,
    SDES: _parse_source_description,
    BYE: _parse_goodbye,
}


def _build(packet: RtcpPacket) -> bytes:
    match packet:
        case SenderReport():
            own = _SENDER.pack(packet.ssrc, packet.ntp, packet.ts, packet.packets, packet.octets)
            return _frame(SR, len(packet.blocks), own + _build_blocks(packet.blocks))
        case ReceiverReport():
            own = struct.pack("!I", packet.ssrc)
            return _frame(RR, len(packet.blocks), own + _build_blocks(packet.blocks))
        case SourceDescription():
            chunks = b"".join(_build_chunk(ssrc, cname) for ssrc, cname in packet.cnames)
            return _frame(SDES, len(packet.cnames), chunks)
        case Goodbye():
            sources = struct.pack(f"!{len(packet.ssrcs)}I", *packet.ssrcs)
            return _frame(BYE, len(packet.ssrcs), sources)
        case _:
            assert_never(packet)


def _frame(kind: int, count: int, body: bytes) -> bytes:
    if count > MAX_ITEMS:
        raise ValueError(f"at most {MAX_ITEMS} items fit into an RTCP packet, not {count}")
    return _HEADER.pack(VERSION << 6 | count, kind, len(body) // _WORD_BYTES) + body


def _build_blocks(blocks: tuple[ReportBlock, ...]) -> bytes:
    built = []
    for block in blocks:
        try:
            lost = block.cumulative_lost.to_bytes(3, "big", signed=True)
        except OverflowError:
            raise ValueError(f"loss of {block.cumulative_lost} does not fit 24 bits") from None
        built.append(
            _BLOCK.pack(
                block.ssrc,
                block.fraction_lost,
                lost,
                block.highest_seq,
                block.jitter,
                block.last_sr,
                block.delay_since_sr,
            )
        )
    return b"".join(built)


def _build_chunk(ssrc: int, cname: str) -> bytes:
    name = cname.encode()
    if len(name) > _MAX_CNAME_BYTES:
        raise ValueError(f"a canonical name has at most {_MAX_CNAME_BYTES} bytes, not {len(name)}")
    chunk = struct.pack("!IBB", ssrc, _CNAME, len(name)) + name
    return chunk + bytes(_WORD_BYTES - len(chunk) % _WORD_BYTES)
