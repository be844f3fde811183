"""The media link of one call: opens it, moves audio, runs its engine.

Not here: what the application sees (`call.py`), the protocol (`protocol/media.py`), opening links
(`reopening.py`). Implements docs/reference/wire.md §2 and §3, and docs/reference/wire-v2.md. Audio
passes in callbacks only: no task is switched per frame but the application's own.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from telcoflow_sdk._asyncio.driver import EngineDriver
from telcoflow_sdk._asyncio.link import Link
from telcoflow_sdk._asyncio.loop_lag import LoopLag, loop_lag
from telcoflow_sdk._asyncio.reopening import MediaAddress, MediaOpener, SilenceWatch
from telcoflow_sdk._asyncio.streams import AudioInbox, AudioStream
from telcoflow_sdk._asyncio.tasks import OwnedTasks
from telcoflow_sdk.audio.format import BytesLike, CallAudio
from telcoflow_sdk.audio.outbox import Outbox
from telcoflow_sdk.audio.positioned import PositionedOutbox
from telcoflow_sdk.exceptions import BufferClosedError
from telcoflow_sdk.playback import CallStatistics
from telcoflow_sdk.protocol.codes import CloseCode
from telcoflow_sdk.protocol.commands import CommandName, DialProgress, GapCause
from telcoflow_sdk.protocol.media import MediaEngine
from telcoflow_sdk.protocol.media_events import (
    CommandSettled,
    EndCause,
    Ended,
    GapHeard,
    HoldEnded,
    LinkInterrupted,
    LinkResumed,
    LinkViolated,
    MediaOutput,
)
from telcoflow_sdk.protocol.messages import InterruptResult, Place
from telcoflow_sdk.protocol.positions import SUBPROTOCOL
from telcoflow_sdk.protocol.resuming import ResumingLink
from telcoflow_sdk.protocol.states import CallState

_GATHER_S = 0.005
"""How long less than the server asked for waits for more, so that an application that writes
sample by sample does not send a message for each; unnoticeable beside a frame of 20 ms."""

_logger = logging.getLogger("telcoflow_sdk.media_connection")


T = TypeVar("T")


class MediaConnection:
    """One call's way to the server.

    Concurrency: the event loop's thread, `write` apart.

    Args:
        audio: What it carries.
        make_id: Returns a new command id.
        ring_time_s: Of a call that we place, None of one that came in.
        on_event: Hears of everything that happens to the call; must not raise.
        tasks: Holds what opens a link again.
    """

    __slots__ = (
        "_audio",
        "_driver",
        "_engine",
        "_gap_ms",
        "_gaps",
        "_gathering",
        "_inboxes",
        "_interruptions",
        "_is_pausing",
        "_is_waking",
        "_lag",
        "_loop",
        "_loop_thread",
        "_on_event",
        "_opener",
        "_outbox",
        "_played",
        "_received_bytes",
        "_reopening",
        "_resuming",
        "_room",
        "_silence",
        "_tasks",
        "_waiting",
    )

    def __init__(
        self,
        audio: CallAudio,
        make_id: Callable[[], str],
        ring_time_s: int | None,
        on_event: Callable[[MediaOutput], None],
        tasks: OwnedTasks,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._on_event = on_event
        self._tasks = tasks
        self._audio = audio
        outbox = Outbox(audio.audio_format, audio.buffer_bytes)
        self._outbox: Outbox | PositionedOutbox = outbox
        self._engine = MediaEngine(
            outbox, make_id, channels=audio.channels, ring_time_s=ring_time_s
        )
        self._resuming: ResumingLink | None = None  # on protocol v2
        self._driver = EngineDriver[MediaOutput](self._engine, self._loop, self._handle)
        self._inboxes = tuple(
            AudioInbox(audio.audio_format, self._loop) for _ in range(audio.channels)
        )
        self._waiting: dict[str, asyncio.Future[InterruptResult | None]] = {}
        self._room: list[tuple[int, asyncio.Future[bool]]] = []
        self._played: list[tuple[Place, asyncio.Future[bool]]] = []
        self._gathering: asyncio.TimerHandle | None = None
        self._is_waking = False
        self._received_bytes = 0
        self._interruptions = 0
        self._is_pausing = False
        self._gap_ms = 0.0
        self._gaps: Counter[GapCause] = Counter()
        self._opener: MediaOpener | None = None
        self._reopening: asyncio.Task[None] | None = None
        self._silence: SilenceWatch | None = None
        self._lag: LoopLag | None = None

    @property
    def state(self) -> CallState:
        """Where the call stands."""
        return self._engine.state

    @property
    def progress(self) -> DialProgress | None:
        """How far dialling a person has come; None before the first word of it."""
        return self._engine.progress

    @property
    def outbox(self) -> Outbox | PositionedOutbox:
        """The outgoing audio; write through `write`, so that it is sent."""
        return self._outbox

    @property
    def is_open(self) -> bool:
        """Whether the link is up, or comes back."""
        return self._driver.link is not None or self._reopening is not None

    @property
    def positions(self) -> PositionedOutbox | None:
        """The outgoing audio, where its place is known: on protocol v2."""
        return self._resuming.outbox if self._resuming is not None else None

    @property
    def is_over(self) -> bool:
        """Whether the call has ended."""
        return self._engine.state is CallState.DISCONNECTED

    @property
    def interruptions(self) -> int:
        """How often `clear` was called."""
        return self._interruptions

    @property
    def is_pausing(self) -> bool:
        """Whether playback was paused here and not resumed since."""
        return self._is_pausing

    def statistics(self) -> CallStatistics:
        """Return what went through."""
        resuming = self._resuming
        return CallStatistics(
            received_bytes=self._received_bytes,
            outgoing=self._outbox.statistics(),
            ignored_messages=self._engine.ignored_messages,
            protocol=1 if resuming is None else 2,
            lead_ms=0.0 if resuming is None else resuming.outbox.playback().lead_ms,
            gaps=dict(self._gaps),
            gap_ms=self._gap_ms,
            outages=0 if resuming is None else resuming.outages,
            loop_lag_ms=0.0 if self._lag is None else self._lag.max_lag_s * 1000,
        )

    async def open(self, address: MediaAddress) -> None:
        """Open the link.

        Raises:
            WSSMediaError: it cannot be opened.

        Cancellation: closes what was opened.
        """
        self._opener = MediaOpener(address, self)
        await self._opener.open()

    def write(self, data: BytesLike) -> None:
        """Queue PCM, and send it if the server waits for some. From any thread.

        Raises: as `Outbox.write`.
        """
        self._outbox.write(data)
        if not self._outbox.has_credit:
            return
        if threading.get_ident() == self._loop_thread:
            self._send_or_gather()
        elif not self._is_waking:
            # Two threads may both get here: one wake too many, never one too few, because the
            # flag falls before the buffer is read.
            self._is_waking = True
            try:
                self._loop.call_soon_threadsafe(self._woken)
            except RuntimeError:
                raise BufferClosedError from None  # the loop is closed, and the call with it

    def clear(self) -> int:
        """Drop the audio that has not left, for an interruption; return its bytes.

        Nothing is held back any more. `CommandName.INTERRUPT` must follow at once.
        """
        self._interruptions += 1
        self._is_pausing = False
        return self._dropped(self._outbox.clear())

    def drop_unsent(self) -> int:
        """Drop the audio that has not left; what has left is played. Returns its bytes."""
        return self._dropped(self._outbox.drop_unsent())

    async def pause(self) -> None:
        """Pause playback. Raises as `command`."""
        await self.command(CommandName.PAUSE)
        self._is_pausing = True

    async def resume(self) -> None:
        """Go on with playback. Raises as `command`."""
        await self.command(CommandName.RESUME)
        self._is_pausing = False

    def _dropped(self, dropped_bytes: int) -> int:
        self._send()
        self._check_waiters()
        return dropped_bytes

    def end_utterance(self) -> None:
        """The utterance ends behind what is queued."""
        self._outbox.end_utterance()
        self._send()

    @property
    def channels(self) -> int:
        """How many channels arrive."""
        return len(self._inboxes)

    def stream(self, channel: int) -> AudioStream:
        """Return a new iterator over what arrives on a channel that there is."""
        return self._inboxes[channel].stream()

    def withdraw_connect(self) -> None:
        """Do not ring the callee after all, if the command is still held."""
        self._engine.withdraw_connect()
        self._driver.drain()
        self._send()

    async def command(
        self, name: CommandName, *, ring_time_s: int | None = None, mark: str | None = None
    ) -> InterruptResult | None:
        """Send a command and wait for its answer.

        Args:
            name: Which.
            ring_time_s: For `call.connect`.
            mark: For `agent.mark`: its name.

        Raises:
            WSSCallClosedError: the call has ended, before or meanwhile.
            WSSCallCommandError: refused, here or by the server.
            WSSCallCommandTimeoutError: no answer.

        Cancellation: the command stays sent, or held and then sent, and what it does to the call
        is still noticed.
        """
        command_id = self._engine.send_command(
            name, self._loop.time(), ring_time_s=ring_time_s, mark=mark
        )
        future: asyncio.Future[InterruptResult | None] = self._loop.create_future()
        self._waiting[command_id] = future
        self._driver.drain()
        self._send()
        try:
            return await future
        finally:
            self._waiting.pop(command_id, None)

    async def drain(self) -> None:
        """Wait until every whole sample has left, was cleared, or the call has ended.

        Cancellation loses nothing.
        """
        if not self._outbox.is_drained and self.state is not CallState.DISCONNECTED:
            await self._wait(self._room, -1)

    async def room(self, below_bytes: int) -> None:
        """Wait until fewer bytes than this are queued, or the call has ended."""
        if self._outbox.queued_bytes >= below_bytes and self.state is not CallState.DISCONNECTED:
            await self._wait(self._room, below_bytes)

    async def played(self) -> bool:
        """Wait until what was written is played; on v1 until it has left.

        Returns:
            False: it was cleared, or the call has ended.

        Cancellation loses nothing.
        """
        if self.is_over:
            return False
        if self._resuming is None:
            await self.drain()
            return not self.is_over
        outbox = self._resuming.outbox
        if outbox.played >= outbox.written:
            return True
        return await self._wait(self._played, outbox.place)

    async def _wait(self, waiters: list[tuple[T, asyncio.Future[bool]]], what: T) -> bool:
        future: asyncio.Future[bool] = self._loop.create_future()
        waiter = (what, future)
        waiters.append(waiter)
        try:
            return await future
        finally:
            waiters.remove(waiter)

    def end(self, cause: EndCause) -> None:
        """The call is over, for a reason outside this link; does nothing after the end."""
        self._engine.end(cause)
        self._driver.drain()

    async def wait_closed(self) -> None:
        """Return once the socket is gone, about a second after the end at most."""
        link = self._driver.link
        if link is not None:
            await link.wait_closed()

    def link_opened(self, link: Link) -> None:
        """The upgrade is done."""
        is_v2 = link.subprotocol == SUBPROTOCOL
        if is_v2 and isinstance(self._outbox, Outbox):
            self._agree_on_v2(self._outbox)
        self._engine.link_opened()
        self._driver.attach(link)
        if self._engine.state is CallState.DISCONNECTED or is_v2 != (self._resuming is not None):
            link.close()
        elif self._silence is not None:
            self._silence.start()

    def _agree_on_v2(self, requested: Outbox) -> None:
        outbox = PositionedOutbox(requested.intake)
        self._outbox = outbox
        self._resuming = ResumingLink(
            outbox, len(self._inboxes), self._audio.audio_format.sample_rate_hz
        )
        self._engine.agree_on_v2(self._resuming)
        self._silence = SilenceWatch(self._loop, self._server_silent)
        self._lag = loop_lag(self._loop)
        self._lag.watch()

    def text_received(self, data: bytes) -> None:
        """A message of the server's arrived: on v1 most are requests for audio."""
        now = self._loop.time()
        self._engine.receive_message(data, now)
        if self._silence is not None:
            self._silence.heard_at = now
        if self._engine.has_output:
            self._driver.drain()
        if not self._outbox.is_drained:
            self._send()

    def binary_received(self, data: bytes) -> None:
        """Audio arrived, or on v2 a position."""
        if self._resuming is not None:
            self._positioned_received(data, self._resuming)
            return
        pcm = self._engine.receive_audio(data)
        if pcm:
            self._received_bytes += len(pcm)
            self._inboxes[data[0]].deliver(pcm)

    def _positioned_received(self, data: bytes, resuming: ResumingLink) -> None:
        now = self._loop.time()
        assert self._lag is not None, "made with the link"
        assert self._silence is not None, "likewise"
        self._silence.heard_at = now
        arrival = self._engine.receive_binary(data, now, self._lag.lag_s(now))
        if arrival is not None:
            self._received_bytes += len(arrival.pcm)
            self._inboxes[arrival.channel].deliver(arrival.pcm, arrival.offset)
        else:
            self._send()  # there may be credit
            self._check_played(resuming.outbox)
        acknowledgement = resuming.next_acknowledgement()
        if acknowledgement is not None and self._driver.link is not None:
            self._driver.link.send_binary(acknowledgement)

    def link_lost(self, code: int | None, reason: str) -> None:
        """The socket is closed."""
        if self._engine.state is not CallState.DISCONNECTED:
            why = (
                "without a word" if code is None else f"with {code}: {reason or 'no reason given'}"
            )
            _logger.warning("a media link was lost: closed %s", why)
        self._driver.detach()
        if self._silence is not None:
            self._silence.stop()
        is_final = code is not None and code != CloseCode.SLOW_READER
        self._engine.link_lost(self._loop.time(), is_final=is_final)
        self._driver.drain()
        if self._engine.state is not CallState.DISCONNECTED and self._reopening is None:
            self._reopening = self._tasks.spawn(self._reopen(), "telcoflow reopen a media link")

    async def _reopen(self) -> None:
        """Open links until one is in use, or the call is over."""
        resuming, opener = self._resuming, self._opener
        assert resuming is not None, "on v1 the call is over with its link"
        assert opener is not None, "it was open"
        try:
            while resuming.is_away and self._engine.state is not CallState.DISCONNECTED:
                if self._driver.link is not None:
                    await opener.pause()  # it is open, and waits for its welcome
                    continue
                error = await opener.reopen(resuming.secret, self._is_reopen_wanted)
                if error is not None:
                    _logger.warning("a media link cannot be opened again: %s", error)
                    self.end(EndCause.LINK_LOST)
        finally:
            self._reopening = None

    def _is_reopen_wanted(self) -> bool:
        return self._engine.state is not CallState.DISCONNECTED

    def _server_silent(self) -> None:
        """Nothing has come for too long: the way is dead, whatever the socket believes."""
        if self._driver.link is not None:
            self._driver.link.abort()

    def _woken(self) -> None:
        self._is_waking = False
        self._send_or_gather()

    def _send_or_gather(self) -> None:
        if self._outbox.fills_request:
            self._send()
        elif self._gathering is None:
            self._gathering = self._loop.call_later(_GATHER_S, self._gathered)

    def _gathered(self) -> None:
        self._gathering = None
        self._send()

    def _send(self) -> None:
        """Send what credit and buffer allow, and held commands in their places between it."""
        link, resuming = self._driver.link, self._resuming
        if link is None:
            return
        if resuming is not None:
            if resuming.is_welcome:
                now = self._loop.time()
                while (message := resuming.outbox.next_message(now)) is not None:
                    link.send_binary(message)
        else:
            self._send_requested(link)
        if self._room:
            self._check_waiters()

    def _send_requested(self, link: Link) -> None:
        outbox = self._outbox
        assert isinstance(outbox, Outbox), "protocol v1"
        while True:
            while (message := outbox.next_message()) is not None:
                link.send_binary(message)
            if not outbox.has_marks or not self._engine.release_command(self._loop.time()):
                break
            self._driver.drain()

    def _check_waiters(self) -> None:
        """Wake who waits for room, or for the last sample to leave."""
        has_ended = self._engine.state is CallState.DISCONNECTED
        for below_bytes, waiter in self._room:
            has_room = self._outbox.queued_bytes < below_bytes
            if (has_room or has_ended or self._outbox.is_drained) and not waiter.done():
                waiter.set_result(True)
        if self._resuming is not None:
            self._check_played(self._resuming.outbox)

    def _check_played(self, outbox: PositionedOutbox) -> None:
        has_ended = self._engine.state is CallState.DISCONNECTED
        for place, waiter in self._played:
            is_cleared = has_ended or place.generation != outbox.generation
            if (is_cleared or outbox.played >= place.offset) and not waiter.done():
                waiter.set_result(not is_cleared)

    def _handle(self, event: MediaOutput) -> None:
        match event:
            case CommandSettled():
                self._settled(event)
                return
            case HoldEnded():
                _logger.warning(
                    "%d bytes of audio were dropped: they had not left when a command queued "
                    "behind them could wait no longer",
                    event.dropped_bytes,
                )
                self._send()
                return
            case LinkViolated():
                if self._driver.link is not None:
                    self._driver.link.close(event.code)
                return
            case GapHeard():
                self._gaps[event.cause] += 1
                self._gap_ms += event.ms
                return
            case LinkResumed():
                assert self._opener is not None, "it was open"
                self._opener.succeeded()
                _logger.info("a media link is back after %.0f ms", event.resumption.outage_ms)
            case LinkInterrupted():
                _logger.info("the call goes on without a media link; opening another one")
            case Ended():
                self._ended()
            case _:
                pass
        self._on_event(event)

    def _settled(self, event: CommandSettled) -> None:
        future = self._waiting.get(event.command_id)
        if future is None or future.done():
            return
        if event.error is None:
            future.set_result(event.result)
        else:
            future.set_exception(event.error)

    def _ended(self) -> None:
        for inbox in self._inboxes:
            inbox.end()
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        self._check_waiters()
        if self._silence is not None:
            self._silence.stop()
        if self._lag is not None:
            self._lag.unwatch()
        if self._reopening is not None and self._reopening is not asyncio.current_task():
            self._reopening.cancel()
        if self._driver.link is not None:
            self._driver.link.close()
