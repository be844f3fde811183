"""What is said to an agent, on its way: in order, bounded, kept until it has arrived.

Not here: the mix (`plane.py`), the messages and the link (`legs/agent.py`).
Implements "The other direction" of docs/explanation/flow-control.md and "When it is lost" of
docs/reference/wire-v2.md.
"""

from __future__ import annotations

from collections import deque

import msgspec

from telcoflow_sdk.audio.format import TICK_MS

WAITING_FRAMES = 12
"""Newest frames kept for an agent that is behind, 240 ms; older ones are dropped and counted."""


class FedFrame(msgspec.Struct, frozen=True, gc=False):
    """One frame for the agent, of the kind of object that is made fastest: it is for every tick.

    Attributes:
        channel: On which.
        offset: Of its first sample, on the call's time axis.
        end: Of its last sample, and so the offset of the next frame.
        pcm: Little-endian signed 16-bit.
        is_discontinuous: Whether what came before it on this channel was dropped.
    """

    channel: int
    offset: int
    end: int
    pcm: bytes
    is_discontinuous: bool


class Feed:
    """The frames of one agent, oldest first.

    Args:
        kept_ms: How much is kept while there is no link, and of what was sent and not
            acknowledged, ms of each channel. 0: what was sent is forgotten (v1).

    Attributes:
        channels: How many there are.
        waiting: What was not sent. To be read only, like all that follow.
        dropped_frames: What the agent will never get.
        is_catching_up: Whether there is no link, or what was kept then is not all sent.
        end: Where the newest frame ends, on the call's time axis.
    """

    def __init__(self, kept_ms: int) -> None:
        self.channels = 1
        self.dropped_frames = 0
        self._kept_frames = kept_ms // TICK_MS
        self.waiting: deque[FedFrame] = deque()
        self._sent: deque[FedFrame] = deque()
        self.is_catching_up = False
        self.end = 0
        self._gapped: set[int] = set()  # channels whose next frame follows a dropped one

    def put(self, channel: int, offset: int, pcm: bytes) -> None:
        """Queue a frame; once what can be sent is sent, `trim` the rest."""
        self.end = offset + len(pcm) // 2
        self.waiting.append(FedFrame(channel, offset, self.end, pcm, False))

    def trim(self) -> None:
        """Drop the oldest frames if more wait than are kept."""
        limit = self._kept_frames if self.is_catching_up else WAITING_FRAMES
        while len(self.waiting) > limit * self.channels:
            dropped = self.waiting.popleft()
            self._gapped.add(dropped.channel)
            self.dropped_frames += 1

    def next(self) -> FedFrame | None:
        """Return the next frame to send, which counts as sent; None when there is none."""
        if not self.waiting:
            self.is_catching_up = False
            return None
        frame = self.waiting.popleft()
        if self._gapped and frame.channel in self._gapped:
            self._gapped.discard(frame.channel)
            frame = msgspec.structs.replace(frame, is_discontinuous=True)
        if self._kept_frames:
            self._sent.append(frame)
            if len(self._sent) > self._kept_frames * self.channels:
                self._sent.popleft()
        return frame

    @property
    def is_steady(self) -> bool:
        """Whether every frame leaves as it comes, and is kept until it has arrived."""
        is_delayed = bool(self.waiting or self._gapped) or self.is_catching_up
        return not is_delayed and self.channels == 1 and self._kept_frames > 0

    def catch_up(self, frames: list[FedFrame], end: int) -> None:
        """Keep frames that were sent elsewhere and have not arrived; `end` is of the newest."""
        self.end = end
        self._sent.extend(frames)
        while len(self._sent) > self._kept_frames:
            self._sent.popleft()

    def acknowledge(self, received: int) -> None:
        """Forget what has arrived: everything before `received`, on the call's time axis."""
        while self._sent and self._sent[0].end <= received:
            self._sent.popleft()

    def unlink(self) -> None:
        """There is no link: keep everything, as much as may be kept."""
        self.is_catching_up = True

    def relink(self, received: list[int]) -> list[int]:
        """Send again, over a new link, what has not arrived.

        Args:
            received: Up to where the agent has the audio of each channel; none for channels it
                does not know.

        Returns:
            Where the audio of each of these channels goes on; `received` itself where nothing
            is kept.
        """
        self.is_catching_up = True
        known = dict(enumerate(received))
        again = [
            frame
            for frame in (*self._sent, *self.waiting)
            if frame.end > known.get(frame.channel, 0)
        ]
        self._sent.clear()
        self.waiting = deque(again)
        continues = dict(known)
        for frame in reversed(again):
            if frame.channel in known:
                continues[frame.channel] = max(frame.offset, known[frame.channel])
        return list(continues.values())
