"""Every exception an application can catch.

Not here: codes of the wire (`protocol/codes.py`). Implements the tree of docs/reference/sdk.md.

```
WSSError
├── WSSConnectionError            the network, or a server that does not speak the protocol
├── WSSAuthenticationError        the server rejected the credentials; trying again is useless
├── WSSMediaError                 a call's media link could not be opened
├── BufferFullError               more audio than the outgoing buffer holds
├── BufferClosedError             audio for a call that has ended
└── WSSCallError
    ├── WSSCallClosedError        the call has ended
    ├── WSSCallCommandError       the server (or the call's state) refused a command
    └── WSSCallCommandTimeoutError
```

No text ever contains keys, tokens, phone numbers or audio.
"""

from __future__ import annotations


class WSSError(Exception):
    """Root of everything the SDK raises, `ValueError` for wrong arguments apart."""


class WSSConnectionError(WSSError):
    """The control link could not be opened, or broke before it was set up."""


class WSSAuthenticationError(WSSError):
    """The server rejected the credentials. They are not retried."""


class WSSMediaError(WSSError):
    """The media link of a call could not be opened."""


class BufferFullError(WSSError):
    """A write did not fit into the outgoing buffer; nothing of it was queued.

    Attributes:
        capacity_bytes: What the buffer holds at most.
        queued_bytes: What it held when the write came.
        offered_bytes: The size of the write.
    """

    def __init__(self, *, capacity_bytes: int, queued_bytes: int, offered_bytes: int) -> None:
        super().__init__(
            f"{offered_bytes} bytes do not fit: {queued_bytes} of {capacity_bytes} bytes are "
            "queued; wait, clear, or configure a larger buffer_size"
        )
        self.capacity_bytes = capacity_bytes
        self.queued_bytes = queued_bytes
        self.offered_bytes = offered_bytes


class BufferClosedError(WSSError):
    """Audio was written for a call that has ended."""

    def __init__(self) -> None:
        super().__init__("the call has ended: no more audio can be sent")


class WSSCallError(WSSError):
    """Something about one call went wrong."""


class WSSCallClosedError(WSSCallError):
    """The call has ended, before the command or while it was on its way."""

    def __init__(self) -> None:
        super().__init__("the call has ended")


class WSSCallCommandError(WSSCallError):
    """A command was refused; the call goes on unchanged.

    Attributes:
        command: Name of the command on the wire.
        error_code: Why, as a code: `INVALID_STATE`, `CALL_UNANSWERED`, ...
        error_message: Why, in words; from the server, so it is not part of `str()`.
    """

    def __init__(self, command: str, error_code: str, error_message: str) -> None:
        super().__init__(f"{command} was refused: {error_code}")
        self.command = command
        self.error_code = error_code
        self.error_message = error_message


class WSSCallCommandTimeoutError(WSSCallError):
    """The server did not answer a command in time, or said that it ran out of time.

    Attributes:
        command: Name of the command on the wire.
    """

    def __init__(self, command: str) -> None:
        super().__init__(f"{command} was not answered in time")
        self.command = command
