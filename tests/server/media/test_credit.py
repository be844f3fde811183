"""Credit by positions: what is taken, what is refused, and what the client is told."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_sdk.audio.format import AudioFormat
from telcoflow_sdk.protocol.codes import CloseCode
from telcoflow_sdk.protocol.positions import END, MORE, AudioMessage, Position
from telcoflow_server.media.credit import HEARTBEAT_TICKS, Window
from telcoflow_server.media.lead import MAX_LEAD_MS, START_LEAD_MS
from telcoflow_server.media.playout import Playout
from tests.support.media import FRAME, FRAME_BYTES, PositionedLine, speech

FORMAT = AudioFormat(8_000)
START_WINDOW = 8 * START_LEAD_MS
MAX_WINDOW = 8 * MAX_LEAD_MS


@pytest.fixture
def line() -> PositionedLine:
    return PositionedLine()


def audio(offset: int, samples: int, *, generation: int = 0, flags: int = MORE) -> AudioMessage:
    """Return samples that name their own position, from 1 on."""
    return AudioMessage(0, flags, 0, generation, offset, speech(samples, offset + 1))


# --- what is taken -----------------------------------------------------------------------


def test_audio_is_taken_where_the_audio_before_it_ended(line: PositionedLine) -> None:
    assert line.window.receive(audio(0, FRAME)) is None
    assert line.window.receive(audio(FRAME, 100)) is None
    assert line.window.receive(audio(FRAME + 100, 60)) is None

    line.run(2)

    assert (line.heard == np.arange(1, 2 * FRAME + 1)).all()
    assert line.playout.received == line.playout.played == 2 * FRAME


@pytest.mark.parametrize("offset", [FRAME + 1, FRAME - 1, 0, 2**64 - 1])
def test_audio_with_a_hole_before_it_or_that_goes_back_is_out_of_place(
    line: PositionedLine, offset: int
) -> None:
    line.window.receive(audio(0, FRAME))

    assert line.window.receive(AudioMessage(0, 0, 0, 0, offset, b"\1\1")) is CloseCode.BAD_POSITION
    assert line.playout.received == FRAME


def test_a_generation_that_has_not_begun_is_out_of_place(line: PositionedLine) -> None:
    assert line.window.receive(audio(0, 1, generation=1)) is CloseCode.BAD_POSITION


def test_audio_that_an_interruption_overtook_is_dropped_and_counted(line: PositionedLine) -> None:
    line.window.receive(audio(0, FRAME))
    assert line.clear() == FRAME_BYTES

    assert line.window.receive(audio(FRAME, 3 * FRAME)) is None
    assert line.window.receive(audio(7, 3 * FRAME)) is None, "wherever it belonged"
    line.run(3)

    assert line.sounding == "..."
    assert line.window.statistics().stale_bytes == 6 * FRAME_BYTES
    assert line.window.statistics().discarded_bytes == 6 * FRAME_BYTES
    assert line.window.statistics().received_bytes == 7 * FRAME_BYTES


def test_a_new_generation_begins_at_zero(line: PositionedLine) -> None:
    line.window.receive(audio(0, 2 * FRAME))
    line.run()
    line.clear()

    assert line.window.receive(audio(0, 2 * FRAME, generation=1)) is None
    line.run(2)

    assert line.sounding == "###"
    assert (line.heard[FRAME:] == np.arange(1, 2 * FRAME + 1)).all()


# --- how far -----------------------------------------------------------------------------


def test_the_widest_window_is_taken_before_any_was_told_and_no_more(line: PositionedLine) -> None:
    assert line.window.receive(audio(0, MAX_WINDOW)) is None
    assert line.window.receive(audio(MAX_WINDOW, 1)) is CloseCode.CREDIT_OVERRUN
    assert line.playout.received == MAX_WINDOW


def test_what_was_granted_stays_granted_when_the_window_shrinks(line: PositionedLine) -> None:
    for _ in range(12):  # gaps whose fault it is open the window
        line.say(2 * FRAME)
        line.run(8)
        line.window.next_position(0)
    widest = line.window.next_position(1)
    assert widest is not None
    assert widest.window == MAX_WINDOW
    while line.playout.lead.lead_ms == MAX_LEAD_MS:
        line.say(FRAME)
        line.run()
        last = line.window.next_position(0) or widest
    reach = line.playout.played + MAX_WINDOW - FRAME

    assert last.window < MAX_WINDOW
    assert line.say(reach - line.sent) is None
    assert line.say(FRAME + 1) is CloseCode.CREDIT_OVERRUN


def test_a_client_that_knows_of_an_old_window_may_fill_it_behind_an_interruption(
    line: PositionedLine,
) -> None:
    line.say(2 * FRAME)
    line.run()
    line.window.next_position(0)
    line.clear()

    assert line.say(MAX_WINDOW) is None
    assert line.say(1) is CloseCode.CREDIT_OVERRUN


# --- another link ------------------------------------------------------------------------


def test_audio_that_is_here_already_is_trimmed_at_the_beginning_of_a_link(
    line: PositionedLine,
) -> None:
    line.window.receive(audio(0, FRAME + 7))
    line.window.relink()

    assert line.window.receive(audio(0, 100)) is None, "all of it is here"
    assert line.window.receive(audio(100, FRAME)) is None, "some of it"
    assert line.window.receive(audio(FRAME + 100, FRAME - 100)) is None
    line.run(2)

    assert (line.heard == np.arange(1, 2 * FRAME + 1)).all()
    assert line.window.statistics().discarded_bytes == 2 * (FRAME + 7)


def test_audio_goes_back_at_the_beginning_of_a_link_only(line: PositionedLine) -> None:
    line.window.receive(audio(0, FRAME))
    line.window.relink()
    line.window.receive(audio(FRAME - 10, 20))

    assert line.window.receive(audio(FRAME, 20)) is CloseCode.BAD_POSITION


def test_a_hole_is_out_of_place_at_the_beginning_of_a_link_too(line: PositionedLine) -> None:
    line.window.receive(audio(0, FRAME))
    line.window.relink()

    assert line.window.receive(audio(FRAME + 1, 1)) is CloseCode.BAD_POSITION


# --- ends --------------------------------------------------------------------------------


def test_an_end_is_behind_the_audio_of_its_message(line: PositionedLine) -> None:
    line.say(2 * FRAME + 10, end=True, more=False)

    line.run(3)

    assert line.sounding == "###", "a part frame at the end does not wait"


def test_an_end_may_come_without_audio(line: PositionedLine) -> None:
    line.say(FRAME + 10)
    line.say(0, end=True)

    line.run(2)

    assert line.sounding == "##"


def test_an_end_that_comes_again_over_another_link_is_the_same_end(line: PositionedLine) -> None:
    line.window.receive(audio(0, FRAME, flags=END))
    line.window.relink()

    assert line.window.receive(audio(0, FRAME, flags=END)) is None
    line.window.receive(audio(FRAME, FRAME))
    line.window.receive(audio(2 * FRAME, FRAME))
    line.run(3)

    assert line.sounding == "###"
    assert line.playout.heard.samples == 2 * FRAME, "of the second utterance"


def test_an_end_of_what_more_has_come_behind_is_known(line: PositionedLine) -> None:
    """It came with its audio: messages keep their order."""
    line.window.receive(audio(0, FRAME, flags=END))
    line.window.receive(audio(FRAME, FRAME))
    line.window.relink()

    assert line.window.receive(audio(0, FRAME, flags=END)) is None
    line.run(3)

    assert line.playout.played == 2 * FRAME


# --- what the client is told -------------------------------------------------------------


def test_the_first_position_tells_the_window(line: PositionedLine) -> None:
    assert line.window.next_position(7) == Position(0, 0, 0, START_WINDOW, 0, 7, is_paused=False)


def test_nothing_is_told_twice_but_for_a_sign_of_life_once_a_second(line: PositionedLine) -> None:
    first = line.window.next_position(0)

    told = [line.window.next_position(0) for _ in range(2 * HEARTBEAT_TICKS)]

    assert told.count(None) == len(told) - 2
    assert told[HEARTBEAT_TICKS - 1] == told[-1] == first


def test_everything_that_changes_is_told(line: PositionedLine) -> None:
    line.window.next_position(0)

    line.say(2 * FRAME)
    received = line.window.next_position(0)
    line.run()
    played = line.window.next_position(0)
    line.playout.pause()
    paused = line.window.next_position(0)
    seen = line.window.next_position(1)
    line.clear()
    cleared = line.window.next_position(1)

    assert received == Position(0, 2 * FRAME, 0, START_WINDOW, 0, 0, is_paused=False)
    assert played == Position(0, 2 * FRAME, FRAME, START_WINDOW, FRAME, 0, is_paused=False)
    assert paused == Position(0, 2 * FRAME, FRAME, START_WINDOW, FRAME, 0, is_paused=True)
    assert seen == Position(0, 2 * FRAME, FRAME, START_WINDOW, FRAME, 1, is_paused=True)
    assert cleared is not None
    assert (cleared.generation, cleared.received, cleared.played) == (1, 0, 0)
    assert not cleared.is_paused


def test_a_new_link_is_told_at_once(line: PositionedLine) -> None:
    line.window.next_position(0)

    line.window.relink()

    assert line.window.next_position(0) is not None


def test_statistics_tell_what_may_still_come(line: PositionedLine) -> None:
    line.say(FRAME)

    statistics = line.window.statistics()

    assert statistics.outstanding_ms == START_LEAD_MS - 20
    assert statistics.received_bytes == FRAME_BYTES
    assert statistics.discarded_bytes == statistics.stale_bytes == 0


# --- whatever the network does -----------------------------------------------------------


class Client:
    """Sends as much as the last position it has got allows, over links that break."""

    def __init__(self, window: Window, playout: Playout) -> None:
        self.window = window
        self.playout = playout
        self.generation = self.sent = 0
        self.position: Position | None = None
        self.up: deque[AudioMessage] = deque()
        self.down: deque[Position] = deque()
        self.codes: list[CloseCode | None] = []

    def tick(self, seen: int = 0) -> None:
        position = self.window.next_position(seen)
        if position is not None:
            self.down.append(position)

    def hear(self, count: int) -> None:
        for _ in range(min(count, len(self.down))):
            self.position = self.down.popleft()

    def send(self, samples: int) -> None:
        if self.position is None or self.position.generation > self.generation:
            return
        played = self.position.played if self.position.generation == self.generation else 0
        samples = min(samples, played + self.position.window - self.sent)
        if samples > 0:
            self.up.append(audio(self.sent, samples, generation=self.generation))
            self.sent += samples

    def arrive(self, count: int) -> None:
        for _ in range(min(count, len(self.up))):
            self.codes.append(self.window.receive(self.up.popleft()))

    def interrupt(self) -> None:
        """What is under way then arrives behind it, or what is not; commands keep their order."""
        self.arrive(len(self.up) // 2)
        late = [message for message in self.up if message.generation == self.generation]
        self.up.clear()
        self.window.clear()
        self.up.extend(late)
        self.generation += 1
        self.sent = 0

    def relink(self) -> None:
        self.up.clear()
        self.down.clear()
        self.window.relink()
        # From a little before what is missing: the last bytes of the old link may have arrived.
        first = max(0, self.playout.received - 5)
        if self.sent > first:
            self.up.append(audio(first, self.sent - first, generation=self.generation))
        self.tick()


@given(
    st.lists(
        st.tuples(st.sampled_from("tttthhssssaaair"), st.integers(1, 3 * FRAME)),
        max_size=150,
    )
)
def test_a_client_that_keeps_to_positions_is_never_refused_and_loses_no_sample(
    script: list[tuple[str, int]],
) -> None:
    playout = Playout(FORMAT)
    client = Client(Window(playout, FORMAT), playout)
    played: list[int] = []
    out = np.zeros(FRAME, dtype=np.int16)
    tick = 0

    for step, size in script:
        match step:
            case "t":
                before = playout.played
                out[:] = 0
                playout.take(tick, out)
                played += out[: playout.played - before].tolist()
                tick += 1
                client.tick()
            case "h":
                client.hear(size)
            case "s":
                client.send(size)
            case "a":
                client.arrive(1 + size % 3)
            case "i":
                assert played == list(range(1, playout.played + 1))
                played.clear()
                client.interrupt()
            case _:
                client.relink()

    assert set(client.codes) <= {None}
    assert played == list(range(1, playout.played + 1))
    assert playout.queued_ms <= MAX_LEAD_MS
