"""Playouts of many agents at once: each as one playout would have it, or left to that."""

from __future__ import annotations

import numpy as np
import pytest

from telcoflow_sdk.audio.format import AudioFormat
from telcoflow_sdk.protocol.positions import MORE, AudioMessage, build_audio
from telcoflow_server.legs.message_array import audio_of, replies
from telcoflow_server.media.credit import Window
from telcoflow_server.media.lead import START_LEAD_MS, STEADY_TICKS, LeadRange
from telcoflow_server.media.playout import Playout
from telcoflow_server.media.playout_array import MAX_HELD, PlayoutArray
from telcoflow_server.media.routing import Audience
from tests.support.positions import ruler

FRAME = 480
LEAD_FRAMES = START_LEAD_MS // 20
ROW = 2
ROWS = np.array([ROW])


class Line:
    """An agent that says the next frame whenever it is told to.

    Attributes:
        playout: Of its own.
        window: Likewise.
        array: Where both are kept with others, in row `ROW`, from `enter` to `leave`.
        played: What was played, in order.
    """

    def __init__(self, within: LeadRange | None = None) -> None:
        self.playout = Playout(AudioFormat(), within)
        self.window = Window(self.playout, AudioFormat())
        self.array = PlayoutArray(3, FRAME)
        self.said = self.ticks = 0
        self.is_in = False
        self.played: list[int] = []

    def say(self, offset: int | None = None, *, more: bool = True, delay_ms: int = 0) -> bool:
        """Let a frame come; return whether the array took it."""
        at = self.said if offset is None else offset
        flags, pcm = MORE if more else 0, ruler(FRAME, at).tobytes()
        message = np.frombuffer(build_audio(0, flags, delay_ms, 0, at, pcm), audio_of(FRAME))
        if self.is_in and self.array.put(ROWS, message).all():
            self.said += FRAME
            return True
        self.leave()
        assert self.window.receive(AudioMessage(0, flags, delay_ms, 0, at, pcm)) is None
        self.said = max(self.said, at + FRAME)
        return False

    def tick(self) -> None:
        """Play a frame, if there is one, and tell the position."""
        if self.is_in and self.array.are_due(ROWS).all():
            self.played += self.array.next_frames(ROWS)[0].tolist()
            self.array.play(ROWS)
            self.array.told(ROWS)
        else:
            self.leave()
            out = np.zeros(FRAME, np.int16)
            if self.playout.take(self.ticks, out):
                self.played += out[out != 0].tolist()
            self.window.next_position(0)
        self.ticks += 1

    def enter(self) -> None:
        """Be kept with others."""
        window = self.window.steady()
        assert window is not None
        playout = self.playout.hand_over()
        assert playout is not None
        self.array.enter(ROW, playout, window)
        self.is_in = True

    def leave(self) -> None:
        """Be alone, if it is not."""
        if self.is_in:
            self.is_in = False
            counted = self.array.leave(ROW)
            self.playout.catch_up(counted.played_on)
            self.window.catch_up(counted.window, counted.received_bytes)


def talking(within: LeadRange | None = None) -> Line:
    line = Line(within)
    for _ in range(LEAD_FRAMES):
        line.say()
    for _ in range(10):
        line.tick()
        line.say()
    line.tick()
    return line


def both() -> tuple[Line, Line]:
    """Return two that have done the same, of which the first is in the array."""
    inside, outside = talking(), talking()
    inside.enter()
    return inside, outside


def same(inside: Line, outside: Line) -> None:
    """See that both have come to the same."""
    inside.leave()
    assert inside.played == outside.played
    assert inside.playout.statistics() == outside.playout.statistics()
    assert inside.window.statistics() == outside.window.statistics()
    assert inside.window.next_position(0) == outside.window.next_position(0)
    for line in (inside, outside):
        for _ in range(5):
            line.tick()
        line.say(more=False)
        for _ in range(5):
            line.tick()
    assert inside.played == outside.played
    assert inside.playout.statistics() == outside.playout.statistics()


@pytest.mark.parametrize("pattern", [[1], [2, 0], [0, 2], [3, 0, 0], [1, 0, 2, 1, 1]])
def test_frames_are_played_as_alone(pattern: list[int]) -> None:
    inside, outside = (talking(LeadRange(start_ms=120)) for _ in range(2))
    inside.enter()
    for line in (inside, outside):
        for _ in range(4):
            for frames in pattern:
                for _ in range(frames):
                    line.say(delay_ms=frames)
                line.tick()
    assert inside.is_in
    same(inside, outside)


def test_what_has_come_and_is_not_noted_yet_goes_along() -> None:
    inside, outside = both()
    for line in (inside, outside):
        line.say(delay_ms=7)
    same(inside, outside)


