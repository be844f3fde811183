"""Legs that are kept together: each does to the byte what it would do alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest

from telcoflow_server.codec.table import L16_CODECS, PCMA, PCMU
from telcoflow_server.legs import rtp_array
from telcoflow_server.legs.rtp_array import LEAST_LEGS, RtpArray
from telcoflow_server.rtp.packet import RtpPacket
from telcoflow_server.rtp.rtcp import Goodbye, ReceiverReport, build_compound
from tests.support.network import Bursts, Impairment
from tests.support.rtp_legs import RIGHT, STRANGER, WALL_S, terms
from tests.support.twin_legs import Phone, Twins, speech_of

PERFECT = Impairment(delay_ms=5)
NETWORKS = [
    PERFECT,
    Impairment(jitter_ms=3),
    Impairment(jitter_ms=12),
    Impairment(jitter_ms=30),
    Impairment(loss=0.01),
    Impairment(loss=0.03, jitter_ms=30),
    Impairment(reorder=0.05),
    Impairment(duplicate=0.05),
    Impairment(bursts=Bursts(begin=0.01, end=0.5)),
    Impairment(drift_ppm=200, jitter_ms=4),
    Impairment(drift_ppm=-200, jitter_ms=4),
]
SETTLED = 250
"""Ticks after which the depth has been found, and silence in which to come to it."""


def settled(phones: int = LEAST_LEGS) -> Twins:
    """Return twins whose networks are perfect, all of them together."""
    twins = Twins(phones, lambda number: PERFECT)
    twins.run(SETTLED)
    while twins.array.together < phones:
        twins.run(1)
    return twins


# --- the usual ---------------------------------------------------------------------------


@pytest.mark.slow
def test_whatever_networks_do_a_leg_is_heard_and_counts_as_if_it_were_alone() -> None:
    phones = 3 * len(NETWORKS)
    twins = Twins(
        phones,
        lambda number: NETWORKS[number % len(NETWORKS)],
        lambda number: terms(RIGHT, (PCMU, PCMA)[number % 2], noise_pt=13),
    )
    twins.run(SETTLED)
    twins.together = 0
    for _ in range(5):
        twins.run(300)
        twins.compare()

    assert twins.together > 0.85 * phones * 1_500, "or this has shown little"


def test_legs_of_a_good_network_are_nearly_always_together() -> None:
    twins = settled()
    twins.together = 0
    twins.run(400)

    assert twins.together > 0.95 * LEAST_LEGS * 400
    twins.compare()


@pytest.mark.parametrize("ticks", [1, 4, 13, 40])
def test_legs_are_together_again_soon_after_a_stall(ticks: int) -> None:
    """Or a server that is more than half full could not carry them, and never recover."""
    twins = settled()
    twins.stall(ticks)
    twins.run(20)

    assert twins.array.together == LEAST_LEGS
    twins.compare()


def test_a_few_legs_are_left_alone() -> None:
    twins = Twins(LEAST_LEGS - 1, lambda number: PERFECT)
    twins.run(SETTLED + 50)

    assert twins.together == 0


def test_for_whom_there_is_no_room_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtp_array, "ROWS", 3)
    twins = Twins(LEAST_LEGS, lambda number: PERFECT)
    twins.run(SETTLED + 50)

    assert twins.array.together == 3
    twins.compare()


@pytest.mark.parametrize(
    "more",
    [{"codec": L16_CODECS[2]}, {"ptime_ms": 40}, {"sends": False}],
    ids=["another codec", "longer packets", "on hold"],
)
def test_what_is_not_the_usual_is_left_alone(more: dict[str, Any]) -> None:
    twins = Twins(LEAST_LEGS, lambda number: PERFECT, lambda number: terms(RIGHT, **more))
    twins.run(SETTLED + 50)

    assert twins.together == 0
    twins.compare()


# --- what happens to one of them ---------------------------------------------------------


def press(phone: Phone) -> None:
    for leg in (phone.alone, phone.other):
        leg.press("15#")


def be_pressed(phone: Phone) -> None:
    phone.far.press("27*")


def be_held(phone: Phone) -> None:
    for leg in (phone.alone, phone.other):
        leg.renegotiate(terms(RIGHT, sends=False, noise_pt=13))


def be_resumed(phone: Phone) -> None:
    for leg in (phone.alone, phone.other):
        leg.renegotiate(terms(RIGHT, noise_pt=13))


def change_law(phone: Phone) -> None:
    for leg in (phone.alone, phone.other):
        leg.renegotiate(terms(RIGHT, PCMA, noise_pt=13))
    phone.far.renegotiate(replace(phone.far_terms, codec=PCMA, pt=8))


def move(phone: Phone) -> None:
    moved = ("198.51.100.77", 5_000)
    for leg in (phone.alone, phone.other):
        leg.renegotiate(terms(moved, noise_pt=13))
    phone.source = moved


def pause(phone: Phone) -> None:
    phone.skips = 30


def pause_with_noise(phone: Phone) -> None:
    packet = RtpPacket.parse(phone.last)
    noise = replace_packet(packet, pt=13, seq=packet.seq + 1, ts=packet.ts + 160, payload=b"\x30")
    phone.arrive(phone.now_s, noise.build(), RIGHT)
    phone.arrive(phone.now_s, b"", RIGHT)
    phone.skips = 30


def replace_packet(packet: RtpPacket, **fields: object) -> RtpPacket:
    changed = {**packet._asdict(), **fields}
    return RtpPacket(
        **{**changed, "seq": changed["seq"] % (1 << 16), "ts": changed["ts"] % (1 << 32)}
    )


def be_overheard(phone: Phone) -> None:
    phone.arrive(phone.now_s, phone.last, STRANGER)


def get_garbage(phone: Phone) -> None:
    phone.arrive(phone.now_s, b"\x00" * 172, RIGHT)
    phone.arrive(phone.now_s, phone.last[:11], RIGHT)
    phone.arrive(phone.now_s, phone.last[:90], RIGHT)


def get_it_twice(phone: Phone) -> None:
    phone.arrive(phone.now_s, phone.last, RIGHT)


def get_it_marked(phone: Phone) -> None:
    phone.marks = True


def get_another_payload_type(phone: Phone) -> None:
    packet = RtpPacket.parse(phone.last)
    odd = replace_packet(packet, pt=77, seq=packet.seq + 1, ts=packet.ts + 160)
    phone.arrive(phone.now_s, odd.build(), RIGHT)


def begin_anew(phone: Phone) -> None:
    phone.ssrc = 0x1234


def get_reports(phone: Phone) -> None:
    source = (RIGHT[0], RIGHT[1] + 1)
    phone.arrive(phone.now_s, build_compound([ReceiverReport(7, ())]), source, is_rtcp=True)
    phone.arrive(phone.now_s, b"nothing", source, is_rtcp=True)


def leave(phone: Phone) -> None:
    ssrc = RtpPacket.parse(phone.last).ssrc
    data = build_compound([ReceiverReport(ssrc, ()), Goodbye((ssrc,))])
    phone.arrive(phone.now_s, data, (RIGHT[0], RIGHT[1] + 1), is_rtcp=True)
    begin_anew(phone)


def stall(phone: Phone) -> None:
    phone.stalled_until_s = phone.now_s + 0.3


def be_asked(phone: Phone) -> None:
    assert phone.alone.statistics() == phone.other.statistics()


def be_left_out(phone: Phone) -> None:
    phone.left_out = 20


EVENTS: list[Callable[[Phone], None]] = [
    press,
    be_pressed,
    be_held,
    be_resumed,
    change_law,
    move,
    pause,
    pause_with_noise,
    be_overheard,
    get_garbage,
    get_it_twice,
    get_it_marked,
    get_another_payload_type,
    begin_anew,
    get_reports,
    leave,
    stall,
    be_asked,
    be_left_out,
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
def test_what_happens_to_one_leg(event: Callable[[Phone], None]) -> None:
    twins = settled()
    begun = twins.tick + 3

    def happens(phone: Phone, tick: int) -> None:
        if phone.number == 5 and tick == begun:
            event(phone)

    twins.run(80, happens)
    twins.compare()
    twins.run(150)
    twins.compare()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_in_whatever_order(seed: int) -> None:
    phones = 2 * len(NETWORKS)
    twins = Twins(phones, lambda number: NETWORKS[number % len(NETWORKS)])
    twins.run(SETTLED)
    random = Random(seed)

    def happens(phone: Phone, tick: int) -> None:
        if random.random() < 0.004:
            random.choice(EVENTS)(phone)

    for _ in range(8):
        twins.run(150, happens)
        twins.compare()


@pytest.mark.slow
def test_a_phone_that_falls_silent_is_dead_after_a_minute() -> None:
    twins = settled()
    twins.phones[0].stalled_until_s = float("inf")
    twins.run(61 * 50)

    assert [phone.other.is_dead for phone in twins.phones] == [True] + [False] * (LEAST_LEGS - 1)


# --- in the middle of a tick -------------------------------------------------------------


@pytest.mark.parametrize("takes", [False, True])
@pytest.mark.parametrize("puts", [False, True])
@pytest.mark.parametrize("event", [press, be_asked, be_held], ids=lambda event: event.__name__)
def test_what_happens_in_the_middle_of_a_tick_finds_it_so_far(
    event: Callable[[Phone], None], takes: bool, puts: bool
) -> None:
    twins = settled()

    def middle(phone: Phone) -> None:
        if phone.number == 5:
            event(phone)

    twins.run(1, before_take=middle if not takes else None, before_put=middle if not puts else None)
    twins.run(1, after_put=middle)
    twins.run(60)
    twins.compare()


def test_a_leg_that_is_removed_has_sent_everything() -> None:
    twins = settled()
    phone = twins.phones[5]
    twins.begin()
    frame = np.zeros(160, np.int16)
    for leg in (phone.alone, phone.other):
        leg.take(twins.tick, frame)
        leg.put(twins.tick, speech_of(5, 0))

    phone.alone.goodbye(WALL_S)
    phone.other.goodbye(WALL_S)
    twins.array.remove(phone.port)
    twins.array.remove(phone.port)
    twins.array.finish()

    ours, theirs = phone.sent
    assert ours == theirs
    assert twins.array.together == LEAST_LEGS - 1
    twins.compare()


def test_a_tick_that_failed_leaves_no_packet_to_be_sent_twice() -> None:
    twins = settled()
    leg, sent = twins.phones[5].other, twins.phones[5].sent[1]
    twins.begin()
    leg.put(twins.tick, speech_of(5, 0))

    twins.tick += 1  # the one before has never come to `finish`
    twins.begin()
    leg.put(twins.tick, speech_of(5, 1))
    twins.array.finish()

    packets = [one for one in sent if one[0] == "RTP"]
    assert len(packets) == 1


def test_what_comes_on_a_port_of_no_leg_is_lost() -> None:
    twins = settled()
    twins.array.remove(twins.phones[5].port)
    gone = twins.phones.pop(5)
    twins.run(10)
    gone.arrive(twins.now_s, gone.last, RIGHT)
    before = gone.other.statistics()

    twins.deliver([gone])

    assert gone.other.statistics() == before


def test_nothing_is_due_where_there_is_no_leg() -> None:
    array = RtpArray()

    array.begin(100.0)
    array.finish()

    assert array.together == 0
