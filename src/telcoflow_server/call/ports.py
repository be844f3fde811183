"""What a call needs from the outside, as narrow interfaces.

Not here: who implements them (`legs/`, `api/`). A real phone, a simulated one and a browser are
the same `Phone` to a call; a WebSocket and an in-memory pipe are the same `MediaLink`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple, Protocol, runtime_checkable

from telcoflow_sdk.protocol.codes import CloseCode, EndReason
from telcoflow_server.media.plane import FrameSink, FrameSource, Strip


class ControlLink(Protocol):
    """One client process's control link, as the session board sees it."""

    def send(self, message: bytes) -> None:
        """Queue one JSON message; never waits, never raises, does nothing once closed."""

    def close(self, code: CloseCode, reason: str) -> None:
        """Close with a code; idempotent."""


class LinkBroken(Exception):
    """The agent's end of the media link broke its rules: the link must be closed.

    Attributes:
        code: With which code.
    """

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class MediaLink(Protocol):
    """The agent's media link of one call."""

    def send_binary(self, message: bytes) -> None:
        """Queue one binary message; never waits, never raises."""

    def send_text(self, message: bytes) -> None:
        """Queue one JSON message; never waits, never raises."""

    def unsent_bytes(self) -> int:
        """Return what the transport holds because the agent does not read."""

    def close(self, code: CloseCode, reason: str) -> None:
        """Close with a code after what was queued; idempotent."""


class PressedDigit(NamedTuple):
    """A key that was pressed on a phone. Digits are never part of a log line.

    Attributes:
        digit: One of `DTMF_DIGITS`.
        duration_ms: For how long.
    """

    digit: str
    duration_ms: float


class Phone(Protocol):
    """A human party's phone, as the call tells it what happens."""

    def hears_early(self, tick: int) -> None:
        """There is something to be heard before the answer: ringback, or who is rung."""

    def answered(self, tick: int) -> None:
        """The call was answered on this tick of its time axis."""

    def ended(self, tick: int, reason: EndReason) -> None:
        """The call is over; nothing more will be asked of this phone."""

    @property
    def has_hung_up(self) -> bool:
        """Whether the person put the phone down."""


class Keypad(Protocol):
    """A phone's keys, and what else a person can be made to do with it."""

    def take_digits(self) -> list[PressedDigit]:
        """Return the keys pressed since this was last asked, in order."""

    def press(self, digits: str) -> None:
        """Let the phone hear digits. Raises `ValueError`: it takes none, or no more now."""

    def transfer(self, number: str) -> None:
        """Ask the phone to call somebody else instead; `transferred` tells what came of it."""

    @property
    def transferred(self) -> bool | None:
        """Whether it reached them; None while that is open."""


class PhoneOnLine(Phone, Keypad, FrameSource, FrameSink, Protocol):
    """A phone with its audio."""

    @property
    def sample_rate_hz(self) -> int:
        """Of its audio, now."""


@runtime_checkable
class JointPhone(Protocol):
    """A phone whose audio may be kept together with that of others."""

    def attached(self, strip: Strip, woken: Callable[[], None]) -> None:
        """It was put into a row, where `strip` is its own; `woken` ends a rest."""

    @property
    def may_rest(self) -> bool:
        """Whether it has nothing to tell, and will say so by `woken` when that changes."""


class CalleeProgress(Enum):
    """How far ringing a person has come."""

    RINGING = auto()
    EARLY = auto()  # sound comes already; nobody has answered
    ANSWERED = auto()
    BUSY = auto()
    DECLINED = auto()
    UNANSWERED = auto()  # it says itself that nobody comes
    UNREACHABLE = auto()


class Callee(PhoneOnLine, Protocol):
    """The phone of a person who is called, from the moment it is dialled.

    `answered` tells it that its audio flows from now on, `ended` also that nobody waits for it
    any more while it still rings.
    """

    def ring(self, tick: int) -> CalleeProgress:
        """Return how far it has come; asked on every tick until it is ANSWERED or a failure."""


@dataclass(frozen=True, slots=True)
class DialRequest:
    """Whom to call. Numbers are never part of a log line."""

    call_id: str
    connector_uuid: str
    number: str
    caller: str


class Dialer(Protocol):
    """The way to phones elsewhere."""

    def dial(self, request: DialRequest) -> Callee | None:
        """Begin to call a number; never waits. None: there is no way to reach it."""
