"""RTP headers, octet by octet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_server.rtp.packet import (
    SEQ_MODULUS,
    TS_MODULUS,
    Extension,
    RtpError,
    RtpPacket,
)

PLAIN = RtpPacket(pt=8, seq=0x1234, ts=0x5566_7788, ssrc=0xDEAD_BEEF, payload=b"\xd5" * 160)

packets = st.builds(
    RtpPacket,
    pt=st.integers(0, 127),
    seq=st.integers(0, SEQ_MODULUS - 1),
    ts=st.integers(0, TS_MODULUS - 1),
    ssrc=st.integers(0, (1 << 32) - 1),
    payload=st.binary(max_size=40),
    marker=st.booleans(),
    csrcs=st.lists(st.integers(0, (1 << 32) - 1), max_size=15).map(tuple),
    extension=st.none()
    | st.builds(
        Extension,
        st.integers(0, 0xFFFF),
        st.integers(0, 4).flatmap(lambda words: st.binary(min_size=4 * words, max_size=4 * words)),
    ),
    padding_bytes=st.integers(0, 255),
)


def test_fields_lie_where_the_standard_puts_them() -> None:
    """RFC 3550 §5.1."""
    datagram = RtpPacket(8, 0x1234, 0x5566_7788, 0xDEAD_BEEF, b"abc", marker=True).build()

    assert datagram.hex(" ") == "80 88 12 34 55 66 77 88 de ad be ef 61 62 63"


def test_sources_extension_and_padding_lie_where_the_standard_puts_them() -> None:
    """RFC 3550 §5.1 and §5.3.1."""
    packet = RtpPacket(
        pt=0,
        seq=1,
        ts=2,
        ssrc=3,
        payload=b"\xff",
        csrcs=(4, 5),
        extension=Extension(0xBEDE, b"\x10\x01\x00\x00"),
        padding_bytes=3,
    )

    assert packet.build().hex(" ") == (
        "b2 00 00 01 00 00 00 02 00 00 00 03 "  # padding, extension, two sources
        "00 00 00 04 00 00 00 05 be de 00 01 10 01 00 00 ff 00 00 03"
    )


@given(packets)
def test_what_is_built_parses_to_the_same(packet: RtpPacket) -> None:
    assert RtpPacket.parse(packet.build()) == packet


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", "shorter than a header"),
        (PLAIN.build()[:11], "shorter than a header"),
        (b"\x00" + PLAIN.build()[1:], "not version 2"),
        (b"\x40" + PLAIN.build()[1:], "not version 2"),
        (b"\xc0" + PLAIN.build()[1:], "not version 2"),
        (b"\x81" + PLAIN.build()[1:15], "contributing sources beyond the end"),
        (b"\x90" + PLAIN.build()[1:15], "extension beyond the end"),
        (b"\x90" + PLAIN.build()[1:12] + b"\x00\x00\x00\x01abc", "extension beyond the end"),
        (b"\xa0" + PLAIN.build()[1:12] + b"abc\x00", "padding without a length"),
        (b"\xa0" + PLAIN.build()[1:12] + b"abc\x05", "padding longer than the payload"),
    ],
)
def test_malformed_packet_is_refused_with_the_reason(datagram: bytes, reason: str) -> None:
    with pytest.raises(RtpError) as caught:
        RtpPacket.parse(datagram)

    assert caught.value.reason == reason


def test_padding_without_payload_does_not_reach_into_the_header() -> None:
    header = b"\xa0" + PLAIN.build()[1:12]

    with pytest.raises(RtpError, match="padding longer"):
        RtpPacket.parse(header[:11] + b"\x01")


def test_payload_may_be_empty() -> None:
    packet = RtpPacket.parse(PLAIN.build()[:12])

    assert packet.payload == b""


def test_padding_may_be_all_there_is() -> None:
    packet = RtpPacket.parse(b"\xa0" + PLAIN.build()[1:12] + b"\x00\x02")

    assert (packet.payload, packet.padding_bytes) == (b"", 2)


@pytest.mark.parametrize(
    "packet",
    [
        RtpPacket(128, 0, 0, 0, b""),
        RtpPacket(-1, 0, 0, 0, b""),
        RtpPacket(0, SEQ_MODULUS, 0, 0, b""),
        RtpPacket(0, 0, TS_MODULUS, 0, b""),
        RtpPacket(0, 0, 0, 1 << 32, b""),
        RtpPacket(0, 0, 0, 0, b"", csrcs=(1,) * 16),
        RtpPacket(0, 0, 0, 0, b"", csrcs=(-1,)),
        RtpPacket(0, 0, 0, 0, b"", extension=Extension(0, b"abc")),
        RtpPacket(0, 0, 0, 0, b"", extension=Extension(1 << 16, b"")),
        RtpPacket(0, 0, 0, 0, b"", padding_bytes=256),
    ],
)
def test_field_out_of_range_is_not_built(packet: RtpPacket) -> None:
    with pytest.raises(ValueError, match=r"must be|at most|out of range|whole"):
        packet.build()


def test_a_packet_never_shows_its_payload() -> None:
    packet = RtpPacket(pt=0, seq=1, ts=2, ssrc=3, payload=b"speech")

    assert repr(packet) == "RtpPacket(pt=0, seq=1, ts=2, ssrc=3)"
