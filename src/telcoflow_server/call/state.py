"""What a command does to the state of a call: allowed or refused, and with which words.

Not here: the table itself, which both ends share (`telcoflow_sdk/protocol/states.py`); what a
command does besides (`call.py`). Implements "Call states" of docs/explanation/calls.md.
"""

from __future__ import annotations

from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_sdk.protocol.commands import CommandName
from telcoflow_sdk.protocol.states import TRANSITIONS, CallState


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