def test_a_row_can_be_counted_again_and_again() -> None:
    inside, outside = both()
    for _ in range(3):
        for line in (inside, outside):
            line.say()
            line.tick()
        counted = inside.array.count(ROW)
        inside.playout.catch_up(counted.played_on)
        inside.window.catch_up(counted.window, counted.received_bytes)
        assert inside.playout.statistics() == outside.playout.statistics()
        assert inside.playout.heard_ms == outside.playout.heard_ms
    same(inside, outside)


def test_what_nobody_hears_does_not_count_as_heard() -> None:
    inside, outside = talking(), talking()
    for line in (inside, outside):
        line.playout.switch(Audience.NOBODY, line.said)
        for _ in range(LEAD_FRAMES + 1):
            line.say()
            line.tick()
    inside.enter()
    for line in (inside, outside):
        line.say()
        line.tick()
    inside.leave()

    assert inside.playout.heard.samples == outside.playout.heard.samples < outside.playout.played


def test_positions_are_those_of_the_window() -> None:
    inside, outside = both()
    for line in (inside, outside):
        line.say()
    inside.array.play(ROWS)
    outside.playout.take(outside.ticks, np.zeros(FRAME, np.int16))
    reply = replies(1, FRAME, b"", b"")["position"]
    inside.array.positions(ROWS, reply)
    position = outside.window.next_position(0)

    assert position is not None
    for name in ("generation", "received", "played", "window", "heard", "seen"):
        assert reply[name][0] == getattr(position, name), name


def test_what_is_out_of_its_place_is_not_taken() -> None:
    line = talking()
    line.enter()
    messages = [
        build_audio(0, MORE, 0, 0, line.said + FRAME, bytes(2 * FRAME)),
        build_audio(0, MORE, 0, 0, line.said - FRAME, bytes(2 * FRAME)),
        build_audio(0, MORE, 0, 1, line.said, bytes(2 * FRAME)),
    ]
    for message in messages:
        taken = line.array.put(ROWS, np.frombuffer(message, audio_of(FRAME)))
        assert not taken.any()
    assert line.say()


def test_only_those_that_can_are_taken() -> None:
    line = talking()
    line.enter()
    other = talking()
    playout, window = other.playout, other.window.steady()
    assert window is not None
    steady = playout.hand_over()
    assert steady is not None
    line.array.enter(0, steady, window)
    good = build_audio(0, MORE, 0, 0, line.said, ruler(FRAME, line.said).tobytes())
    bad = build_audio(0, MORE, 0, 0, 0, bytes(2 * FRAME))
    messages = np.frombuffer(bad + good, audio_of(FRAME))

    assert line.array.put(np.array([0, ROW]), messages).tolist() == [False, True]
    assert line.array.count(0).received_bytes == 0
    assert line.array.count(ROW).received_bytes == 2 * FRAME


def test_no_more_is_taken_than_was_granted() -> None:
    line = talking()
    line.enter()
    taken = 0
    while line.array.put(
        ROWS,
        np.frombuffer(
            build_audio(0, MORE, 0, 0, line.said, ruler(FRAME, line.said).tobytes()),
            audio_of(FRAME),
        ),
    ).all():
        line.said += FRAME
        taken += 1

    assert 0 < taken < MAX_HELD
    line.leave()
    assert line.playout.queued_samples <= MAX_HELD * FRAME


def test_a_lead_that_changes_is_for_the_playout() -> None:
    line = talking()
    line.enter()
    ticks = 0
    while line.is_in:
        line.say()
        line.tick()
        ticks += 1

    assert ticks < STEADY_TICKS
    assert line.playout.lead.lead_ms == START_LEAD_MS - 20


def test_who_does_not_play_stays_alone() -> None:
    quiet, paused, ending, marked = Line(), talking(), talking(), talking()
    paused.playout.pause()
    ending.playout.end_at(ending.said + FRAME)
    marked.playout.mark("m", marked.said)
    odd = talking()
    odd.window.receive(AudioMessage(0, MORE, 0, 0, odd.said, bytes(100)))
    odd.tick()

    for line in (quiet, paused, ending, marked, odd):
        assert line.playout.hand_over() is None


def test_a_window_that_expects_something_stays_alone() -> None:
    fresh = Line()
    assert fresh.window.steady() is None
    cleared = talking()
    cleared.window.clear()
    assert cleared.window.steady() is None
    paused = talking()
    paused.playout.pause()
    paused.window.next_position(0)
    assert paused.window.steady() is None
    linked = talking()
    linked.window.relink()
    assert linked.window.steady() is None
