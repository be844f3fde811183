"""RTP packets: bytes to fields and back.

Not here: what a row of packets means (`receiver.py`), RTCP (`rtcp.py`).
Implements RFC 3550 §5.1 and §5.3.1.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

VERSION = 2
SEQ_MODULUS = 1 << 16
TS_MODULUS = 1 << 32
MAX_CSRCS = 15
"""What the four bits of the header can count."""

_HEADER = struct.Struct("!BBHII")
_EXTENSION = struct.Struct("!HH")
_HEADER_BYTES = _HEADER.size
_WORD_BYTES = 4

_PLAIN = VERSION << 6
"""The first octet of what phones send: nothing but a header and a payload."""
_PADDED = 0x20
_EXTENDED = 0x10
_CSRC_COUNT = 0x0F
_MARKED = 0x80
_PAYLOAD_TYPE = 0x7F


class RtpError(Exception):
    """The far end sent what is no RTP, RTCP or telephone-event. Count it and drop it.

    Attributes:
        reason: What is wrong, in words that never hold anything out of the packet: good as the
            label of a counter.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Extension:
    """A header extension.

    Attributes:
        profile: Its 16 bits of identity.
        data: Whole 32-bit words.
    """

    profile: int
    data: bytes


class RtpPacket(NamedTuple):
    """One RTP packet. A tuple, because one is made for every leg and tick.

    Attributes:
        pt: Payload type, 0 to 127.
        seq: Sequence number, 0 to 65535.
        ts: Timestamp in units of the clock rate, 0 to 2^32 - 1.
        ssrc: Source, 0 to 2^32 - 1.
        payload: Without padding. Never printed: it may be speech or a digit.
        marker: For audio, the first packet of a talkspurt (RFC 3551 §4.1).
        csrcs: Contributing sources, at most 15.
        extension: The header extension, if there is one.
        padding_bytes: Octets of padding behind the payload, 0 to 255, their count included.
    """

    pt: int
    seq: int
    ts: int
    ssrc: int
    payload: bytes
    marker: bool = False
    csrcs: tuple[int, ...] = ()
    extension: Extension | None = None
    padding_bytes: int = 0

    def __repr__(self) -> str:
        return f"RtpPacket(pt={self.pt}, seq={self.seq}, ts={self.ts}, ssrc={self.ssrc})"

    @classmethod
    def parse(cls, data: bytes) -> RtpPacket:
        """Return the packet in a datagram.

        Raises:
            RtpError: it is none.

        Source: RFC 3550 §5.1; the checks of A.1 that need no knowledge of the stream.
        """
        if len(data) < _HEADER_BYTES:
            raise RtpError("shorter than a header")
        flags, marker_pt, seq, ts, ssrc = _HEADER.unpack_from(data)
        if flags >> 6 != VERSION:
            raise RtpError("not version 2")
        pt, marker = marker_pt & _PAYLOAD_TYPE, marker_pt >= _MARKED
        if flags == _PLAIN:
            # Not `cls(...)`: that is a function in Python, and this is for every leg and tick.
            fields = pt, seq, ts, ssrc, data[_HEADER_BYTES:], marker, (), None, 0
            return tuple.__new__(cls, fields)
        csrcs, extension, begin = _parse_rest_of_header(flags, data)
        padding_bytes = 0
        if flags & _PADDED:
            padding_bytes = data[-1]
            if padding_bytes == 0:
                raise RtpError("padding without a length")
        end = len(data) - padding_bytes
        if end < begin:
            raise RtpError("padding longer than the payload")
        return cls(pt, seq, ts, ssrc, data[begin:end], marker, csrcs, extension, padding_bytes)

    def build(self) -> bytes:
        """Return the datagram.

        Raises:
            ValueError: a field is out of its range.
        """
        if not 0 <= self.pt <= _PAYLOAD_TYPE:
            raise ValueError(f"payload type must be 0 to 127, not {self.pt}")
        if len(self.csrcs) > MAX_CSRCS:
            raise ValueError(f"at most {MAX_CSRCS} contributing sources, not {len(self.csrcs)}")
        flags = VERSION << 6 | len(self.csrcs)
        if self.padding_bytes:
            flags |= _PADDED
        if self.extension is not None:
            flags |= _EXTENDED
        try:
            header = _HEADER.pack(
                flags, self.pt | self.marker << 7, self.seq, self.ts, self.ssrc
            ) + struct.pack(f"!{len(self.csrcs)}I", *self.csrcs)
            padding = bytes(max(self.padding_bytes - 1, 0))
            if self.padding_bytes:
                padding += struct.pack("!B", self.padding_bytes)
        except struct.error as error:
            raise ValueError(f"a field of the RTP header is out of range: {error}") from None
        return header + _build_extension(self.extension) + self.payload + padding


def _parse_rest_of_header(flags: int, data: bytes) -> tuple[tuple[int, ...], Extension | None, int]:
    """Return contributing sources, extension, and where the payload begins."""
    count = flags & _CSRC_COUNT
    begin = _HEADER_BYTES + count * _WORD_BYTES
    if len(data) < begin:
        raise RtpError("contributing sources beyond the end")
    csrcs = struct.unpack_from(f"!{count}I", data, _HEADER_BYTES)
    if not flags & _EXTENDED:
        return csrcs, None, begin
    if len(data) < begin + _EXTENSION.size:
        raise RtpError("extension beyond the end")
    profile, words = _EXTENSION.unpack_from(data, begin)
    begin += _EXTENSION.size
    end = begin + words * _WORD_BYTES
    if len(data) < end:
        raise RtpError("extension beyond the end")
    return csrcs, Extension(profile, data[begin:end]), end


def _build_extension(extension: Extension | None) -> bytes:
    if extension is None:
        return b""
    words, rest = divmod(len(extension.data), _WORD_BYTES)
    if rest:
        raise ValueError("an extension is made of whole 32-bit words")
    try:
        return _EXTENSION.pack(extension.profile, words) + extension.data
    except struct.error as error:
        raise ValueError(f"the extension is out of range: {error}") from None
