"""The names of call commands and events on the wire, and how long a command may take.

Not here: who may send them when (the server's `call/state.py`).
Implements docs/reference/wire.md §2.
"""

from __future__ import annotations

from enum import StrEnum


class CommandName(StrEnum):
    """Commands an agent may send on a media link."""

    ANSWER = "call.answer"
    CLOSE = "call.close"
    DISCONNECT = "call.disconnect"
    INTERRUPT = "agent.interrupt"


class CallEventName(StrEnum):
    """Events a server may send on a media link."""

    TERMINATED = "call.terminated"
    ERROR = "call.error"


COMMAND_TIMEOUT_MS = 10_000
"""What a command tells the server it may take."""

COMMAND_GRACE_S = 5.0
"""How long a client waits beyond that: only a server that died stays silent so long."""
