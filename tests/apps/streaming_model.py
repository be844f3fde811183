"""What applications talk to: a model that hears and speaks, in a few lines of asyncio.

It behaves as streaming speech models do: audio goes in as it comes, a pause ends a turn, the reply
comes in pieces and faster than it is spoken, and whoever begins to speak interrupts it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

RATE_HZ = 24_000
LOUD = 500
PAUSE_S = 0.3
THINKING_S = 0.2
PIECE_S = 0.1
SPEED = 4
"""How much faster than speech a reply comes."""


@dataclass(frozen=True)
class Reply:
    """What the model says in a turn: a sound of one value, so that a listener can tell which."""

    value: int
    seconds: float
    tool_call: str = ""

    @property
    def pcm(self) -> bytes:
        return np.full(round(self.seconds * RATE_HZ), self.value, np.int16).tobytes()


@dataclass(frozen=True)
class ModelEvent:
    """One message of the model's."""

    audio: bytes = b""
    is_interrupted: bool = False
    is_turn_complete: bool = False
    tool_call: str = ""


class StreamingModel:
    """One session with the model: `async with`, `send`, `receive`.

    Args:
        replies: What it says, turn by turn; the last one again and again.
        greeting: Whether it says the first of them by itself.
    """

    def __init__(self, replies: Sequence[Reply], *, greeting: bool = False) -> None:
        self._replies = list(replies)
        self._speaks_first = greeting
        self._events: asyncio.Queue[ModelEvent | None] = asyncio.Queue()
        self._speaking: asyncio.Task[None] | None = None
        self._is_in_turn = False
        self._quiet_s = 0.0

    async def __aenter__(self) -> Self:
        if self._speaks_first:
            self._speaking = asyncio.create_task(self._speak())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the session: `receive` ends."""
        if self._speaking is not None:
            self._speaking.cancel()
            await asyncio.wait([self._speaking])
        self._events.put_nowait(None)

    async def send(self, pcm: bytes) -> None:
        """Let the model hear something."""
        samples = np.frombuffer(pcm, np.int16)
        if np.abs(samples.astype(np.int32)).max(initial=0) >= LOUD:
            self._quiet_s = 0.0
            if not self._is_in_turn:
                self._is_in_turn = True
                if self._speaking is not None:
                    self._speaking.cancel()
                self._events.put_nowait(ModelEvent(is_interrupted=True))
            return
        self._quiet_s += samples.size / RATE_HZ
        if self._is_in_turn and self._quiet_s >= PAUSE_S:
            self._is_in_turn = False
            self._speaking = asyncio.create_task(self._speak())

    async def receive(self) -> AsyncIterator[ModelEvent]:
        """Yield what the model says, until the session is closed."""
        while (event := await self._events.get()) is not None:
            yield event

    async def _speak(self) -> None:
        await asyncio.sleep(THINKING_S)
        reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        pcm = reply.pcm
        piece_bytes = round(PIECE_S * RATE_HZ) * 2
        for start in range(0, len(pcm), piece_bytes):
            self._events.put_nowait(ModelEvent(audio=pcm[start : start + piece_bytes]))
            await asyncio.sleep(PIECE_S / SPEED)
        if reply.tool_call:
            self._events.put_nowait(ModelEvent(tool_call=reply.tool_call))
        self._events.put_nowait(ModelEvent(is_turn_complete=True))
