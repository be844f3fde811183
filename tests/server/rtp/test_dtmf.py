"""Digits over RTP: each once, through loss, and never in anything that is printed."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_server.rtp.dtmf import (
    DIGIT_MS,
    DIGITS,
    END_TIMEOUT_S,
    GAP_MS,
    MAX_DURATION_UNITS,
    MAX_QUEUED_DIGITS,
    DigitEnded,
    DigitReceiver,
    DigitSender,
    DigitStarted,
    EventPacket,
    TelephoneEvent,
)
from telcoflow_server.rtp.packet import TS_MODULUS, RtpError, RtpPacket
from telcoflow_server.rtp.receiver import SequencedPacket

CLOCK_RATE_HZ = 8_000
FRAME = 160
TICK_S = 0.02


def event(code: int, duration_ms: int, *, is_end: bool = False) -> bytes:
    return TelephoneEvent(code, is_end, 10, duration_ms * CLOCK_RATE_HZ // 1000).build()


def came(payload: bytes, ts: int, at_s: float = 0.0, stream: int = 1) -> SequencedPacket:
    packet = RtpPacket(101, 0, ts % TS_MODULUS, 7, payload)
    return SequencedPacket(packet, 0, ts, stream, at_s)


class Ear:
    """A receiver and what it told."""

    def __init__(self) -> None:
        self.receiver = DigitReceiver(CLOCK_RATE_HZ)
        self.told: list[DigitStarted | DigitEnded] = []

    def hear(self, payload: bytes, ts: int, at_s: float = 0.0, stream: int = 1) -> None:
        self.told += self.receiver.receive(came(payload, ts, at_s, stream))

    def wait(self, now_s: float) -> None:
        ended = self.receiver.expire(now_s)
        self.told += [] if ended is None else [ended]


@pytest.fixture
def ear() -> Ear:
    return Ear()


def press(ear: Ear, code: int, ts: int, keep: Iterable[int] = range(7)) -> None:
    """Bring a digit of 100 ms in packets 0 to 4 and its end in 4 to 6, but for what is lost."""
    packets = [event(code, 20 * number) for number in range(1, 5)]
    packets += [event(code, 100, is_end=True)] * 3
    for number in keep:
        ear.hear(packets[number], ts, number * TICK_S)


def test_payload_lies_where_the_standard_puts_it() -> None:
    """RFC 4733 §2.3."""
    assert TelephoneEvent(11, True, 10, 0x0320).build().hex() == "0b8a0320"
    assert TelephoneEvent.parse(bytes.fromhex("0bca0320")) == TelephoneEvent(11, True, 10, 0x0320)


@pytest.mark.parametrize("payload", [b"", b"\x01\x0a\x00"])
def test_payload_too_short_is_refused(payload: bytes, ear: Ear) -> None:
    with pytest.raises(RtpError, match="too short"):
        ear.hear(payload, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        TelephoneEvent(256, False, 10, 0),
        TelephoneEvent(0, False, 64, 0),
        TelephoneEvent(0, False, 10, MAX_DURATION_UNITS + 1),
    ],
)
def test_field_out_of_range_is_not_built(wrong: TelephoneEvent) -> None:
    with pytest.raises(ValueError, match=r"must be|out of range"):
        wrong.build()


def test_digit_is_told_at_its_first_packet(ear: Ear) -> None:
    ear.hear(event(5, 20), ts=4_000)

    assert ear.told == [DigitStarted("5", ts=4_000)]


def test_end_tells_the_duration_once(ear: Ear) -> None:
    press(ear, code=5, ts=4_000)

    assert ear.told == [DigitStarted("5", 4_000), DigitEnded("5", 100.0)]
    assert ear.receiver.due_s is None


@pytest.mark.parametrize("keep", [[1, 2, 3, 4, 5, 6], [3, 5], [4], [6], [6, 0, 2], [0, 6, 6, 6]])
def test_any_packet_of_a_digit_is_enough_to_know_it(keep: list[int], ear: Ear) -> None:
    press(ear, code=11, ts=4_000, keep=keep)

    assert ear.told == [DigitStarted("#", 4_000), DigitEnded("#", 100.0)]


def test_digit_whose_end_is_lost_ends_after_a_while(ear: Ear) -> None:
    press(ear, code=1, ts=4_000, keep=[0, 1, 2])
    due_s = ear.receiver.due_s
    assert due_s is not None
    assert due_s == pytest.approx(2 * TICK_S + END_TIMEOUT_S)

    ear.wait(due_s - 0.001)
    before = list(ear.told)
    ear.wait(due_s)
    ear.wait(due_s + 1.0)

    assert before == [DigitStarted("1", 4_000)]
    assert ear.told == [DigitStarted("1", 4_000), DigitEnded("1", 60.0)]


def test_end_that_comes_after_the_time_is_over_tells_nothing_new(ear: Ear) -> None:
    press(ear, code=1, ts=4_000, keep=[0])
    ear.wait(10.0)

    press(ear, code=1, ts=4_000, keep=[4, 5, 6])

    assert ear.told == [DigitStarted("1", 4_000), DigitEnded("1", 20.0)]


def test_next_digit_ends_one_whose_end_is_lost(ear: Ear) -> None:
    press(ear, code=1, ts=4_000, keep=[0, 1, 2, 3])
    press(ear, code=2, ts=5_600)

    assert ear.told == [
        DigitStarted("1", 4_000),
        DigitEnded("1", 80.0),
        DigitStarted("2", 5_600),
        DigitEnded("2", 100.0),
    ]


def test_same_digit_twice_is_two_digits(ear: Ear) -> None:
    press(ear, code=7, ts=4_000)
    press(ear, code=7, ts=5_600)

    assert [type(one) for one in ear.told] == [DigitStarted, DigitEnded] * 2


def test_packet_of_the_digit_before_is_not_a_digit_again(ear: Ear) -> None:
    press(ear, code=1, ts=4_000, keep=[0, 1, 4, 5])
    press(ear, code=2, ts=5_600, keep=[0, 1])
    press(ear, code=1, ts=4_000, keep=[6, 2])
    press(ear, code=2, ts=5_600, keep=[4])

    assert [one.digit for one in ear.told] == ["1", "1", "2", "2"]


def test_reordered_durations_do_not_shorten_a_digit(ear: Ear) -> None:
    press(ear, code=1, ts=4_000, keep=[3, 1])
    ear.wait(10.0)

    assert ear.told[-1] == DigitEnded("1", 80.0)


def test_digits_that_all_have_one_timestamp_are_told_apart_by_their_code(ear: Ear) -> None:
    """As one common library sends them."""
    press(ear, code=1, ts=0)
    press(ear, code=2, ts=0)

    assert [one.digit for one in ear.told] == ["1", "1", "2", "2"]


def test_digit_across_the_wrap_of_the_timestamp_is_one(ear: Ear) -> None:
    press(ear, code=3, ts=TS_MODULUS - 80)

    assert len(ear.told) == 2


def test_same_timestamp_in_another_stream_is_another_digit(ear: Ear) -> None:
    ear.hear(event(1, 100, is_end=True), 4_000, stream=1)
    ear.hear(event(1, 100, is_end=True), 4_000, stream=2)

    assert [one.digit for one in ear.told] == ["1", "1", "1", "1"]


def test_long_digit_in_segments_is_one_digit_of_its_whole_length(ear: Ear) -> None:
    """RFC 4733 §2.5.1.3."""
    begun = TS_MODULUS - 1_000
    whole = TelephoneEvent(4, False, 10, MAX_DURATION_UNITS).build()
    ear.hear(event(4, 20), begun)
    ear.hear(whole, begun)
    ear.hear(event(4, 20), begun + MAX_DURATION_UNITS)
    ear.hear(whole, begun)  # late
    ear.hear(event(4, 500, is_end=True), begun + MAX_DURATION_UNITS)

    assert ear.told == [
        DigitStarted("4", begun),
        DigitEnded("4", MAX_DURATION_UNITS / 8 + 500),
    ]


def test_event_that_is_no_digit_tells_nothing_and_disturbs_none(ear: Ear) -> None:
    press(ear, code=1, ts=4_000, keep=[0])
    ear.hear(event(16, 20), 4_000)
    ear.hear(event(255, 20), 9_000)
    press(ear, code=1, ts=4_000, keep=[4])

    assert [type(one) for one in ear.told] == [DigitStarted, DigitEnded]


def test_nothing_is_due_while_no_key_is_held(ear: Ear) -> None:
    ear.wait(100.0)

    assert ear.receiver.due_s is None
    assert ear.told == []


def sent(digits: str, ptime_ms: int = 20, first_ts: int = 8_000) -> list[EventPacket | None]:
    sender = DigitSender(CLOCK_RATE_HZ, ptime_ms)
    sender.press(digits)
    packets: list[EventPacket | None] = []
    while not sender.is_idle:
        packets.append(sender.tick((first_ts + len(packets) * ptime_ms * 8) % TS_MODULUS))
    return packets


def test_digit_is_sent_at_the_pace_of_real_time() -> None:
    packets = sent("5")

    shown = [
        None if one is None else (TelephoneEvent.parse(one.payload), one.ts, one.is_first)
        for one in packets
    ]
    assert shown == [
        (TelephoneEvent(5, False, 10, 160), 8_000, True),
        (TelephoneEvent(5, False, 10, 320), 8_000, False),
        (TelephoneEvent(5, False, 10, 480), 8_000, False),
        (TelephoneEvent(5, False, 10, 640), 8_000, False),
        (TelephoneEvent(5, True, 10, 800), 8_000, False),
        (TelephoneEvent(5, True, 10, 800), 8_000, False),
        (TelephoneEvent(5, True, 10, 800), 8_000, False),
        None,
        None,
        None,
    ]


def test_digits_follow_each_other_with_a_gap() -> None:
    packets = sent("12", first_ts=TS_MODULUS - 800)

    begun = [one.ts for one in packets if one is not None and one.is_first]
    assert begun == [TS_MODULUS - 800, 800]
    assert len(packets) * 20 == 2 * (DIGIT_MS + GAP_MS)


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 40, 60])
def test_digit_lasts_and_rests_long_enough_at_any_ptime(ptime_ms: int) -> None:
    packets = sent("1", ptime_ms)

    events = [TelephoneEvent.parse(one.payload) for one in packets if one is not None]
    ends = [one.duration_units for one in events if one.is_end]
    assert len(ends) == 3
    assert len(set(ends)) == 1
    assert DIGIT_MS <= ends[0] / 8 < DIGIT_MS + ptime_ms
    assert len(packets) * ptime_ms - ends[0] / 8 >= GAP_MS


def test_digits_pressed_meanwhile_wait_their_turn() -> None:
    sender = DigitSender(CLOCK_RATE_HZ, 20)
    assert sender.tick(0) is None

    sender.press("1")
    sender.tick(160)
    sender.press("a")
    codes = [
        TelephoneEvent.parse(one.payload).code
        for number in range(2, 40)
        if (one := sender.tick(number * FRAME)) is not None
    ]

    assert [code for code, _ in groupby(codes)] == [1, 12]
    assert sender.is_idle


@pytest.mark.parametrize("digits", ["12x", "1 2", "E", "+49", "\uff11"])
def test_what_is_no_digit_is_refused_whole_and_not_repeated_in_the_error(digits: str) -> None:
    sender = DigitSender(CLOCK_RATE_HZ, 20)

    with pytest.raises(ValueError, match="digits are") as caught:
        sender.press(digits)

    assert digits not in str(caught.value)
    assert sender.is_idle


def test_more_digits_than_can_wait_are_refused_whole() -> None:
    sender = DigitSender(CLOCK_RATE_HZ, 20)
    sender.press("1" * (MAX_QUEUED_DIGITS - 1))

    with pytest.raises(ValueError, match="at most 100"):
        sender.press("22")
    sender.press("3")


def test_nothing_printed_shows_a_digit() -> None:
    started, ended = DigitStarted("7", 0), DigitEnded("7", 100.0)
    packet = sent("7")[0]
    payload = TelephoneEvent(7, False, 10, 160)
    arrived = RtpPacket(101, 0, 0, 0, payload.build())
    told = (
        f"{started} {ended} {packet} {payload} {arrived} {SequencedPacket(arrived, 0, 0, 1, 0.0)}"
    )

    assert "7" not in told
    assert "x07" not in told


@given(
    digits=st.text(DIGITS, min_size=1, max_size=8),
    lost=st.sets(st.integers(0, 79)),
    first_ts=st.integers(0, TS_MODULUS - 1),
)
def test_what_is_sent_is_heard_once_each_if_any_packet_of_it_comes(
    digits: str, lost: set[int], first_ts: int
) -> None:
    ear = Ear()
    expected = []
    for number, packet in enumerate(sent(digits, first_ts=first_ts)):
        ear.wait(number * TICK_S)
        if packet is None or number in lost:
            continue
        expected.append(number // 10)
        ear.hear(packet.payload, packet.ts, number * TICK_S)
    ear.wait(1_000.0)

    begun = [one.digit for one in ear.told if isinstance(one, DigitStarted)]
    assert begun == [digits[place] for place in dict.fromkeys(expected)]
    assert [type(one) for one in ear.told] == [DigitStarted, DigitEnded] * len(begun)
    assert all(20 <= one.duration_ms <= 100 for one in ear.told if isinstance(one, DigitEnded))
