"""WebSocket frames as a server sends them, for messages that leave together in one write.

Not here: receiving, and everything else about the protocol, which is the library's.
Implements RFC 6455 §5.2.
"""

from __future__ import annotations

TEXT, BINARY = 1, 2

_FINAL = 0x80
_ONE_BYTE_LIMIT = 126


def unmasked(opcode: int, payload: bytes) -> bytes:
    """Return a whole message as one frame.

    Args:
        opcode: `TEXT` or `BINARY`.
        payload: At most 65 535 bytes.
    """
    size = len(payload)
    if size < _ONE_BYTE_LIMIT:
        return bytes((_FINAL | opcode, size)) + payload
    return bytes((_FINAL | opcode, _ONE_BYTE_LIMIT, size >> 8, size & 0xFF)) + payload
