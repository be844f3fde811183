"""What signalling changes while two RTP legs talk: hold, codec, address. And digits."""

from __future__ import annotations

import numpy as np
import pytest

from telcoflow_server.codec.table import L16_CODECS, PCMA, PCMU, Codec
from telcoflow_server.legs.rtp_terms import RtpTerms
from telcoflow_server.rtp.dtmf import DIGIT_MS, TelephoneEvent
from tests.support.rtp_legs import LEFT, RIGHT, Wire, aligned, terms
from tests.support.tones import amplitudes, tone

from tests.server.legs.test_rtp import G722, OPUS  # isort: skip


def talking(left: RtpTerms | None = None) -> Wire:
    """Return a wire on which 500 Hz go to the right, and 1000 Hz to the left."""
    wire = Wire(left or terms(RIGHT))
    wire.left.say(tone(500, 60_000, wire.left.leg.sample_rate_hz))
    wire.right.say(tone(1000, 60_000, wire.right.leg.sample_rate_hz))
    wire.run(50)
    return wire


def hears(wire: Wire, ticks: int = 20) -> tuple[bool, bool]:
    """Return whether left and right hear each other without a break from now on."""
    wire.left.forget()
    wire.right.forget()
    wire.run(ticks)
    return tuple(
        bool((amplitudes(party.heard, hz, party.leg.sample_rate_hz) > 4000).all())
        for party, hz in ((wire.left, 1000), (wire.right, 500))
    )  # type: ignore[return-value]


# --- hold --------------------------------------------------------------------------------


def test_nothing_is_sent_to_who_holds_and_time_runs_on() -> None:
    wire = talking()
    before = wire.left.packets[-1]

    wire.left.leg.renegotiate(terms(RIGHT, sends=False))
    wire.left.forget()
    wire.run(50)
    held = len(wire.left.sent)
    assert wire.left.leg.is_on_hold
    wire.left.leg.renegotiate(terms(RIGHT))
    wire.run(1)

    (after,) = wire.left.packets
    assert held == 0
    assert after.marker
    assert (after.ts - before.ts) % 2**32 == 51 * 160
    assert (after.seq - before.seq) % 65_536 == 1
    wire.run(10)  # the far end's buffer fills
    assert hears(wire) == (True, True)


def test_who_holds_may_play_music() -> None:
    wire = talking()

    wire.left.leg.renegotiate(terms(RIGHT, sends=False))

    assert hears(wire)[0]


def test_audio_from_before_the_hold_is_not_sent_after_it() -> None:
    wire = talking(terms(RIGHT, ptime_ms=60))
    wire.run(2)  # part of a packet waits
    before = wire.left.packets[-1]
    sent_ms = len(wire.left.sent) * 60
    waiting = wire.tick - sent_ms // 20

    wire.left.leg.renegotiate(terms(RIGHT, sends=False, ptime_ms=60))
    wire.left.forget()
    wire.run(10)
    wire.left.leg.renegotiate(terms(RIGHT, ptime_ms=60))
    wire.run(3)

    (after,) = wire.left.packets
    assert waiting in (1, 2)
    assert (after.ts - before.ts) % 2**32 == (3 + waiting + 10) * 160


# --- another codec -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [(PCMU, PCMA), (PCMU, G722), (G722, PCMU), (PCMU, OPUS), (OPUS, PCMA), (PCMU, L16_CODECS[0])],
    ids=lambda one: one.encoding,
)
def test_both_are_heard_after_a_change_of_codec(before: Codec, after: Codec) -> None:
    wire = talking(terms(RIGHT, before))

    wire.left.leg.renegotiate(terms(RIGHT, after))
    wire.right.leg.renegotiate(terms(LEFT, after))
    assert wire.left.leg.sample_rate_hz == after.sample_rate_hz
    wire.left.say(tone(500, 60_000, after.sample_rate_hz))
    wire.right.say(tone(1000, 60_000, after.sample_rate_hz))
    wire.left.forget()
    wire.right.forget()
    wire.run(15)

    assert hears(wire) == (True, True)
    clocks_differ = before.clock_rate_hz != after.clock_rate_hz
    # RFC 7160: another clock is another source.
    assert wire.left.leg.statistics().received.streams == 1 + clocks_differ


def test_the_same_codec_under_another_number_goes_on_without_a_gap() -> None:
    codec = L16_CODECS[1]
    wire = talking(terms(RIGHT, codec))

    wire.left.leg.renegotiate(terms(RIGHT, codec, pt=110))
    wire.right.leg.renegotiate(terms(LEFT, codec, pt=110))
    wire.left.forget()

    assert hears(wire) == (True, True)
    assert {packet.pt for packet in wire.left.packets} == {110}


def test_a_refresh_changes_nothing() -> None:
    wire = talking()

    wire.left.leg.renegotiate(terms(RIGHT))

    assert hears(wire) == (True, True)


# --- another address ---------------------------------------------------------------------


