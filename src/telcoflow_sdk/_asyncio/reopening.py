"""Opening a call's media link, and opening it again whenever it is lost.

Not here: what goes over it (`media.py`), what a new link begins with (`protocol/resuming.py`).
Implements "When it is lost" of docs/reference/wire-v2.md.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from telcoflow_sdk._asyncio.link import LinkError, LinkRefused, LinkUntrusted, open_link
from telcoflow_sdk._asyncio.tasks import OwnedTasks
from telcoflow_sdk.exceptions import WSSMediaError
from telcoflow_sdk.protocol.backoff import Backoff, ReconnectPolicy
from telcoflow_sdk.protocol.link import LinkEvents
from telcoflow_sdk.protocol.positions import SUBPROTOCOL

_READ_BUFFER_BYTES = 4 * 1024
"""A few frames; it grows for larger messages. Every call has one."""

_OPEN_ATTEMPTS = 3
_OPEN_RETRY_S = 0.5

REOPEN_POLICY = ReconnectPolicy(initial_s=0.1, factor=1.5, cap_s=1.0)
"""The caller hears silence meanwhile, and the server waits for seconds only."""

REOPEN_TIMEOUT_S = 2.0
"""How long one attempt may take: on a way that is frozen the next one may get through."""

SERVER_SILENCE_S = 3.0
"""A server says something every 20 ms, and at least once a second: it is out of reach then."""

_WATCH_S = 1.0
_BLOCKED_S = 0.5
"""A watch that is so late was blocked with all the rest: what has come is not read yet."""


@dataclass(frozen=True, slots=True)
class MediaAddress:
    """Where a call's media link is.

    Attributes:
        url: From `call.in`.
        token: Opens the first link.
        version: Of this SDK, for the server's information.
        tls: For `wss://`; None means the system's authorities.
    """

    url: str
    token: str = field(repr=False)
    version: str
    tls: ssl.SSLContext | None


class MediaOpener:
    """Opens links to one address.

    Args:
        address: Where.
        events: Hears of every link.
    """

    __slots__ = ("_address", "_backoff", "_events", "_is_retry")

    def __init__(self, address: MediaAddress, events: LinkEvents) -> None:
        self._address = address
        self._events = events
        self._backoff = Backoff(REOPEN_POLICY, random.random)
        self._is_retry = False

    async def open(self) -> None:
        """Open the first link; a connection that fails is tried again twice, a refusal is not.

        Raises:
            WSSMediaError: it cannot be opened.

        Cancellation: closes what was opened.
        """
        for attempt in range(1, _OPEN_ATTEMPTS + 1):
            try:
                await self._open(self._address.token)
            except LinkError as error:
                if attempt == _OPEN_ATTEMPTS or isinstance(error, LinkRefused | LinkUntrusted):
                    raise WSSMediaError(f"cannot open the media link: {error}") from None
                await asyncio.sleep(_OPEN_RETRY_S)
            else:
                return

    async def reopen(
        self, secret: Callable[[], str | None], is_wanted: Callable[[], bool]
    ) -> LinkError | None:
        """Open another link, in as many attempts as it takes: the first one at once.

        Args:
            secret: Returns what opens it; None: the token still does.
            is_wanted: Whether to go on.

        Returns:
            None: it is open, or not wanted any more. Else why there will be none.

        Cancellation: closes what was opened.
        """
        while is_wanted():
            if self._is_retry:
                await asyncio.sleep(self._backoff.next_delay_s())
                if not is_wanted():
                    break
            self._is_retry = True
            try:
                async with asyncio.timeout(REOPEN_TIMEOUT_S):
                    await self._open(secret() or self._address.token)
            except (LinkRefused, LinkUntrusted) as error:
                return error
            except (LinkError, TimeoutError):
                pass  # any attempt may be the first that gets through
        return None

    def succeeded(self) -> None:
        """The link is in use: begin with an attempt at once next time."""
        self._is_retry = False
        self._backoff.reset()

    async def _open(self, bearer: str) -> None:
        address = self._address
        await open_link(
            address.url,
            self._events,
            headers={
                "Authorization": f"Bearer {bearer}",
                "Sec-WebSocket-Protocol": SUBPROTOCOL,
                "x-sdk-version": address.version,
            },
            ssl_context=address.tls,
            read_buffer_bytes=_READ_BUFFER_BYTES,
        )


class Reopening:
    """Brings a call's media link back whenever it is lost.

    Args:
        opener: Opens links.
        tasks: Holds the task that does.
        secret: Returns what opens the next link; None: the call's token.
        is_wanted: Whether there is no link, and there should be one.
        refused: Called when there will be none, with the reason.
    """

    __slots__ = ("_is_wanted", "_opener", "_refused", "_secret", "_task", "_tasks")

    def __init__(
        self,
        opener: MediaOpener,
        tasks: OwnedTasks,
        secret: Callable[[], str | None],
        is_wanted: Callable[[], bool],
        refused: Callable[[LinkError], None],
    ) -> None:
        self._opener = opener
        self._tasks = tasks
        self._secret = secret
        self._is_wanted = is_wanted
        self._refused = refused
        self._task: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        """Whether a link is being opened."""
        return self._task is not None

    def start(self) -> None:
        """The link is lost: open another one. Idempotent."""
        if self._task is None:
            self._task = self._tasks.spawn(self._reopen(), "telcoflow reopen a media link")

    def stop(self) -> None:
        """The call is over: open none. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            self._task = None  # here too: a task that has not begun yet ends without a word

    def succeeded(self) -> None:
        """The link is in use."""
        self._opener.succeeded()

    async def _reopen(self) -> None:
        try:
            error = await self._opener.reopen(self._secret, self._is_wanted)
        finally:
            self._task = None
        if error is not None:
            self._refused(error)


class SilenceWatch:
    """Notices that a server which should be heard all the time is not.

    Args:
        loop: Runs it.
        silent: Called once nothing was heard for `SERVER_SILENCE_S`.

    Attributes:
        heard_at: When something came last, by the loop's clock; set by the owner.
    """

    __slots__ = ("_due", "_loop", "_silent", "_timer", "heard_at")

    def __init__(self, loop: asyncio.AbstractEventLoop, silent: Callable[[], None]) -> None:
        self._loop = loop
        self._silent = silent
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self.heard_at = 0.0

    def start(self) -> None:
        """Watch from now on."""
        self.stop()
        self.heard_at = self._loop.time()
        self._due = self.heard_at + _WATCH_S
        self._timer = self._loop.call_at(self._due, self._look)

    def stop(self) -> None:
        """Watch no more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        now = self._loop.time()
        if now - self._due > _BLOCKED_S:
            self.heard_at = now
        if now - self.heard_at > SERVER_SILENCE_S:
            self._timer = None
            self._silent()
            return
        self._due = max(self._due + _WATCH_S, now)
        self._timer = self._loop.call_at(self._due, self._look)
