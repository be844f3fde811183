"""The server's side of a media link that may be replaced (protocol v2): who may, and what is kept.

Not here: audio (`legs/agent.py`), what the loss does to the call (`call.py`).
Implements "A link, from its first message to its last" of docs/reference/wire-v2.md. Time is ticks.
"""

from __future__ import annotations

import hmac
from collections import deque
from collections.abc import Callable

from telcoflow_sdk.audio.format import TICK_MS
from telcoflow_sdk.protocol.sequence import SeenMessages, SentMessages

SILENT_TICKS = 5_000 // TICK_MS
"""A client that says nothing for so long is out of reach: it speaks twice a second."""


SECRETS_KEPT = 100
"""Links in a row of which the client may have got no welcome: minutes of trying once a second."""


class Superseded(Exception):
    """This attempt of the client's was overtaken by a later one."""


class Resumption:
    """One client over all its links.

    Args:
        new_secret: Makes an unguessable string.
        grace_ticks: How long the call waits for a new link.

    Attributes:
        sent: Text messages to the client.
        seen: Those from it.
        outages: How often the link was lost; to be read only, like those that follow.
        outage_ticks: How long there was none, all together.
        is_away: Whether there is none now.
    """

    def __init__(self, new_secret: Callable[[], str], grace_ticks: int) -> None:
        self.sent = SentMessages()
        self.seen = SeenMessages()
        self.outages = 0
        self.outage_ticks = 0
        self.is_away = False
        self._new_secret = new_secret
        self._grace_ticks = grace_ticks
        self._epoch = 0
        self._secrets: deque[str] = deque(maxlen=SECRETS_KEPT)  # the client has one of these
        self._has_spoken = False  # on any link, since `hello`
        self._quiet_ticks = 0  # since the client spoke or, while it is away, since it went

    @property
    def awaits_first_word(self) -> bool:
        """Whether the client may have no secret yet: its token still opens a link."""
        return self._epoch > 0 and not self._has_spoken

    def is_opened_by(self, secret: str) -> bool:
        """Return whether a link with this secret may replace the one there is, or was."""
        # All are compared, each in constant time: the time tells nothing.
        matches = [hmac.compare_digest(secret.encode(), known.encode()) for known in self._secrets]
        return any(matches)

    def begin(self, epoch: int) -> str:
        """A link takes over; return the secret for the next one.

        Args:
            epoch: The client's number for this attempt.

        Raises:
            Superseded: a later attempt has been here.
        """
        if epoch <= self._epoch:
            raise Superseded
        self._epoch = epoch
        self.is_away = False
        self._quiet_ticks = 0
        self._secrets.append(self._new_secret())
        return self._secrets[-1]

    def spoke(self) -> None:
        """The client said something on the new link: so it has the new secret."""
        self._quiet_ticks = 0
        self._has_spoken = True
        while len(self._secrets) > 1:
            self._secrets.popleft()

    def lose(self) -> None:
        """The link is gone."""
        self.is_away = True
        self._quiet_ticks = 0
        self.outages += 1

    def advance(self) -> bool:
        """A tick has passed; return whether there is a link over which nothing comes."""
        self._quiet_ticks += 1
        if self.is_away:
            self.outage_ticks += 1
            return False
        return self._quiet_ticks >= SILENT_TICKS

    @property
    def is_over(self) -> bool:
        """Whether the client has been away for longer than the call waits."""
        return self.is_away and self._quiet_ticks >= self._grace_ticks
