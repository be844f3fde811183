"""The client's end of one call's media link: states, commands, audio. No I/O, no clock.

Not here: the socket (`_asyncio/media.py`), what the application sees (`call.py`), how a link is
replaced (`resuming.py`). Implements docs/reference/wire.md §2 and §3, and
docs/reference/wire-v2.md.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from telcoflow_sdk.audio.arrivals import Arrival
from telcoflow_sdk.audio.format import BYTES_PER_SAMPLE
from telcoflow_sdk.audio.outbox import Outbox
from telcoflow_sdk.audio.positioned import PositionedOutbox
from telcoflow_sdk.exceptions import (
    WSSCallClosedError,
    WSSCallCommandError,
    WSSCallCommandTimeoutError,
    WSSCallError,
)
from telcoflow_sdk.protocol.codec import ProtocolViolation, decode_media_event
from telcoflow_sdk.protocol.codes import CloseCode, ErrorCode
from telcoflow_sdk.protocol.commands import (
    POSITIONED_COMMANDS,
    V2_COMMANDS,
    CallEventName,
    CommandName,
    DialProgress,
    GapCause,
)
from telcoflow_sdk.protocol.in_flight import CommandsInFlight, waits_for_audio
from telcoflow_sdk.protocol.media_events import (
    Answered,
    CommandSettled,
    Connected,
    EndCause,
    Ended,
    ErrorReported,
    GapHeard,
    HoldEnded,
    LinkInterrupted,
    LinkResumed,
    LinkViolated,
    MarkReached,
    MediaOutput,
    Progressed,
)
from telcoflow_sdk.protocol.messages import (
    BufferRequest,
    CallEventData,
    CommandResponse,
    CommandResponseData,
    InterruptResult,
    Place,
    Welcome,
)
from telcoflow_sdk.protocol.resuming import ResumingLink
from telcoflow_sdk.protocol.sequence import SequenceFull, SkippedMessage
from telcoflow_sdk.protocol.states import TRANSITIONS, CallState

_MIXED_CHANNEL = 0

_CONNECT_DISTURBS = frozenset({CommandName.ANSWER, CommandName.CONNECT})
"""What must wait until a `call.connect` has its answer, besides what needs a connected call."""

_logger = logging.getLogger("telcoflow_sdk.media_connection")


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
        "_interrupted_sent",
        "_messages",
        "_odd_bytes",
        "_outbox",
        "_progress",
        "_request",
        "_requested_bytes",
        "_resuming",
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
        self._outbox: Outbox | PositionedOutbox = outbox
        self._resuming: ResumingLink | None = None  # on protocol v2
        self._commands = CommandsInFlight(outbox, make_id)
        self._ring_time_s = ring_time_s
        self._state = CallState.PENDING
        self._progress: DialProgress | None = None
        self._failure: CallEventData | None = None
        self._interrupted_sent: dict[str, int] = {}  # by the id of an interrupt (v2)
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
    def resuming(self) -> ResumingLink | None:
        """The link that may be replaced; None on protocol v1."""
        return self._resuming

    @property
    def has_output(self) -> bool:
        """Whether there are messages or events to take."""
        return bool(self._messages or self._events)

    @property
    def ignored_messages(self) -> int:
        """Messages of the server's that were not understood."""
        return self._ignored_messages

    def agree_on_v2(self, resuming: ResumingLink) -> None:
        """Speak protocol v2 from the first link on, instead of v1."""
        self._resuming = resuming
        self._outbox = resuming.outbox
        waiting, self._messages = self._messages, []
        for message in waiting:
            resuming.number(message)

    def link_opened(self) -> None:
        """A link is there."""
        if self._resuming is not None:
            self._messages = [self._resuming.open()]

    def receive_binary(self, message: bytes, now: float, lag_s: float) -> Arrival | None:
        """Take one binary message of protocol v2; return audio that is new.

        Args:
            message: Audio, or a position.
            now: Monotonic time, seconds.
            lag_s: How long the event loop was blocked until now.
        """
        if self._state is CallState.DISCONNECTED or self._resuming is None:
            return None
        try:
            return self._resuming.receive_binary(message, now, lag_s)
        except ProtocolViolation as violation:
            self._ignore(violation)
            return None

    def receive_audio(self, message: bytes) -> bytes:
        """Take one binary message of v1; return its PCM in whole samples, b"" when there is none.

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

    def receive_message(self, data: bytes, now: float) -> None:
        """Take one text message of the server's; what is not understood is counted."""
        if self._state is CallState.DISCONNECTED:
            return
        if data == self._request:
            self._grant()
            return
        try:
            self._receive(data, now)
        except SkippedMessage as violation:
            _logger.warning("the server broke the rules of a media link: %s", violation)
            self._events.append(LinkViolated(CloseCode.BAD_SEQUENCE))
        except ProtocolViolation as violation:
            self._ignore(violation)

    def _receive(self, data: bytes, now: float) -> None:
        message = decode_media_event(data)
        resuming = self._resuming
        if isinstance(message, Welcome):
            if resuming is not None:
                self._welcomed(resuming, message, now)
        elif resuming is not None and not resuming.is_new(data):
            return
        elif isinstance(message, BufferRequest):
            if message.data.channel_id == _MIXED_CHANNEL:
                self._request, self._requested_bytes = data, message.data.requested_bytes
                self._grant()
        elif isinstance(message, CommandResponse):
            self._command_answered(message.data)
        else:
            self._call_event(message.data)

    def _ignore(self, violation: ProtocolViolation) -> None:
        self._ignored_messages += 1
        _logger.debug("ignored a message on a media link: %s", violation)

    def _grant(self) -> None:
        if isinstance(self._outbox, Outbox):
            self._outbox.grant(self._requested_bytes)

    def _welcomed(self, resuming: ResumingLink, message: Welcome, now: float) -> None:
        try:
            messages, resumption = resuming.welcome(message.data, now)
        except ProtocolViolation as violation:
            _logger.warning("the server broke the rules of a media link: %s", violation)
            self._events.append(LinkViolated(CloseCode.BAD_POSITION))
            return
        self._messages = messages
        if resumption is not None:
            self._events.append(LinkResumed(resumption))

    def send_command(
        self,
        name: CommandName,
        now: float,
        *,
        ring_time_s: int | None = None,
        mark: str | None = None,
    ) -> str:
        """Send a command; its `CommandSettled` follows, in any case.

        In a call that was answered, `call.connect` and changes of mode hold for the audio queued
        after them: on v2 they say so, on v1 they are held until the audio before them has left.

        Args:
            name: Which. An interrupt tells the server of the last `clear` of the outbox.
            now: Monotonic time, seconds.
            ring_time_s: For `call.connect`.
            mark: For `agent.mark`: its name.

        Returns:
            The id of the command.

        Raises:
            WSSCallClosedError: the call has ended.
            WSSCallCommandError: `INVALID_STATE`, or `UNSUPPORTED` by the server's protocol,
                nothing was sent; or why the person called did not answer.
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
        resuming = self._resuming
        if resuming is None:
            if name in V2_COMMANDS:
                raise _unsupported(name)
            # Nobody hears a call that rings, so there is nothing to wait for.
            held = waits_for_audio(name) and self._state is not CallState.PENDING
            command_id, message = self._commands.add(name, ring_time_s, now, held=held)
        else:
            place = _place_of(name, resuming.outbox)
            command_id, message = self._commands.add(name, ring_time_s, now, place=place, mark=mark)
            if name is CommandName.INTERRUPT:
                self._interrupted_sent[command_id] = resuming.outbox.cleared_sent
        if message is not None:
            self._say(name, command_id, message)
        return command_id

    def _say(self, name: CommandName, command_id: str, message: bytes) -> None:
        resuming = self._resuming
        if resuming is None:
            self._messages.append(message)
            return
        try:
            numbered = resuming.number(message)
        except SequenceFull as error:
            self._commands.settle(command_id)
            raise WSSCallCommandError(name, ErrorCode.QUOTA_EXCEEDED, str(error)) from None
        if resuming.is_welcome:
            self._messages.append(numbered)

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

    def link_lost(self, now: float, *, is_final: bool = False) -> None:
        """The link is gone: for now, or with it the call.

        Args:
            now: Monotonic time, seconds.
            is_final: No other link can replace it, as on v1 none can.
        """
        if self._resuming is None or is_final:
            self._end(EndCause.LINK_LOST)
            return
        self._messages.clear()  # they are kept, and numbered
        if self._state is not CallState.DISCONNECTED and self._resuming.lose(now):
            self._events.append(LinkInterrupted())

    def next_deadline(self) -> float | None:
        """Return when `expire` must be called, or None."""
        deadlines = [self._commands.next_deadline()]
        if self._resuming is not None and self._state is not CallState.DISCONNECTED:
            deadlines.append(self._resuming.deadline)
        return min((one for one in deadlines if one is not None), default=None)

    def expire(self, now: float) -> None:
        """Give up what has waited too long: commands, held ones, and a link that is not back."""
        if self._resuming is not None and self._resuming.is_due(now):
            self._end(EndCause.LINK_LOST)
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
            result = self._interrupt_result(response)
        self._events.append(CommandSettled(response.command_id, result, None))
        # The server acted on its own state, which ours may have left meanwhile.
        target = TRANSITIONS.get((self._state, name))
        if target is CallState.DISCONNECTED:
            self._end(EndCause.HUNG_UP)
        elif target is not None and target is not self._state:
            self._enter(target)

    def _interrupt_result(self, response: CommandResponseData) -> InterruptResult:
        """Read what the server says of an interrupt; one that says nothing is no error."""
        sent = self._interrupted_sent.pop(response.command_id, 0)
        try:
            result = msgspec.convert(response.result, InterruptResult, strict=False)
        except msgspec.ValidationError:
            return InterruptResult()
        if self._resuming is None or result.played is None:
            return result
        # What was still under way counts too, and only this end knows of it.
        dropped_bytes = max(0, sent - result.played) * BYTES_PER_SAMPLE
        return InterruptResult(dropped_bytes, result.heard_ms, result.played)

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
            case CallEventName.MARK_PLAYED | CallEventName.MARK_CLEARED:
                self._events.append(MarkReached(data.name or "", data.at_ms))
            case CallEventName.GAP:
                self._gap_heard(data)
            case _:
                self._ignored_messages += 1

    def _gap_heard(self, data: CallEventData) -> None:
        try:
            cause = GapCause(data.cause or "")
        except ValueError:
            cause = GapCause.UNKNOWN  # of a newer server's
        self._events.append(GapHeard(data.at_ms or 0.0, data.ms or 0.0, cause))

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


def _unsupported(name: CommandName) -> WSSCallCommandError:
    return WSSCallCommandError(
        name, ErrorCode.UNSUPPORTED, f"{name} needs media protocol v2; the server speaks v1"
    )


def _place_of(name: CommandName, outbox: PositionedOutbox) -> Place | None:
    if name is CommandName.INTERRUPT:
        return Place(outbox.generation, 0)
    return outbox.place if name in POSITIONED_COMMANDS else None


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
