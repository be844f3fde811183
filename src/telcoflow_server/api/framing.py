"""WebSocket frames as a server sends them, for messages that leave together in one write.

Not here: receiving, and everything else about the protocol, which is the library's.
Implements RFC 6455 §5.2.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Protocol

logger = logging.getLogger(__name__)

TEXT, BINARY, PONG = 1, 2, 10

_FINAL = 0x80
_ONE_BYTE_LIMIT = 126


@lru_cache(maxsize=256)  # what is sent on every tick has two or three sizes
def header(opcode: int, size_bytes: int) -> bytes:
    """Return what goes before a message that is sent as one frame, unmasked.

    Args:
        opcode: `TEXT`, `BINARY` or `PONG`.
        size_bytes: Of the message, at most 65 535; of a pong 125.
    """
    if size_bytes < _ONE_BYTE_LIMIT:
        return bytes((_FINAL | opcode, size_bytes))
    return bytes((_FINAL | opcode, _ONE_BYTE_LIMIT, size_bytes >> 8, size_bytes & 0xFF))


class Holding(Protocol):
    """A link that holds frames which are to leave together."""

    def flush(self) -> None:
        """Write what is held."""


def flush_all(due: list[Holding]) -> None:
    """Let all that is due leave, and be due no more.

    For all links of a tick together, because the event loop takes as long for a callback as the
    link for its frames.
    """
    links = due.copy()
    due.clear()
    for link in links:
        try:
            link.flush()
        except Exception:  # whatever it is, it is this link's fault and no other's
            logger.exception("a media link cannot be written to")