def test_media_moves_where_signalling_says_and_is_heard_from_there() -> None:
    wire = talking()
    moved = ("198.51.100.77", 51_000)

    wire.left.leg.renegotiate(terms(moved))
    wire.right.address = moved
    wire.run(15)

    assert hears(wire) == (True, True)
    assert {destination for _, destination in wire.left.sent} == {moved}
    assert wire.left.leg.statistics().latch.source == moved


def test_a_phone_that_moves_without_a_word_is_not_heard() -> None:
    wire = talking()

    wire.right.address = ("198.51.100.77", 51_000)
    wire.run(20)

    assert wire.left.leg.statistics().latch.strangers == 19  # one is under way


# --- digits ------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [PCMU, OPUS], ids=lambda one: one.encoding)
def test_digits_go_both_ways_and_the_audio_around_them_stays_in_its_place(codec: Codec) -> None:
    clock_hz = codec.clock_rate_hz
    wire = Wire(terms(RIGHT, codec, digits_clock_hz=clock_hz))
    rate_hz = codec.sample_rate_hz
    noise = np.random.default_rng(5).normal(0, 3_000, rate_hz * 4)
    spoken = np.convolve(noise, np.ones(8) / 8, "same").astype(np.int16) * 2
    wire.left.say(spoken)
    wire.run(50)

    wire.left.leg.press("1*")
    wire.right.leg.press("9")
    wire.run(160)

    right = [(one.digit, one.duration_ms) for one in wire.right.leg.take_digits()]
    left = [(one.digit, one.duration_ms) for one in wire.left.leg.take_digits()]
    assert right == [("1", DIGIT_MS), ("*", DIGIT_MS)]
    assert left == [("9", DIGIT_MS)]
    assert wire.right.leg.take_digits() == []
    early, _ = aligned(spoken[: rate_hz // 2], wire.right.heard, rate_hz // 5)
    second = rate_hz * 2
    late, _ = aligned(spoken[second : second + rate_hz], wire.right.heard[second:], rate_hz // 5)
    shortened_ms = wire.right.leg.statistics().jitter.shortened_ms
    assert early - late == shortened_ms * rate_hz // 1000


def test_a_digit_is_sent_at_the_pace_of_real_time_with_one_timestamp() -> None:
    wire = talking()
    wire.left.leg.press("5")
    wire.left.forget()
    wire.run(12)

    events = [packet for packet in wire.left.packets if packet.pt == 101]
    told = [TelephoneEvent.parse(packet.payload) for packet in events]
    assert [packet.marker for packet in events] == [True] + [False] * (len(events) - 1)
    assert len({packet.ts for packet in events}) == 1
    assert [one.duration_units for one in told] == [160, 320, 480, 640, 800, 800, 800]
    assert [one.is_end for one in told] == [False] * 4 + [True] * 3


def test_what_waits_for_its_packet_is_sent_before_a_digit() -> None:
    wire = talking(terms(RIGHT, ptime_ms=60))
    while len(wire.left.sent) * 3 != wire.tick - 1:
        wire.run(1)
    before = wire.left.packets[-1]
    wire.left.leg.press("5")
    wire.left.forget()
    wire.run(1)

    audio, event = wire.left.packets
    assert (audio.pt, len(audio.payload), event.pt) == (0, 160, 101)
    assert (audio.ts - before.ts) % 2**32 == 480
    assert (event.ts - audio.ts) % 2**32 == 160


def test_a_digit_whose_ends_are_all_lost_ends_all_the_same() -> None:
    wire = talking()
    wire.left.leg.press("5")
    wire.run(3)
    wire.left.leg.renegotiate(terms(RIGHT, sends=False))
    wire.run(15)

    (digit,) = wire.right.leg.take_digits()

    assert digit.digit == "5"
    assert 40 <= digit.duration_ms <= 80


def test_a_broken_digit_is_counted() -> None:
    wire = talking()
    last = wire.right.packets[-1]
    broken = last._replace(pt=101, payload=b"\x01", seq=(last.seq + 1) % 65_536)

    wire.deliver(wire.left, broken.build(), RIGHT, wire.now_s)
    wire.run(1)

    assert wire.left.leg.statistics().malformed == 1


def test_a_phone_without_telephone_events_takes_no_digits() -> None:
    wire = talking(terms(RIGHT, digits_pt=None))

    assert not wire.left.leg.takes_digits
    with pytest.raises(ValueError, match="telephone-event"):
        wire.left.leg.press("1")
    assert hears(wire) == (True, True)


def test_digits_may_come_with_another_clock_from_now_on() -> None:
    wire = talking()
    wire.left.leg.renegotiate(terms(RIGHT, digits_clock_hz=48_000, digits_pt=102))
    wire.right.leg.renegotiate(terms(LEFT, digits_clock_hz=48_000, digits_pt=102))

    wire.left.leg.press("7")
    wire.run(15)

    (digit,) = wire.right.leg.take_digits()
    assert (digit.digit, digit.duration_ms) == ("7", DIGIT_MS)
