"""The client's end of one call's media link: states, commands, audio. No I/O, no clock.

Not here: the socket (`_asyncio/media.py`), what the application sees (`call.py`), how a link is
replaced (`resuming.py`). Implements docs/reference/wire.md §2 and §3, and
docs/reference/wire-v2.md.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from telcoflow_sdk.audio.arrivals import Arrival
from telcoflow_sdk.audio.outbox import Outbox
from telcoflow_sdk.audio.positioned import PositionedOutbox
from telcoflow_sdk.exceptions import WSSCallClosedError, WSSCallCommandTimeoutError
from telcoflow_sdk.protocol.codec import ProtocolViolation, decode_media_event
from telcoflow_sdk.protocol.codes import CloseCode
from telcoflow_sdk.protocol.commands import V2_COMMANDS, CallEventName, CommandName, DialProgress
from telcoflow_sdk.protocol.in_flight import CommandsInFlight, waits_for_audio
from telcoflow_sdk.protocol.media_events import (
    Answered,
    CommandSettled,
    Connected,
    EndCause,
    Ended,
    HoldEnded,
    LinkInterrupted,
    LinkResumed,
    LinkViolated,
    MediaOutput,
    Progressed,
    read_report,
)
from telcoflow_sdk.protocol.messages import (
    BufferRequest,
    CallEventData,
    CommandResponse,
    CommandResponseData,
    Welcome,
)
from telcoflow_sdk.protocol.refusals import (
    not_possible,
    refused,
    unanswered,
    unsupported,
)
from telcoflow_sdk.protocol.requesting import RequestingLink
from telcoflow_sdk.protocol.resuming import ResumingLink
from telcoflow_sdk.protocol.sequence import SequenceFull, SkippedMessage
from telcoflow_sdk.protocol.states import TRANSITIONS, CallState

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
        "_messages",
        "_outbox",
        "_progress",
        "_requesting",
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
        self._requesting = RequestingLink(outbox, channels)  # on protocol v1
        self._resuming: ResumingLink | None = None  # on protocol v2
        self._commands = CommandsInFlight(outbox, make_id)
        self._ring_time_s = ring_time_s
        self._state = CallState.PENDING
        self._progress: DialProgress | None = None
        self._failure: CallEventData | None = None
        self._ignored_messages = 0
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

    def agree_on_v2(self, resuming: ResumingLink) -> None:
        """Speak protocol v2 from the first link on, instead of v1."""
        self._resuming = resuming
        self._outbox = self._commands.positioned = resuming.outbox
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
        pcm = self._requesting.receive_audio(message)
        if pcm is None:
            self._ignored_messages += 1
            return b""
        return pcm

    def receive_message(self, data: bytes, now: float) -> None:
        """Take one text message of the server's; what is not understood is counted."""
        if self._state is CallState.DISCONNECTED:
            return
        if self._requesting.grant_again(data):
            return
        try:
            self._receive(data, now)
        except SkippedMessage as violation:
            _logger.warning("the server broke the rules of a media link: %s", violation)
            self._violated(CloseCode.BAD_SEQUENCE)
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
            if resuming is None:
                self._requesting.grant(data, message.data)
        elif isinstance(message, CommandResponse):
            self._command_answered(message.data)
        else:
            self._call_event(message.data)

    def _violated(self, code: CloseCode) -> None:
        """The link must be closed, and what the server knows of the call is not to be trusted."""
        self._events.append(LinkViolated(code))
        self._end(EndCause.LINK_LOST)

    def _ignore(self, violation: ProtocolViolation) -> None:
        self._ignored_messages += 1
        _logger.debug("ignored a message on a media link: %s", violation)

    def _welcomed(self, resuming: ResumingLink, message: Welcome, now: float) -> None:
        try:
            messages, resumption = resuming.welcome(message.data, now)
        except ProtocolViolation as violation:
            _logger.warning("the server broke the rules of a media link: %s", violation)
            self._violated(CloseCode.BAD_POSITION)
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
            raise unanswered(self._failure)
        if self._state is CallState.DISCONNECTED:
            raise WSSCallClosedError
        if (self._state, name) not in TRANSITIONS:
            raise not_possible(name, f"while the call is {self._state}")
        if name in _CONNECT_DISTURBS and self._commands.has(CommandName.CONNECT):
            raise not_possible(name, f"while {CommandName.CONNECT} is in progress")
        if name is CommandName.ANSWER:
            ring_time_s = self._ring_time_s
        if self._resuming is None and name in V2_COMMANDS:
            raise unsupported(name)
        # Nobody hears a call that rings, so there is nothing to wait for.
        held = self._resuming is None and (
            waits_for_audio(name) and self._state is not CallState.PENDING
        )
        command_id, message = self._commands.add(name, ring_time_s, now, held=held, mark=mark)
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
        except SequenceFull:
            self._commands.settle(command_id)
            # Thousands wait for an answer already: so would this one.
            raise WSSCallCommandTimeoutError(name) from None
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
        waiting = self._commands.settle(response.command_id)
        if waiting is None:
            return
        name = waiting.name
        if not response.success:
            error = refused(name, response)
            self._events.append(CommandSettled(response.command_id, None, error))
            return
        is_interrupt = name is CommandName.INTERRUPT
        result = waiting.interrupted(response.result) if is_interrupt else None
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
        if data.event == CallEventName.TERMINATED:
            self._end(EndCause.TERMINATED)
            return
        report = read_report(data)
        if report is None:
            self._ignored_messages += 1
            return
        self._events.append(report)
        if isinstance(report, Progressed):
            self._progressed(report.progress, data)

    def _progressed(self, progress: DialProgress, data: CallEventData) -> None:
        self._progress = progress
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
