"""A call, as the application sees it.

Not here: how calls arrive (`client.py`), their protocol (`protocol/media.py`).
Implements `ActiveCall` of docs/reference/sdk.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from telcoflow_sdk._asyncio.handlers import (
    Handler,
    HandlerT,
    invoke,
    parse_event,
    takes_arguments,
)
from telcoflow_sdk._asyncio.media import MediaConnection
from telcoflow_sdk._asyncio.streams import AudioStream
from telcoflow_sdk._asyncio.tasks import OwnedTasks
from telcoflow_sdk.audio.format import AudioFormat, BytesLike
from telcoflow_sdk.audio.outbox import OutboxStatistics
from telcoflow_sdk.events import CallEvent
from telcoflow_sdk.exceptions import (
    WSSCallClosedError,
    WSSCallCommandError,
    WSSCallCommandTimeoutError,
    WSSCallError,
)
from telcoflow_sdk.protocol.commands import CommandName
from telcoflow_sdk.protocol.media import (
    Answered,
    CallState,
    EndCause,
    Ended,
    ErrorReported,
    MediaOutput,
)
from telcoflow_sdk.protocol.messages import CallIn, InterruptResult

DRAIN_TIMEOUT_S = 10.0

_logger = logging.getLogger("telcoflow_sdk")


@dataclass(frozen=True, slots=True)
class Interruption:
    """What an interruption did.

    Attributes:
        heard_ms: How much of the interrupted utterance the caller heard, milliseconds: what an
            LLM's context is to be cut to. None when the server does not say.
        dropped_ms: How much queued audio was dropped, here and on the server, milliseconds.
    """

    heard_ms: float | None
    dropped_ms: float


@dataclass(frozen=True, slots=True)
class CallStatistics:
    """What went through a call so far.

    Attributes:
        received_bytes: Audio from the server.
        outgoing: Audio to the server.
        ignored_messages: Messages of the server's that were not understood.
    """

    received_bytes: int
    outgoing: OutboxStatistics
    ignored_messages: int


class ActiveCall:
    """One phone call. Made by the client and handed to the INCOMING_CALL handler.

    Concurrency: the event loop's thread, `send_audio_nowait` apart. Any number of tasks.

    Args:
        call: What the server said of it.
        audio_format: Of both directions.
        buffer_bytes: Capacity of the outgoing buffer.
        make_id: Returns a new command id.
        tasks: Holds what the call starts.
        on_ended: Called once, when the call is over.
    """

    __slots__ = (
        "_audio_format",
        "_call",
        "_handlers",
        "_hanging_up",
        "_is_drain_skipped",
        "_media",
        "_on_ended",
        "_tasks",
    )

    def __init__(
        self,
        call: CallIn,
        audio_format: AudioFormat,
        buffer_bytes: int,
        make_id: Callable[[], str],
        tasks: OwnedTasks,
        on_ended: Callable[[ActiveCall], None],
    ) -> None:
        self._call = call
        self._audio_format = audio_format
        self._tasks = tasks
        self._on_ended = on_ended
        self._handlers: dict[CallEvent, list[Handler]] | None = None
        self._hanging_up: asyncio.Task[None] | None = None
        self._is_drain_skipped: asyncio.Event | None = None
        self._media = MediaConnection(audio_format, buffer_bytes, make_id, self._happened)

    def __repr__(self) -> str:
        return f"<ActiveCall {self.call_id} {self.state}>"

    @property
    def call_id(self) -> str:
        """The call's id, for logs."""
        return self._call.call_id

    @property
    def caller_number(self) -> str | None:
        """Who calls; None when the number is withheld."""
        return self._call.caller or None

    @property
    def callee_number(self) -> str | None:
        """Who was called; None when the server does not say."""
        return self._call.callee or None

    @property
    def state(self) -> CallState:
        """Where the call stands."""
        return self._media.state

    # --- commands -------------------------------------------------------------------------------

    async def answer(self) -> None:
        """Answer the call; the caller hears silence until audio is queued.

        Raises:
            WSSCallClosedError: the call has ended.
            WSSCallCommandError: refused; `INVALID_STATE` when it was answered before.
            WSSCallCommandTimeoutError: the server did not answer in time.

        Cancellation: the call may still be answered; `state` tells.
        """
        try:
            await self._media.command(CommandName.ANSWER)
        except WSSCallCommandError as error:
            self._fire(
                CallEvent.CALL_ANSWER_FAILED, _details(error.error_code, error.error_message)
            )
            raise
        except WSSCallCommandTimeoutError as error:
            self._fire(CallEvent.CALL_ANSWER_FAILED, _details("TIMEOUT", str(error)))
            raise

    async def close(self, *, drain: bool = True, drain_timeout_s: float = DRAIN_TIMEOUT_S) -> None:
        """Leave the call, which ends it; a ringing one is rejected.

        Audio queued before plays out first, so that a goodbye is heard. Audio queued later is
        discarded and counted. Returns once the call is over, at once when it was over before.

        Args:
            drain: False hangs up now, also when another task waits for the goodbye.
            drain_timeout_s: The longest goodbye, seconds from now.

        Raises:
            WSSCallCommandError: the server refused; the call goes on and takes audio again.
            WSSCallCommandTimeoutError: the server was silent; the call is over here.

        Cancellation: the hang-up goes on.
        """
        await self._hang_up(CommandName.CLOSE, drain, drain_timeout_s)

    async def disconnect(
        self, *, drain: bool = True, drain_timeout_s: float = DRAIN_TIMEOUT_S
    ) -> None:
        """End the call for everybody; a ringing one is rejected. Otherwise as `close`."""
        await self._hang_up(CommandName.DISCONNECT, drain, drain_timeout_s)

    # --- audio ----------------------------------------------------------------------------------

    def audio_stream(self) -> AudioStream:
        """Return an async iterator over what the agent hears: raw PCM, from the answer on.

        The first iterator begins with what has arrived before it, 10 s at most; a later one is
        live. Every iterator gets all audio and has a queue of 10 s of its own, from which the
        oldest is dropped and counted. It ends when the call does, after what has arrived.
        """
        return self._media.stream()

    async def send_audio(self, data: BytesLike) -> None:
        """Queue PCM for the caller, all of it or nothing; never waits.

        Args:
            data: Little-endian signed 16-bit mono at the call's rate, any length. An odd last
                byte waits for its other half. The header of a WAV file in this format is left
                out, with one warning per call.

        Raises:
            BufferFullError: it does not fit; nothing has changed.
            BufferClosedError: the call has ended.
            ValueError: a WAV file in another format.
            TypeError: not bytes-like.

        Cancellation: there is nothing to cancel.
        """
        self._media.write(data)

    def send_audio_nowait(self, data: BytesLike) -> None:
        """Do what `send_audio` does, from any thread."""
        self._media.write(data)

    def get_send_audio_buffer_size(self) -> int:
        """Return the bytes queued and not yet sent to the server; reaches 0."""
        return self._media.outbox.queued_bytes

    async def clear_send_audio_buffer(self) -> int:
        """Drop the queued audio, here and on the server: barge-in.

        What is queued here is gone before this first awaits. A server that refuses or is silent
        is logged, not raised: it holds a fraction of a second at most.

        Returns:
            The bytes dropped in both places; 0 after the end of the call.

        Cancellation: the audio stays dropped.
        """
        dropped_bytes, _ = await self._interrupt()
        return dropped_bytes

    async def interrupt(self) -> Interruption:
        """Drop the queued audio as `clear_send_audio_buffer` does, and tell what was heard."""
        dropped_bytes, heard_ms = await self._interrupt()
        return Interruption(
            heard_ms=heard_ms, dropped_ms=self._audio_format.bytes_to_ms(dropped_bytes)
        )

    def statistics(self) -> CallStatistics:
        """Return what went through the call so far."""
        return CallStatistics(
            received_bytes=self._media.received_bytes,
            outgoing=self._media.outbox.statistics(),
            ignored_messages=self._media.ignored_messages,
        )

    # --- events ---------------------------------------------------------------------------------

    def on(self, event: str) -> Callable[[HandlerT], HandlerT]:
        """Register the decorated function for an event of this call; returns it unchanged.

        Args:
            event: A member of `CallEvent` or its string.

        Raises:
            ValueError: there is no such event.
        """
        kind = parse_event(CallEvent, event)

        def register(handler: HandlerT) -> HandlerT:
            self.register_event_handler(kind, handler)
            return handler

        return register

    def register_event_handler(self, event: str, handler: Handler) -> None:
        """Call `handler`, in a task of its own, whenever the event happens.

        Args:
            event: A member of `CallEvent` or its string.
            handler: Sync or async. One for CALL_TERMINATED is also called when it comes after
                the end.

        Raises:
            ValueError: there is no such event.
        """
        kind = parse_event(CallEvent, event)
        if kind is CallEvent.CALL_TERMINATED and self.state is CallState.DISCONNECTED:
            self._spawn(kind, handler, ())
            return
        if self._handlers is None:
            self._handlers = {}
        self._handlers.setdefault(kind, []).append(handler)

    # --- for the client ---------------------------------------------------------------------------

    @property
    def session_id(self) -> str:
        """The session this call belongs to on the control link."""
        return self._call.session_id

    @property
    def media(self) -> MediaConnection:
        """The call's media link."""
        return self._media

    async def leave(self, timeout_s: float) -> None:
        """End the call because the client closes; a goodbye that is being said is finished.

        Args:
            timeout_s: For the server to answer, apart from the goodbye, seconds.
        """
        try:
            if self._hanging_up is not None:
                await asyncio.shield(self._hanging_up)
            else:
                async with asyncio.timeout(timeout_s):
                    await self.close(drain=False)
        except (WSSCallError, TimeoutError) as error:
            _logger.warning("call %s: hanging up failed: %s", self.call_id, error)
        finally:
            self._media.end(EndCause.ABANDONED)
        await self._media.wait_closed()

    # --- inside -----------------------------------------------------------------------------------

    async def _hang_up(self, command: CommandName, drain: bool, drain_timeout_s: float) -> None:
        if self.state is CallState.DISCONNECTED:
            return
        if self._hanging_up is None:
            # Here and not in the task: what the caller queues next is behind the goodbye.
            self._media.outbox.seal()
            skipped = self._is_drain_skipped = asyncio.Event()
            if not drain or self.state is CallState.PENDING:  # nobody hears a ringing call
                skipped.set()
            self._hanging_up = self._tasks.spawn(
                self._drain_and_hang_up(command, skipped, drain_timeout_s),
                f"hang up {self.call_id}",
            )
        elif not drain and self._is_drain_skipped is not None:
            self._is_drain_skipped.set()
        await asyncio.shield(self._hanging_up)

    async def _drain_and_hang_up(
        self, command: CommandName, skipped: asyncio.Event, drain_timeout_s: float
    ) -> None:
        if not skipped.is_set():
            drained = asyncio.ensure_future(self._media.drain())
            skipping = asyncio.ensure_future(skipped.wait())
            try:
                await asyncio.wait(
                    (drained, skipping),
                    timeout=drain_timeout_s,
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                drained.cancel()
                skipping.cancel()
        self._media.clear()
        try:
            await self._media.command(command)
        except WSSCallClosedError:
            pass  # it ended by itself meanwhile, which is what was wanted
        except WSSCallCommandTimeoutError:
            self._media.end(EndCause.ABANDONED)
            raise
        except WSSCallCommandError:
            self._hanging_up = None
            self._media.outbox.unseal()
            raise

    async def _interrupt(self) -> tuple[int, float | None]:
        if self.state is CallState.DISCONNECTED:
            return 0, 0.0
        dropped_bytes = self._media.clear()
        if self._media.outbox.sent_bytes == 0:
            return dropped_bytes, 0.0  # the server never had any of it
        try:
            result = await self._media.command(CommandName.INTERRUPT)
        except WSSCallClosedError:
            return dropped_bytes, None
        except (WSSCallCommandError, WSSCallCommandTimeoutError) as error:
            _logger.warning("call %s: %s", self.call_id, error)
            return dropped_bytes, None
        assert isinstance(result, InterruptResult)  # the engine gives one for this command
        return dropped_bytes + result.dropped_bytes, result.heard_ms

    def _happened(self, event: MediaOutput) -> None:
        match event:
            case Answered():
                self._fire(CallEvent.CALL_ANSWERED)
            case ErrorReported():
                self._fire(CallEvent.CALL_ERROR, _details(event.error_code, event.error_message))
            case Ended():
                self._ended(event.cause)

    def _ended(self, cause: EndCause) -> None:
        statistics = self.statistics()
        _logger.info(
            "call %s ended: %s, received %d bytes, sent %d bytes, discarded %d bytes",
            self.call_id,
            cause,
            statistics.received_bytes,
            statistics.outgoing.sent_bytes,
            statistics.outgoing.discarded_bytes,
        )
        self._fire(CallEvent.CALL_TERMINATED)
        self._handlers = None
        self._on_ended(self)

    def _fire(self, event: CallEvent, *arguments: object) -> None:
        for handler in (self._handlers or {}).get(event, ()):
            self._spawn(event, handler, arguments)

    def _spawn(self, event: CallEvent, handler: Handler, arguments: tuple[object, ...]) -> None:
        if not takes_arguments(handler, len(arguments)):
            arguments = ()
        self._tasks.spawn(self._run_handler(event, handler, arguments), f"{event} {self.call_id}")

    async def _run_handler(
        self, event: CallEvent, handler: Handler, arguments: tuple[object, ...]
    ) -> None:
        try:
            await invoke(handler, *arguments)
        except Exception:
            _logger.exception("call %s: the handler of %s failed", self.call_id, event)


def _details(error_code: str, error_message: str) -> dict[str, str]:
    return {"error_code": error_code, "error_message": error_message}
