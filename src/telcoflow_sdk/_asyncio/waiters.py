"""Who waits for the agent's audio: for room in the queue, for its end to leave, or to be played.

Not here: what makes it move (`sending.py`, `audio/`).
Implements `drain` and `play` of docs/reference/sdk.md.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

from telcoflow_sdk.audio.outbox import Outbox
from telcoflow_sdk.audio.positioned import PositionedOutbox
from telcoflow_sdk.protocol.messages import Place

_WhatT = TypeVar("_WhatT")


class AudioWaiters:
    """Wakes whom the outgoing audio has come far enough for; after the end, everybody.

    Args:
        outbox: Which audio, on protocol v1.
        loop: Where they wait.
    """

    __slots__ = ("_is_over", "_loop", "_outbox", "_played", "_positions", "_room")

    def __init__(self, outbox: Outbox, loop: asyncio.AbstractEventLoop) -> None:
        self._outbox: Outbox | PositionedOutbox = outbox
        self._positions: PositionedOutbox | None = None
        self._loop = loop
        self._is_over = False
        self._room: list[tuple[int, asyncio.Future[bool]]] = []
        self._played: list[tuple[Place, asyncio.Future[bool]]] = []

    def agree_on_v2(self, outbox: PositionedOutbox) -> None:
        """The audio is in another outbox, which knows what was played."""
        self._outbox = self._positions = outbox

    async def drain(self) -> None:
        """Wait until every whole sample has left, was cleared, or the call has ended.

        Cancellation loses nothing.
        """
        if not self._outbox.is_drained and not self._is_over:
            await self._wait(self._room, -1)

    async def room(self, below_bytes: int) -> None:
        """Wait until fewer bytes than this are queued, or the call has ended.

        Cancellation loses nothing.
        """
        if self._outbox.queued_bytes >= below_bytes and not self._is_over:
            await self._wait(self._room, below_bytes)

    async def played(self, outbox: PositionedOutbox) -> bool:
        """Wait until what was written is played.

        Returns:
            False: it was cleared, or the call has ended.

        Cancellation loses nothing.
        """
        if self._is_over:
            return False
        if outbox.played >= outbox.written:
            return True
        return await self._wait(self._played, outbox.place)

    def has_left(self) -> None:
        """Audio may have left."""
        if self._room:
            self._wake_room()

    def has_played(self) -> None:
        """Audio may have been played."""
        if self._played:
            self._wake_played()

    def was_dropped(self) -> None:
        """Audio was dropped."""
        self._wake_room()
        self._wake_played()

    def end(self) -> None:
        """The call is over: nobody waits any more."""
        self._is_over = True
        self.was_dropped()

    def _wake_room(self) -> None:
        is_empty = self._outbox.is_drained or self._is_over
        for below_bytes, waiter in self._room:
            if (is_empty or self._outbox.queued_bytes < below_bytes) and not waiter.done():
                waiter.set_result(True)

    def _wake_played(self) -> None:
        outbox = self._positions
        if outbox is None:
            return
        for place, waiter in self._played:
            if waiter.done():
                continue
            is_there = place.generation == outbox.generation and place.offset <= outbox.written
            if self._is_over or not is_there:
                waiter.set_result(False)
            elif outbox.played >= place.offset:
                waiter.set_result(True)

    async def _wait(self, waiters: list[tuple[_WhatT, asyncio.Future[bool]]], what: _WhatT) -> bool:
        future: asyncio.Future[bool] = self._loop.create_future()
        waiter = (what, future)
        waiters.append(waiter)
        try:
            return await future
        finally:
            waiters.remove(waiter)
