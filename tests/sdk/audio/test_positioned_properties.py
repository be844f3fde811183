"""An outbox by positions, its server and the way between them, under random scripts."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hypothesis import example, given
from hypothesis import strategies as st

from telcoflow_sdk.audio.format import AudioFormat
from telcoflow_sdk.audio.intake import Intake
from telcoflow_sdk.audio.positioned import PositionedOutbox
from telcoflow_sdk.protocol.positions import END, AudioMessage, Position, parse_audio

NOW = 100.0


def pcm(samples: int, first: int = 0) -> bytes:
    """Return samples that each have another value."""
    return b"".join((first + n).to_bytes(2, "little") for n in range(samples))


def messages(box: PositionedOutbox) -> list[AudioMessage]:
    taken = []
    while (message := box.next_message(NOW)) is not None:
        taken.append(parse_audio(message))
    return taken


@dataclass
class Far:
    """A server that takes what comes in order, as in wire-v2.md, and says what it has."""

    window: int = 40
    generation: int = 0
    received: int = 0
    played: int = 0
    pcm: list[bytearray] = field(default_factory=lambda: [bytearray()])
    ends: set[tuple[int, int]] = field(default_factory=set)

    def take(self, message: AudioMessage) -> None:
        assert message.generation <= self.generation, "the generation has not begun"
        if message.generation < self.generation:
            return
        end = message.offset + len(message.pcm) // 2
        assert message.offset <= self.received, "a hole"
        assert end <= self.played + self.window, "more than the window"
        self.pcm[-1] += message.pcm[2 * (self.received - message.offset) :]
        self.received = max(self.received, end)
        if message.flags & END:
            assert end <= self.received
            self.ends.add((self.generation, end))

    def interrupt(self, generation: int) -> None:
        while self.generation < generation:
            self.generation += 1
            self.received = self.played = 0
            self.pcm.append(bytearray())

    def say(self) -> Position:
        return Position(self.generation, self.received, self.played, self.window, 0, 0, False)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 60)),
        st.tuples(st.sampled_from(["end", "send", "arrive", "play", "tell", "clear", "relink"]))
        .map(lambda step: (step[0], 1)),
        st.tuples(st.sampled_from(["arrive", "play"]), st.integers(1, 50)),
    ),
    max_size=60,
)  # fmt: skip


class Script:
    """An outbox, its server, and the way between them, which a test takes step by step."""

    def __init__(self) -> None:
        self.box = PositionedOutbox(Intake(AudioFormat(), 1 << 20))
        self.far = Far()
        self.written = [bytearray()]
        self.ends: set[tuple[int, int]] = set()
        self._way: deque[AudioMessage | int] = deque()  # audio, or an interruption's generation

    def take(self, step: str, size: int) -> None:
        box, far = self.box, self.far
        if step == "write":
            self.written[-1] += (data := pcm(size, len(self.written[-1]) // 2))
            box.write(data)
        elif step == "end":
            box.end_utterance()
            self.ends.add((box.generation, box.written))
        elif step == "send":
            self._way.extend(messages(box))
        elif step == "arrive":
            self._arrive(size)
        elif step == "play":
            far.played = min(far.received, far.played + size)
        elif step == "tell":
            box.update(far.say(), NOW)
        elif step == "clear":
            box.clear()
            self._way.append(box.generation)
            self.written.append(bytearray())
        else:
            self._way.clear()  # what was on its way is lost with the link
            box.relink(far.generation, far.received, NOW)
            far.interrupt(box.generation)  # text goes first, and nothing of it is lost

    def finish(self) -> None:
        """Over a last link, let everything arrive."""
        self.take("relink", 1)
        while True:
            for step in ("play", "tell", "send"):
                self.take(step, 1 << 20)
            if not self._way:
                return
            self._arrive(len(self._way))

    def _arrive(self, count: int) -> None:
        for _ in range(min(count, len(self._way))):
            item = self._way.popleft()
            if isinstance(item, int):
                self.far.interrupt(item)
            else:
                self.far.take(item)


@given(steps=STEPS)
@example(steps=[("end", 1), ("write", 1), ("end", 1), ("tell", 1), ("send", 1)])
def test_whatever_happens_nothing_comes_twice_and_only_what_was_cleared_is_missing(
    steps: list[tuple[str, int]],
) -> None:
    script = Script()
    box, far = script.box, script.far
    for step, size in steps:
        script.take(step, size)
        assert box.written == len(script.written[-1]) // 2
        assert box.written >= box.sent >= box.played
        if far.generation == box.generation:
            assert box.sent >= far.received >= far.played >= box.played

    script.finish()

    assert len(far.pcm) == len(script.written)
    assert far.pcm[-1] == script.written[-1]
    for received, written in zip(far.pcm, script.written, strict=True):
        assert written.startswith(received)
    assert box.is_drained
    last = box.generation
    told = {end for end in far.ends if end[0] == last}
    assert told == {end for end in script.ends if end[0] == last}
