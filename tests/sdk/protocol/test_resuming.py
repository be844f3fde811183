from __future__ import annotations

import json
from typing import Any

import pytest

from telcoflow_sdk.audio.arrivals import Arrival
from telcoflow_sdk.audio.format import AudioFormat
from telcoflow_sdk.audio.intake import Intake
from telcoflow_sdk.audio.positioned import PositionedOutbox
from telcoflow_sdk.protocol.codec import ProtocolViolation
from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_sdk.protocol.messages import WelcomeData
from telcoflow_sdk.protocol.positions import (
    Acknowledgement,
    Position,
    build_audio,
    build_position,
    parse_acknowledgement,
)
from telcoflow_sdk.protocol.resuming import ACKNOWLEDGE_S, DEFAULT_GRACE_S, ResumingLink, Resumption
from telcoflow_sdk.protocol.sequence import MAX_KEPT

NOW = 100.0


def link(channels: int = 1) -> ResumingLink:
    outbox = PositionedOutbox(Intake(AudioFormat(24_000), 100_000))
    return ResumingLink(outbox, channels, 24_000)


def welcome(epoch: int = 1, **fields: Any) -> WelcomeData:
    data: dict[str, Any] = {
        "seen": 0,
        "generation": 0,
        "received": 0,
        "continues": [0],
        "secret": "s",
        "grace_ms": 2_000,
    }
    return WelcomeData(epoch=epoch, **(data | fields))


def welcomed() -> ResumingLink:
    resuming = link()
    resuming.open()
    resuming.welcome(welcome(), NOW)
    return resuming


def position(seen: int = 0, *, played: int = 0, window: int = 960) -> bytes:
    return build_position(Position(0, played, played, window, 0, seen, False))


def hello_of(resuming: ResumingLink) -> dict[str, Any]:
    message = json.loads(resuming.open())
    assert message["type"] == "hello"
    data: dict[str, Any] = message["data"]
    return data


def test_each_hello_is_a_new_attempt_and_says_what_has_come() -> None:
    resuming = link(channels=2)
    first = hello_of(resuming)
    resuming.welcome(welcome(continues=[0, 0]), NOW)
    resuming.is_new(b'{"seq": 1}')
    resuming.receive_binary(build_audio(1, 0, 0, 0, 10, b"abcd"), NOW, 0.0)

    assert first == {"epoch": 1, "seen": 0, "received": [0, 0]}
    assert hello_of(resuming) == {"epoch": 2, "seen": 1, "received": [0, 12]}


def test_a_link_may_be_used_from_its_welcome_to_its_loss() -> None:
    resuming = link()
    steps = [resuming.is_welcome]
    resuming.open()
    steps.append(resuming.is_welcome)
    resuming.welcome(welcome(), NOW)
    steps.append(resuming.is_welcome)
    resuming.lose(NOW)
    steps.append(resuming.is_welcome)

    assert steps == [False, False, True, False]


def test_the_secret_is_that_of_the_last_welcome() -> None:
    resuming = link()
    secrets = [resuming.secret]
    for epoch in (1, 2):
        resuming.open()
        resuming.welcome(welcome(epoch, secret=f"secret {epoch}"), NOW)
        secrets.append(resuming.secret)

    assert secrets == [None, "secret 1", "secret 2"]


def test_a_loss_is_news_once_until_there_is_a_link_in_use() -> None:
    resuming = welcomed()

    news = [resuming.lose(NOW), resuming.lose(NOW + 1)]
    resuming.open()
    news.append(resuming.lose(NOW + 1.5))

    assert news == [True, False, False]
    assert resuming.outages == 1
    assert resuming.is_away


def test_the_server_waits_for_its_grace_from_the_first_loss() -> None:
    resuming = welcomed()
    before = (resuming.deadline, resuming.is_due(NOW + 1_000))
    resuming.lose(NOW)
    resuming.lose(NOW + 1)

    assert before == (None, False)
    assert resuming.deadline == NOW + 2
    assert not resuming.is_due(NOW + 1.9)
    assert resuming.is_due(NOW + 2)


def test_a_server_that_never_spoke_is_given_a_grace() -> None:
    resuming = link()
    resuming.open()
    resuming.lose(NOW)

    assert resuming.deadline == NOW + DEFAULT_GRACE_S


def test_the_first_welcome_resumes_nothing() -> None:
    resuming = link()
    resuming.open()

    assert resuming.welcome(welcome(), NOW) == ([], None)


def test_a_welcome_tells_what_the_outage_cost() -> None:
    resuming = link(channels=3)
    resuming.open()
    resuming.welcome(welcome(continues=[0, 0, 0]), NOW)
    for channel in range(3):
        resuming.receive_binary(build_audio(channel, 0, 0, 0, 0, bytes(480)), NOW, 0.0)
    resuming.lose(NOW)
    resuming.open()

    _, resumption = resuming.welcome(welcome(2, continues=[240, 480, 0]), NOW + 0.5)

    assert resumption == Resumption(outage_ms=500.0, lost_ms=10.0)
    assert not resuming.is_away


