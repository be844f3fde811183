"""Legs, a recording and an agent's line that live in memory, for the media plane's tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from telcoflow_sdk.audio.format import AudioFormat
from telcoflow_sdk.protocol.codes import CloseCode
from telcoflow_sdk.protocol.positions import END, MORE, AudioMessage
from telcoflow_server.media.credit import CreditStatistics, Requests, Window
from telcoflow_server.media.plane import Row
from telcoflow_server.media.playout import Playout
from telcoflow_server.media.routing import Slot, Stage

Frame = NDArray[np.int16]


class Leg:
    """Says prepared samples, frame by frame, and keeps what it hears."""

    def __init__(self, said: Frame | None = None, rate_hz: int = 24_000) -> None:
        self.rate_hz = rate_hz
        self.frames = [] if said is None else list(said.reshape(-1, rate_hz // 50))
        self.heard: list[Frame] = []
        self.taken_ticks: list[int] = []
        self.put_ticks: list[int] = []
        self.on_take: Callable[[], None] = lambda: None
        self.on_put: Callable[[], None] = lambda: None

    def take(self, tick: int, out: Frame) -> bool:
        self.taken_ticks.append(tick)
        self.on_take()
        if not self.frames:
            out[:] = 99  # must not be heard: what follows is "silence"
            return False
        out[:] = self.frames.pop(0)
        return True

    def put(self, tick: int, frame: Frame) -> None:
        self.put_ticks.append(tick)
        self.on_put()
        self.heard.append(frame.copy())

    @property
    def sound(self) -> Frame:
        return np.concatenate(self.heard)


class MemoryLane:
    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def write(self, frame: Frame) -> None:
        self.frames.append(frame.copy())


def noise(samples: int, seed: int) -> Frame:
    return np.random.default_rng(seed).integers(-32768, 32768, samples).astype(np.int16)


def join(row: Row, caller: Leg, agent: Leg) -> None:
    row.attach(Slot.CALLER, caller, caller, caller.rate_hz)
    row.attach(Slot.AGENT, agent, agent, agent.rate_hz)
    row.set_stage(Stage.ANSWERED)


FRAME = 160  # samples, at 8 kHz
FRAME_BYTES = 2 * FRAME


def speech(samples: int, first: int = 1) -> bytes:
    """Return samples that name their own position, so that every one can be told apart."""
    return np.arange(first, first + samples, dtype="<i2").tobytes()


class Line:
    """A playout with its clock and the credit of v1; keeps what was played, `None` for silence."""

    def __init__(self) -> None:
        self.playout = Playout(AudioFormat(8_000))
        self.requests = Requests(self.playout, AudioFormat(8_000))
        self.tick = 0
        self.ticks: list[NDArray[np.int16] | None] = []

    def run(self, ticks: int = 1) -> None:
        for _ in range(ticks):
            out = np.full(FRAME, -1, dtype=np.int16)
            self.ticks.append(out if self.playout.take(self.tick, out) else None)
            self.tick += 1

    @property
    def sounding(self) -> str:
        """One letter per tick: `#` sound, `.` silence."""
        return "".join("." if frame is None else "#" for frame in self.ticks)

    @property
    def heard(self) -> NDArray[np.int16]:
        """All samples of the sounding ticks, padding included."""
        return np.concatenate([frame for frame in self.ticks if frame is not None])

    def request_all(self) -> list[int]:
        return list(iter(self.requests.next_request, 0))

    @property
    def credit(self) -> CreditStatistics:
        return self.requests.statistics()


class PositionedLine(Line):
    """The same with the credit of v2, and a client that keeps within it or not."""

    def __init__(self) -> None:
        super().__init__()
        self.window = Window(self.playout, AudioFormat(8_000))
        self.sent = 0
        """Samples of the generation in progress."""

    def say(
        self, samples: int, *, end: bool = False, more: bool = True, delay_ms: int = 0
    ) -> CloseCode | None:
        """Send samples that name their own position, from 1 on."""
        message = AudioMessage(
            0,
            (END if end else 0) | (MORE if more else 0),
            delay_ms,
            self.playout.generation,
            self.sent,
            speech(samples, self.sent % 30_000 + 1),
        )
        self.sent += samples
        return self.window.receive(message)

    def clear(self) -> int:
        """Interrupt; return the bytes dropped."""
        self.sent = 0
        return self.window.clear()
