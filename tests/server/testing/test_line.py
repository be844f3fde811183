"""The keys of a phone that a test holds, and what an agent makes it do."""

from __future__ import annotations

import pytest

from telcoflow_server.call.ports import PressedDigit
from telcoflow_server.legs.simulated import KEY_MS
from telcoflow_server.testing.phone import LivePhone


def test_keys_are_taken_by_the_call_once_and_in_order() -> None:
    phone = LivePhone()

    phone.press("1#")

    assert phone.line.take_digits() == [PressedDigit("1", KEY_MS), PressedDigit("#", KEY_MS)]
    assert phone.line.take_digits() == []


def test_a_phone_has_no_other_keys() -> None:
    with pytest.raises(ValueError, match="0123456789"):
        LivePhone().press("12x")


def test_it_keeps_the_digits_it_heard_and_goes_where_it_is_sent() -> None:
    phone = LivePhone()
    phone.line.hears_early(0)
    before = phone.transferred_to, phone.line.transferred

    phone.line.press("12")
    phone.line.press("3")
    phone.line.transfer("+15550111")

    assert before == (None, None)
    assert phone.digits_heard == "123"
    assert (phone.transferred_to, phone.line.transferred) == ("+15550111", True)
