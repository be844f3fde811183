"""The media link of one call: opens it, moves audio, runs its engine.

Not here: what the application sees (`call.py`), the protocol (`protocol/media.py`), how audio
leaves (`sending.py`), replacing links (`resumable.py`). Implements docs/reference/wire.md §2 and
§3, and docs/reference/wire-v2.md. Audio passes in callbacks only: no task is switched per frame
but the application's own.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable

from telcoflow_sdk._asyncio.agent_audio import AgentAudio
from telcoflow_sdk._asyncio.driver import EngineDriver
from telcoflow_sdk._asyncio.link import Link, LinkError
from telcoflow_sdk._asyncio.reopening import MediaAddress, MediaOpener
from telcoflow_sdk._asyncio.resumable import ResumableLink
from telcoflow_sdk._asyncio.sending import AudioSender
from telcoflow_sdk._asyncio.streams import AudioInbox, AudioStream
from telcoflow_sdk._asyncio.tasks import OwnedTasks
from telcoflow_sdk._asyncio.waiters import AudioWaiters
from telcoflow_sdk.audio.format import CallAudio
from telcoflow_sdk.audio.outbox import Outbox
from telcoflow_sdk.audio.positioned import PositionedOutbox
from telcoflow_sdk.playback import CallStatistics
from telcoflow_sdk.protocol.codes import RESUMABLE_CLOSES
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
from telcoflow_sdk.protocol.messages import InterruptResult
from telcoflow_sdk.protocol.positions import SUBPROTOCOL
from telcoflow_sdk.protocol.resuming import ResumingLink
from telcoflow_sdk.protocol.states import CallState

_logger = logging.getLogger("telcoflow_sdk.media_connection")


class MediaConnection:
    """One call's way to the server.

    Concurrency: the event loop's thread, `audio.write` apart.

    Args:
        audio: What it carries.
        make_id: Returns a new command id.
        ring_time_s: Of a call that we place, None of one that came in.
        on_event: Hears of everything that happens to the call; must not raise.
        tasks: Holds what opens a link again.

    Attributes:
        audio: What the agent says.
    """

    __slots__ = (
        "_call_audio",
        "_driver",
        "_engine",
        "_gap_ms",
        "_gaps",
        "_inboxes",
        "_loop",
        "_on_event",
        "_opener",
        "_outbox",
        "_received_bytes",
        "_resumable",
        "_sender",
        "_tasks",
        "_waiters",
        "_waiting",
        "audio",
    )

    def __init__(
        self,
        audio: CallAudio,
        make_id: Callable[[], str],
        ring_time_s: int | None,
        on_event: Callable[[MediaOutput], None],
        tasks: OwnedTasks,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._on_event = on_event
        self._tasks = tasks
        self._call_audio = audio
        self._outbox = outbox = Outbox(audio.audio_format, audio.buffer_bytes)
        self._engine = MediaEngine(
            outbox, make_id, channels=audio.channels, ring_time_s=ring_time_s
        )
        self._driver = EngineDriver[MediaOutput](self._engine, loop, self._handle)
        self._waiters = AudioWaiters(outbox, loop)
        self._sender = AudioSender(outbox, self._engine, self._driver, loop, self._waiters.has_left)
        self.audio = AgentAudio(self._sender, self._waiters, self)
        self._inboxes = tuple(AudioInbox(audio.audio_format, loop) for _ in range(audio.channels))
        self._waiting: dict[str, asyncio.Future[InterruptResult | None]] = {}
        self._received_bytes = 0
        self._gap_ms = 0.0
        self._gaps: Counter[GapCause] = Counter()
        self._opener: MediaOpener | None = None
        self._resumable: ResumableLink | None = None  # on protocol v2

    @property
    def state(self) -> CallState:
        """Where the call stands."""
        return self._engine.state

    @property
    def progress(self) -> DialProgress | None:
        """How far dialling a person has come; None before the first word of it."""
        return self._engine.progress

    @property
    def is_open(self) -> bool:
        """Whether the link is up, or comes back."""
        is_reopening = self._resumable is not None and self._resumable.is_reopening
        return self._driver.link is not None or is_reopening

    @property
    def is_over(self) -> bool:
        """Whether the call has ended."""
        return self._engine.state is CallState.DISCONNECTED

    @property
    def channels(self) -> int:
        """How many channels arrive."""
        return len(self._inboxes)

    def stream(self, channel: int) -> AudioStream:
        """Return a new iterator over what arrives on a channel that there is."""
        return self._inboxes[channel].stream()

    def statistics(self) -> CallStatistics:
        """Return what went through."""
        resumable = self._resumable
        return CallStatistics(
            received_bytes=self._received_bytes,
            outgoing=self.audio.outbox.statistics(),
            ignored_messages=self._engine.ignored_messages,
            protocol=1 if resumable is None else 2,
            lead_ms=0.0 if resumable is None else resumable.state.outbox.playback().lead_ms,
            gaps=dict(self._gaps),
            gap_ms=self._gap_ms,
            outages=0 if resumable is None else resumable.state.outages,
            loop_lag_ms=0.0 if resumable is None else resumable.max_lag_ms,
        )

    async def open(self, address: MediaAddress) -> None:
        """Open the link.

        Raises:
            WSSMediaError: it cannot be opened.

        Cancellation: closes what was opened.
        """
        self._opener = MediaOpener(address, self)
        await self._opener.open()

    def withdraw_connect(self) -> None:
        """Do not ring the callee after all, if the command is still held."""
        self._engine.withdraw_connect()
        self._driver.drain()
        self._sender.send()

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
        future: asyncio.Future[InterruptResult | None] = self._loop.create_future()
        command_id = self._send_command(name, ring_time_s, mark, future)
        try:
            return await future
        finally:
            self._waiting.pop(command_id, None)

    def post(self, name: CommandName) -> None:
        """Send a command; nobody waits for its answer. Raises as `command`."""
        self._send_command(name)

    def _send_command(
        self,
        name: CommandName,
        ring_time_s: int | None = None,
        mark: str | None = None,
        future: asyncio.Future[InterruptResult | None] | None = None,
    ) -> str:
        command_id = self._engine.send_command(
            name, self._loop.time(), ring_time_s=ring_time_s, mark=mark
        )
        if future is not None:
            self._waiting[command_id] = future
        self._driver.drain()
        self._sender.send()
        return command_id

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
        if self.is_over:
            self._driver.attach(link)
            link.close()
            return
        if self._resumable is not None and not is_v2:
            _logger.warning("a media link cannot go on over the older protocol of this server")
            self._driver.attach(link)
            self.end(EndCause.LINK_LOST)
            return
        if is_v2 and self._resumable is None:
            self._resumable = self._agree_on_v2()
        self._engine.link_opened()
        self._driver.attach(link)
        if self._resumable is not None:
            self._resumable.opened()

    def _agree_on_v2(self) -> ResumableLink:
        assert self._opener is not None, "it has opened this link"
        rate_hz = self._call_audio.audio_format.sample_rate_hz
        outbox = PositionedOutbox(self._outbox.intake)
        state = ResumingLink(outbox, len(self._inboxes), rate_hz)
        self._engine.agree_on_v2(state)
        self.audio.agree_on_v2(state)
        return ResumableLink(state, self._opener, self._tasks, self, self._loop)

    def text_received(self, data: bytes) -> None:
        """A message of the server's arrived: on v1 most are requests for audio."""
        now = self._loop.time()
        self._engine.receive_message(data, now)
        if self._resumable is not None:
            self._resumable.heard(now)
        if self._engine.has_output:
            self._driver.drain()
        if not self._sender.outbox.is_drained:
            self._sender.send()

    def binary_received(self, data: bytes) -> None:
        """Audio arrived, or on v2 a position."""
        if self._resumable is not None:
            self._positioned_received(data, self._resumable)
            return
        pcm = self._engine.receive_audio(data)
        if pcm:
            self._received_bytes += len(pcm)
            self._inboxes[data[0]].deliver(pcm)

    def _positioned_received(self, data: bytes, resumable: ResumableLink) -> None:
        now = self._loop.time()
        resumable.heard(now)
        arrival = self._engine.receive_binary(data, now, resumable.lag_s(now))
        if arrival is not None:
            self._received_bytes += len(arrival.pcm)
            self._inboxes[arrival.channel].deliver(arrival.pcm, arrival.offset)
        else:
            if not self._sender.outbox.is_drained:
                self._sender.send()  # there may be credit
            self._waiters.has_played()
        resumable.acknowledge(self._driver.link, now)

    def link_lost(self, code: int | None, reason: str) -> None:
        """The socket is closed."""
        if not self.is_over:
            why = (
                "without a word" if code is None else f"with {code}: {reason or 'no reason given'}"
            )
            _logger.warning("a media link was lost: closed %s", why)
        self._driver.detach()
        is_final = code is not None and code not in RESUMABLE_CLOSES
        self._engine.link_lost(self._loop.time(), is_final=is_final)
        self._driver.drain()
        if self._resumable is not None:
            self._resumable.lost(is_wanted=self.wants_link())

    def wants_link(self) -> bool:
        """Return whether there is none, and there should be one."""
        return self._driver.link is None and not self.is_over

    def link_refused(self, error: LinkError) -> None:
        """There will be none."""
        _logger.warning("a media link cannot be opened again: %s", error)
        self.end(EndCause.LINK_LOST)

    def server_silent(self) -> None:
        """Nothing has come for too long: the way is dead, whatever the socket believes."""
        if self._driver.link is not None:
            self._driver.link.abort()

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
                self._sender.send()
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
                assert self._resumable is not None, "there is no other link on v1"
                self._resumable.resumed()
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
        self._sender.stop()
        self._waiters.end()
        if self._resumable is not None:
            self._resumable.end()
        if self._driver.link is not None:
            self._driver.link.close()
