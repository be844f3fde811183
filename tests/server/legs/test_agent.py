"""The agent's leg on a link that is fast, slow or stuck."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from telcoflow_sdk.audio.format import AudioFormat
from telcoflow_sdk.protocol.codes import CloseCode, ErrorCode
from telcoflow_sdk.protocol.positions import parse_audio
from telcoflow_server.legs.agent import MAX_UNSENT_MS, STALLED_TICKS, AgentLeg
from telcoflow_server.media.feed import WAITING_FRAMES

FORMAT = AudioFormat(8_000)
FRAME = FORMAT.frame_samples
FRAME_BYTES = FORMAT.frame_bytes


class Link:
    """A `MediaLink` whose far end reads when the test says so."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, bytes]] = []
        self.messages: list[bytes] = []
        self.is_read = True
        self.unsent = 0

    def send_binary(self, message: bytes) -> None:
        self.frames.append((message[0], message[1:]))
        self.unsent += 0 if self.is_read else len(message) - 1

    def send_text(self, message: bytes) -> None:
        self.messages.append(message)

    def unsent_bytes(self) -> int:
        return self.unsent

    def close(self, code: CloseCode, reason: str) -> None:
        raise AssertionError("closing is for the call to decide")

    def read_all(self) -> None:
        self.is_read = True
        self.unsent = 0


class PositionedLink(Link):
    """The same for protocol v2; keeps where each frame belongs."""

    def __init__(self) -> None:
        super().__init__()
        self.offsets: list[int] = []

    def send_binary(self, message: bytes) -> None:
        self.offsets.append(parse_audio(message).offset)
        self.unsent += 0 if self.is_read else FRAME_BYTES


def frame(number: int) -> NDArray[np.int16]:
    return np.full(FRAME, number, dtype=np.int16)


def numbers(link: Link) -> list[int]:
    return [int(np.frombuffer(pcm, dtype="<i2")[0]) for _, pcm in link.frames]


@pytest.fixture
def link() -> Link:
    return Link()


@pytest.fixture
def leg(link: Link) -> AgentLeg:
    leg = AgentLeg(FORMAT, lambda audience: None)
    leg.link_requesting(link)
    return leg


def test_each_frame_is_one_message_on_channel_0(leg: AgentLeg, link: Link) -> None:
    leg.put(0, frame(1))
    leg.put(1, frame(2))

    expected = [(0, frame(1).astype("<i2").tobytes()), (0, frame(2).astype("<i2").tobytes())]
    assert link.frames == expected
    assert leg.statistics().frames_to_agent == 2


def test_credit_is_one_request_per_frame_with_the_smallest_piece(leg: AgentLeg, link: Link) -> None:
    leg.flush_credit()
    leg.flush_credit()

    assert [msgspec.json.decode(message) for message in link.messages] == [
        {
            "type": "buffer_request",
            "data": {"requested_bytes": FRAME_BYTES, "prefer_audio_frame_bytes": 2},
        }
    ] * 3


def test_agent_is_heard_and_asked_for_more(leg: AgentLeg, link: Link) -> None:
    out = np.empty(FRAME, dtype=np.int16)
    assert not leg.take(0, out)
    leg.flush_credit()
    audio = b"\0" + np.arange(3 * FRAME, dtype="<i2").tobytes()

    assert leg.receive(audio) is None
    assert leg.queued_ms == 60
    assert leg.take(1, out)
    leg.flush_credit()

    assert (out == np.arange(FRAME)).all()
    assert leg.heard_ms == 20
    assert len(link.messages) == 4
    assert leg.statistics().frames_from_agent == 1


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"", ErrorCode.MALFORMED_AUDIO),
        (b"\0", ErrorCode.MALFORMED_AUDIO),
        (b"\1\0\0", ErrorCode.INVALID_CHANNEL),
        (b"\xff\0\0", ErrorCode.INVALID_CHANNEL),
        (b"\0\0", None),
        (bytes(1 + 16_002), ErrorCode.AUDIO_OVERRUN),
    ],
)
def test_message_is_taken_or_refused_by_code(
    leg: AgentLeg, message: bytes, code: ErrorCode | None
) -> None:
    assert leg.receive(message) is code


def test_message_may_be_reused_after_receive(leg: AgentLeg) -> None:
    message = bytearray(b"\0" + bytes([1, 0]) * (2 * FRAME))
    leg.receive(bytes(message))
    message.clear()
    out = np.empty(FRAME, dtype=np.int16)

    assert leg.take(0, out)
    assert (out == 1).all()


def test_clear_and_drain_reach_the_playout(leg: AgentLeg) -> None:
    leg.receive(b"\0" + bytes(100))
    assert leg.clear(None) == 100
    assert not leg.is_drained

    leg.drain(None)

    assert leg.is_drained


