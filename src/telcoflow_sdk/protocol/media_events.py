"""What happens to one call on its media link, as its engine tells it.

Not here: the engine (`media.py`), what the application is told (`events.py`).
Implements docs/reference/wire.md §2 and docs/reference/wire-v2.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from telcoflow_sdk.exceptions import WSSCallError
from telcoflow_sdk.protocol.codes import CloseCode
from telcoflow_sdk.protocol.commands import CallEventName, DialProgress, GapCause
from telcoflow_sdk.protocol.messages import CallEventData, InterruptResult
from telcoflow_sdk.protocol.resuming import Resumption


class EndCause(StrEnum):
    """How the client learned that a call is over: a closed set, for logs."""

    TERMINATED = "terminated"  # the server said so
    HUNG_UP = "hung_up"  # our close or disconnect succeeded
    LINK_LOST = "link_lost"  # the media link broke
    SESSION_CLOSED = "session_closed"  # said on the control link
    ABANDONED = "abandoned"  # given up here: the server was silent, or the client closes


@dataclass(frozen=True, slots=True)
class Answered:
    """The call is ours and audio flows."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The callee answered: caller, callee and agent hear each other."""


@dataclass(frozen=True, slots=True)
class Progressed:
    """Dialling a person came further."""

    progress: DialProgress


@dataclass(frozen=True, slots=True)
class HoldEnded:
    """Commands were held for too long: the audio in front of them is dropped, they go now."""

    dropped_bytes: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The call is over; nothing follows."""

    cause: EndCause


@dataclass(frozen=True, slots=True)
class ErrorReported:
    """The server reports trouble in the call, which goes on."""

    error_code: str
    error_message: str


@dataclass(frozen=True, slots=True)
class CommandSettled:
    """A command was answered, or never will be.

    Attributes:
        command_id: As `MediaEngine.send_command` returned it.
        result: What an interrupt did on the server; None for every other command.
        error: Why it failed, or None.
    """

    command_id: str
    result: InterruptResult | None
    error: WSSCallError | None


@dataclass(frozen=True, slots=True)
class MarkReached:
    """A mark was played, or an interruption passed it.

    Attributes:
        name: As it was set.
        at_ms: When its place was played, on the call's time axis; None: it was cleared.
    """

    name: str
    at_ms: float | None


@dataclass(frozen=True, slots=True)
class GapHeard:
    """There was silence inside an utterance of the agent's; it is over."""

    at_ms: float
    ms: float
    cause: GapCause


@dataclass(frozen=True, slots=True)
class LinkInterrupted:
    """The media link was lost; the call goes on, and another one is opened."""


@dataclass(frozen=True, slots=True)
class LinkResumed:
    """Another media link goes on where the lost one stopped."""

    resumption: Resumption


@dataclass(frozen=True, slots=True)
class LinkViolated:
    """The server broke the rules of the media link, which must be closed."""

    code: CloseCode


MediaOutput = (
    Answered
    | Connected
    | Progressed
    | HoldEnded
    | Ended
    | ErrorReported
    | CommandSettled
    | MarkReached
    | GapHeard
    | LinkInterrupted
    | LinkResumed
    | LinkViolated
)

Report = ErrorReported | Progressed | MarkReached | GapHeard
"""What a `call_event` may say besides the end of the call."""


def read_report(data: CallEventData) -> Report | None:
    """Return what the server reports; None when it is not known here."""
    match data.event:
        case CallEventName.ERROR:
            return ErrorReported(data.error_code or "", data.error_message or "")
        case CallEventName.PROGRESS if data.state in _PROGRESS:
            return Progressed(DialProgress(data.state))
        case CallEventName.MARK_PLAYED | CallEventName.MARK_CLEARED:
            played = data.event == CallEventName.MARK_PLAYED
            return MarkReached(data.name or "", (data.at_ms or 0.0) if played else None)
        case CallEventName.GAP:
            # A cause that is not known is a newer server's.
            cause = GapCause(data.cause) if data.cause in _CAUSES else GapCause.UNKNOWN
            return GapHeard(data.at_ms or 0.0, data.ms or 0.0, cause)
        case _:
            return None


_PROGRESS = frozenset(DialProgress)
_CAUSES = frozenset(GapCause)
