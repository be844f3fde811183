"""A call, as the application sees it.

Not here: how calls arrive (`client.py`), their protocol (`protocol/media.py`).
Implements `ActiveCall` of docs/reference/sdk.md.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable

from telcoflow_sdk._asyncio.handlers import (
    CallHandlers,
    Handler,
    HandlerT,
    error_details,
    parse_event,
)
from telcoflow_sdk._asyncio.hangup import HangUp
from telcoflow_sdk._asyncio.ids import make_id
from telcoflow_sdk._asyncio.media import MediaConnection
from telcoflow_sdk._asyncio.playing import Source, play
from telcoflow_sdk._asyncio.reopening import MediaAddress
from telcoflow_sdk._asyncio.streams import AudioStream
from telcoflow_sdk._asyncio.tasks import OwnedTasks
from telcoflow_sdk.audio.format import CHANNELS, AudioFormat, BytesLike, CallAudio
from telcoflow_sdk.config import DEFAULT_BUFFER_BYTES, TelcoflowClientConfig
from telcoflow_sdk.events import CallEvent
from telcoflow_sdk.exceptions import (
    WSSCallClosedError,
    WSSCallCommandError,
    WSSCallCommandTimeoutError,
    WSSCallError,
    WSSMediaError,
)
from telcoflow_sdk.playback import CallStatistics, Interruption, Playback
from telcoflow_sdk.protocol.commands import (
    DEFAULT_RING_TIME_S,
    DTMF_DIGITS,
    MAX_DTMF_DIGITS,
    TRANSFER_TIMEOUT_S,
    CommandName,
    DialProgress,
    check_ring_time,
)
from telcoflow_sdk.protocol.handoff import parse_handed_call
from telcoflow_sdk.protocol.media_events import (
    EndCause,
    Ended,
    MediaOutput,
)
from telcoflow_sdk.protocol.messages import (
    MAX_ID_LENGTH,
    CallIn,
    DtmfData,
    MarkData,
    TransferData,
)
from telcoflow_sdk.protocol.states import CallState
from telcoflow_sdk.version import __version__

DRAIN_TIMEOUT_S = 10.0

_logger = logging.getLogger("telcoflow_sdk")


class ActiveCall:
    """One phone call: handed to the INCOMING_CALL handler, or returned by `TelcoflowClient.call`.

    Concurrency: the event loop's thread, `send_audio_nowait` apart. Any number of tasks.

    Args:
        call: What the server said of it.
        audio: What it carries.
        tasks: Holds what the call starts.
        on_ended: Called once, when the call is over.
        ring_time_s: Of a call that we place: how long the person is rung. None for others.
    """

    __slots__ = (
        "_audio_format",
        "_call",
        "_handlers",
        "_hang_up",
        "_media",
        "_on_ended",
        "_ring_time_s",
    )

    def __init__(
        self,
        call: CallIn,
        audio: CallAudio,
        tasks: OwnedTasks,
        on_ended: Callable[[ActiveCall], None],
        *,
        ring_time_s: int | None = None,
    ) -> None:
        self._call = call
        self._audio_format = audio.audio_format
        self._on_ended = on_ended
        self._ring_time_s = ring_time_s
        self._handlers = CallHandlers(call.call_id, tasks)
        self._media = MediaConnection(audio, make_id, ring_time_s, self._happened, tasks)
        self._hang_up = HangUp(self._media, tasks)

    @classmethod
    async def from_json(
        cls, text: str | bytes, config: TelcoflowClientConfig | None = None
    ) -> ActiveCall:
        """Take over a call that a client in another process gave away, and open its media link.

        The call rings, as it would in an INCOMING_CALL handler. It needs no client: end it with
        `close` or `disconnect`, and expect nobody to do so when your code fails.

        Args:
            text: From `OfferedCall.to_json`, not older than a minute. A secret.
            config: Certificates and buffer size; without one the system's authorities are
                trusted. Its `sample_rate` must be the call's, which was agreed before; so was
                the call's audio mode, whatever is said here.

        Raises:
            ValueError: this is no call that was given away, or the sample rates differ.
            WSSMediaError: the media link cannot be opened: the call has ended, somebody else
                has taken it, or the text is too old.
            WSSConnectionError: a certificate file cannot be used.

        Cancellation: nothing is left behind.
        """
        handed = parse_handed_call(text)
        if config is not None and config.sample_rate != handed.sample_rate:
            raise ValueError(
                f"the call was taken with sample_rate={handed.sample_rate}; "
                f"this configuration has {config.sample_rate}"
            )
        audio = CallAudio(
            AudioFormat(handed.sample_rate),
            CHANNELS[handed.audio_mode],
            DEFAULT_BUFFER_BYTES if config is None else config.buffer_size,
        )
        call = cls(handed.call, audio, OwnedTasks(), lambda _: None)
        tls = None if config is None else config.tls_context()
        await call.open(tls, only_encrypted=config is not None and config.cert_path is not None)
        return call

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
    def sample_rate(self) -> int:
        """Of the audio, both ways, Hz."""
        return self._audio_format.sample_rate_hz

    @property
    def state(self) -> CallState:
        """Where the call stands."""
        return self._media.state

    @property
    def progress(self) -> DialProgress | None:
        """How far dialling has come, of a call placed or a callee rung; None before that."""
        return self._media.progress

    async def answer(self) -> None:
        """Answer the call; the caller hears silence until audio is queued.

        A call that was placed with `TelcoflowClient.call` is answered by the person called: wait
        for that. Returns at once when it has happened.

        Raises:
            WSSCallClosedError: the call has ended.
            WSSCallCommandError: refused; `INVALID_STATE` when it was answered before. Of a call
                placed: `CALL_UNANSWERED`, `CALL_BUSY`, `CALL_DECLINED`; the call is over.
            WSSCallCommandTimeoutError: the server did not answer in time.

        Cancellation: the call may still be answered; `state` tells.
        """
        if self._ring_time_s is not None and self.state is CallState.ANSWERED:
            return
        await self._reporting(CallEvent.CALL_ANSWER_FAILED, CommandName.ANSWER)

    async def connect(self, ring_time_seconds: int = DEFAULT_RING_TIME_S) -> None:
        """Ring the number that was called, and bring the person who answers into the call.

        Audio queued before is played first (over v1 at most 10 s, see `whisper`); nobody hears a
        call that rings, so there nothing is waited for. Then the caller hears ringback, and
        whatever else is sent. Returns when the callee has answered: all three hear each other.

        Args:
            ring_time_seconds: How long the callee is rung, 1 to 120 s.

        Raises:
            ValueError: another ring time.
            WSSCallClosedError: the call has ended, also when the caller hung up meanwhile.
            WSSCallCommandError: `CALL_UNANSWERED`, `CALL_BUSY`, `CALL_DECLINED`,
                `CALLEE_UNREACHABLE`: the call is as it was before, try again if you like;
                `INVALID_STATE`: it is connected, or another `connect` is in progress.
            WSSCallCommandTimeoutError: the server did not answer in time.

        Cancellation: while queued audio plays, nobody is rung; later the ringing goes on, and
            `state` tells. `close` and `disconnect` end it.
        """
        check_ring_time(ring_time_seconds)
        if self._media.audio.positions is not None and self.state is CallState.ANSWERED:
            # Here and not on the server, so that it can be called off until then.
            await self._media.audio.played()
        if self._hang_up.is_running:
            raise WSSCallClosedError
        try:
            await self._reporting(
                CallEvent.CALL_CONNECT_FAILED, CommandName.CONNECT, int(ring_time_seconds)
            )
        except asyncio.CancelledError:
            self._media.withdraw_connect()
            raise

    async def whisper(self) -> None:
        """Let the callee alone hear what is queued from now on; needs a connected call.

        What was queued before is heard by those who heard the agent until now: the change keeps
        its place among the audio, and returns at once. Over v1 it waits for the audio in front of
        it to leave, while what is queued later waits behind it. A clear ends the wait. So do 10 s:
        what has not left by then is dropped and counted, because nobody shall hear it whom it was
        not meant for.

        Raises:
            WSSCallClosedError: the call has ended.
            WSSCallCommandError: refused; `INVALID_STATE` when the call is not connected.
            WSSCallCommandTimeoutError: the server did not answer in time.

        Cancellation: the mode still changes, in its place.
        """
        await self._media.command(CommandName.WHISPER)

    async def barge(self) -> None:
        """Let caller and callee hear what is queued from now on, as after `connect`.

        Otherwise as `whisper`.
        """
        await self._media.command(CommandName.BARGE)

    async def spy(self) -> None:
        """Let nobody hear what is queued from now on. Otherwise as `whisper`."""
        await self._media.command(CommandName.SPY)

    async def close(self, *, drain: bool = True, drain_timeout_s: float = DRAIN_TIMEOUT_S) -> None:
        """Leave the call. Caller and callee go on if they are connected; else the call ends.

        A ringing call is rejected. A callee who is being rung is left in peace. Audio queued before
        plays out first, so that a goodbye is heard. Audio queued later is discarded and counted.
        Returns once the call is over for the agent, at once when it was over before.

        Args:
            drain: False hangs up now, also when another task waits for the goodbye.
            drain_timeout_s: The longest goodbye, seconds from now.

        Raises:
            WSSCallCommandError: the server refused; the call goes on and takes audio again.
            WSSCallCommandTimeoutError: the server was silent; the call is over here.

        Cancellation: the hang-up goes on.
        """
        await self._hang_up.run(CommandName.CLOSE, drain, drain_timeout_s)

    async def disconnect(
        self, *, drain: bool = True, drain_timeout_s: float = DRAIN_TIMEOUT_S
    ) -> None:
        """End the call for everybody; a ringing one is rejected. Otherwise as `close`."""
        await self._hang_up.run(CommandName.DISCONNECT, drain, drain_timeout_s)

    def audio_stream(self, channel: int = 0) -> AudioStream:
        """Return an async iterator over what the agent hears: raw PCM, from the answer on.

        The first iterator of a channel begins with what has arrived before it, 10 s at most; a
        later one is live. Every iterator gets all audio and has a queue of 10 s of its own, from
        which the oldest is dropped and counted. It ends when the call does, after what has
        arrived.

        Args:
            channel: 0 is everybody but the agent. With `audio_mode="isolated"` also 1, the
                caller (of a call placed: the person called), and 2, the callee.

        Raises:
            ValueError: the call has no such channel.
        """
        if channel not in range(self._media.channels):
            raise ValueError(
                f"no channel {channel!r}: 0 is everybody, and 1 (caller) and 2 (callee) come "
                'with audio_mode="isolated" in the TelcoflowClientConfig'
            )
        return self._media.stream(channel)

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
        self._media.audio.write(data)

    def send_audio_nowait(self, data: BytesLike) -> None:
        """Do what `send_audio` does, from any thread."""
        self._media.audio.write(data)

    def get_send_audio_buffer_size(self) -> int:
        """Return the bytes queued and not yet sent to the server; reaches 0."""
        return self._media.audio.outbox.queued_bytes

    async def clear_send_audio_buffer(self) -> int:
        """Drop the queued audio, here and on the server: barge-in.

        What is queued here is gone before this first awaits. A server that refuses or is silent
        is logged, not raised: it holds a fraction of a second at most.

        Returns:
            The bytes dropped in both places; 0 after the end of the call.

        Cancellation: the audio stays dropped.
        """
        dropped_bytes, _ = await self._media.audio.interrupt(self.call_id)
        return dropped_bytes

    async def interrupt(self) -> Interruption:
        """Drop the queued audio as `clear_send_audio_buffer` does, and tell what was heard."""
        dropped_bytes, heard_ms = await self._media.audio.interrupt(self.call_id)
        return Interruption(
            heard_ms=heard_ms, dropped_ms=self._audio_format.bytes_to_ms(dropped_bytes)
        )

    def end_utterance(self) -> None:
        """End the utterance behind what is queued.

        *Heard* counts from the next one anew, and the last part of a frame is played at once. An
        odd last byte is dropped. Without this, a silence of more than 240 ms ends an utterance;
        once it was called, nothing but it and an interruption does.
        """
        self._media.audio.end_utterance()

    async def drain(self) -> bool:
        """Wait until the last sample queued until now was played; over v1, until it has left.

        Returns:
            False: it was cleared, or the call has ended.

        Cancellation: loses nothing.
        """
        return await self._media.audio.played()

    async def mark(self, name: str) -> None:
        """Put a mark behind what is queued: MARK_PLAYED or MARK_CLEARED tells what became of it.

        Args:
            name: Told in the event; 1 to 128 characters.

        Raises:
            ValueError: another length.
            WSSCallClosedError: the call has ended.
            WSSCallCommandError: refused; `TOO_MANY_MARKS`: a thousand are waiting;
                `UNSUPPORTED`: the server speaks an older media protocol.
            WSSCallCommandTimeoutError: the server did not answer in time.

        Cancellation: the mark stays.
        """
        if not 1 <= len(name) <= MAX_ID_LENGTH:
            raise ValueError(f"a mark's name has 1 to {MAX_ID_LENGTH} characters, not {len(name)}")
        await self._media.command(CommandName.MARK, content=MarkData(name))

    async def send_dtmf(self, digits: str) -> None:
        """Press keys, behind the audio queued before, for the phones of those who hear the agent.

        A clear before their place drops them. A phone that takes none is told by CALL_ERROR.

        Args:
            digits: 1 to 64 of `0` to `9`, `*`, `#`, `A` to `D`. They are never logged.

        Raises:
            ValueError: others, or none.
            WSSCallError: as `mark`; `INVALID_STATE` before the answer.

        Cancellation: they are sent all the same.
        """
        if not digits or len(digits) > MAX_DTMF_DIGITS or set(digits) - set(DTMF_DIGITS):
            raise ValueError(f"digits are 1 to {MAX_DTMF_DIGITS} of {DTMF_DIGITS}")
        await self._media.command(CommandName.SEND_DTMF, content=DtmfData(digits))

    async def transfer(self, number: str) -> None:
        """Send the caller to somebody else and leave, once the audio queued before was played.

        The phone calls the number itself (a blind transfer, RFC 3515), and the call is over.

        Args:
            number: Whom, as the caller's phone or its provider dials it.

        Raises:
            ValueError: it is empty or too long.
            WSSCallError: as `mark`; `TRANSFER_FAILED`: the phone did not reach them, or cannot,
                and the call goes on; `INVALID_STATE`: it is not ANSWERED.

        Cancellation: the transfer goes on, and `state` tells.
        """
        if not 1 <= len(number) <= MAX_ID_LENGTH:
            raise ValueError(f"a number has 1 to {MAX_ID_LENGTH} characters")
        await self._media.command(
            CommandName.TRANSFER, ring_time_s=TRANSFER_TIMEOUT_S, content=TransferData(number)
        )

    @property
    def playback(self) -> Playback:
        """Where the agent's audio is: queued here, in flight, heard.

        What was heard is told by the server 50 times a second. Over v1 only *queued* is known,
        and the rest is 0.
        """
        positions = self._media.audio.positions
        if positions is not None:
            return positions.playback()
        queued_ms = self._audio_format.bytes_to_ms(self._media.audio.outbox.queued_bytes)
        return Playback(queued_ms, 0.0, 0.0, is_paused=False, lead_ms=0.0)

    async def pause_playback(self) -> None:
        """Stop playing, at once; nothing is lost. Then decide: `resume_playback` or `interrupt`.

        Raises:
            WSSCallClosedError: the call has ended.
            WSSCallCommandError: `UNSUPPORTED`: the server speaks an older media protocol.
            WSSCallCommandTimeoutError: the server did not answer in time.

        Cancellation: playback may be paused.
        """
        await self._media.audio.pause()

    async def resume_playback(self) -> None:
        """Go on at the sample where `pause_playback` stopped. Raises as that."""
        await self._media.audio.resume()

    async def play(self, source: Source) -> bool:
        """Play a source to its end; it is read, or made, only as it is needed.

        About 100 ms are kept queued here. An interruption ends it at once: what nobody will
        hear is not made. It ends the utterance itself.

        Args:
            source: PCM as for `send_audio`; the path of a WAV file in the call's format; an async
                iterable of PCM, which is closed; or an `async def produce(n_bytes)` that returns
                about so much PCM, and b"" at the end.

        Returns:
            True: all of it was played (over v1: has left). False: an interruption, a hang-up or
            the end of the call came first.

        Raises:
            ValueError: a WAV file in another format.
            TypeError: none of these.
            OSError: the file cannot be read.

        Cancellation: what is queued is played; the iterator is closed.
        """
        return await play(self._media.audio, self._audio_format, source)

    def statistics(self) -> CallStatistics:
        """Return what went through the call so far."""
        return self._media.statistics()

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
            self._handlers.start(kind, handler)
        else:
            self._handlers.add(kind, handler)

    @property
    def session_id(self) -> str:
        """The session this call belongs to on the control link."""
        return self._call.session_id

    @property
    def media(self) -> MediaConnection:
        """The call's media link."""
        return self._media

    async def open(self, tls: ssl.SSLContext | None, *, only_encrypted: bool) -> None:
        """Open the media link.

        Args:
            tls: For `wss://`; None means the system's authorities.
            only_encrypted: Refuse `ws://`.

        Raises:
            WSSMediaError: it cannot be opened; the call is over here.

        Cancellation: the call is over here.
        """
        try:
            if only_encrypted and not self._call.url.startswith("wss://"):
                raise WSSMediaError("the media link is not encrypted")
            address = MediaAddress(self._call.url, self._call.token, __version__, tls)
            await self._media.open(address)
        except BaseException:
            self._media.end(EndCause.LINK_LOST)
            raise

    async def leave(self, timeout_s: float) -> None:
        """End the call because the client closes; a goodbye that is being said is finished.

        Args:
            timeout_s: For the server to answer, apart from the goodbye, seconds.
        """
        try:
            if self._hang_up.is_running:
                await self._hang_up.join()
            elif self._media.is_open:
                async with asyncio.timeout(timeout_s):
                    await self.close(drain=False)
        except (WSSCallError, TimeoutError) as error:
            _logger.warning("call %s: hanging up failed: %s", self.call_id, error)
        finally:
            self._media.end(EndCause.ABANDONED)
        await self._media.wait_closed()

    async def _reporting(
        self, failure: CallEvent, name: CommandName, ring_time_s: int | None = None
    ) -> None:
        """Send a command; if it fails, fire the event, too."""
        try:
            await self._media.command(name, ring_time_s=ring_time_s)
        except WSSCallCommandError as error:
            self._handlers.fire(failure, error_details(error.error_code, error.error_message))
            raise
        except WSSCallCommandTimeoutError as error:
            self._handlers.fire(failure, error_details("TIMEOUT", str(error)))
            raise

    def _happened(self, event: MediaOutput) -> None:
        if isinstance(event, Ended):
            self._ended(event.cause)
        else:
            self._handlers.report(event)

    def _ended(self, cause: EndCause) -> None:
        passed = self.statistics()
        out = passed.outgoing
        text = "call %s ended: %s, received %d bytes, sent %d bytes, discarded %d bytes"
        numbers = passed.received_bytes, out.sent_bytes, out.discarded_bytes
        _logger.info(text, self.call_id, cause, *numbers)
        self._handlers.fire(CallEvent.CALL_TERMINATED)
        self._on_ended(self)