def test_agent_that_falls_behind_gets_the_newest_frames_in_order(leg: AgentLeg, link: Link) -> None:
    link.is_read = False
    frames_in_link = 13  # the transport holds 250 ms, and the frame that went over it
    for number in range(30):
        leg.put(number, frame(number))
    assert numbers(link) == list(range(frames_in_link))

    link.read_all()
    leg.put(30, frame(30))

    assert numbers(link)[frames_in_link:] == list(range(31 - WAITING_FRAMES - 1, 31))
    statistics = leg.statistics()
    assert statistics.frames_to_agent + statistics.dropped_frames == 31
    assert statistics.dropped_frames == 30 - frames_in_link - WAITING_FRAMES


def test_agent_that_reads_again_is_sent_no_more_than_the_bound(leg: AgentLeg, link: Link) -> None:
    link.is_read = False
    for number in range(30):
        leg.put(number, frame(number))
    link.unsent = FORMAT.ms_to_bytes(MAX_UNSENT_MS) - FRAME_BYTES

    leg.put(30, frame(30))

    assert numbers(link)[13:] == [18, 19]


def test_agent_is_stalled_after_five_seconds_without_reading(leg: AgentLeg, link: Link) -> None:
    link.is_read = False
    link.unsent = 100_000
    for tick in range(STALLED_TICKS - 1):
        leg.put(tick, frame(1))
    assert leg.unread_ticks < STALLED_TICKS

    leg.put(STALLED_TICKS, frame(1))

    assert leg.unread_ticks >= STALLED_TICKS


def test_agent_that_reads_in_between_is_not_stalled(leg: AgentLeg, link: Link) -> None:
    link.is_read = False
    link.unsent = 100_000
    for tick in range(STALLED_TICKS - 1):
        leg.put(tick, frame(1))
    link.read_all()
    leg.put(STALLED_TICKS, frame(1))
    link.unsent = 100_000

    leg.put(STALLED_TICKS + 1, frame(1))

    assert leg.unread_ticks < STALLED_TICKS


def let_pass(link: Link, frames: int) -> None:
    """Let the transport take so many messages before it is full again."""
    link.unsent = FORMAT.ms_to_bytes(MAX_UNSENT_MS) - (frames - 1) * FRAME_BYTES


def test_agent_that_stays_behind_for_five_seconds_is_stalled_though_it_reads_a_little(
    leg: AgentLeg, link: Link
) -> None:
    link.is_read = False
    link.unsent = 100_000
    for tick in range(WAITING_FRAMES):
        leg.put(tick, frame(1))

    for tick in range(STALLED_TICKS):
        let_pass(link, 1)
        leg.put(tick, frame(1))

    assert leg.unread_ticks >= STALLED_TICKS


def test_agent_that_comes_back_has_all_the_time_it_needs_to_catch_up() -> None:
    leg, link = AgentLeg(FORMAT, lambda audience: None), PositionedLink()
    leg.link_positioned(link, 10_000, [0])
    leg.put(0, frame(0))
    leg.unlink()
    away = 400
    for tick in range(1, away):
        leg.put(tick, frame(tick))

    leg.link_positioned(link, 10_000, [FRAME])
    link.is_read = False
    for tick in range(away, away + STALLED_TICKS + 50):
        let_pass(link, 2)
        leg.put(tick, frame(tick))

    assert leg.unread_ticks < STALLED_TICKS
    assert leg.statistics().dropped_frames == 0
    assert link.offsets == [n * FRAME for n in range(len(link.offsets))]


def test_agent_has_not_caught_up_while_its_link_is_full_of_what_it_missed() -> None:
    leg, link = AgentLeg(FORMAT, lambda audience: None), PositionedLink()
    leg.link_positioned(link, 10_000, [0])
    leg.unlink()
    leg.put(0, frame(0))
    leg.link_positioned(link, 10_000, [0])
    link.is_read = False
    link.unsent = FORMAT.ms_to_bytes(MAX_UNSENT_MS) - FRAME_BYTES

    for tick in range(1, 2 * WAITING_FRAMES):
        leg.put(tick, frame(tick))

    assert link.offsets == [0, FRAME], "the link is full with the last frame that waited"
    assert leg.statistics().dropped_frames == 0
    assert leg.unread_ticks == 2 * WAITING_FRAMES - 2


def test_agent_that_reads_nothing_of_what_it_missed_is_stalled() -> None:
    leg, link = AgentLeg(FORMAT, lambda audience: None), PositionedLink()
    leg.link_positioned(link, 10_000, [0])
    leg.unlink()
    leg.link_positioned(link, 10_000, [0])
    link.unsent = 100_000

    for tick in range(STALLED_TICKS):
        leg.put(tick, frame(tick))

    assert leg.unread_ticks >= STALLED_TICKS


def test_agent_without_a_link_is_not_stalled() -> None:
    leg = AgentLeg(FORMAT, lambda audience: None)
    leg.link_positioned(PositionedLink(), 1_000, [0])
    leg.unlink()

    for tick in range(STALLED_TICKS + 1):
        leg.put(tick, frame(tick))

    assert leg.unread_ticks < STALLED_TICKS
    assert leg.statistics().frames_to_agent == 0
