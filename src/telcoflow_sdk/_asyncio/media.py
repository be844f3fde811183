"""The media link of one call: opens it, moves audio, runs its engine.

Not here: what the application sees (`call.py`), the protocol (`protocol/media.py`).
Implements docs/reference/wire.md §2 and §3. Audio passes in callbacks only: no task is
switched per frame but the application's own.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from collections.abc import Callable

from telcoflow_sdk._asyncio.driver import EngineDriver
from telcoflow_sdk._asyncio.link import Link, LinkError, LinkRefused, LinkUntrusted, open_link
from telcoflow_sdk._asyncio.streams import BACKLOG_MS, AudioInbox, AudioStream
from telcoflow_sdk.audio.format import BytesLike, CallAudio
from telcoflow_sdk.audio.outbox import Outbox
from telcoflow_sdk.exceptions import BufferClosedError, WSSMediaError
from telcoflow_sdk.protocol.commands import CommandName, DialProgress
from telcoflow_sdk.protocol.media import (
    CommandSettled,
    EndCause,
    Ended,
    HoldEnded,
    MediaEngine,
    MediaOutput,
)
from telcoflow_sdk.protocol.messages import InterruptResult
from telcoflow_sdk.protocol.states import CallState

_READ_BUFFER_BYTES = 4 * 1024
"""A few frames; it grows for larger messages. Every call has one."""

_GATHER_S = 0.005
"""How long less than the server asked for waits for more, so that an application that writes
sample by sample does not send a message for each; unnoticeable beside a frame of 20 ms."""

_OPEN_ATTEMPTS = 3
_OPEN_RETRY_S = 0.5

_logger = logging.getLogger("telcoflow_sdk.media_connection")


class MediaConnection:
    """One call's way to the server.

    Concurrency: the event loop's thread, `write` apart.

    Args:
        audio: What it carries.
        make_id: Returns a new command id.
        ring_time_s: Of a call that we place, None of one that came in.
        on_event: Hears of everything that happens to the call; must not raise.
    """

    __slots__ = (
        "_drained",
        "_driver",
        "_engine",
        "_gathering",
        "_inboxes",
        "_is_waking",
        "_loop",
        "_loop_thread",
        "_on_event",
        "_outbox",
        "_received_bytes",
        "_waiting",
    )

    def __init__(
        self,
        audio: CallAudio,
        make_id: Callable[[], str],
        ring_time_s: int | None,
        on_event: Callable[[MediaOutput], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._on_event = on_event
        self._outbox = Outbox(audio.audio_format, audio.buffer_bytes)
        self._engine = MediaEngine(
            self._outbox, make_id, channels=audio.channels, ring_time_s=ring_time_s
        )
        self._driver = EngineDriver[MediaOutput](self._engine, self._loop, self._handle)
        backlog_bytes = audio.audio_format.ms_to_bytes(BACKLOG_MS)
        self._inboxes = tuple(AudioInbox(backlog_bytes, self._loop) for _ in range(audio.channels))
        self._waiting: dict[str, asyncio.Future[InterruptResult | None]] = {}
        self._drained: asyncio.Future[None] | None = None
        self._gathering: asyncio.TimerHandle | None = None
        self._is_waking = False
        self._received_bytes = 0

    @property
    def state(self) -> CallState:
        """Where the call stands."""
        return self._engine.state

    @property
    def progress(self) -> DialProgress | None:
        """How far dialling a person has come; None before the first word of it."""
        return self._engine.progress

    @property
    def outbox(self) -> Outbox:
        """The outgoing audio; write through `write`, so that it is sent."""
        return self._outbox

    @property
    def received_bytes(self) -> int:
        """Audio that arrived on all channels, over the whole call."""
        return self._received_bytes

    @property
    def ignored_messages(self) -> int:
        """Messages of the server's that were not understood."""
        return self._engine.ignored_messages

    @property
    def is_open(self) -> bool:
        """Whether the link is up."""
        return self._driver.link is not None

    async def open(self, url: str, token: str, version: str, tls: ssl.SSLContext | None) -> None:
        """Open the link; a connection that fails is tried again twice, a refusal is not.

        Raises:
            WSSMediaError: it cannot be opened.

        Cancellation: closes what was opened.
        """
        headers = {"Authorization": f"Bearer {token}", "x-sdk-version": version}
        for attempt in range(1, _OPEN_ATTEMPTS + 1):
            try:
                await open_link(
                    url,
                    self,
                    headers=headers,
                    ssl_context=tls,
                    read_buffer_bytes=_READ_BUFFER_BYTES,
                )
            except LinkError as error:
                if attempt == _OPEN_ATTEMPTS or isinstance(error, LinkRefused | LinkUntrusted):
                    raise WSSMediaError(f"cannot open the media link: {error}") from None
                await asyncio.sleep(_OPEN_RETRY_S)
            else:
                return

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
        """Drop the audio that has not left; return its bytes. Nothing is held back any more."""
        dropped_bytes = self._outbox.clear()
        self._send()
        self._check_drained()
        return dropped_bytes

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
        self, name: CommandName, *, ring_time_s: int | None = None
    ) -> InterruptResult | None:
        """Send a command and wait for its answer.

        Args:
            name: Which.
            ring_time_s: For `call.connect`.

        Raises:
            WSSCallClosedError: the call has ended, before or meanwhile.
            WSSCallCommandError: refused, here or by the server.
            WSSCallCommandTimeoutError: no answer.

        Cancellation: the command stays sent, or held and then sent, and what it does to the call
        is still noticed.
        """
        command_id = self._engine.send_command(name, self._loop.time(), ring_time_s=ring_time_s)
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

        One task at a time. Cancellation loses nothing.
        """
        if self._outbox.is_drained:
            return
        self._drained = self._loop.create_future()
        try:
            await self._drained
        finally:
            self._drained = None

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
        self._driver.attach(link)
        if self._engine.state is CallState.DISCONNECTED:
            link.close()

    def text_received(self, data: bytes) -> None:
        """A message of the server's arrived: most are requests for audio."""
        self._engine.receive_message(data)
        if not self._outbox.is_drained:
            self._send()
        if self._engine.has_output:
            self._driver.drain()

    def binary_received(self, data: bytes) -> None:
        """Audio arrived."""
        pcm = self._engine.receive_audio(data)
        if pcm:
            self._received_bytes += len(pcm)
            self._inboxes[data[0]].deliver(pcm)

    def link_lost(self, code: int | None, reason: str) -> None:
        """The socket is closed."""
        if self._engine.state is not CallState.DISCONNECTED:
            why = (
                "without a word" if code is None else f"with {code}: {reason or 'no reason given'}"
            )
            _logger.warning("a media link was lost, and its call with it: closed %s", why)
        self._driver.detach()
        self._engine.link_lost()
        self._driver.drain()

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
        link = self._driver.link
        if link is None:
            return
        outbox = self._outbox
        while True:
            while (message := outbox.next_message()) is not None:
                link.send_binary(message)
            if not outbox.has_marks or not self._engine.release_command(self._loop.time()):
                break
            self._driver.drain()
        self._check_drained()

    def _check_drained(self) -> None:
        waiter = self._drained
        if waiter is not None and self._outbox.is_drained and not waiter.done():
            waiter.set_result(None)

    def _handle(self, event: MediaOutput) -> None:
        if isinstance(event, CommandSettled):
            future = self._waiting.get(event.command_id)
            if future is None or future.done():
                return
            if event.error is None:
                future.set_result(event.result)
            else:
                future.set_exception(event.error)
            return
        if isinstance(event, HoldEnded):
            _logger.warning(
                "%d bytes of audio were dropped: they had not left when a command queued behind "
                "them could wait no longer",
                event.dropped_bytes,
            )
            self._send()
            return
        if isinstance(event, Ended):
            for inbox in self._inboxes:
                inbox.end()
            if self._gathering is not None:
                self._gathering.cancel()
                self._gathering = None
            self._check_drained()
            if self._driver.link is not None:
                self._driver.link.close()
        self._on_event(event)
