"""The states of a call and which command leads where, as one table.

Not here: what a command does besides (`call.py`), who may send it (`session.py`).
Implements "Call states" of docs/explanation/calls.md. An absent entry is the error
`INVALID_STATE`, with both names in it.
"""

from __future__ import annotations

from enum import StrEnum

from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_sdk.protocol.commands import CommandName


class CallState(StrEnum):
    """Where a call is in its life; the names an application sees."""

    PENDING = "PENDING"  # ringing at the caller's end
    ANSWERED = "ANSWERED"  # caller and agent talk
    DISCONNECTED = "DISCONNECTED"  # over


TRANSITIONS: dict[tuple[CallState, CommandName], CallState] = {
    (CallState.PENDING, CommandName.ANSWER): CallState.ANSWERED,
    # A ringing call that the agent closes or disconnects is rejected: the caller gets busy.
    (CallState.PENDING, CommandName.CLOSE): CallState.DISCONNECTED,
    (CallState.PENDING, CommandName.DISCONNECT): CallState.DISCONNECTED,
    # Nothing can be queued yet, so this drops nothing; 1.0.0 sends it all the same.
    (CallState.PENDING, CommandName.INTERRUPT): CallState.PENDING,
    (CallState.ANSWERED, CommandName.INTERRUPT): CallState.ANSWERED,
    (CallState.ANSWERED, CommandName.CLOSE): CallState.DISCONNECTED,
    (CallState.ANSWERED, CommandName.DISCONNECT): CallState.DISCONNECTED,
}


class CommandRefused(Exception):
    """A command that cannot be carried out; `code` and the text go back to whoever sent it."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def parse_command(name: str) -> CommandName:
    """Return the command called `name`. Raises `CommandRefused` (`INVALID_COMMAND`)."""
    try:
        return CommandName(name)
    except ValueError:
        known = ", ".join(CommandName)
        raise CommandRefused(
            ErrorCode.INVALID_COMMAND, f"no such command; this server knows {known}"
        ) from None


def next_state(state: CallState, command: CommandName) -> CallState:
    """Return where `command` leads from `state`. Raises `CommandRefused` (`INVALID_STATE`)."""
    try:
        return TRANSITIONS[state, command]
    except KeyError:
        raise CommandRefused(
            ErrorCode.INVALID_STATE, f"{command} is not possible in state {state}"
        ) from None
