"""The agent's audio on its way to the socket, from whichever thread it is written.

Not here: how much may leave and what it looks like (`audio/`), who waits for it (`waiters.py`).
Implements docs/reference/wire.md §3, and "Positions" of docs/reference/wire-v2.md.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from telcoflow_sdk._asyncio.driver import EngineDriver
from telcoflow_sdk._asyncio.link import Link
from telcoflow_sdk.audio.format import BytesLike
from telcoflow_sdk.audio.outbox import Outbox
from telcoflow_sdk.audio.positioned import PositionedOutbox
from telcoflow_sdk.exceptions import BufferClosedError
from telcoflow_sdk.protocol.media import MediaEngine
from telcoflow_sdk.protocol.media_events import MediaOutput
from telcoflow_sdk.protocol.resuming import ResumingLink

_GATHER_S = 0.005
"""How long less than the server asked for waits for more, so that an application that writes
sample by sample does not send a message for each; unnoticeable beside a frame of 20 ms."""


class AudioSender:
    """Sends what credit and buffer allow, as soon as either grows.

    Concurrency: the thread it was made on, `write` apart.

    Args:
        outbox: What is sent, on protocol v1.
        engine: Has the commands that are held between the audio, on v1.
        driver: Has the link.
        loop: Runs it.
        has_left: Called when audio may have left.

    Attributes:
        outbox: What is sent; to be read only.
    """

    __slots__ = (
        "_driver",
        "_engine",
        "_gathering",
        "_has_left",
        "_intake",
        "_is_waking",
        "_loop",
        "_resuming",
        "_thread",
        "outbox",
    )

    def __init__(
        self,
        outbox: Outbox,
        engine: MediaEngine,
        driver: EngineDriver[MediaOutput],
        loop: asyncio.AbstractEventLoop,
        has_left: Callable[[], None],
    ) -> None:
        self.outbox: Outbox | PositionedOutbox = outbox
        self._intake = outbox.intake
        self._engine = engine
        self._driver = driver
        self._loop = loop
        self._thread = threading.get_ident()
        self._has_left = has_left
        self._resuming: ResumingLink | None = None  # on protocol v2
        self._gathering: asyncio.TimerHandle | None = None
        self._is_waking = False

    @property
    def capacity_bytes(self) -> int:
        """The most that may be queued."""
        return self._intake.buffer.capacity_bytes

    def agree_on_v2(self, resuming: ResumingLink) -> None:
        """Send by positions from now on."""
        self._resuming = resuming
        self.outbox = resuming.outbox

    def write(self, data: BytesLike) -> None:
        """Queue PCM, and send it if the server waits for some. From any thread.

        Raises: as `Intake.write`.
        """
        self._intake.write(data)
        if not self.outbox.has_credit:
            return
        if threading.get_ident() == self._thread:
            self._send_or_gather()
        elif not self._is_waking:
            # Two threads may both get here: one wake too many, never one too few, because the
            # flag falls before the buffer is read.
            self._is_waking = True
            try:
                self._loop.call_soon_threadsafe(self._woken)
            except RuntimeError:
                raise BufferClosedError from None  # the loop is closed, and the call with it

    def send(self) -> None:
        """Send what credit and buffer allow, and held commands in their places between it."""
        link, resuming = self._driver.link, self._resuming
        if link is None:
            return
        if resuming is None:
            self._send_requested(link)
        elif resuming.is_welcome:
            now, outbox = self._loop.time(), resuming.outbox
            while (message := outbox.next_message(now)) is not None:
                link.send_binary(message)
        self._has_left()

    def stop(self) -> None:
        """Nothing more is sent."""
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None

    def _send_requested(self, link: Link) -> None:
        outbox = self.outbox
        assert isinstance(outbox, Outbox), "protocol v1"
        while True:
            while (message := outbox.next_message()) is not None:
                link.send_binary(message)
            if not outbox.has_marks or not self._engine.release_command(self._loop.time()):
                break
            self._driver.drain()

    def _woken(self) -> None:
        self._is_waking = False
        self._send_or_gather()

    def _send_or_gather(self) -> None:
        if self.outbox.fills_request:
            self.send()
        elif self._gathering is None:
            self._gathering = self._loop.call_later(_GATHER_S, self._gathered)

    def _gathered(self) -> None:
        self._gathering = None
        self.send()
