"""The names of call commands and events on the wire, and how long a command may take.

Not here: who may send them when (the server's `call/state.py`).
Implements docs/reference/wire.md §2 and "Commands" of docs/reference/wire-v2.md.
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
    # Of protocol v2 only.
    MARK = "agent.mark"
    PAUSE = "agent.pause"
    RESUME = "agent.resume"
    SEND_DTMF = "call.send_dtmf"
    TRANSFER = "call.transfer"


class CallEventName(StrEnum):
    """Events a server may send on a media link."""

    TERMINATED = "call.terminated"
    ERROR = "call.error"
    PROGRESS = "call.progress"
    MARK_PLAYED = "mark.played"
    MARK_CLEARED = "mark.cleared"
    GAP = "media.gap"
    DTMF = "call.dtmf"


class DialProgress(StrEnum):
    """How far dialling a person has come; the `state` of a `call.progress` event."""

    RINGING = "ringing"
    EARLY = "early"  # sound comes from the far end before anybody answered
    ANSWERED = "answered"
    FAILED = "failed"


class GapCause(StrEnum):
    """Why there was silence inside an utterance of the agent's."""

    AGENT_SILENT = "agent_silent"  # the client had nothing to send
    CLIENT_LATE = "client_late"  # it had, and its process was busy
    NETWORK_LATE = "network_late"  # it had, and sent it in time
    UNKNOWN = "unknown"  # protocol v1 does not tell


MODE_COMMANDS = frozenset({CommandName.WHISPER, CommandName.BARGE, CommandName.SPY})

V2_COMMANDS = frozenset(
    {
        CommandName.MARK,
        CommandName.PAUSE,
        CommandName.RESUME,
        CommandName.SEND_DTMF,
        CommandName.TRANSFER,
    }
)
"""What a link of protocol v1 has no words for."""

POSITIONED_COMMANDS = MODE_COMMANDS | {
    CommandName.CONNECT,
    CommandName.CLOSE,
    CommandName.DISCONNECT,
    CommandName.MARK,
    CommandName.INTERRUPT,
    CommandName.SEND_DTMF,
    CommandName.TRANSFER,
}
"""Commands that on protocol v2 name their place among the agent's audio."""

DEFAULT_RING_TIME_S = 60
MIN_RING_TIME_S = 1
MAX_RING_TIME_S = 120
"""How long a person may be rung, seconds."""

DTMF_DIGITS = "0123456789*#ABCD"
"""What a telephone's keys can be (RFC 4733 §3.2)."""

MAX_DTMF_DIGITS = 64
"""Of one command: a card number and more; each takes about a sixth of a second to send."""

TRANSFER_TIMEOUT_S = 30
"""How long the phone may take to reach whom it was transferred to."""

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