def test_what_the_server_has_not_seen_is_sent_again_in_order() -> None:
    resuming = welcomed()
    sent = [resuming.number(b'{"n": %d}' % n) for n in range(4)]
    resuming.receive_binary(position(seen=1), NOW, 0.0)
    resuming.lose(NOW)
    resuming.open()

    messages, _ = resuming.welcome(welcome(2, seen=2), NOW)

    assert messages == sent[2:]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (welcome(2), ErrorCode.INVALID_SEQUENCE),
        (welcome(continues=[0, 0]), ErrorCode.INVALID_SEQUENCE),
        (welcome(generation=1), ErrorCode.INVALID_POSITION),
        (welcome(received=1), ErrorCode.INVALID_POSITION),
    ],
    ids=["another attempt", "another number of channels", "a generation to come", "unsent audio"],
)
def test_a_welcome_that_cannot_be_is_a_violation(data: WelcomeData, code: ErrorCode) -> None:
    resuming = link()
    resuming.open()

    with pytest.raises(ProtocolViolation) as caught:
        resuming.welcome(data, NOW)

    assert caught.value.code is code
    assert not resuming.is_welcome


def test_a_second_welcome_on_one_link_is_a_violation() -> None:
    """All that was not acknowledged would be sent twice, and the server close the link."""
    resuming = welcomed()

    with pytest.raises(ProtocolViolation):
        resuming.welcome(welcome(), NOW)


def test_audio_is_returned_if_it_is_new() -> None:
    resuming = welcomed()
    audio = build_audio(0, 0, 0, 0, 100, b"abcd")

    assert resuming.receive_binary(audio, NOW, 0.0) == Arrival(0, 100, b"abcd")
    assert resuming.receive_binary(audio, NOW, 0.0) is None


def test_a_position_is_credit_that_was_there_before_the_loop_was_blocked() -> None:
    resuming = welcomed()
    assert resuming.receive_binary(position(), NOW, 0.25) is None
    resuming.outbox.write(b"ab")

    message = resuming.outbox.next_message(NOW)

    assert message is not None
    assert int.from_bytes(message[2:4], "little") == 250


@pytest.mark.parametrize(
    "message", [b"\0abc", b"\xf0abc", position(played=1)], ids=["audio", "position", "unsent"]
)
def test_what_cannot_be_is_a_violation(message: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        welcomed().receive_binary(message, NOW, 0.0)


def test_what_has_come_is_acknowledged_twice_a_second() -> None:
    resuming = welcomed()
    at = []
    for tick in range(100):
        now = NOW + tick * 0.02
        resuming.receive_binary(build_audio(0, 0, 0, 0, 480 * tick, bytes(960)), now, 0.0)
        message = resuming.next_acknowledgement(now)
        if message is not None:
            at.append((tick, parse_acknowledgement(message).received))

    assert at == [(0, 480), (25, 26 * 480), (50, 51 * 480), (75, 76 * 480)]


def test_a_ringing_call_acknowledges_each_position_of_one_a_second() -> None:
    """It was one in 25 messages, and the server lets go of a client that is silent for 5 s."""
    resuming = welcomed()
    acknowledged = 0
    for second in range(10):
        resuming.receive_binary(position(), NOW + second, 0.0)
        acknowledged += resuming.next_acknowledgement(NOW + second) is not None

    assert acknowledged == 10


def test_a_new_link_is_spoken_on_at_once() -> None:
    """Until then the secret before this one opens a link, too."""
    resuming = welcomed()
    assert resuming.next_acknowledgement(NOW) is not None
    resuming.lose(NOW + 0.1)
    resuming.open()
    assert resuming.next_acknowledgement(NOW + 5) is None

    resuming.welcome(welcome(2), NOW + 0.2)

    assert resuming.next_acknowledgement(NOW + 0.2) is not None


def test_an_acknowledgement_says_what_has_come_on_every_channel_and_the_worst_lag() -> None:
    resuming = link(channels=2)
    resuming.open()
    resuming.welcome(welcome(continues=[0, 0]), NOW)
    resuming.is_new(b'{"seq": 1}')
    for channel, lag_s in ((0, 0.03), (1, 100.0), (0, 0.01)):
        audio = build_audio(channel, 0, 0, 0, 10, bytes(2 * (channel + 1)))
        resuming.receive_binary(audio, NOW, lag_s)

    first = resuming.next_acknowledgement(NOW)
    second = resuming.next_acknowledgement(NOW + ACKNOWLEDGE_S)

    assert first is not None
    assert parse_acknowledgement(first) == Acknowledgement(1, 11, 65_535)
    assert second is not None
    assert parse_acknowledgement(second).loop_lag_ms == 0


def test_a_server_that_acknowledges_nothing_gets_no_more() -> None:
    resuming = welcomed()
    for _ in range(MAX_KEPT):
        assert resuming.can_number
        resuming.number(b"{}")

    assert not resuming.can_number
