"""The open end of a link in memory: keeps what the SDK sends, in order."""

from __future__ import annotations

from typing import Any

import msgspec

from telcoflow_sdk.protocol.codes import CloseCode


class Wire:
    """A `Link` whose far end is the test.

    Attributes:
        subprotocol: What it speaks; None is protocol v1.
        sent: JSON messages, and audio with its header.
        closed_with: The code of the first close.
        is_aborted: Whether it was cut.
    """

    def __init__(self) -> None:
        self.subprotocol: str | None = None
        self.sent: list[dict[str, Any] | bytes] = []
        self.closed_with: CloseCode | None = None
        self.is_aborted = False

    def send_text(self, data: bytes) -> None:
        self.sent.append(msgspec.json.decode(data))

    def send_binary(self, data: bytes) -> None:
        self.sent.append(data)

    def close(self, code: CloseCode = CloseCode.NORMAL) -> None:
        """Keep the code: there is no socket."""
        self.closed_with = self.closed_with or code

    def abort(self) -> None:
        """Keep that: there is no socket."""
        self.is_aborted = True

    async def wait_closed(self) -> None:
        """Return at once: there is no socket."""
