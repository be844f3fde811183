"""Commands of one call that wait: for their place behind queued audio, then for their answer.

Not here: which command is possible when, and what its answer means (`media.py`).
Implements "Commands" of docs/reference/wire.md §2 and "Changing mode" of docs/reference/sdk.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec

from telcoflow_sdk.audio.format import BYTES_PER_SAMPLE
from telcoflow_sdk.audio.outbox import Outbox
from telcoflow_sdk.audio.positioned import PositionedOutbox
from telcoflow_sdk.protocol.codec import encode
from telcoflow_sdk.protocol.commands import (
    COMMAND_GRACE_S,
    COMMAND_TIMEOUT_MS,
    MODE_COMMANDS,
    POSITIONED_COMMANDS,
    CommandName,
)
from telcoflow_sdk.protocol.messages import (
    Command,
    CommandData,
    ConnectData,
    InterruptResult,
    Place,
)

HOLD_S = 10.0
"""How long a command may wait for the audio queued before it. What has not left by then is
dropped: nobody shall hear it whom it was not meant for."""

CONNECT_DRAIN_MS = 2_000
"""Added to the ring time a server is told: it first plays out what it holds, 1 s at most."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A command that was not answered yet.

    Attributes:
        name: Which.
        deadline: When it is given up or, while `message` is held, sent whatever is in front.
        patience_s: How long its answer may take, seconds from when it is sent.
        message: What to send; None once it was sent.
        sent: Of an interrupt on v2: what had left of the audio it drops, samples.
        begin: Likewise: where an utterance begins that may not have arrived; -1: nowhere.
    """

    name: CommandName
    deadline: float
    patience_s: float
    message: bytes | None
    sent: int | None = None
    begin: int = -1

    def interrupted(self, answer: object) -> InterruptResult:
        """Read what the server says of an interrupt; one that says nothing is no error."""
        try:
            result = msgspec.convert(answer, InterruptResult, strict=False)
        except msgspec.ValidationError:
            return InterruptResult()
        if self.sent is None or result.played is None:
            return result
        # What was still under way counts too, and only this end knows of it.
        dropped_bytes = max(0, self.sent - result.played) * BYTES_PER_SAMPLE
        # Nothing was heard of what had not arrived; the server tells of the utterance before it.
        heard_ms = 0.0 if result.played == self.begin else result.heard_ms
        return InterruptResult(dropped_bytes, heard_ms, result.played)


class CommandsInFlight:
    """Every command between the application's call and its outcome.

    On v1 a held command is a mark in the outbox: it is sent after the audio that was queued before
    it and before the audio that is queued later, whatever is granted or cleared meanwhile. On v2
    nothing is held: a command says where it belongs.

    Args:
        outbox: Holds the marks.
        make_id: Returns a new command id, unique for this call.

    Attributes:
        positioned: Knows the places, on v2; set by the owner once that is spoken.
    """

    __slots__ = ("_make_id", "_outbox", "_waiting", "positioned")

    def __init__(self, outbox: Outbox, make_id: Callable[[], str]) -> None:
        self._outbox = outbox
        self._make_id = make_id
        self.positioned: PositionedOutbox | None = None
        self._waiting: dict[str, Waiting] = {}

    def has(self, name: CommandName) -> bool:
        """Return whether such a command is held or not answered."""
        return any(waiting.name is name for waiting in self._waiting.values())

    def add(
        self,
        name: CommandName,
        ring_time_s: int | None,
        now: float,
        *,
        held: bool = False,
        mark: str | None = None,
    ) -> tuple[str, bytes | None]:
        """Take a command.

        Args:
            name: Which.
            ring_time_s: How long somebody may be rung before the answer, or None.
            now: Monotonic time, seconds.
            held: Whether it waits until the audio queued before it has left (v1).
            mark: The name of a mark, for `agent.mark`.

        Returns:
            Its id, and what to send now; None when it is held.
        """
        command_id = self._make_id()
        positioned = self.positioned
        timeout_ms, patience_s = COMMAND_TIMEOUT_MS, COMMAND_TIMEOUT_MS / 1000 + COMMAND_GRACE_S
        if ring_time_s is not None:
            timeout_ms = ring_time_s * 1000 + CONNECT_DRAIN_MS
            patience_s = ring_time_s + COMMAND_GRACE_S
            if positioned is not None:  # it rings once all that is played, however long it takes
                patience_s += positioned.unplayed_ms / 1000
        data = CommandData(command_id=command_id, command=name, timeout_ms=timeout_ms)
        if name is CommandName.CONNECT and ring_time_s is not None:
            ring_time = msgspec.to_builtins(ConnectData(ring_time_seconds=ring_time_s))
            data = msgspec.structs.replace(data, data=ring_time)
        if mark is not None:
            data = msgspec.structs.replace(data, data={"name": mark})
        sent, begin = None, -1
        if positioned is not None and name in POSITIONED_COMMANDS:
            place = positioned.place
            if name is CommandName.INTERRUPT:
                place = Place(positioned.generation, 0)
                sent, begin = positioned.cleared_sent, positioned.cleared_begin
            data = msgspec.structs.replace(data, position=place)
        message = encode(Command(data=data))
        if held:
            self._outbox.mark(command_id)
            self._waiting[command_id] = Waiting(name, now + HOLD_S, patience_s, message)
            return command_id, None
        self._waiting[command_id] = Waiting(name, now + patience_s, patience_s, None, sent, begin)
        return command_id, message

    def release(self, now: float) -> bytes | None:
        """Return the next held command if its turn has come, or None; its answer is due now."""
        command_id = self._outbox.next_mark()
        if command_id is None:
            return None
        waiting = self._waiting[command_id]
        self._waiting[command_id] = replace(
            waiting, deadline=now + waiting.patience_s, message=None
        )
        return waiting.message

    def settle(self, command_id: str) -> Waiting | None:
        """Return which command was answered; None when nobody waits for it."""
        return self._waiting.pop(command_id, None)

    def withdraw(self, name: CommandName) -> str | None:
        """Forget the command of this name that is still held; return its id, or None."""
        for command_id, waiting in self._waiting.items():
            if waiting.name is name and waiting.message is not None:
                del self._waiting[command_id]
                self._outbox.remove_mark(command_id)
                return command_id
        return None

    def next_deadline(self) -> float | None:
        """Return when `expire` must be called, or None."""
        return min((waiting.deadline for waiting in self._waiting.values()), default=None)

    def expire(self, now: float) -> tuple[list[tuple[str, CommandName]], int | None]:
        """Give up what has waited too long.

        Returns:
            The commands that were not answered, forgotten now. And, if commands were held too
            long, the bytes of audio that were dropped in front of them; their turn has come.
        """
        unanswered: list[tuple[str, CommandName]] = []
        dropped_bytes: int | None = None
        for command_id, waiting in list(self._waiting.items()):
            if waiting.deadline > now:
                continue
            if waiting.message is None:
                del self._waiting[command_id]
                unanswered.append((command_id, waiting.name))
            else:
                dropped_bytes = (dropped_bytes or 0) + self._outbox.drop_before_mark(command_id)
        return unanswered, dropped_bytes

    def abandon(self) -> list[str]:
        """Forget everything; return the ids."""
        command_ids = list(self._waiting)
        self._waiting.clear()
        return command_ids


def waits_for_audio(name: CommandName) -> bool:
    """Return whether the command keeps its place among the audio of a call that was answered."""
    return name in MODE_COMMANDS or name is CommandName.CONNECT
