"""Numbers of text messages: each arrives once and in order, over however many links."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_sdk.protocol.codec import ProtocolViolation
from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_sdk.protocol.sequence import (
    MAX_KEPT,
    SeenMessages,
    SentMessages,
    SequenceFull,
    SkippedMessage,
)


def numbered(number: object) -> bytes:
    return msgspec.json.encode({"type": "command", "seq": number})


def numbers(messages: list[bytes]) -> list[int]:
    return [msgspec.json.decode(message)["seq"] for message in messages]


def test_numbers_begin_at_one_and_what_is_said_stays() -> None:
    sent = SentMessages()

    first, second = sent.add(b'{"type":"a"}'), sent.add(b'{"type":"b","data":{}}')

    assert msgspec.json.decode(first) == {"seq": 1, "type": "a"}
    assert msgspec.json.decode(second) == {"seq": 2, "type": "b", "data": {}}
    assert sent.unseen() == [first, second]


def test_what_was_seen_is_forgotten_and_the_rest_kept_in_order() -> None:
    sent = SentMessages()
    for _ in range(5):
        sent.add(b'{"type":"a"}')

    sent.acknowledge(3)

    assert numbers(sent.unseen()) == [4, 5]


@pytest.mark.parametrize("seen", [0, 1, 2])
def test_an_older_acknowledgement_changes_nothing(seen: int) -> None:
    sent = SentMessages()
    for _ in range(3):
        sent.add(b'{"type":"a"}')
    sent.acknowledge(2)

    sent.acknowledge(seen)

    assert numbers(sent.unseen()) == [3]


def test_an_acknowledgement_of_what_was_never_sent_covers_what_was() -> None:
    sent = SentMessages()
    sent.add(b'{"type":"a"}')

    sent.acknowledge(2**32 - 1)

    assert sent.unseen() == []
    assert numbers([sent.add(b'{"type":"b"}')]) == [2]


def test_no_more_than_the_limit_is_kept() -> None:
    sent = SentMessages()
    for _ in range(MAX_KEPT):
        sent.add(b'{"type":"a"}')

    with pytest.raises(SequenceFull, match=str(MAX_KEPT)):
        sent.add(b'{"type":"b"}')
    sent.acknowledge(1)

    assert numbers([sent.add(b'{"type":"b"}')]) == [MAX_KEPT + 1]


def test_a_message_is_new_once() -> None:
    seen = SeenMessages()

    assert seen.is_new(numbered(1))
    assert not seen.is_new(numbered(1))
    assert seen.is_new(numbered(2).decode())
    assert not seen.is_new(numbered(1))
    assert seen.last == 2


def test_a_number_left_out_is_refused_and_not_counted() -> None:
    seen = SeenMessages()
    seen.is_new(numbered(1))

    with pytest.raises(SkippedMessage, match="message 3 came instead of 2") as caught:
        seen.is_new(numbered(3))

    assert caught.value.code is ErrorCode.INVALID_SEQUENCE
    assert seen.last == 1


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[1]", b'{"type":"a"}', b'{"seq":"1"}', b'{"seq":1.5}', b'{"seq":null}', b"\xff"],
)
def test_a_message_without_a_number_is_refused(data: bytes) -> None:
    seen = SeenMessages()

    with pytest.raises(ProtocolViolation) as caught:
        seen.is_new(data)

    assert caught.value.code is ErrorCode.MALFORMED_MESSAGE
    assert seen.last == 0


@pytest.mark.parametrize("number", [0, -1])
def test_numbers_before_the_first_are_old(number: int) -> None:
    assert not SeenMessages().is_new(numbered(number))


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(ProtocolViolation):
        SeenMessages().is_new(b'{"seq":' + b"[" * 100_000)


@given(st.lists(st.one_of(st.just("say"), st.integers(0, 20)), max_size=60))
def test_everything_arrives_once_and_in_order_whenever_links_break(script: list[object]) -> None:
    sent, seen = SentMessages(), SeenMessages()
    said: list[str] = []
    arrived: list[str] = []
    under_way: list[bytes] = []

    def deliver(messages: list[bytes]) -> None:
        arrived.extend(
            msgspec.json.decode(message)["type"] for message in messages if seen.is_new(message)
        )

    for step in script:
        if step == "say":
            said.append(f"m{len(said)}")
            under_way.append(sent.add(msgspec.json.encode({"type": said[-1]})))
        else:  # the link breaks behind so many messages, and another one takes over
            assert isinstance(step, int)
            deliver(under_way[:step])
            sent.acknowledge(seen.last)
            under_way = sent.unseen()
    deliver(under_way)

    assert arrived == said
