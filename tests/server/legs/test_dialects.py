"""How the two protocols say audio, credit and places."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from telcoflow_sdk.audio.format import AudioFormat
from telcoflow_sdk.protocol.codes import CloseCode, ErrorCode
from telcoflow_sdk.protocol.messages import Place
from telcoflow_sdk.protocol.positions import (
    DISCONTINUITY,
    END,
    Acknowledgement,
    AudioMessage,
    build_acknowledgement,
    build_audio,
    parse_audio,
    parse_position,
)
from telcoflow_server.legs.dialects import PositionDialect, RequestDialect
from telcoflow_server.media.feed import FedFrame
from telcoflow_server.media.playout import Playout

FORMAT = AudioFormat(8_000)
FRAME = FORMAT.frame_samples


class Link:
    """A `MediaLink` that keeps what it is given."""

    def __init__(self) -> None:
        self.texts: list[dict[str, Any]] = []
        self.binaries: list[bytes] = []

    def send_binary(self, message: bytes) -> None:
        self.binaries.append(message)

    def send_text(self, message: bytes) -> None:
        self.texts.append(msgspec.json.decode(message))

    def unsent_bytes(self) -> int:
        return 0

    def close(self, code: CloseCode, reason: str) -> None:
        raise AssertionError("closing is for the call to decide")


@pytest.fixture
def playout() -> Playout:
    return Playout(FORMAT)


@pytest.fixture
def requests(playout: Playout) -> RequestDialect:
    return RequestDialect(playout, FORMAT)


@pytest.fixture
def acknowledged() -> list[Acknowledgement]:
    return []


@pytest.fixture
def positions(playout: Playout, acknowledged: list[Acknowledgement]) -> PositionDialect:
    return PositionDialect(playout, FORMAT, acknowledged.append)


def audio(offset: int = 0, samples: int = FRAME, *, generation: int = 0) -> bytes:
    return build_audio(0, 0, 0, generation, offset, bytes(2 * samples))


# --- v1 ----------------------------------------------------------------------------------


def test_v1_audio_is_a_channel_and_samples(requests: RequestDialect, playout: Playout) -> None:
    assert requests.receive(b"\0" + bytes(2 * FRAME)) is None
    assert playout.received == FRAME
    assert requests.build(FedFrame(2, 480, 482, b"\1\2\3\4", True)) == b"\2\1\2\3\4"


def test_v1_commands_hold_behind_what_has_arrived(
    requests: RequestDialect, playout: Playout
) -> None:
    requests.receive(b"\0" + bytes(2 * FRAME + 1))

    assert requests.locate(None) == FRAME
    requests.receive(b"\0" + bytes(2))
    assert playout.received == FRAME + 1, "half a sample does not belong to what follows"
    assert requests.statistics().discarded_bytes == 1


def test_v1_clears_and_ends_wherever_it_is(requests: RequestDialect, playout: Playout) -> None:
    requests.receive(b"\0" + bytes(2 * FRAME + 1))

    assert requests.clear(None) == 2 * FRAME + 1
    assert requests.end(None)
    assert playout.is_finished


def test_v1_asks_for_a_frame_at_a_time(requests: RequestDialect) -> None:
    link = Link()

    requests.send_credit(link, 0)

    assert [text["data"]["requested_bytes"] for text in link.texts] == [2 * FRAME] * 3
    assert link.binaries == []


# --- v2 ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (audio(), None),
        (b"", ErrorCode.MALFORMED_AUDIO),
        (b"\0", ErrorCode.MALFORMED_AUDIO),
        (audio()[:-1], ErrorCode.MALFORMED_AUDIO),
        (build_audio(1, 0, 0, 0, 0, b"\0\0"), ErrorCode.INVALID_CHANNEL),
        (build_audio(240, 0, 0, 0, 0, b"\0\0"), ErrorCode.INVALID_CHANNEL),
        (b"\xf1" + bytes(14), ErrorCode.MALFORMED_AUDIO),
        (audio(1), CloseCode.BAD_POSITION),
        (audio(generation=1), CloseCode.BAD_POSITION),
        (audio(samples=1601), CloseCode.CREDIT_OVERRUN),
    ],
)
def test_v2_message_is_taken_or_refused_by_code(
    positions: PositionDialect, message: bytes, code: ErrorCode | CloseCode | None
) -> None:
    assert positions.receive(message) is code


def test_v2_acknowledgements_are_passed_on(
    positions: PositionDialect, acknowledged: list[Acknowledgement]
) -> None:
    acknowledgement = Acknowledgement(seen=3, received=960, loop_lag_ms=12)

    assert positions.receive(build_acknowledgement(acknowledgement)) is None
    assert acknowledged == [acknowledgement]


def test_v2_frames_say_where_they_belong_and_what_is_missing(positions: PositionDialect) -> None:
    whole = positions.build(FedFrame(0, 480, 640, b"\1\2", False))
    holed = positions.build(FedFrame(2, 640, 800, b"\1\2", True))

    assert parse_audio(whole) == AudioMessage(0, 0, 0, 0, 480, b"\1\2")
    assert parse_audio(holed) == AudioMessage(2, DISCONTINUITY, 0, 0, 640, b"\1\2")


def test_v2_tells_positions_when_they_are_news(positions: PositionDialect) -> None:
    link = Link()

    positions.send_credit(link, 1)
    positions.send_credit(link, 1)
    positions.send_credit(link, 2)
    positions.relink()
    positions.send_credit(link, 2)

    assert [parse_position(message).seen for message in link.binaries] == [1, 2, 2]
    assert link.texts == []


def test_v2_places_are_in_the_generation_that_is_playing(positions: PositionDialect) -> None:
    assert positions.locate(Place(0, 70)) == 70
    assert positions.locate(Place(1, 0)) is None
    assert positions.locate(None) is None

    positions.clear(Place(1, 0))

    assert positions.locate(Place(0, 70)) is None
    assert positions.locate(Place(1, 7)) == 7


@pytest.mark.parametrize("place", [None, Place(0, 0), Place(1, 1), Place(2, 0)])
def test_v2_clears_at_the_next_generation_only(
    positions: PositionDialect, playout: Playout, place: Place | None
) -> None:
    positions.receive(audio())

    assert positions.clear(place) is None
    assert (playout.generation, playout.received) == (0, FRAME)
    assert positions.clear(Place(1, 0)) == 2 * FRAME


def test_v2_ends_at_a_place_that_may_be_still_to_come(
    positions: PositionDialect, playout: Playout
) -> None:
    ended = [
        (positions.end(place), playout.end is not None)
        for place in (Place(1, 0), None, Place(0, FRAME))
    ]

    assert ended == [(False, False), (False, False), (True, True)]
    assert not playout.is_finished


def test_v2_counts_what_it_took(positions: PositionDialect) -> None:
    positions.receive(audio())
    positions.receive(build_audio(0, END, 0, 0, FRAME, b""))

    assert positions.statistics().received_bytes == 2 * FRAME
