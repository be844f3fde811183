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
from telcoflow_sdk.protocol.codec import ProtocolViolation, decode_media_event
from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_sdk.protocol.commands import CallEventName, CommandName, DialProgress
from telcoflow_sdk.protocol.in_flight import CommandsInFlight, waits_for_audio
from telcoflow_sdk.protocol.messages import (
    BufferRequest,
    CallEventData,
    CommandResponse,
    CommandResponseData,
    InterruptResult,
)
from telcoflow_sdk.protocol.states import TRANSITIONS, CallState

_MIXED_CHANNEL = 0

_CONNECT_DISTURBS = frozenset({CommandName.ANSWER, CommandName.CONNECT})
"""What must wait until a `call.connect` has its answer, besides what needs a connected call."""

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


MediaOutput = Answered | Connected | Progressed | HoldEnded | Ended | ErrorReported | CommandSettled


class MediaEngine:
    """What one call says and understands on its media link.

    Every method may leave messages to send and events to handle; take both afterwards. Audio
    takes the short way: it is returned by `receive_audio` and taken from the outbox. Whenever the
    outbox has no message left, `release_command` must be called, and what it leaves be sent
    before more audio.

    Args:
        outbox: Takes the server's credit; closed when the call ends.
        make_id: Returns a new command id, unique for this call.
        channels: How many the server sends: 1, or 3 with isolated audio.
        ring_time_s: Of a call that we place: how long the person is rung. None for one that
            came in.
    """

    __slots__ = (
        "_commands",
        "_events",
        "_failure",
        "_ignored_messages",
        "_messages",
        "_odd_bytes",
        "_outbox",
        "_progress",
        "_request",
        "_requested_bytes",
        "_ring_time_s",
        "_state",
    )

    def __init__(
        self,
        outbox: Outbox,
        make_id: Callable[[], str],
        *,
        channels: int = 1,
        ring_time_s: int | None = None,
    ) -> None:
        self._outbox = outbox
        self._commands = CommandsInFlight(outbox, make_id)
        self._ring_time_s = ring_time_s
        self._state = CallState.PENDING
        self._progress: DialProgress | None = None
        self._failure: CallEventData | None = None
        self._odd_bytes = [b""] * channels
        self._ignored_messages = 0
        # The last request for audio as it came: 50 a second say the same, and are not parsed.
        self._request: bytes | None = None
        self._requested_bytes = 0
        self._messages: list[bytes] = []
        self._events: list[MediaOutput] = []

    @property
    def state(self) -> CallState:
        """Where the call stands."""
        return self._state

    @property
    def progress(self) -> DialProgress | None:
        """How far dialling a person has come; None before the first word of it."""
        return self._progress

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

        What is returned belongs to the channel in the message's first byte. Channels that were
        not asked for are dropped.
        """
        if self._state is CallState.DISCONNECTED:
            return b""
        odd_bytes = self._odd_bytes
        if len(message) < 2 or message[0] >= len(odd_bytes):
            self._ignored_messages += 1
            return b""
        channel = message[0]
        pcm = message[1:]
        if odd_bytes[channel] or len(pcm) & 1:
            # A sample cut in two by the message's end: its first half waits for the second.
            pcm = odd_bytes[channel] + pcm
            whole_bytes = len(pcm) & ~1
            odd_bytes[channel] = pcm[whole_bytes:]
            pcm = pcm[:whole_bytes]
        return pcm

    def receive_message(self, data: bytes) -> None:
        """Take one text message of the server's; what is not understood is counted."""
        if self._state is CallState.DISCONNECTED:
            return
        if data == self._request:
            self._outbox.grant(self._requested_bytes)
            return
        try:
            message = decode_media_event(data)
        except ProtocolViolation as violation:
            self._ignored_messages += 1
            _logger.debug("ignored a message on a media link: %s", violation)
            return
        if isinstance(message, BufferRequest):
            if message.data.channel_id == _MIXED_CHANNEL:
                self._request, self._requested_bytes = data, message.data.requested_bytes
                self._outbox.grant(self._requested_bytes)
        elif isinstance(message, CommandResponse):
            self._command_answered(message.data)
        else:
            self._call_event(message.data)

    def send_command(self, name: CommandName, now: float, *, ring_time_s: int | None = None) -> str:
        """Send a command; its `CommandSettled` follows, in any case.

        In a call that was answered, `call.connect` and changes of mode are held until the audio
        queued before them has left; audio queued later stays behind them.

        Args:
            name: Which.
            now: Monotonic time, seconds.
            ring_time_s: For `call.connect`.

        Returns:
            The id of the command.

        Raises:
            WSSCallClosedError: the call has ended.
            WSSCallCommandError: `INVALID_STATE`, nothing was sent; or why the person called did
                not answer.
        """
        if name is CommandName.ANSWER and self._failure is not None:
            raise _failed(self._failure)
        if self._state is CallState.DISCONNECTED:
            raise WSSCallClosedError
        if (self._state, name) not in TRANSITIONS:
            raise _invalid_state(name, f"while the call is {self._state}")
        if name in _CONNECT_DISTURBS and self._commands.has(CommandName.CONNECT):
            raise _invalid_state(name, f"while {CommandName.CONNECT} is in progress")
        if name is CommandName.ANSWER:
            ring_time_s = self._ring_time_s
        # Nobody hears a call that rings, so there is nothing to wait for.
        held = waits_for_audio(name) and self._state is not CallState.PENDING
        command_id, message = self._commands.add(name, ring_time_s, now, held=held)
        if message is not None:
            self._messages.append(message)
        return command_id

    def release_command(self, now: float) -> bool:
        """Send the next held command if the audio in front of it has left; return whether."""
        message = self._commands.release(now)
        if message is None:
            return False
        self._messages.append(message)
        return True

    def withdraw_connect(self) -> None:
        """Do not ring the callee after all, if `call.connect` is still held."""
        command_id = self._commands.withdraw(CommandName.CONNECT)
        if command_id is not None:
            self._events.append(CommandSettled(command_id, None, WSSCallClosedError()))

    def end(self, cause: EndCause) -> None:
        """The call is over, for a reason outside this link; does nothing after the end."""
        self._end(cause)

    def link_lost(self) -> None:
        """The link is gone, and with it the call: v1 cannot resume one."""
        self._end(EndCause.LINK_LOST)

    def next_deadline(self) -> float | None:
        """Return when `expire` must be called, or None."""
        return self._commands.next_deadline()

    def expire(self, now: float) -> None:
        """Give up commands that were not answered in time, and end holds that took too long."""
        unanswered, dropped_bytes = self._commands.expire(now)
        for command_id, name in unanswered:
            error = WSSCallCommandTimeoutError(name)
            self._events.append(CommandSettled(command_id, None, error))
        if dropped_bytes is not None:
            self._events.append(HoldEnded(dropped_bytes))

    def take_messages(self) -> list[bytes]:
        """Return what must be sent, in order."""
        messages, self._messages = self._messages, []
        return messages

    def take_events(self) -> list[MediaOutput]:
        """Return what has happened, in order."""
        events, self._events = self._events, []
        return events

    def _command_answered(self, response: CommandResponseData) -> None:
        name = self._commands.settle(response.command_id)
        if name is None:
            return
        if not response.success:
            error = _refusal(name, response)
            self._events.append(CommandSettled(response.command_id, None, error))
            return
        result = None
        if name is CommandName.INTERRUPT:
            result = _interrupt_result(response.result)
        self._events.append(CommandSettled(response.command_id, result, None))
        # The server acted on its own state, which ours may have left meanwhile.
        target = TRANSITIONS.get((self._state, name))
        if target is CallState.DISCONNECTED:
            self._end(EndCause.HUNG_UP)
        elif target is not None and target is not self._state:
            self._enter(target)

    def _enter(self, state: CallState) -> None:
        self._state = state
        self._events.append(Connected() if state is CallState.CONNECTED else Answered())

    def _call_event(self, data: CallEventData) -> None:
        match data.event:
            case CallEventName.TERMINATED:
                self._end(EndCause.TERMINATED)
            case CallEventName.ERROR:
                self._events.append(ErrorReported(data.error_code or "", data.error_message or ""))
            case CallEventName.PROGRESS:
                self._progressed(data)
            case _:
                self._ignored_messages += 1

    def _progressed(self, data: CallEventData) -> None:
        try:
            progress = DialProgress(data.state or "")
        except ValueError:
            self._ignored_messages += 1
            return
        self._progress = progress
        self._events.append(Progressed(progress))
        if self._ring_time_s is None or self._state is not CallState.PENDING:
            return
        # A call we placed: what becomes of it is known here, whether or not anybody asked.
        if progress is DialProgress.ANSWERED:
            self._enter(CallState.ANSWERED)
        elif progress is DialProgress.FAILED and data.error_code:
            self._failure = data

    def _end(self, cause: EndCause) -> None:
        if self._state is CallState.DISCONNECTED:
            return
        self._state = CallState.DISCONNECTED
        self._outbox.close()
        for command_id in self._commands.abandon():
            self._events.append(CommandSettled(command_id, None, WSSCallClosedError()))
        self._events.append(Ended(cause))


def _invalid_state(name: CommandName, why: str) -> WSSCallCommandError:
    return WSSCallCommandError(name, ErrorCode.INVALID_STATE, f"{name} is not possible {why}")


def _failed(data: CallEventData) -> WSSCallCommandError:
    return WSSCallCommandError(CommandName.ANSWER, data.error_code or "", data.error_message or "")


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
