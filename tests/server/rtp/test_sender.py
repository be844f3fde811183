"""What a stream's packets are numbered, and what is reported of it."""

from __future__ import annotations

import pytest

from telcoflow_server.rtp.packet import SEQ_MODULUS, TS_MODULUS, RtpPacket
from telcoflow_server.rtp.rtcp import ReportBlock, ntp_timestamp
from telcoflow_server.rtp.sender import RtpSender

PCMU, EVENT = 0, 101


def sender(
    ssrc: int = 0xABCD, seq: int = 100, ts: int = 7_000, clock_rate_hz: int = 8_000
) -> RtpSender:
    return RtpSender(ssrc=ssrc, seq=seq, ts=ts, clock_rate_hz=clock_rate_hz)


def send(stream: RtpSender, now_s: float = 0.0, payload: bytes = bytes(160)) -> RtpPacket:
    return RtpPacket.parse(stream.send(PCMU, payload, 20, now_s))


def test_numbers_grow_from_those_given() -> None:
    stream = sender()

    packets = [send(stream) for _ in range(3)]

    assert [one.seq for one in packets] == [100, 101, 102]
    assert [one.ts for one in packets] == [7_000, 7_160, 7_320]
    assert {(one.ssrc, one.pt, one.payload) for one in packets} == {(0xABCD, PCMU, bytes(160))}
    assert stream.ts == 7_480


def test_numbers_wrap() -> None:
    stream = sender(seq=SEQ_MODULUS - 1, ts=TS_MODULUS - 160, ssrc=(1 << 32) - 1)

    packets = [send(stream) for _ in range(2)]

    assert [one.seq for one in packets] == [SEQ_MODULUS - 1, 0]
    assert [one.ts for one in packets] == [TS_MODULUS - 160, 0]


@pytest.mark.parametrize(
    ("clock_rate_hz", "units"),
    [(8_000, 160), (48_000, 960), (16_000, 320)],
    ids=["G.711 and G.722", "Opus", "L16"],
)
def test_timestamp_counts_the_clock_not_the_samples(clock_rate_hz: int, units: int) -> None:
    """RFC 3551 §4.5.2: G.722 steps by 160 in 20 ms; RFC 7587 §4.1: Opus by 960."""
    stream = sender(clock_rate_hz=clock_rate_hz)

    first, second = send(stream), send(stream)

    assert second.ts - first.ts == units


def test_marker_is_set_at_the_start_of_every_talkspurt() -> None:
    """RFC 3551 §4.1."""
    stream = sender()

    markers = [send(stream).marker, send(stream).marker]
    stream.skip(20)
    markers += [send(stream).marker, send(stream).marker]

    assert markers == [True, False, True, False]
    assert stream.statistics().talkspurts == 2


def test_time_passes_in_silence_and_sequence_numbers_do_not() -> None:
    stream = sender()
    before = send(stream)
    for _ in range(5):
        stream.skip(20)

    after = send(stream)

    assert after.seq == before.seq + 1
    assert after.ts == before.ts + 6 * 160


def test_events_share_the_numbers_of_the_audio_and_keep_their_timestamp() -> None:
    """RFC 4733 §2.5.1: one timestamp for the event, sequence numbers of the stream."""
    stream = sender()
    send(stream)
    began = stream.ts

    events = []
    for number in range(3):
        datagram = stream.send_event(EVENT, bytes(4), began, is_first=number == 0)
        events.append(RtpPacket.parse(datagram))
        stream.skip(20)
    after = send(stream)

    assert [(one.seq, one.ts, one.marker) for one in events] == [
        (101, began, True),
        (102, began, False),
        (103, began, False),
    ]
    assert {one.pt for one in events} == {EVENT}
    assert (after.seq, after.ts, after.marker) == (104, began + 480, True)


def test_report_puts_the_time_of_day_beside_the_timestamp_of_the_same_moment() -> None:
    """RFC 3550 §6.4.1."""
    stream = sender()
    send(stream, now_s=10.0)
    block = ReportBlock(1, 0, 0, 0, 0)

    report = stream.report(now_s=10.5, wall_s=1_700_000_000.0, blocks=(block,))

    assert report is not None
    assert report.ntp == ntp_timestamp(1_700_000_000.0)
    assert report.ts == 7_000 + 4_000
    assert (report.ssrc, report.packets, report.octets) == (0xABCD, 1, 160)
    assert report.blocks == (block,)


def test_timestamp_of_a_report_wraps() -> None:
    stream = sender(ts=TS_MODULUS - 1_000)
    send(stream, now_s=0.0)

    report = stream.report(now_s=1.0, wall_s=0.0)

    assert report is not None
    assert report.ts == 7_000


def test_who_sent_nothing_has_nothing_to_report() -> None:
    stream = sender()
    stream.skip(20)

    assert stream.report(0.0, 0.0) is None


@pytest.mark.parametrize("wrong", [{"ssrc": 1 << 32}, {"seq": SEQ_MODULUS}, {"ts": -1}])
def test_start_out_of_range_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="32 bits"):
        sender(**wrong)
