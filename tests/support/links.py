"""Links that live in memory: what a call or the session board sends is kept, in order."""

from __future__ import annotations

from typing import Any

import msgspec

from telcoflow_sdk.protocol.codes import CloseCode


class MemoryControlLink:
    """A `ControlLink` whose far end reads everything."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.closed_with: CloseCode | None = None

    def send(self, message: bytes) -> None:
        if self.closed_with is None:
            self.sent.append(msgspec.json.decode(message))

    def close(self, code: CloseCode, reason: str) -> None:
        self.closed_with = self.closed_with or code

    def take(self) -> list[dict[str, Any]]:
        """Return what was sent since the last look."""
        sent, self.sent = self.sent, []
        return sent


class MemoryMediaLink:
    """A `MediaLink` of protocol v1 whose far end reads everything, unless `is_stuck`."""

    def __init__(self) -> None:
        self.log: list[dict[str, Any] | tuple[str, CloseCode]] = []
        """Every JSON message but credit, and every close."""
        self.requested_bytes = 0
        """All credit granted."""
        self.channels: dict[int, bytearray] = {0: bytearray(), 1: bytearray(), 2: bytearray()}
        self.is_stuck = False
        self._unsent_bytes = 0

    def send_binary(self, message: bytes) -> None:
        if self.is_stuck:
            self._unsent_bytes += len(message)
        else:
            self.channels[message[0]] += message[1:]

    def send_text(self, message: bytes) -> None:
        fields = msgspec.json.decode(message)
        if fields["type"] == "buffer_request":
            self.requested_bytes += fields["data"]["requested_bytes"]
        else:
            self.log.append(fields)

    def unsent_bytes(self) -> int:
        return self._unsent_bytes

    def close(self, code: CloseCode, reason: str) -> None:
        self.log.append(("close", code))

    @property
    def audio(self) -> bytearray:
        """What was sent on the mixed channel."""
        return self.channels[0]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Every JSON message but credit."""
        return [entry for entry in self.log if isinstance(entry, dict)]

    @property
    def closed_with(self) -> CloseCode | None:
        """The code of the first close."""
        return next((entry[1] for entry in self.log if isinstance(entry, tuple)), None)
