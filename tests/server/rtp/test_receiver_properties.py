"""What holds for a receiver whatever the network does."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from telcoflow_server.rtp.packet import SEQ_MODULUS, TS_MODULUS, RtpPacket
from telcoflow_server.rtp.receiver import MAX_MISORDER, RtpReceiver, SequencedPacket

FRAME = 160

starts = st.tuples(st.integers(0, SEQ_MODULUS - 1), st.integers(0, TS_MODULUS - 1))
near_wraps = st.tuples(
    st.integers(SEQ_MODULUS - 60, SEQ_MODULUS - 1),
    st.integers(TS_MODULUS - 60 * FRAME, TS_MODULUS - 1),
)


def packet(start: tuple[int, int], number: int) -> RtpPacket:
    seq, ts = start
    return RtpPacket(
        0, (seq + number) % SEQ_MODULUS, (ts + number * FRAME) % TS_MODULUS, 7, bytes(1)
    )


@given(
    start=starts | near_wraps,
    fates=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30)), max_size=150),
)
def test_every_packet_that_comes_is_accepted_once_at_its_place(
    start: tuple[int, int], fates: list[tuple[int, int]]
) -> None:
    """Loss, duplicates and reordering, each packet with a fate: copies and displacement."""
    receiver = RtpReceiver({0: 8_000})
    arriving = sorted(
        (number + late, copy, number)
        for number, (copies, late) in enumerate(fates, start=2)
        for copy in range(copies)
    )
    accepted: list[SequencedPacket] = []

    for number in [0, 1, *(number for _, _, number in arriving)]:
        accepted += receiver.receive(packet(start, number), number * 0.02)

    base = accepted[0]
    came = [0, 1, *dict.fromkeys(number for _, _, number in arriving)]
    assert [one.seq - base.seq for one in accepted] == came
    assert [one.ts - base.ts for one in accepted] == [number * FRAME for number in came]
    statistics = receiver.statistics()
    assert statistics.packets == len(came)
    assert statistics.duplicates == len(arriving) + 2 - len(came)
    assert statistics.lost == max(came) + 1 - len(came)
    assert statistics.streams == 1


@given(st.integers(0, 1 << 32))
def test_loss_is_reported_as_it_was(seed: int) -> None:
    chance = random.Random(seed)
    receiver = RtpReceiver({0: 8_000})
    numbers = [0, 1, *(number for number in range(2, 500) if chance.random() > 0.05), 500]

    for number in numbers:
        receiver.receive(packet((65_400, 0), number), number * 0.02)
    block = receiver.report_block(10.0)

    assert block is not None
    assert block.cumulative_lost == receiver.statistics().lost == 501 - len(numbers)
    assert block.fraction_lost == block.cumulative_lost * 256 // 501
    assert block.highest_seq == 65_400 + 500


@given(
    st.lists(
        st.builds(
            RtpPacket,
            pt=st.sampled_from([0, 0, 0, 8, 101]),
            seq=st.integers(0, 5) | st.integers(65_530, 65_535) | st.integers(0, 65_535),
            ts=st.integers(0, TS_MODULUS - 1),
            ssrc=st.integers(1, 3),
            payload=st.just(b""),
        ),
        max_size=80,
    )
)
def test_ledger_holds_under_any_packets(packets: list[RtpPacket]) -> None:
    receiver = RtpReceiver({0: 8_000, 8: 48_000})
    accepted: list[SequencedPacket] = []

    for number, one in enumerate(packets):
        accepted += receiver.receive(one, number * 0.001)
        receiver.report_block(number * 0.001)

    statistics = receiver.statistics()
    refused = statistics.duplicates + statistics.unproven + statistics.foreign
    assert statistics.packets == len(accepted)
    assert len(packets) - len(accepted) - refused in (0, 1)  # at most one waits
    assert statistics.lost >= 0
    places = {(one.stream, one.seq) for one in accepted}
    assert len(places) == len(accepted)
    assert sorted(one.stream for one in accepted) == [one.stream for one in accepted]


def test_misorder_window_is_remembered_whole() -> None:
    receiver = RtpReceiver({0: 8_000})
    for number in [0, 1, MAX_MISORDER]:
        receiver.receive(packet((0, 0), number), 0.0)

    late = [
        number for number in range(MAX_MISORDER) if receiver.receive(packet((0, 0), number), 0.0)
    ]

    assert late == list(range(2, MAX_MISORDER))
