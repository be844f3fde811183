"""What the ports refused and which links they closed, counted for metrics.

Not here: refusals inside a link (`call/session.py`, `call/call.py`), how the counts are shown
(`metrics.py`). Codes are closed sets, so the counts stay few.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

from telcoflow_sdk.protocol.codes import CloseCode, ErrorCode


class Port(StrEnum):
    """Where somebody knocked; a link is of the port's kind."""

    CONTROL = "control"
    MEDIA = "media"


class Tally:
    """The counts of one server.

    Attributes:
        refusals: HTTP requests answered with an error; the handshakes of links are such requests.
        closes: Links that were closed by the server.
    """

    def __init__(self) -> None:
        self.refusals: Counter[tuple[Port, ErrorCode]] = Counter()
        self.closes: Counter[tuple[Port, CloseCode]] = Counter()
