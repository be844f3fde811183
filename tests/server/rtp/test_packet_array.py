"""Headers of many streams at once: as one receiver and one sender would have them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from telcoflow_server.rtp.packet import RtpPacket
from telcoflow_server.rtp.packet_array import (
    PACKET,
    PACKET_UNITS,
    Packets,
    ReceiverArray,
    SenderArray,
)
from telcoflow_server.rtp.receiver import RtpReceiver
from telcoflow_server.rtp.sender import RtpSender

PAYLOAD = bytes(range(PACKET_UNITS))
FIRST = RtpPacket(8, 65_534, 2**32 - 320, 0xFFFF_FFFE, PAYLOAD)
"""Two packets before both wraps."""


def packet(number: int) -> RtpPacket:
    seq, ts = (FIRST.seq + number) % (1 << 16), (FIRST.ts + 160 * number) % (1 << 32)
    return FIRST._replace(seq=seq, ts=ts)


def arrival_s(number: int) -> float:
    return 50.0 + number * 0.02 + (number % 3) * 0.004


def receiver(packets: int) -> RtpReceiver:
    made = RtpReceiver({8: 8_000})
    for number in range(packets):
        made.receive(packet(number), arrival_s(number))
    return made


def entered(packets: int) -> tuple[ReceiverArray, RtpReceiver]:
    array, one = ReceiverArray(3), receiver(packets)
    steady = one.steady()
    assert steady is not None
    array.enter(1, steady)
    return array, one


def parsed(*packets: RtpPacket) -> Packets:
    return np.frombuffer(b"".join(one.build() for one in packets), PACKET)


ROW = np.array([1])


@pytest.mark.parametrize("before", [2, 3])
def test_what_is_received_together_is_counted_as_if_it_were_alone(before: int) -> None:
    array, one = entered(before)
    for number in range(before, before + 150):
        assert array.are_next(ROW, parsed(packet(number))).all()
        array.receive(ROW, np.array([arrival_s(number)]))
        if number == 77:
            assert array.count(1, one) == (78 - before, arrival_s(number))

    came, _ = array.count(1, one)

    alone = receiver(before + 150)
    assert came == before + 150 - 78
    assert one.statistics() == alone.statistics()
    assert one.report_block(60.0) == alone.report_block(60.0)
    for number in (before + 150, before + 120, before + 151):  # the second has come before
        assert one.receive(packet(number), 60.0) == alone.receive(packet(number), 60.0)
    assert one.statistics() == alone.statistics()


def test_nothing_received_changes_nothing() -> None:
    array, one = entered(5)

    assert array.count(1, one)[0] == 0
    assert one.statistics() == receiver(5).statistics()


@pytest.mark.parametrize(
    "other",
    [
        {"seq": packet(6).seq},
        {"ts": packet(6).ts},
        {"ssrc": 1},
        {"pt": 9},
        {"padding_bytes": 4, "payload": PAYLOAD[:-4]},
        {"csrcs": (1,), "payload": PAYLOAD[:-4]},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_is_not_the_next_packet_is_told(other: dict[str, Any]) -> None:
    array, _ = entered(5)

    assert not array.are_next(ROW, parsed(packet(5)._replace(**other))).any()


def test_the_marker_says_nothing() -> None:
    array, _ = entered(5)

    assert array.are_next(ROW, parsed(packet(5)._replace(marker=True))).all()


def test_each_row_is_a_stream_of_its_own() -> None:
    array, one = entered(5)
    steady = one.steady()
    assert steady is not None
    array.enter(2, steady._replace(ssrc=7))
    both = np.array([2, 1])

    is_next = array.are_next(both, parsed(packet(5), packet(5)))

    assert is_next.tolist() == [False, True]


def test_a_stream_in_disorder_is_not_steady() -> None:
    fresh = RtpReceiver({8: 8_000})
    assert fresh.steady() is None
    one = receiver(5)
    one.receive(packet(6), 51.0)
    one.receive(packet(5), 51.0)
    assert one.steady() is None, "the last one came late"
    one.receive(packet(7), 51.0)
    assert one.steady() is not None
    one.receive(packet(0)._replace(ssrc=3), 51.0)
    assert one.steady() is None, "another source may be about to begin"


def test_a_source_that_has_left_is_not_steady() -> None:
    one = receiver(5)
    one.note_goodbye(FIRST.ssrc)

    assert one.steady() is None


# --- sending -----------------------------------------------------------------------------


def sender() -> RtpSender:
    return RtpSender(ssrc=0xFFFF_FFFE, seq=65_534, ts=2**32 - 320, clock_rate_hz=8_000)


def test_what_is_sent_together_is_what_one_would_send() -> None:
    one, alone = sender(), sender()
    assert one.steady() is None, "the first packet is marked"
    assert one.send(8, PAYLOAD, 20, 1.0) == alone.send(8, PAYLOAD, 20, 1.0)
    array = SenderArray(3)
    steady = one.steady()
    assert steady is not None
    array.enter(1, 8, one.ssrc, *steady)
    payload = np.frombuffer(PAYLOAD, np.uint8)[None]

    together, each = [], []
    for number in range(5):
        together.append(array.send(ROW, payload, 2.0 + number))
        each.append(alone.send(8, PAYLOAD, 20, 2.0 + number))
        if number == 2:
            array.count(1, one)
            assert one.report(5.0, 9.0) == alone.report(5.0, 9.0)
    array.count(1, one)
    array.count(1, one)

    assert together == each
    assert one.statistics() == alone.statistics()
    assert one.report(7.0, 9.0) == alone.report(7.0, 9.0)
    assert one.send(8, PAYLOAD, 20, 8.0) == alone.send(8, PAYLOAD, 20, 8.0)
