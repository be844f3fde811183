"""One stream among everything that arrives beside it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from telcoflow_server.rtp.packet import SEQ_MODULUS, TS_MODULUS, RtpPacket
from telcoflow_server.rtp.receiver import (
    MAX_DROPOUT,
    MAX_MISORDER,
    RtpReceiver,
    SequencedPacket,
)
from telcoflow_server.rtp.rtcp import ReportBlock, SenderReport

PCMU, OPUS, EVENT = 0, 111, 101
CLOCK_RATES_HZ = {PCMU: 8_000, OPUS: 48_000, EVENT: 8_000}
FRAME = 160
TICK_S = 0.02
OURS, OTHER = 0xA, 0xB


class Far:
    """The far end's packets, brought to a receiver; each is sent at its time and may be late."""

    def __init__(self, first_seq: int = 1_000, first_ts: int = 50_000) -> None:
        self.receiver = RtpReceiver(CLOCK_RATES_HZ)
        self.first_seq, self.first_ts = first_seq, first_ts
        self.accepted: list[SequencedPacket] = []

    def packet(self, number: int, ssrc: int = OURS, pt: int = PCMU) -> RtpPacket:
        return RtpPacket(
            pt=pt,
            seq=(self.first_seq + number) % SEQ_MODULUS,
            ts=(self.first_ts + number * FRAME) % TS_MODULUS,
            ssrc=ssrc,
            payload=bytes(FRAME),
        )

    def bring(
        self, numbers: Iterable[int], ssrc: int = OURS, pt: int = PCMU, late_s: float = 0.0
    ) -> list[int]:
        """Return the packets accepted, by how many sequence numbers they are after the first."""
        accepted: list[SequencedPacket] = []
        for number in numbers:
            at_s = number * TICK_S + late_s
            accepted += self.receiver.receive(self.packet(number, ssrc, pt), at_s)
        self.accepted += accepted
        return [one.seq - SEQ_MODULUS - self.first_seq for one in accepted]


@pytest.fixture
def far() -> Far:
    return Far()


def test_source_is_believed_at_its_second_packet_and_nothing_is_lost(far: Far) -> None:
    """RFC 3550 A.1."""
    assert far.bring([0]) == []
    assert far.bring([1]) == [0, 1]
    assert far.bring([2]) == [2]

    statistics = far.receiver.statistics()
    assert (statistics.packets, statistics.lost, statistics.unproven) == (3, 0, 0)
    assert (statistics.octets, statistics.streams) == (3 * FRAME, 1)


def test_packet_that_waited_keeps_the_time_of_its_arrival(far: Far) -> None:
    far.bring([0, 1])

    assert [one.arrived_s for one in far.accepted] == [0.0, TICK_S]


def test_single_packets_prove_nothing(far: Far) -> None:
    assert far.bring([0, 2, 4, 9]) == []
    assert far.receiver.ssrc is None


def test_what_nothing_follows_is_counted(far: Far) -> None:
    assert far.bring([0, 2, 4, 9, 10]) == [9, 10]

    assert far.receiver.statistics().unproven == 3


def test_nothing_is_known_before_the_first_packet(far: Far) -> None:
    statistics = far.receiver.statistics()

    assert (statistics.packets, statistics.lost, statistics.streams) == (0, 0, 0)
    assert statistics.jitter_ms == 0.0
    assert far.receiver.report_block(1.0) is None


def test_sequence_numbers_and_timestamps_go_on_across_their_wrap() -> None:
    far = Far(first_seq=SEQ_MODULUS - 2, first_ts=TS_MODULUS - 2 * FRAME)

    assert far.bring(range(5)) == [0, 1, 2, 3, 4]
    assert [one.ts - far.accepted[0].ts for one in far.accepted] == [0, 160, 320, 480, 640]


def test_packet_from_before_the_wrap_may_come_after_it() -> None:
    far = Far(first_seq=SEQ_MODULUS - 3, first_ts=TS_MODULUS - 3 * FRAME)

    assert far.bring([0, 1, 3, 4, 2]) == [0, 1, 3, 4, 2]
    assert far.accepted[-1].ts - far.accepted[0].ts == 2 * FRAME
    statistics = far.receiver.statistics()
    assert (statistics.reordered, statistics.lost, statistics.streams) == (1, 0, 1)


