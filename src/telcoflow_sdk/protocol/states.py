"""The states of a call and which command leads where, as one table.

Not here: what a command does besides (`media.py`, and the server's `call`).
Implements "Call states" of docs/explanation/calls.md.
"""

from __future__ import annotations

from enum import StrEnum

from telcoflow_sdk.protocol.commands import CommandName


class CallState(StrEnum):
    """Where a call is in its life, as its agent sees it."""

    PENDING = "PENDING"
    """It rings; nobody has answered."""
    ANSWERED = "ANSWERED"
    """Caller and agent talk."""
    CONNECTED = "CONNECTED"
    """Caller, callee and agent are in a conference."""
    DISCONNECTED = "DISCONNECTED"
    """It is over; nothing leads out of here."""


TRANSITIONS: dict[tuple[CallState, CommandName], CallState] = {
    (CallState.PENDING, CommandName.ANSWER): CallState.ANSWERED,
    (CallState.PENDING, CommandName.CONNECT): CallState.CONNECTED,
    (CallState.PENDING, CommandName.CLOSE): CallState.DISCONNECTED,
    (CallState.PENDING, CommandName.DISCONNECT): CallState.DISCONNECTED,
    (CallState.PENDING, CommandName.INTERRUPT): CallState.PENDING,
    (CallState.ANSWERED, CommandName.CONNECT): CallState.CONNECTED,
    (CallState.ANSWERED, CommandName.CLOSE): CallState.DISCONNECTED,
    (CallState.ANSWERED, CommandName.DISCONNECT): CallState.DISCONNECTED,
    (CallState.ANSWERED, CommandName.INTERRUPT): CallState.ANSWERED,
    (CallState.CONNECTED, CommandName.WHISPER): CallState.CONNECTED,
    (CallState.CONNECTED, CommandName.BARGE): CallState.CONNECTED,
    (CallState.CONNECTED, CommandName.SPY): CallState.CONNECTED,
    # For the agent the call is over; the two humans may go on.
    (CallState.CONNECTED, CommandName.CLOSE): CallState.DISCONNECTED,
    (CallState.CONNECTED, CommandName.DISCONNECT): CallState.DISCONNECTED,
    (CallState.CONNECTED, CommandName.INTERRUPT): CallState.CONNECTED,
    **{
        (state, name): state
        for state in (CallState.PENDING, CallState.ANSWERED, CallState.CONNECTED)
        for name in (CommandName.MARK, CommandName.PAUSE, CommandName.RESUME)
    },
    (CallState.ANSWERED, CommandName.SEND_DTMF): CallState.ANSWERED,
    (CallState.CONNECTED, CommandName.SEND_DTMF): CallState.CONNECTED,
    # The caller has gone to somebody else.
    (CallState.ANSWERED, CommandName.TRANSFER): CallState.DISCONNECTED,
}
"""What each command leads to when it succeeds; an absent entry is the error `INVALID_STATE`."""
