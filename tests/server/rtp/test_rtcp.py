"""RTCP packets, octet by octet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_server.rtp.packet import RtpError
from telcoflow_server.rtp.rtcp import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    RtcpPacket,
    SenderReport,
    SourceDescription,
    build_compound,
    is_rtcp,
    middle_of,
    ntp_timestamp,
    parse_compound,
)

RECEIVER_REPORT = "80 c9 00 01 00 00 00 01 "

word = st.integers(0, (1 << 32) - 1)
blocks = st.lists(
    st.builds(
        ReportBlock,
        ssrc=word,
        fraction_lost=st.integers(0, 255),
        cumulative_lost=st.integers(-(1 << 23), (1 << 23) - 1),
        highest_seq=word,
        jitter=word,
        last_sr=word,
        delay_since_sr=word,
    ),
    max_size=3,
).map(tuple)
cnames = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
reports: st.SearchStrategy[RtcpPacket] = st.one_of(
    st.builds(SenderReport, word, st.integers(0, (1 << 64) - 1), word, word, word, blocks),
    st.builds(ReceiverReport, word, blocks),
)
others: st.SearchStrategy[RtcpPacket] = st.one_of(
    reports,
    st.builds(SourceDescription, st.lists(st.tuples(word, cnames), max_size=3).map(tuple)),
    st.builds(Goodbye, st.lists(word, max_size=3).map(tuple)),
)


def parse(octets: str) -> tuple[RtcpPacket, ...]:
    return parse_compound(bytes.fromhex(octets))


@given(reports, st.lists(others, max_size=4))
def test_what_is_built_parses_to_the_same(first: RtcpPacket, rest: list[RtcpPacket]) -> None:
    assert parse_compound(build_compound([first, *rest])) == (first, *rest)


def test_sender_report_lies_where_the_standard_puts_it() -> None:
    """RFC 3550 §6.4.1."""
    block = ReportBlock(0x0A0B0C0D, 64, -2, 0x0001_0005, 7, 0x1111_2222, 0x0001_8000)
    report = SenderReport(0xDEADBEEF, 0x0123_4567_89AB_CDEF, 160, 2, 320, (block,))

    assert build_compound([report]).hex(" ", 4) == (
        "81c8000c deadbeef 01234567 89abcdef 000000a0 00000002 00000140 "
        "0a0b0c0d 40fffffe 00010005 00000007 11112222 00018000"
    )


def test_name_is_padded_with_at_least_one_null() -> None:
    """RFC 3550 §6.5."""
    built = build_compound([ReceiverReport(1), SourceDescription(((2, "ab"),))])

    assert built[8:].hex(" ", 4) == "81ca0003 00000002 01026162 00000000"


def test_farewell_lies_where_the_standard_puts_it() -> None:
    """RFC 3550 §6.6."""
    built = build_compound([ReceiverReport(1), Goodbye((2, 3))])

    assert built[8:].hex(" ", 4) == "82cb0002 00000002 00000003"


def test_packets_of_unknown_types_are_skipped() -> None:
    application = "80 cc 00 02 00 00 00 09 6e 61 6d 65 "
    farewell = "81 cb 00 01 00 00 00 01"

    assert parse(RECEIVER_REPORT + application + farewell) == (ReceiverReport(1), Goodbye((1,)))


def test_only_the_canonical_name_is_kept_of_a_description() -> None:
    chunk = "00 00 00 02 02 03 42 6f 62 01 01 78 00 00 00 00 "
    nameless = "00 00 00 03 00 00 00 00"

    assert parse(RECEIVER_REPORT + "82 ca 00 06 " + chunk + nameless) == (
        ReceiverReport(1),
        SourceDescription(((2, "x"),)),
    )


def test_name_that_is_no_utf8_is_kept_as_far_as_it_is() -> None:
    packets = parse(RECEIVER_REPORT + "81 ca 00 02 00 00 00 02 01 01 ff 00")

    assert packets[1] == SourceDescription(((2, "�"),))


def test_reason_of_a_farewell_and_padding_behind_it_are_skipped() -> None:
    assert parse(RECEIVER_REPORT + "a1 cb 00 03 00 00 00 01 03 62 79 65 00 00 00 04") == (
        ReceiverReport(1),
        Goodbye((1,)),
    )


def test_extension_of_a_profile_behind_the_blocks_is_skipped() -> None:
    assert parse("80 c9 00 02 00 00 00 01 ab cd ef 01") == (ReceiverReport(1),)


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        ("", "empty"),
        ("80 c9 00", "shorter than a header"),
        (RECEIVER_REPORT + "80 cb", "shorter than a header"),
        ("00 c9 00 01 00 00 00 01", "not version 2"),
        ("80 c9 00 02 00 00 00 01", "longer than the datagram"),
        ("81 cb 00 01 00 00 00 01", "does not begin with a report"),
        ("80 c9 00 00", "receiver report too short"),
        ("80 c8 00 05" + "00" * 20, "sender report too short"),
        ("81 c9 00 01 00 00 00 01", "report blocks beyond the end"),
        ("a0 c9 00 02 00 00 00 01 00 00 00 04 80 cb 00 00", "padding before the last packet"),
        ("a0 c9 00 02 00 00 00 01 00 00 00 00", "padding of an impossible length"),
        ("a0 c9 00 02 00 00 00 01 00 00 00 03", "padding of an impossible length"),
        ("a0 c9 00 02 00 00 00 01 00 00 00 0c", "padding of an impossible length"),
        ("a0 c9 00 00", "padding of an impossible length"),
        (RECEIVER_REPORT + "81 ca 00 00", "source description too short"),
        (RECEIVER_REPORT + "81 ca 00 02 00 00 00 02 01 03 61 62", "item beyond the end"),
        (RECEIVER_REPORT + "81 ca 00 02 00 00 00 02 01 01 61 01", "item beyond the end"),
        (RECEIVER_REPORT + "81 ca 00 02 00 00 00 02 01 02 61 62", "items without an end"),
        (RECEIVER_REPORT + "81 ca 00 01 00 00 00 02", "items without an end"),
        (RECEIVER_REPORT + "82 cb 00 01 00 00 00 02", "sources beyond the end"),
        (RECEIVER_REPORT + "81 cb 00 02 00 00 00 02 04 61 62 63", "reason beyond the end"),
    ],
)
def test_malformed_compound_is_refused_with_the_reason(octets: str, reason: str) -> None:
    with pytest.raises(RtpError) as caught:
        parse(octets)

    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "packets",
    [
        [],
        [Goodbye((1,))],
        [ReceiverReport(1 << 32)],
        [ReceiverReport(1, (ReportBlock(2, 256, 0, 0, 0),))],
        [ReceiverReport(1, (ReportBlock(2, 0, 1 << 23, 0, 0),))],
        [ReceiverReport(1, (ReportBlock(2, 0, 0, 0, 0),) * 32)],
        [ReceiverReport(1), SourceDescription(((2, "x" * 256),))],
        [ReceiverReport(1), Goodbye((-1,))],
    ],
)
def test_field_out_of_range_is_not_built(packets: list[RtcpPacket]) -> None:
    with pytest.raises(ValueError, match=r"begins|range|fit|at most"):
        build_compound(packets)


def test_time_of_day_counts_from_1900() -> None:
    assert ntp_timestamp(0.0) == 2_208_988_800 << 32
    assert ntp_timestamp(0.5) & 0xFFFF_FFFF == 1 << 31
    assert middle_of(0x0123_4567_89AB_CDEF) == 0x4567_89AB


def test_time_of_day_wraps_in_2036() -> None:
    """RFC 3550 §4."""
    assert ntp_timestamp((1 << 32) - 2_208_988_800 + 1.0) == 1 << 32


@pytest.mark.parametrize(
    ("octets", "answer"),
    [("80 c8", True), ("80 c9 00", True), ("80 df", True), ("80 80", False), ("80 00", False)],
)
def test_port_of_both_tells_them_apart(octets: str, answer: bool) -> None:
    """RFC 5761 §4."""
    assert is_rtcp(bytes.fromhex(octets)) is answer


def test_one_octet_is_no_rtcp() -> None:
    assert not is_rtcp(b"\x80")
