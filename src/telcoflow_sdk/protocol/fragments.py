"""Messages that arrive in fragments, put together. No I/O.

Not here: what a message holds (`codec.py`), the socket. Implements RFC 6455 §5.4 and "Transport"
of docs/reference/wire.md, for both ends.
"""

from __future__ import annotations

from telcoflow_sdk.protocol.codec import MAX_MESSAGE_BYTES
from telcoflow_sdk.protocol.codes import CloseCode


class FragmentError(Exception):
    """The fragments are no message; close the link with `close_code`."""

    def __init__(self, close_code: CloseCode, message: str) -> None:
        super().__init__(message)
        self.close_code = close_code


class Assembler:
    """Collects the fragments of one message at a time, `MAX_MESSAGE_BYTES` at the most.

    Attributes:
        is_empty: Whether no message has begun: a whole one may come. To be read only.
    """

    __slots__ = ("_is_text", "_pieces", "_size_bytes", "is_empty")

    def __init__(self) -> None:
        self.is_empty = True
        self._pieces: list[bytes] = []
        self._size_bytes = 0
        self._is_text: bool | None = None  # None: no message has begun

    def add(
        self, payload: bytes, *, is_text: bool | None, is_final: bool
    ) -> tuple[bool, bytes] | None:
        """Take one fragment.

        Args:
            payload: Its bytes.
            is_text: The kind of the message it begins, or None when it continues one.
            is_final: Whether it ends the message.

        Returns:
            Whether the message is text, and all of it; None while fragments are missing.

        Raises:
            FragmentError: it continues nothing, begins inside another message, or is too much.
        """
        if (is_text is None) == (self._is_text is None):
            problem = "continues no message" if is_text is None else "begins inside another message"
            raise FragmentError(CloseCode.PROTOCOL_ERROR, f"a fragment that {problem}")
        if is_text is not None:
            self._is_text = is_text
            self.is_empty = False
        self._size_bytes += len(payload)
        if self._size_bytes > MAX_MESSAGE_BYTES:
            raise FragmentError(
                CloseCode.MESSAGE_TOO_BIG, f"a message of more than {MAX_MESSAGE_BYTES} bytes"
            )
        self._pieces.append(payload)
        if not is_final:
            return None
        message = (bool(self._is_text), b"".join(self._pieces))
        self._pieces.clear()
        self._size_bytes = 0
        self._is_text = None
        self.is_empty = True
        return message
