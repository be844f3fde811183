"""The names of call commands and events on the wire, and how long a command may take.

Not here: who may send them when (the server's `call/state.py`).
Implements docs/reference/wire.md §2.
"""

from __future__ import annotations

from enum import StrEnum


class CommandName(StrEnum):
    """Commands an agent may send on a media link."""

    ANSWER = "call.answer"
    CONNECT = "call.connect"
    WHISPER = "agent.whisper"
    BARGE = "agent.barge"
    SPY = "agent.spy"
    CLOSE = "call.close"
    DISCONNECT = "call.disconnect"
    INTERRUPT = "agent.interrupt"


class CallEventName(StrEnum):
    """Events a server may send on a media link."""

    TERMINATED = "call.terminated"
    ERROR = "call.error"
    PROGRESS = "call.progress"


class DialProgress(StrEnum):
    """How far dialling a person has come; the `state` of a `call.progress` event."""

    RINGING = "ringing"
    EARLY = "early"  # sound comes from the far end before anybody answered
    ANSWERED = "answered"
    FAILED = "failed"


MODE_COMMANDS = frozenset({CommandName.WHISPER, CommandName.BARGE, CommandName.SPY})

DEFAULT_RING_TIME_S = 60
MIN_RING_TIME_S = 1
MAX_RING_TIME_S = 120
"""How long a person may be rung, seconds."""

COMMAND_TIMEOUT_MS = 10_000
"""What a command tells the server it may take."""

COMMAND_GRACE_S = 5.0
"""How long a client waits beyond that: only a server that died stays silent so long."""


def check_ring_time(ring_time_seconds: int) -> None:
    """Refuse a ring time that no server takes.

    Raises:
        ValueError: it is outside 1 to 120, or no whole number.
    """
    is_whole = type(ring_time_seconds) is int  # not True, and not what only looks like a number
    if not is_whole or not MIN_RING_TIME_S <= ring_time_seconds <= MAX_RING_TIME_S:
        raise ValueError(
            f"ring_time_seconds must be a whole number from {MIN_RING_TIME_S} to "
            f"{MAX_RING_TIME_S}, not {ring_time_seconds!r}"
        )
