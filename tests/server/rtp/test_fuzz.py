"""What strangers can send to a media port: any bytes, and the odd inputs kept in `corpus`.

A file of the corpus holds one datagram or payload in hexadecimal below a line that says what it
is. Its folder names the parser, its name says what must become of it. A finding of the fuzzers
is added there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from telcoflow_server.rtp.dtmf import DigitReceiver, TelephoneEvent
from telcoflow_server.rtp.packet import RtpError, RtpPacket
from telcoflow_server.rtp.receiver import RtpReceiver, SequencedPacket
from telcoflow_server.rtp.reporter import Reporter
from telcoflow_server.rtp.rtcp import SR, build_compound, parse_compound
from telcoflow_server.rtp.sender import RtpSender

CORPUS = Path(__file__).parent / "corpus"
PARSERS: dict[str, Callable[[bytes], object]] = {
    "rtp": RtpPacket.parse,
    "rtcp": parse_compound,
    "event": TelephoneEvent.parse,
}


def octets(path: Path) -> bytes:
    lines = path.read_text(encoding="utf-8").splitlines()
    return bytes.fromhex("".join(line for line in lines if not line.startswith("#")))


def kept(pattern: str) -> list[Path]:
    return sorted(CORPUS.glob(pattern))


def name(path: Path) -> str:
    return path.relative_to(CORPUS).with_suffix("").as_posix()


@pytest.mark.parametrize("path", kept("*/accepted-*.hex"), ids=name)
def test_odd_input_is_accepted(path: Path) -> None:
    PARSERS[path.parent.name](octets(path))


@pytest.mark.parametrize("path", kept("*/refused-*.hex"), ids=name)
def test_bad_input_is_refused_with_a_reason(path: Path) -> None:
    with pytest.raises(RtpError) as caught:
        PARSERS[path.parent.name](octets(path))

    assert caught.value.reason


def test_every_file_of_the_corpus_is_run() -> None:
    files = {path for path in CORPUS.rglob("*") if path.is_file()}

    assert files == {*kept("*/accepted-*.hex"), *kept("*/refused-*.hex")}
    assert {path.parent.name for path in files} == set(PARSERS)


rtp_like = st.builds(
    lambda flags, rest: bytes([0x80 | flags]) + rest, st.integers(0, 63), st.binary(max_size=120)
)
"""Arbitrary bytes that pass the check of the version."""


@st.composite
def rtcp_like(draw: st.DrawFn) -> bytes:
    """Packets whose types and lengths are right as a rule, and whose bodies are anything."""
    data = b""
    for number in range(draw(st.integers(1, 4))):
        kind = draw(st.integers(SR, SR + 1) if number == 0 else st.integers(SR - 1, SR + 5))
        body = draw(st.binary(max_size=60))
        words = draw(st.just((len(body) + 3) // 4) | st.integers(0, 20))
        flags = 0x80 | draw(st.sampled_from([0, 1, 2, 31, 0x20, 0x21]))
        data += bytes([flags, kind]) + words.to_bytes(2, "big") + body
        data += bytes(-len(body) % 4)
    return data


@given(st.binary(max_size=200) | rtp_like)
@example(b"\xa0" + bytes(11))
def test_rtp_parser_accepts_or_refuses_any_bytes(data: bytes) -> None:
    try:
        packet = RtpPacket.parse(data)
    except RtpError:
        return
    assert len(packet.payload) <= len(data) - 12
    assert RtpPacket.parse(packet.build()) == packet


@given(st.binary(max_size=200) | rtcp_like())
def test_rtcp_parser_accepts_or_refuses_any_bytes(data: bytes) -> None:
    try:
        packets = parse_compound(data)
    except RtpError:
        return
    assert parse_compound(build_compound(packets)) == packets


@given(st.lists(st.binary(max_size=60) | rtp_like | rtcp_like(), max_size=20))
def test_session_survives_any_datagrams(datagrams: list[bytes]) -> None:
    receiver = RtpReceiver({0: 8_000, 8: 8_000, 13: 8_000, 101: 8_000})
    sender = RtpSender(ssrc=1, seq=2, ts=3, clock_rate_hz=8_000)
    reporter = Reporter(receiver, lambda: sender, cname="x", now_s=0.0, factor=1.0)

    for number, datagram in enumerate(datagrams):
        now_s = number * 0.02
        try:
            receiver.receive(RtpPacket.parse(datagram), now_s)
        except RtpError:
            pass
        try:
            reporter.receive(datagram, now_s, 1_700_000_000.0 + now_s)
        except RtpError:
            pass
        parse_compound(reporter.report(now_s, 1_700_000_000.0 + now_s, 1.0))
        reporter.statistics()


@given(
    st.lists(
        st.tuples(st.binary(max_size=6) | st.binary(min_size=4, max_size=4), st.integers(0, 3)),
        max_size=30,
    )
)
def test_digits_come_in_pairs_whatever_is_sent(events: list[tuple[bytes, int]]) -> None:
    receiver = DigitReceiver(8_000)
    told: list[str] = []

    for number, (payload, ts) in enumerate(events):
        packet = RtpPacket(101, number, ts, 1, payload)
        try:
            one = receiver.receive(SequencedPacket(packet, number, ts, 1, number * 0.1))
        except RtpError:
            continue
        told += [type(each).__name__ for each in one]
        ended = receiver.expire(number * 0.1 + 0.05)
        told += [] if ended is None else [type(ended).__name__]
    if receiver.expire(1_000.0) is not None:
        told.append("DigitEnded")

    assert told == ["DigitStarted", "DigitEnded"] * (len(told) // 2)
