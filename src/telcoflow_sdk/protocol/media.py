"""The client's end of one call's media link: states, commands, audio. No I/O, no clock.

Not here: the socket (`_asyncio/media.py`), what the application sees (`call.py`).
Implements docs/reference/wire.md §2 and §3.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from telcoflow_sdk.audio.outbox import Outbox
from telcoflow_sdk.exceptions import (
    WSSCallClosedError,
    WSSCallCommandError,
    WSSCallCommandTimeoutError,
    WSSCallError,
)
from telcoflow_sdk.protocol.codec import ProtocolViolation, decode_media_event, encode
from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_sdk.protocol.commands import (
    COMMAND_GRACE_S,
    COMMAND_TIMEOUT_MS,
    CallEventName,
    CommandName,
)
from telcoflow_sdk.protocol.messages import (
    BufferRequest,
    CallEventMessage,
    Command,
    CommandData,
    CommandResponse,
    CommandResponseData,
    InterruptResult,
)
from telcoflow_sdk.protocol.states import TRANSITIONS, CallState

_MIXED_CHANNEL = 0

_logger = logging.getLogger("telcoflow_sdk.media_connection")


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


MediaOutput = Answered | Ended | ErrorReported | CommandSettled


@dataclass(frozen=True, slots=True)
class _Pending:
    name: CommandName
    deadline: float


class MediaEngine:
    """What one call says and understands on its media link.

    Every method may leave messages to send and events to handle; take both afterwards. Audio
    takes the short way: it is returned by `receive_audio` and taken from the outbox.

    Args:
        outbox: Takes the server's credit; closed when the call ends.
        make_id: Returns a new command id, unique for this call.
    """

    __slots__ = (
        "_events",
        "_ignored_messages",
        "_make_id",
        "_messages",
        "_odd_byte",
        "_outbox",
        "_pending",
        "_state",
    )

    def __init__(self, outbox: Outbox, make_id: Callable[[], str]) -> None:
        self._outbox = outbox
        self._make_id = make_id
        self._state = CallState.PENDING
        self._pending: dict[str, _Pending] = {}
        self._odd_byte = b""
        self._ignored_messages = 0
        self._messages: list[bytes] = []
        self._events: list[MediaOutput] = []

    @property
    def state(self) -> CallState:
        """Where the call stands."""
        return self._state

    @property
    def has_output(self) -> bool:
        """Whether there are messages or events to take."""
        return bool(self._messages or self._events)

    @property
    def ignored_messages(self) -> int:
        """Messages of the server's that were not understood."""
        return self._ignored_messages

    def receive_audio(self, message: bytes) -> bytes:
        """Take one binary message; return its PCM in whole samples, b"" when there is none.

        Other channels than the mixed one were not asked for and are dropped.
        """
        if self._state is CallState.DISCONNECTED:
            return b""
        if len(message) < 2 or message[0] != _MIXED_CHANNEL:
            self._ignored_messages += 1
            return b""
        pcm = message[1:]
        if self._odd_byte or len(pcm) & 1:
            # A sample cut in two by the message's end: its first half waits for the second.
            pcm = self._odd_byte + pcm
            whole_bytes = len(pcm) & ~1
            self._odd_byte = pcm[whole_bytes:]
            pcm = pcm[:whole_bytes]
        return pcm

    def receive_message(self, data: bytes) -> None:
        """Take one text message of the server's; what is not understood is counted."""
        if self._state is CallState.DISCONNECTED:
            return
        try:
            message = decode_media_event(data)
        except ProtocolViolation as violation:
            self._ignored_messages += 1
            _logger.debug("ignored a message on a media link: %s", violation)
            return
        if isinstance(message, BufferRequest):
            if message.data.channel_id == _MIXED_CHANNEL:
                self._outbox.grant(message.data.requested_bytes)
        elif isinstance(message, CommandResponse):
            self._command_answered(message.data)
        else:
            self._call_event(message)

    def send_command(self, name: CommandName, now: float) -> str:
        """Send a command; its `CommandSettled` follows, in any case.

        Returns:
            The id of the command.

        Raises:
            WSSCallClosedError: the call has ended.
            WSSCallCommandError: `INVALID_STATE`; nothing was sent.
        """
        if self._state is CallState.DISCONNECTED:
            raise WSSCallClosedError
        if (self._state, name) not in TRANSITIONS:
            raise WSSCallCommandError(
                name,
                ErrorCode.INVALID_STATE,
                f"{name} is not possible while the call is {self._state}",
            )
        command_id = self._make_id()
        deadline = now + COMMAND_TIMEOUT_MS / 1000 + COMMAND_GRACE_S
        self._pending[command_id] = _Pending(name, deadline)
        data = CommandData(command_id=command_id, command=name, timeout_ms=COMMAND_TIMEOUT_MS)
        self._messages.append(encode(Command(data=data)))
        return command_id

    def end(self, cause: EndCause) -> None:
        """The call is over, for a reason outside this link; does nothing after the end."""
        self._end(cause)

    def link_lost(self) -> None:
        """The link is gone, and with it the call: v1 cannot resume one."""
        self._end(EndCause.LINK_LOST)

    def next_deadline(self) -> float | None:
        """Return when `expire` must be called, or None."""
        if not self._pending:
            return None
        return min(pending.deadline for pending in self._pending.values())

    def expire(self, now: float) -> None:
        """Give up commands that were not answered in time."""
        for command_id, pending in list(self._pending.items()):
            if pending.deadline <= now:
                del self._pending[command_id]
                error = WSSCallCommandTimeoutError(pending.name)
                self._events.append(CommandSettled(command_id, None, error))

    def take_messages(self) -> list[bytes]:
        """Return what must be sent, in order."""
        messages, self._messages = self._messages, []
        return messages

    def take_events(self) -> list[MediaOutput]:
        """Return what has happened, in order."""
        events, self._events = self._events, []
        return events

    def _command_answered(self, response: CommandResponseData) -> None:
        pending = self._pending.pop(response.command_id, None)
        if pending is None:
            return
        if not response.success:
            error = _refusal(pending.name, response)
            self._events.append(CommandSettled(response.command_id, None, error))
            return
        result = None
        if pending.name is CommandName.INTERRUPT:
            result = _interrupt_result(response.result)
        self._events.append(CommandSettled(response.command_id, result, None))
        # The server acted on its own state, which ours may have left meanwhile.
        target = TRANSITIONS.get((self._state, pending.name))
        if target is CallState.DISCONNECTED:
            self._end(EndCause.HUNG_UP)
        elif target is CallState.ANSWERED and self._state is CallState.PENDING:
            self._state = CallState.ANSWERED
            self._events.append(Answered())

    def _call_event(self, message: CallEventMessage) -> None:
        match message.data.event:
            case CallEventName.TERMINATED:
                self._end(EndCause.TERMINATED)
            case CallEventName.ERROR:
                code = message.data.error_code or ""
                self._events.append(ErrorReported(code, message.data.error_message or ""))
            case _:
                self._ignored_messages += 1

    def _end(self, cause: EndCause) -> None:
        if self._state is CallState.DISCONNECTED:
            return
        self._state = CallState.DISCONNECTED
        self._outbox.close()
        for command_id in self._pending:
            self._events.append(CommandSettled(command_id, None, WSSCallClosedError()))
        self._pending.clear()
        self._events.append(Ended(cause))


def _refusal(name: CommandName, response: CommandResponseData) -> WSSCallError:
    match response.error_code:
        case ErrorCode.TIMEOUT:
            return WSSCallCommandTimeoutError(name)
        case ErrorCode.CALL_ENDED:
            return WSSCallClosedError()
        case code:
            return WSSCallCommandError(name, code or "", response.error_message or "")


def _interrupt_result(result: object) -> InterruptResult:
    """Read what the server says of an interrupt; one that says nothing is no error."""
    try:
        return msgspec.convert(result, InterruptResult, strict=False)
    except msgspec.ValidationError:
        return InterruptResult()