@pytest.mark.parametrize(
    ("ts", "distance"),
    [(0, 0), (1, 1), (2**31 - 1, 2**31 - 1), (2**31, -(2**31)), (2**32 - 1, -1)],
)
def test_timestamps_go_the_shorter_way_round(ts: int, distance: int) -> None:
    far = Far(first_ts=0)
    far.bring([0])

    packet = far.packet(1)._replace(ts=ts)
    first, second = far.receiver.receive(packet, TICK_S)

    assert second.ts - first.ts == distance


def test_hours_of_packets_wrap_the_sequence_numbers_again_and_again(far: Far) -> None:
    far.bring(range(3 * SEQ_MODULUS // 1000))
    steps = range(0, 3 * SEQ_MODULUS, 1000)

    far.bring(steps)

    assert far.accepted[-1].seq == SEQ_MODULUS + far.first_seq + steps[-1]
    block = far.receiver.report_block(0.0)
    assert block is not None
    assert block.highest_seq == far.first_seq + steps[-1]


def test_lost_reordered_and_duplicate_are_counted_apart(far: Far) -> None:
    assert far.bring([0, 1, 4, 3, 3, 6, 6, 1]) == [0, 1, 4, 3, 6]

    statistics = far.receiver.statistics()
    assert statistics.lost == 2  # 2 and 5
    assert statistics.reordered == 1
    assert statistics.duplicates == 3


def test_lost_packet_that_comes_after_all_is_lost_no_more(far: Far) -> None:
    far.bring([0, 1, 3])
    assert far.receiver.statistics().lost == 1

    far.bring([2])

    assert far.receiver.statistics().lost == 0


def test_packet_sent_before_the_first_believed_one_is_accepted(far: Far) -> None:
    assert far.bring([5, 6, 4]) == [5, 6, 4]

    statistics = far.receiver.statistics()
    assert (statistics.lost, statistics.reordered) == (0, 1)


def test_long_gap_is_loss_and_a_longer_one_is_a_restart(far: Far) -> None:
    far.bring([0, 1])

    assert far.bring([MAX_DROPOUT]) == [MAX_DROPOUT]
    assert far.receiver.statistics().lost == MAX_DROPOUT - 2

    assert far.bring([2 * MAX_DROPOUT]) == []
    far.bring([2 * MAX_DROPOUT + 1])
    statistics = far.receiver.statistics()
    assert statistics.streams == 2
    assert statistics.lost == MAX_DROPOUT - 2  # who counts anew lost nothing in between


def test_packet_far_behind_is_a_restart_and_a_near_one_is_reordered(far: Far) -> None:
    far.bring(range(MAX_MISORDER + 2))

    assert far.bring([2]) == []
    assert far.receiver.statistics().duplicates == 1
    assert far.bring([1]) == []
    assert far.receiver.statistics().duplicates == 1
    assert far.receiver.statistics().unproven == 0  # waits for its second


def test_stray_packet_between_good_ones_changes_nothing(far: Far) -> None:
    far.bring(range(10))

    assert far.bring([5_000]) == []
    assert far.bring([10]) == [10]
    assert far.bring([5_001]) == []
    assert far.bring([11]) == [11]

    statistics = far.receiver.statistics()
    assert (statistics.streams, statistics.unproven) == (1, 2)


def test_restart_begins_another_stream_with_its_first_packet(far: Far) -> None:
    far.bring(range(10))
    before = far.accepted[-1].stream

    far.bring([30_000, 30_001, 30_002])

    assert [one.packet.seq for one in far.accepted[-3:]] == [31_000, 31_001, 31_002]
    assert {one.stream for one in far.accepted[-3:]} == {before + 1}


def test_another_source_is_heard_from_its_second_packet_in_a_row(far: Far) -> None:
    far.bring(range(10))

    assert far.bring([10], ssrc=OTHER) == []
    far.bring([11], ssrc=OTHER)

    assert far.receiver.ssrc == OTHER
    assert [one.packet.ssrc for one in far.accepted[-2:]] == [OTHER, OTHER]
    assert far.receiver.statistics().streams == 2


def test_state_of_the_old_source_is_forgotten_with_it(far: Far) -> None:
    far.bring([0, 1, 5])
    far.bring([0, 1, 2], ssrc=OTHER, late_s=1.0)

    block = far.receiver.report_block(2.0)

    assert block == ReportBlock(OTHER, 0, 0, far.first_seq + 2, 0)
    assert far.receiver.statistics().lost == 3  # over the whole call


def test_two_sources_at_once_do_not_take_turns(far: Far) -> None:
    far.bring([0, 1])

    for number in range(2, 50):
        far.bring([number], ssrc=OTHER)
        far.bring([number])

    assert {one.packet.ssrc for one in far.accepted} == {OURS}
    assert far.receiver.statistics().unproven == 48


def test_old_source_may_come_back(far: Far) -> None:
    far.bring([0, 1])
    far.bring([2, 3], ssrc=OTHER)

    far.bring([4, 5])

    assert [one.stream for one in far.accepted] == [1, 1, 2, 2, 3, 3]


def test_after_a_farewell_last_packets_do_not_hold_up_the_next_source(far: Far) -> None:
    far.bring(range(5))
    far.receiver.note_goodbye(OURS)

    far.bring([0], ssrc=OTHER, late_s=0.1)
    assert far.bring([5]) == [5]
    far.bring([1], ssrc=OTHER, late_s=0.1)

    assert far.receiver.ssrc == OTHER


def test_farewell_of_the_source_before_means_nothing(far: Far) -> None:
    far.receiver.note_goodbye(OURS)
    far.bring(range(5))
    far.bring([5, 6], ssrc=OTHER)

    far.receiver.note_goodbye(OURS)
    far.bring([7])
    far.bring([7], ssrc=OTHER)
    far.bring([8])

    assert far.receiver.ssrc == OTHER


def test_payload_type_may_change_in_mid_call(far: Far) -> None:
    far.bring(range(3))

    assert far.bring([3], pt=EVENT) == [3]
    assert far.bring([4]) == [4]
    statistics = far.receiver.statistics()
    assert (statistics.payload_changes, statistics.streams) == (2, 1)


def test_payload_type_nobody_agreed_to_is_not_played_but_is_no_loss(far: Far) -> None:
    far.bring(range(3))

    assert far.bring([3], pt=96) == []
    assert far.bring([4]) == [4]
    statistics = far.receiver.statistics()
    assert (statistics.foreign, statistics.lost, statistics.packets) == (1, 0, 4)


def test_foreign_payload_does_not_prove_a_source(far: Far) -> None:
    assert far.bring([0, 1], pt=72) == []

    assert far.receiver.ssrc is None
    assert far.receiver.statistics().foreign == 2


def test_other_payload_types_are_taken_once_they_are_agreed_to(far: Far) -> None:
    far.bring(range(3))
    far.receiver.renegotiate({OPUS: 48_000})

    assert far.bring([3]) == []
    assert far.bring([4], pt=OPUS) == [4]
    assert far.receiver.statistics().streams == 1


def test_packet_that_waits_while_its_payload_type_is_withdrawn_is_not_played(far: Far) -> None:
    far.bring([0])
    far.receiver.renegotiate({OPUS: 48_000})

    assert far.bring([1], pt=OPUS) == [1]
    assert far.receiver.statistics().foreign == 1


def test_steady_arrivals_have_no_jitter(far: Far) -> None:
    far.bring(range(200))

    assert far.receiver.statistics().max_jitter_ms == pytest.approx(0.0, abs=1e-6)


def test_jitter_is_the_smoothed_difference_of_transit_times(far: Far) -> None:
    """RFC 3550 A.8: J += (|D| - J) / 16, here by hand for delays of 0, 0, 10 and 4 ms."""
    far.bring([0, 1])
    far.bring([2], late_s=0.010)
    far.bring([3], late_s=0.004)

    expected_units = 80 / 16
    expected_units += (48 - expected_units) / 16
    statistics = far.receiver.statistics()
    assert statistics.jitter_ms == pytest.approx(expected_units / 8)
    block = far.receiver.report_block(1.0)
    assert block is not None
    assert block.jitter == int(expected_units)


def test_jitter_of_alternating_delay_approaches_its_swing(far: Far) -> None:
    for number in range(400):
        far.bring([number], late_s=0.005 * (number % 2))

    assert far.receiver.statistics().jitter_ms == pytest.approx(5.0, rel=0.01)


def test_jitter_is_measured_across_the_wrap_of_the_timestamp() -> None:
    far = Far(first_ts=TS_MODULUS - 3 * FRAME)

    far.bring(range(10))

    assert far.receiver.statistics().max_jitter_ms == pytest.approx(0.0, abs=1e-6)


def test_digit_with_its_one_timestamp_is_no_jitter(far: Far) -> None:
    """Deviation from RFC 3550 A.8, see `RtpReceiver._measure_jitter`."""
    far.bring(range(5))
    for number in range(5, 15):
        event = RtpPacket(EVENT, far.first_seq + number, far.packet(5).ts, OURS, bytes(4))
        far.receiver.receive(event, number * TICK_S)
    far.bring(range(15, 20))

    assert far.receiver.statistics().max_jitter_ms == pytest.approx(0.0, abs=1e-6)


def test_clock_that_changes_with_the_codec_is_no_jitter(far: Far) -> None:
    for number in range(5):
        far.bring([number], late_s=0.008 * (number % 2))
    before = far.receiver.statistics().jitter_ms

    leap = RtpPacket(OPUS, far.first_seq + 5, 7_000_000, OURS, b"")
    far.receiver.receive(leap, 5 * TICK_S)

    assert far.receiver.statistics().jitter_ms == pytest.approx(before)


def test_report_says_what_was_lost_since_the_last_one(far: Far) -> None:
    """RFC 3550 A.3."""
    far.bring([0, 1, 2, 3, 5, 6, 7, 9])
    first = far.receiver.report_block(1.0)
    far.bring(range(10, 20))
    second = far.receiver.report_block(6.0)

    assert first is not None
    assert (first.fraction_lost, first.cumulative_lost) == (2 * 256 // 10, 2)
    assert first.highest_seq == far.first_seq + 9
    assert second is not None
    assert (second.fraction_lost, second.cumulative_lost) == (0, 2)


def test_duplicates_make_the_reported_loss_negative(far: Far) -> None:
    """RFC 3550 A.3: received packets include duplicates."""
    far.bring([0, 1, 1, 1])

    block = far.receiver.report_block(1.0)

    assert block is not None
    assert (block.fraction_lost, block.cumulative_lost) == (0, -2)


def test_nearly_total_loss_fits_the_fraction(far: Far) -> None:
    far.bring([0, 1])
    far.receiver.report_block(1.0)
    far.bring([2_900])

    block = far.receiver.report_block(2.0)

    assert block is not None
    assert block.fraction_lost == 255


def test_silent_source_is_not_reported_on(far: Far) -> None:
    """RFC 3550 §6.4."""
    far.bring([0, 1])
    far.receiver.report_block(1.0)

    assert far.receiver.report_block(6.0) is None


def test_report_names_the_last_sender_report_and_its_age(far: Far) -> None:
    far.bring([0, 1])
    far.receiver.note_report(SenderReport(OURS, 0x0123_4567_89AB_CDEF, 0, 0, 0), 10.0)
    far.receiver.note_report(SenderReport(OTHER, 0x1111_1111_1111_1111, 0, 0, 0), 11.0)

    block = far.receiver.report_block(12.5)

    assert block is not None
    assert block.last_sr == 0x4567_89AB
    assert block.delay_since_sr == round(2.5 * 65_536)


def test_sender_report_before_the_source_is_known_is_left(far: Far) -> None:
    far.receiver.note_report(SenderReport(OURS, 1 << 40, 0, 0, 0), 0.0)
    far.bring([0, 1])

    block = far.receiver.report_block(1.0)

    assert block is not None
    assert (block.last_sr, block.delay_since_sr) == (0, 0)
