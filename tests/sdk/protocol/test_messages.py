"""What messages say of themselves."""

from __future__ import annotations

from telcoflow_sdk.protocol.messages import DtmfData, TransferData, WelcomeData


def test_a_welcome_never_shows_its_secret() -> None:
    welcome = WelcomeData(
        epoch=2, seen=3, generation=0, received=0, continues=[0], secret="Zk3v", grace_ms=10_000
    )

    assert repr(welcome) == "WelcomeData(epoch=2, seen=3)"


def test_digits_and_numbers_are_never_shown() -> None:
    assert repr(DtmfData("42")) == "DtmfData(<hidden>)"
    assert repr(TransferData("+4930901820")) == "TransferData(<hidden>)"
