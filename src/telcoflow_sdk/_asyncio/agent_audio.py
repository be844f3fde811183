"""The agent's audio as a call handles it: written, dropped, paused, waited for.

Not here: how it leaves (`sending.py`), how a source is read (`playing.py`).
Implements "Playback" of docs/reference/sdk.md.
"""

from __future__ import annotations

from typing import Protocol

from telcoflow_sdk._asyncio.sending import AudioSender
from telcoflow_sdk._asyncio.waiters import AudioWaiters
from telcoflow_sdk.audio.format import BytesLike
from telcoflow_sdk.audio.outbox import Outbox
from telcoflow_sdk.audio.positioned import PositionedOutbox
from telcoflow_sdk.exceptions import WSSCallCommandError, WSSCallError
from telcoflow_sdk.protocol.commands import CommandName
from telcoflow_sdk.protocol.messages import InterruptResult
from telcoflow_sdk.protocol.resuming import ResumingLink


class Commands(Protocol):
    """Who sends commands."""

    @property
    def is_over(self) -> bool:
        """Whether the call has ended."""

    def post(self, name: CommandName) -> None:
        """Send a command; nobody waits for its answer."""

    async def command(self, name: CommandName) -> InterruptResult | None:
        """Send a command and wait for its answer."""


class AgentAudio:
    """One call's way from the agent to its listeners.

    Concurrency: the event loop's thread, `write` apart.

    Args:
        sender: Sends it.
        waiters: Knows who waits for it.
        commands: Pauses and resumes it.
    """

    __slots__ = ("_commands", "_interruptions", "_is_pausing", "_resuming", "_sender", "_waiters")

    def __init__(self, sender: AudioSender, waiters: AudioWaiters, commands: Commands) -> None:
        self._sender = sender
        self._waiters = waiters
        self._commands = commands
        self._resuming: ResumingLink | None = None  # on protocol v2
        self._interruptions = 0
        self._is_pausing = False

    def agree_on_v2(self, resuming: ResumingLink) -> None:
        """Send by positions from now on."""
        self._resuming = resuming
        self._sender.agree_on_v2(resuming)
        self._waiters.agree_on_v2(resuming.outbox)

    @property
    def outbox(self) -> Outbox | PositionedOutbox:
        """What is queued; write through `write`, so that it is sent."""
        return self._sender.outbox

    @property
    def positions(self) -> PositionedOutbox | None:
        """The same, where its place is known: on protocol v2."""
        return None if self._resuming is None else self._resuming.outbox

    @property
    def capacity_bytes(self) -> int:
        """The most that may be queued."""
        return self._sender.capacity_bytes

    @property
    def interruptions(self) -> int:
        """How often there was an interruption, or something queued was dropped."""
        return self._interruptions

    @property
    def is_over(self) -> bool:
        """Whether nothing that is written will be heard: the call ends, or has ended."""
        return self._commands.is_over or self._sender.outbox.is_sealed

    def write(self, data: BytesLike) -> None:
        """Queue PCM, and send it if the server waits for some. From any thread.

        Raises: as `Intake.write`.
        """
        self._sender.write(data)

    def end_utterance(self) -> None:
        """The utterance ends behind what is queued."""
        self._sender.outbox.end_utterance()
        self._sender.send()

    def clear(self) -> int:
        """Drop the audio that has not left, for an interruption; return its bytes.

        Nothing is held back any more. `CommandName.INTERRUPT` must follow at once.
        """
        self._interruptions += 1
        resuming = self._resuming
        if resuming is None or not resuming.can_number:
            # A server that cannot be told keeps the generation that it knows.
            return self.drop_unsent()
        self._is_pausing = False
        dropped_bytes = resuming.outbox.clear()
        self._waiters.was_dropped()
        # Nothing leaves before the command: it begins the generation of what is queued next.
        return dropped_bytes

    def drop_unsent(self) -> int:
        """Drop the audio that has not left; what has left is played. Returns its bytes."""
        dropped_bytes = self._sender.outbox.drop_unsent()
        if dropped_bytes:
            self._interruptions += 1
        self._waiters.was_dropped()
        self._sender.send()  # commands that were held
        return dropped_bytes

    async def pause(self) -> None:
        """Pause playback. Raises as `ActiveCall.pause_playback`; cancelled, it may be paused."""
        self._is_pausing = True
        try:
            await self._commands.command(CommandName.PAUSE)
        except WSSCallCommandError:
            self._is_pausing = False
            raise

    async def resume(self) -> None:
        """Go on with playback. Raises as `ActiveCall.resume_playback`; cancelled, it goes on."""
        self._is_pausing = False
        await self._commands.command(CommandName.RESUME)

    def end_pause(self) -> None:
        """Go on with playback if it was paused here; nobody waits for the answer."""
        if not self._is_pausing:
            return
        self._is_pausing = False
        try:
            self._commands.post(CommandName.RESUME)
        except WSSCallError:
            pass  # what is wrong will show with the next command

    async def drain(self) -> None:
        """Wait until every whole sample has left, was dropped, or the call has ended.

        Cancellation loses nothing.
        """
        await self._waiters.drain()

    async def room(self, below_bytes: int) -> None:
        """Wait until fewer bytes than this are queued, or the call has ended.

        Cancellation loses nothing.
        """
        await self._waiters.room(below_bytes)

    async def played(self) -> bool:
        """Wait until what was written is played; on v1 until it has left.

        Returns:
            False: it was dropped, or the call has ended.

        Cancellation loses nothing.
        """
        if self._resuming is not None:
            return await self._waiters.played(self._resuming.outbox)
        interruptions = self._interruptions
        await self._waiters.drain()
        return not self._commands.is_over and self._interruptions == interruptions
