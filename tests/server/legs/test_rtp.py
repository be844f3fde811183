"""Two RTP legs that talk to each other over a good network."""

from __future__ import annotations

import numpy as np
import pytest

from telcoflow_server.codec.table import L16_CODECS, PCMA, PCMU, Codec, find
from telcoflow_server.legs.rtp import DEAD_AFTER_S
from telcoflow_server.rtp.packet import SEQ_MODULUS, RtpPacket
from telcoflow_server.rtp.rtcp import Goodbye, SenderReport, parse_compound
from tests.support.rtp_legs import LEFT, RIGHT, STRANGER, Party, Wire, aligned, terms
from tests.support.speech import longest_gap_ms, snr_db, speech, voiced
from tests.support.tones import amplitudes, tone


def codec(encoding: str, clock_rate_hz: int = 8_000, channels: int = 1) -> Codec:
    found = find(encoding, clock_rate_hz, channels)
    assert found is not None
    return found


G722 = codec("G722")
OPUS = codec("opus", 48_000, 2)
ALL = [PCMU, PCMA, G722, OPUS, *L16_CODECS]
each_codec = pytest.mark.parametrize("spoken", ALL, ids=lambda c: f"{c.encoding}-{c.clock_rate_hz}")

SECONDS = 3
DELAY_MS = 200
SETTLING_PACKETS = 55
"""Of silence, in which the buffers find their depth."""


