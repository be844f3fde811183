"""Fragments become the message they were cut from, or a close code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_sdk.protocol.codec import MAX_MESSAGE_BYTES
from telcoflow_sdk.protocol.codes import CloseCode
from telcoflow_sdk.protocol.fragments import Assembler, FragmentError


@given(messages=st.lists(st.tuples(st.booleans(), st.lists(st.binary(), min_size=1)), max_size=5))
def test_any_cutting_gives_the_same_messages(messages: list[tuple[bool, list[bytes]]]) -> None:
    assembler = Assembler()
    whole = []
    for is_text, pieces in messages:
        for number, piece in enumerate(pieces):
            message = assembler.add(
                piece, is_text=is_text if number == 0 else None, is_final=number == len(pieces) - 1
            )
            assert (message is None) == (number < len(pieces) - 1)
            assert assembler.is_empty == (message is not None)
            if message is not None:
                whole.append(message)

    assert whole == [(is_text, b"".join(pieces)) for is_text, pieces in messages]


def test_after_the_last_fragment_another_message_may_begin() -> None:
    assembler = Assembler()

    first = assembler.add(b"ab", is_text=True, is_final=False)
    inside = assembler.is_empty
    last = assembler.add(b"c", is_text=None, is_final=True)

    assert (first, last) == (None, (True, b"abc"))
    assert (inside, assembler.is_empty) == (False, True)
    assert assembler.add(b"d", is_text=False, is_final=True) == (False, b"d")


def test_a_continuation_of_nothing_is_a_violation() -> None:
    with pytest.raises(FragmentError, match="continues no message") as error:
        Assembler().add(b"x", is_text=None, is_final=True)
    assert error.value.close_code is CloseCode.PROTOCOL_ERROR


def test_a_message_inside_another_is_a_violation() -> None:
    assembler = Assembler()
    assembler.add(b"x", is_text=True, is_final=False)

    with pytest.raises(FragmentError, match="inside") as error:
        assembler.add(b"y", is_text=False, is_final=True)
    assert error.value.close_code is CloseCode.PROTOCOL_ERROR


def test_the_sum_of_the_fragments_is_limited() -> None:
    assembler = Assembler()
    assembler.add(bytes(MAX_MESSAGE_BYTES), is_text=False, is_final=False)

    with pytest.raises(FragmentError) as error:
        assembler.add(b"x", is_text=None, is_final=True)
    assert error.value.close_code is CloseCode.MESSAGE_TOO_BIG
