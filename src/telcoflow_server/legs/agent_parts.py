"""What an agent's leg and those who keep many of them together tell each other.

Not here: the leg (`agent.py`), many of them (`agent_array.py`), the socket (`api/agent_socket.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from telcoflow_server.call.ports import MediaLink
from telcoflow_server.legs.together import Together
from telcoflow_server.media.credit import Window
from telcoflow_server.media.feed import Feed
from telcoflow_server.media.playout import Playout


class TogetherAgents(Together, Protocol):
    """Where agents' legs are kept together: `agent_array.py`."""

    def receive(self, row: int, message: bytes) -> bool:
        """Take a binary message for a row by the next tick; False: the leg has to be alone."""

    def part(self, row: int) -> None:
        """Let the leg of a row be alone; for its link."""


@runtime_checkable
class JointLink(MediaLink, Protocol):
    """A media link that can be served together with others."""

    def framing(self, size_bytes: int) -> bytes:
        """Return what goes before a binary message of this size in `send_framed`."""

    def send_framed(self, messages: bytes) -> bool:
        """Write binary messages at once; return False, and write nothing, if others still wait."""

    def join(self, together: TogetherAgents, row: int) -> None:
        """From now on ask `together` first to take what comes, and part before all else."""

    def part(self, untaken: list[bytes]) -> None:
        """No longer; these came, and have to be dealt with before what comes next."""

    def catch_up(self) -> None:
        """Deal with them now; else it is done before anything else is."""


@dataclass(frozen=True, slots=True)
class LegParts:
    """What a leg is made of, for where it is kept with others."""

    link: JointLink
    playout: Playout
    window: Window
    feed: Feed