def conversation(spoken: Codec, **more: int) -> tuple[Wire, np.ndarray, np.ndarray]:
    """Return a wire over which both ends have talked, and what each said."""
    wire = Wire(terms(RIGHT, spoken, **more))
    wire.run(SETTLING_PACKETS * more.get("ptime_ms", 20) // 20)
    length = SECONDS * spoken.sample_rate_hz
    left, right = speech(spoken.sample_rate_hz)[:length], voiced(spoken.sample_rate_hz)[:length]
    wire.left.say(left)
    wire.right.say(right)
    wire.left.forget()
    wire.right.forget()
    wire.run(SECONDS * 50 + DELAY_MS // 20)
    return wire, left, right


def heard_part(said: np.ndarray, party: Party) -> tuple[int, np.ndarray]:
    delay, heard = aligned(said, party.heard, party.leg.sample_rate_hz * DELAY_MS // 1000)
    return delay * 1000 // party.leg.sample_rate_hz, heard


# --- audio -------------------------------------------------------------------------------


@pytest.mark.parametrize("spoken", L16_CODECS, ids=lambda c: str(c.clock_rate_hz))
def test_l16_arrives_to_the_sample_both_ways(spoken: Codec) -> None:
    wire, left, right = conversation(spoken)

    for said, party in ((left, wire.right), (right, wire.left)):
        _, heard = heard_part(said, party)
        assert (heard == said[: heard.size]).all()


@pytest.mark.parametrize(("spoken", "ceiling_db"), [(PCMU, 37.0), (PCMA, 37.0)])
@pytest.mark.parametrize("ptime_ms", [20, 40, 60])
def test_g711_arrives_at_the_codec_s_ceiling_whatever_the_packets_hold(
    spoken: Codec, ceiling_db: float, ptime_ms: int
) -> None:
    wire, left, right = conversation(spoken, ptime_ms=ptime_ms)

    for said, party in ((left, wire.right), (right, wire.left)):
        _, heard = heard_part(said, party)
        expected = spoken.decoder().decode(spoken.encoder().encode(said))[: heard.size]
        assert (heard == expected).all()
        assert snr_db(said[: heard.size], heard) > ceiling_db - 1
    sizes = {len(packet.payload) for packet in wire.left.packets}
    assert sizes == {ptime_ms * 8}


@pytest.mark.parametrize(("spoken", "least_db"), [(G722, 15.0), (OPUS, 8.0)])
def test_coded_speech_arrives_without_a_gap(spoken: Codec, least_db: float) -> None:
    wire, _, right = conversation(spoken)

    _, heard = heard_part(right, wire.left)
    assert snr_db(right[: heard.size], heard) > least_db
    assert longest_gap_ms(heard, spoken.sample_rate_hz) <= 20


def test_g722_may_come_in_long_packets() -> None:
    wire, _, right = conversation(G722, ptime_ms=60)

    assert {len(packet.payload) for packet in wire.right.packets} == {480}
    _, heard = heard_part(right, wire.left)
    assert snr_db(right[: heard.size], heard) > 15


@each_codec
def test_every_frame_that_was_put_was_sent_once_and_in_its_place(spoken: Codec) -> None:
    wire, _, _ = conversation(spoken)
    packets = wire.left.packets
    step = spoken.clock_rate_hz // 50
    first = packets[0]
    assert len(packets) == wire.tick - SETTLING_PACKETS
    for number, packet in enumerate(packets):
        assert packet.seq == (first.seq + number) % SEQ_MODULUS
        assert packet.ts == (first.ts + number * step) % 2**32
        assert not packet.marker
    received = wire.right.leg.statistics().received
    assert (received.lost, received.duplicates, received.foreign) == (0, 0, 0)
    # The last one is under way.
    assert received.packets == wire.tick - 1


@each_codec
def test_what_is_heard_is_no_later_than_the_buffer_says(spoken: Codec) -> None:
    wire, _, right = conversation(spoken)

    delay_ms, _ = heard_part(right, wire.left)

    assert delay_ms <= 100
    assert wire.left.leg.statistics().jitter.late == 0


def test_every_frame_heard_is_written_whole_and_silence_is_said_to_be_silence() -> None:
    wire = Wire(terms(RIGHT))

    wire.run(2)

    assert wire.left.flags == [False, False]
    assert not wire.left.heard.any()


# --- addresses ---------------------------------------------------------------------------


def test_a_stranger_is_counted_and_never_heard() -> None:
    wire = Wire(terms(RIGHT, L16_CODECS[2]))
    loud = np.full(160, 20_000, np.int16).astype(">i2").tobytes()
    for number in range(100):
        packet = RtpPacket(pt=96, seq=number, ts=number * 160, ssrc=7, payload=loud)
        wire.deliver(wire.left, packet.build(), STRANGER, wire.now_s)
        wire.run(1)

    latch = wire.left.leg.statistics().latch
    assert latch.strangers == 100
    assert latch.last_stranger == STRANGER
    assert not wire.left.heard.any()
    assert {destination for _, destination in wire.left.sent} == {RIGHT}


def test_nothing_is_sent_while_nobody_has_said_where_to() -> None:
    wire = Wire(terms(None), terms(None))

    wire.run(500)

    assert wire.left.sent == wire.left.sent_rtcp == []
    assert wire.left.leg.statistics().unsendable == 500


def test_an_address_that_the_signalling_peer_does_not_have_gets_nothing() -> None:
    wire = Wire(terms(STRANGER, peer_host=RIGHT[0]), terms(LEFT))

    wire.run(1)
    assert wire.left.sent == []
    wire.run(10)

    # Until the peer itself is heard from.
    assert {destination for _, destination in wire.left.sent} == {RIGHT}


def test_a_phone_behind_a_nat_is_heard_and_spoken_to_at_the_port_it_sends_from() -> None:
    wire = Wire(terms((RIGHT[0], 9_999)), terms(LEFT))
    wire.right.say(tone(500, 1000, 8_000))

    wire.run(50)

    assert wire.left.sent[-1][1] == RIGHT
    assert (amplitudes(wire.left.heard, 500, 8_000)[10:-1] > 5000).all()


# --- other packets -----------------------------------------------------------------------


def test_what_is_neither_rtp_nor_rtcp_is_counted() -> None:
    wire = Wire(terms(RIGHT))
    for data in (b"", b"\x00" * 20, b"\x80\x00", bytes(range(256))):
        wire.deliver(wire.left, data, RIGHT, wire.now_s)
        wire.deliver(wire.left, data, (RIGHT[0], RIGHT[1] + 1), wire.now_s, is_rtcp=True)

    wire.run(1)

    assert wire.left.leg.statistics().malformed == 8


def test_payloads_that_cannot_be_read_are_concealed_and_counted() -> None:
    wire = Wire(terms(RIGHT, L16_CODECS[2]))
    wire.right.say(tone(500, 2000, 8_000))
    wire.run(50)

    for extra, payload in enumerate((b"", b"\x01" * 321)):
        before = wire.left.leg.statistics().undecodable
        last = wire.right.packets[-1]
        broken = RtpPacket(
            pt=96,
            seq=(last.seq + 1) % SEQ_MODULUS,
            ts=last.ts + 160,
            ssrc=last.ssrc,
            payload=payload,
        )
        wire.deliver(wire.left, broken.build(), RIGHT, wire.now_s)
        wire.run(10)
        assert wire.left.leg.statistics().undecodable >= before + (extra == 0)
    assert longest_gap_ms(wire.left.heard[8_000:], 8_000) <= 20


def test_a_new_source_is_heard_from_its_second_packet_on() -> None:
    wire = Wire(terms(RIGHT))
    wire.right.say(tone(500, 1000, 8_000))
    wire.run(50)

    wire.right.ssrc = 0x1234
    wire.right.say(tone(1000, 1000, 8_000))
    wire.left.forget()
    wire.run(50)

    statistics = wire.left.leg.statistics()
    assert statistics.received.streams == 2
    assert statistics.jitter.restarts == 1
    assert (amplitudes(wire.left.heard, 1000, 8_000)[12:-1] > 5000).all()


def test_comfort_noise_is_heard_as_noise_and_not_as_loss() -> None:
    wire = Wire(terms(RIGHT, noise_pt=13), terms(LEFT, sends=False))
    for number in range(50):
        is_noise = number >= 25
        packet = RtpPacket(
            pt=13 if is_noise else 0,
            seq=number,
            ts=number * 160,
            ssrc=7,
            payload=b"\x1e" if is_noise else PCMU.encoder().encode(tone(500, 20, 8_000)),
        )
        if number <= 25:
            wire.deliver(wire.left, packet.build(), RIGHT, wire.now_s + 0.005)
        wire.run(1)

    jitter = wire.left.leg.statistics().jitter
    level = np.abs(wire.left.heard[-3_200:].astype(int)).mean()
    assert 100 < level < 2_000
    assert jitter.concealed_ms == 0


# --- RTCP --------------------------------------------------------------------------------


@pytest.mark.slow
def test_both_ends_report_to_each_other_and_measure_the_round_trip() -> None:
    wire, _, _ = conversation(PCMU)
    wire.run(1_000)

    for party in (wire.left, wire.right):
        reports = party.leg.statistics().reports
        assert reports.sent >= 3
        assert reports.received >= 3
        assert reports.far_lost_fraction == 0
        assert reports.round_trip_ms is not None
        assert reports.round_trip_ms < 60


def test_a_leg_that_leaves_says_goodbye_once_it_has_spoken() -> None:
    wire, _, _ = conversation(PCMU)
    silent = Wire(terms(None), terms(None))

    wire.left.leg.goodbye(1.0)
    silent.left.leg.goodbye(1.0)

    data, destination = wire.left.sent_rtcp[-1]
    report, *_, farewell = parse_compound(data)
    assert destination == (RIGHT[0], RIGHT[1] + 1)
    assert isinstance(report, SenderReport)
    assert report.packets == wire.tick
    assert isinstance(farewell, Goodbye)
    assert silent.left.sent_rtcp == []


def test_reports_of_strangers_are_ignored() -> None:
    wire, _, _ = conversation(PCMU)
    before = wire.right.leg.statistics().reports.received
    wire.left.address = STRANGER  # nobody's, but for what is delivered by hand
    wire.left.leg.goodbye(1.0)
    data, _ = wire.left.sent_rtcp[-1]

    wire.deliver(wire.right, data, STRANGER, wire.now_s, is_rtcp=True)
    wire.run(1)

    assert wire.right.leg.statistics().reports.received == before


# --- nobody there ------------------------------------------------------------------------


def silence_for(wire: Wire, seconds: float) -> None:
    wire.right.address = STRANGER  # whatever it sends is nobody's
    wire.run(round(seconds * 50))


@pytest.mark.slow
def test_a_phone_that_rings_owes_nothing() -> None:
    wire = Wire(terms(RIGHT), terms(LEFT, sends=False))

    wire.run(round(DEAD_AFTER_S * 50) + 50)

    assert not wire.left.leg.is_dead


@pytest.mark.slow
def test_a_phone_that_never_sends_is_dead_a_minute_after_the_answer() -> None:
    wire = Wire(terms(RIGHT), terms(LEFT, sends=False))
    wire.left.leg.expect_media()

    silence_for(wire, DEAD_AFTER_S - 1)
    wire.left.leg.expect_media()  # said twice, counted once
    assert not wire.left.leg.is_dead
    silence_for(wire, 1.1)

    assert wire.left.leg.is_dead


@pytest.mark.slow
def test_a_phone_on_hold_may_be_silent_for_as_long_as_it_likes() -> None:
    wire = Wire(terms(RIGHT), terms(LEFT, sends=False))
    wire.left.leg.expect_media()
    wire.left.leg.renegotiate(terms(RIGHT, sends=False))

    silence_for(wire, DEAD_AFTER_S + 1)
    held = wire.left.leg.is_dead
    wire.left.leg.renegotiate(terms(RIGHT))
    silence_for(wire, DEAD_AFTER_S - 1)
    resumed = wire.left.leg.is_dead
    silence_for(wire, 1.1)

    assert (held, resumed, wire.left.leg.is_dead) == (False, False, True)


@pytest.mark.slow
def test_reports_keep_a_phone_alive_that_sends_no_audio() -> None:
    wire = Wire(terms(RIGHT), terms(LEFT, sends=False))
    wire.left.leg.expect_media()

    wire.run(round(DEAD_AFTER_S * 50) + 500)

    assert not wire.left.leg.is_dead
