"""A SIP phone as a party to a call: what it is told, and when its audio may leave."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_server.call.ports import CalleeProgress, PressedDigit
from telcoflow_server.legs.rtp import DEAD_AFTER_S
from telcoflow_server.legs.sip import SILENT_RATE_HZ, SipPhone
from telcoflow_server.media.plane import Joint, Strip
from tests.server.legs.test_rtp import G722
from tests.support.rtp_legs import RIGHT, Wire, terms


class Told:
    """A `Dialog` that notes what it is told."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def send_early(self) -> None:
        self.words.append("early")

    def accept(self) -> None:
        self.words.append("accept")

    def leave(self, reason: EndReason) -> None:
        self.words.append(f"leave {reason}")

    def send_digits(self, digits: str) -> None:
        self.words.append(f"digits {digits}")

    def refer(self, number: str) -> None:
        self.words.append(f"refer {number}")


@pytest.fixture
def dialog() -> Told:
    return Told()


@pytest.fixture
def wire() -> Wire:
    return Wire(terms(RIGHT))


@pytest.fixture
def phone(dialog: Told, wire: Wire) -> SipPhone:
    """A phone with which audio is agreed on."""
    made = SipPhone(dialog)
    made.talk_over(wire.left.leg)
    return made


SILENCE = np.zeros(160, np.int16)


def test_a_phone_with_which_nothing_is_agreed_on_is_silent(dialog: Told) -> None:
    phone = SipPhone(dialog)
    phone.answered(0)

    phone.put(0, SILENCE)

    assert phone.sample_rate_hz == SILENT_RATE_HZ
    assert not phone.take(0, np.zeros(160, np.int16))
    assert phone.take_digits() == []


def test_nothing_is_sent_to_a_phone_that_rings(phone: SipPhone, wire: Wire) -> None:
    phone.put(0, SILENCE)
    before = len(wire.left.sent)
    phone.hears_early(1)
    phone.put(1, SILENCE)

    assert (before, len(wire.left.sent)) == (0, 1)


def test_early_audio_is_announced_once_and_not_after_the_answer(
    phone: SipPhone, dialog: Told
) -> None:
    phone.hears_early(0)
    phone.hears_early(1)
    phone.answered(2)
    phone.hears_early(3)

    assert dialog.words == ["early", "accept"]


def test_its_audio_has_the_rate_of_its_codec(dialog: Told) -> None:
    phone = SipPhone(dialog)
    phone.talk_over(Wire(terms(RIGHT, G722)).left.leg)

    assert phone.sample_rate_hz == 16_000


@pytest.mark.parametrize("is_late_offer", [False, True])
def test_a_phone_that_was_answered_must_send(dialog: Told, wire: Wire, is_late_offer: bool) -> None:
    phone = SipPhone(dialog)
    if is_late_offer:
        phone.answered(0)
    phone.talk_over(wire.left.leg)
    if not is_late_offer:
        phone.answered(0)

    wire.left.leg.advance(wire.now_s + DEAD_AFTER_S, 0.0)

    assert wire.left.leg.is_dead


def test_digits_are_events_where_the_phone_knows_them(
    phone: SipPhone, dialog: Told, wire: Wire
) -> None:
    phone.answered(0)
    phone.press("1")
    phone.put(0, SILENCE)

    assert [packet.pt for packet in wire.left.packets] == [101]
    assert dialog.words == ["accept"]


@pytest.mark.parametrize("has_leg", [True, False])
def test_digits_go_by_info_where_it_does_not(dialog: Told, has_leg: bool) -> None:
    phone = SipPhone(dialog)
    if has_leg:
        phone.talk_over(Wire(terms(RIGHT, digits_pt=None)).left.leg)

    phone.press("12")

    assert dialog.words == ["digits 12"]


def test_digits_of_both_kinds_are_told(phone: SipPhone, wire: Wire) -> None:
    wire.right.leg.press("7")
    wire.run(15)
    phone.pressed(PressedDigit("8", 90))

    assert phone.take_digits() == [PressedDigit("8", 90), PressedDigit("7", 100)]
    assert phone.take_digits() == []


@pytest.mark.parametrize("earlier", [True, False])
def test_a_second_transfer_begins_anew(phone: SipPhone, dialog: Told, earlier: bool | None) -> None:
    phone.transferred = earlier

    phone.transfer("222")

    assert phone.transferred is None
    assert dialog.words == ["refer 222"]


def test_it_leaves_with_the_reason(phone: SipPhone, dialog: Told) -> None:
    phone.ended(0, EndReason.AGENT_REJECTED)

    assert dialog.words == ["leave agent_rejected"]


def test_its_progress_is_what_signalling_says(phone: SipPhone) -> None:
    before = phone.ring(0)
    phone.progress = CalleeProgress.BUSY

    assert (before, phone.ring(1)) == (CalleeProgress.RINGING, CalleeProgress.BUSY)


def test_held_it_hears_nothing_and_is_heard(phone: SipPhone, wire: Wire) -> None:
    phone.answered(0)
    wire.left.leg.renegotiate(replace(terms(RIGHT), sends=False))
    phone.put(0, SILENCE)

    assert wire.left.sent == []


# --- with others -------------------------------------------------------------------------


class Noted(Strip):
    """A strip that notes which leg joined."""

    def __init__(self) -> None:
        self.joined: list[int] = []

    def join(self, joint: Joint, row: int) -> None:
        self.joined.append(row)

    def part(self) -> None:
        self.joined.clear()


class Row:
    """Keeps one leg together with nobody."""

    def take(self, row: int, out: NDArray[np.int16]) -> None:
        out[:] = 0

    def put(self, row: int, frame: NDArray[np.int16]) -> None:
        """Let nothing be sent."""

    def count(self, row: int) -> None:
        """Have nothing to count."""

    def leave(self, row: int) -> None:
        """Have nothing to give back."""


@pytest.fixture
def woken(phone: SipPhone) -> list[str]:
    """Let a phone be attached; return what it was woken by."""
    told: list[str] = []
    phone.attached(Noted(), lambda: told.append("woken"))
    return told


def test_a_phone_in_an_array_rests_until_there_is_something_to_tell(
    phone: SipPhone, wire: Wire, woken: list[str]
) -> None:
    phone.answered(0)
    before = phone.may_rest
    wire.left.leg.join(Row(), 0)
    rested = phone.may_rest
    phone.pressed(PressedDigit("8", 90))

    assert (before, rested, phone.may_rest, woken) == (False, True, False, ["woken"])
    phone.take_digits()
    after = phone.may_rest
    phone.hung_up()
    wire.left.leg.be_alone()

    assert (after, phone.may_rest, woken) == (True, False, ["woken"] * 3)


def test_nobody_else_gives_sound_to_a_phone_that_rings(phone: SipPhone, wire: Wire) -> None:
    strip = Noted()
    phone.attached(strip, lambda: None)
    wire.left.leg.join(Row(), 0)
    assert strip.joined == []
    wire.left.leg.be_alone()
    phone.hears_early(0)
    wire.left.leg.join(Row(), 0)

    assert strip.joined == [0]


def test_a_phone_that_is_moved_is_alone_for_that(phone: SipPhone, wire: Wire) -> None:
    phone.attached(Noted(), lambda: None)
    phone.answered(0)
    wire.left.leg.join(Row(), 0)
    phone.attached(Noted(), lambda: None)

    assert wire.left.leg.together is None
