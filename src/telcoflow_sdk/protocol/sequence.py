"""Text messages that survive their link: numbered, kept until they were seen, each taken once.

Not here: what they say (`messages.py`), when a link is resumed (`resumption.py`).
Implements `seq` of docs/reference/wire-v2.md, for both ends.
"""

from __future__ import annotations

from collections import deque

import msgspec

from telcoflow_sdk.protocol.codec import ProtocolViolation
from telcoflow_sdk.protocol.codes import ErrorCode

MAX_KEPT = 4096
"""Messages kept for a resume: a thousand marks, set and reported, and room for all else."""


class SequenceFull(Exception):
    """The other end acknowledges nothing: no more can be kept for it."""

    def __init__(self) -> None:
        super().__init__(f"{MAX_KEPT} messages wait to be acknowledged by the other end")


class SkippedMessage(ProtocolViolation):
    """A number was left out, which no way of transport of ours can do."""

    def __init__(self, expected: int, got: int) -> None:
        super().__init__(ErrorCode.INVALID_SEQUENCE, f"message {got} came instead of {expected}")


class _Numbered(msgspec.Struct):
    seq: int


_decoder = msgspec.json.Decoder(_Numbered)


class SentMessages:
    """One end's text messages on their way to the other.

    Attributes:
        kept: Those that the other end has not acknowledged, in order; to be read only.
    """

    __slots__ = ("_last", "kept")

    def __init__(self) -> None:
        self.kept: deque[bytes] = deque()
        self._last = 0

    @property
    def is_full(self) -> bool:
        """Whether no more can be kept."""
        return len(self.kept) >= MAX_KEPT

    def add(self, message: bytes) -> bytes:
        """Number a JSON object and keep it; return it as it is to be sent.

        Raises:
            SequenceFull: `MAX_KEPT` are kept already.
        """
        if self.is_full:
            raise SequenceFull
        self._last += 1
        numbered = b'{"seq":%d,' % self._last + message[1:]
        self.kept.append(numbered)
        return numbered

    def acknowledge(self, seen: int) -> None:
        """The other end has everything up to `seen`; what it cannot have is ignored."""
        if not self.kept:
            return  # as it mostly is, 50 times a second
        first = self._last - len(self.kept) + 1
        for _ in range(min(seen, self._last) - first + 1):
            self.kept.popleft()

    def unseen(self) -> list[bytes]:
        """Return what was not acknowledged, in order, to be sent again."""
        return list(self.kept)


class SeenMessages:
    """What one end has of the other's text messages.

    Attributes:
        last: The number of the last one; to be read only.
    """

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last = 0

    def is_new(self, message: bytes | str) -> bool:
        """Count a message in; return False when it came before.

        Raises:
            ProtocolViolation: it has no number.
            SkippedMessage: its number is not the next one.
        """
        try:
            number = _decoder.decode(message).seq
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise ProtocolViolation(
                ErrorCode.MALFORMED_MESSAGE, "no JSON object with a seq"
            ) from None
        if number <= self.last:
            return False
        if number != self.last + 1:
            raise SkippedMessage(self.last + 1, number)
        self.last = number
        return True
