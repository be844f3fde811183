"""A media link that is watched, and replaced whenever it is lost: protocol v2 on the event loop.

Not here: what goes over it (`media.py`), what a new link begins with (`protocol/resuming.py`).
Implements "When it is lost" of docs/reference/wire-v2.md.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from telcoflow_sdk._asyncio.link import Link, LinkError
from telcoflow_sdk._asyncio.loop_lag import loop_lag
from telcoflow_sdk._asyncio.reopening import MediaOpener, Reopening, SilenceWatch
from telcoflow_sdk._asyncio.tasks import OwnedTasks
from telcoflow_sdk.protocol.resuming import ResumingLink


class Owner(Protocol):
    """Whose link it is."""

    def wants_link(self) -> bool:
        """Return whether there is none, and there should be one."""

    def link_refused(self, error: LinkError) -> None:
        """There will be none."""

    def server_silent(self) -> None:
        """Nothing has come for too long."""


class ResumableLink:
    """Everything around the links of one call that needs a clock.

    Args:
        state: What outlives each link.
        opener: Opens the next one.
        tasks: Holds the task that does.
        owner: Is told.
        loop: Runs it.

    Attributes:
        state: As given.
    """

    __slots__ = ("_lag", "_reopening", "_silence", "state")

    def __init__(
        self,
        state: ResumingLink,
        opener: MediaOpener,
        tasks: OwnedTasks,
        owner: Owner,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.state = state
        self._reopening = Reopening(
            opener, tasks, lambda: state.secret, owner.wants_link, owner.link_refused
        )
        self._silence = SilenceWatch(loop, owner.server_silent)
        self._lag = loop_lag(loop)
        self._lag.watch()

    @property
    def is_reopening(self) -> bool:
        """Whether another link is being opened."""
        return self._reopening.is_running

    @property
    def max_lag_ms(self) -> float:
        """The longest that the event loop was blocked."""
        return self._lag.max_lag_s * 1000

    def opened(self) -> None:
        """A link is there."""
        self._silence.start()

    def heard(self, now: float) -> None:
        """Something came over it.

        Args:
            now: By the loop's clock.
        """
        self._silence.heard_at = now

    def lag_s(self, now: float) -> float:
        """Return how long the event loop was blocked until now, seconds."""
        return self._lag.lag_s(now)

    def acknowledge(self, link: Link | None, now: float) -> None:
        """Tell the server what has come, if it is time to."""
        acknowledgement = self.state.next_acknowledgement(now)
        if acknowledgement is not None and link is not None:
            link.send_binary(acknowledgement)

    def lost(self, *, is_wanted: bool) -> None:
        """The link is gone; open another one if that is wanted."""
        self._silence.stop()
        if is_wanted:
            self._reopening.start()

    def resumed(self) -> None:
        """The new link is in use."""
        self._reopening.succeeded()

    def end(self) -> None:
        """The call is over. Called once."""
        self._silence.stop()
        self._lag.unwatch()
        self._reopening.stop()
