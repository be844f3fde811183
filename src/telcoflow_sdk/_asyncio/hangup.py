"""Hanging up: let the goodbye play out, then send the command.

Not here: the command's own rules (`protocol/media.py`).
Implements "Hanging up" of docs/reference/sdk.md.
"""

from __future__ import annotations

import asyncio

from telcoflow_sdk._asyncio.media import MediaConnection
from telcoflow_sdk._asyncio.tasks import OwnedTasks
from telcoflow_sdk.exceptions import (
    WSSCallClosedError,
    WSSCallCommandError,
    WSSCallCommandTimeoutError,
)
from telcoflow_sdk.protocol.commands import CommandName
from telcoflow_sdk.protocol.media_events import EndCause
from telcoflow_sdk.protocol.states import CallState


class HangUp:
    """The one way a call is hung up, however many tasks ask for it.

    It runs in a task of its own, so that a caller who is cancelled does not shorten the goodbye.

    Args:
        media: The call's media link.
        tasks: Holds the task.
    """

    __slots__ = ("_command", "_is_sent", "_is_skipped", "_media", "_task", "_tasks")

    def __init__(self, media: MediaConnection, tasks: OwnedTasks) -> None:
        self._media = media
        self._tasks = tasks
        self._task: asyncio.Task[None] | None = None
        self._command = CommandName.CLOSE
        self._is_sent = False
        self._is_skipped: asyncio.Event | None = None

    @property
    def is_running(self) -> bool:
        """Whether somebody has hung up, and the call goes on for the goodbye."""
        return self._task is not None

    async def run(self, command: CommandName, drain: bool, drain_timeout_s: float) -> None:
        """Hang up, or join who does; returns once the call is over.

        Args:
            command: `CLOSE` or `DISCONNECT`. Whoever joins makes it a `DISCONNECT` if that is
                what either wants: it ends more.
            drain: Whether queued audio plays out first; False also ends another's waiting.
            drain_timeout_s: The longest goodbye, seconds from now.

        Raises:
            WSSCallCommandError: the server refused; the call goes on and takes audio again.
            WSSCallCommandTimeoutError: the server was silent; the call is over here.

        Cancellation: the hang-up goes on.
        """
        if self._media.state is CallState.DISCONNECTED:
            return
        if self._task is None or self._is_skipped is None:
            # Here and not in the task: what is queued from now on is behind the goodbye.
            self._media.audio.outbox.seal()
            self._media.withdraw_connect()  # nobody is rung by a call that is being hung up
            self._command = command
            self._is_sent = False
            self._is_skipped = asyncio.Event()
            work = self._drain_and_send(self._is_skipped, drain_timeout_s)
            self._task = self._tasks.spawn(work, f"telcoflow {command}")
        elif command is CommandName.DISCONNECT and self._command is CommandName.CLOSE:
            self._command = command
            if self._is_sent:
                self._task = self._tasks.spawn(self._send(), f"telcoflow {command}")
        if not drain or self._media.state is CallState.PENDING:  # nobody hears a ringing call
            self._is_skipped.set()
        await self.join()

    async def join(self) -> None:
        """Wait for a hang-up that is running; returns at once when none is. As `run`."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def _drain_and_send(self, is_skipped: asyncio.Event, drain_timeout_s: float) -> None:
        self._media.audio.end_pause()  # nobody would hear the goodbye, and the call never end
        await self._drain(is_skipped, drain_timeout_s)
        self._media.audio.drop_unsent()  # what did not leave in time is not said
        await self._send()

    async def _send(self) -> None:
        self._is_sent = True
        try:
            await self._media.command(self._command)
        except WSSCallClosedError:
            pass  # it ended by itself meanwhile, which is what was wanted
        except WSSCallCommandTimeoutError:
            self._media.end(EndCause.ABANDONED)
            raise
        except WSSCallCommandError:
            self._task = None
            self._media.audio.outbox.unseal()
            raise

    async def _drain(self, is_skipped: asyncio.Event, drain_timeout_s: float) -> None:
        if is_skipped.is_set():
            return
        waits = (
            asyncio.ensure_future(self._media.audio.drain()),
            asyncio.ensure_future(is_skipped.wait()),
        )
        try:
            await asyncio.wait(waits, timeout=drain_timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
