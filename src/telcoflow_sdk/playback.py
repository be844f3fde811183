"""What an application is told of its audio: what was heard, what a mark met, what an outage cost.

Not here: where the numbers come from (`audio/positioned.py`, `protocol/media.py`).
Implements "Playback" of docs/reference/sdk.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from telcoflow_sdk.audio.outbox import OutboxStatistics
from telcoflow_sdk.audio.positioned import Playback
from telcoflow_sdk.protocol.commands import GapCause
from telcoflow_sdk.protocol.resuming import Resumption

__all__ = ["CallStatistics", "Digit", "GapCause", "Interruption", "Mark", "Playback", "Resumption"]


@dataclass(frozen=True, slots=True)
class Interruption:
    """What an interruption did.

    Attributes:
        heard_ms: How much of the interrupted utterance the caller heard, milliseconds: what an
            LLM's context is to be cut to. None when the server does not say.
        dropped_ms: How much audio was dropped, here, on the way and on the server, milliseconds.
    """

    heard_ms: float | None
    dropped_ms: float


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark that was reached.

    Attributes:
        name: As it was set.
        at_ms: When its place was played, ms from the moment the call was placed; None when an
            interruption passed it.
    """

    name: str
    at_ms: float | None


@dataclass(frozen=True, slots=True)
class Digit:
    """A key that somebody pressed.

    Attributes:
        digit: `0` to `9`, `*`, `#`, or `A` to `D`. Left out of `repr`, so that it gets into no log.
        duration_ms: For how long.
        at_ms: When it was released, ms from the moment the call was placed.
        channel: Who: 1 the caller (of a call placed: the person called), 2 the callee.
    """

    digit: str = field(repr=False)
    duration_ms: float
    at_ms: float
    channel: int


@dataclass(frozen=True, slots=True)
class CallStatistics:
    """What went through a call so far.

    Attributes:
        received_bytes: Audio from the server, on all channels.
        outgoing: Audio to the server.
        ignored_messages: Messages of the server's that were not understood.
        protocol: The media protocol spoken, 1 or 2; what follows is known on 2 only.
        lead_ms: How much audio the server keeps in flight now.
        gaps: Silences the caller heard inside the agent's utterances, by whose fault.
        gap_ms: How long they were, all together.
        outages: How often the media link was lost, and the call went on.
        loop_lag_ms: The longest that the event loop was blocked.
    """

    received_bytes: int
    outgoing: OutboxStatistics
    ignored_messages: int
    protocol: int
    lead_ms: float
    gaps: dict[GapCause, int]
    gap_ms: float
    outages: int
    loop_lag_ms: float
