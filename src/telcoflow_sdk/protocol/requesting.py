"""The client's side of a media link of protocol v1 but for what it is used for: audio and credit.

Not here: the state of the call and its commands (`media.py`), protocol v2 (`resuming.py`).
Implements "Audio" of docs/reference/wire.md §2 and `buffer_request` of §3.
"""

from __future__ import annotations

from telcoflow_sdk.audio.outbox import Outbox
from telcoflow_sdk.protocol.messages import BufferRequestData

_MIXED_CHANNEL = 0


class RequestingLink:
    """Puts samples together, and turns requests for audio into credit.

    Args:
        outbox: Takes the credit.
        channels: How many the server sends.
    """

    __slots__ = ("_odd_bytes", "_outbox", "_request", "_requested_bytes")

    def __init__(self, outbox: Outbox, channels: int) -> None:
        self._outbox = outbox
        self._odd_bytes = [b""] * channels
        # The last request as it came: 50 a second say the same, and are not parsed.
        self._request: bytes | None = None
        self._requested_bytes = 0

    def receive_audio(self, message: bytes) -> bytes | None:
        """Take one binary message; return its PCM in whole samples.

        Returns:
            b"": less than a sample. None: no audio, or of a channel that was not asked for.
        """
        odd_bytes = self._odd_bytes
        if len(message) < 2 or message[0] >= len(odd_bytes):
            return None
        channel = message[0]
        pcm = message[1:]
        if odd_bytes[channel] or len(pcm) & 1:
            # A sample cut in two by the message's end: its first half waits for the second.
            pcm = odd_bytes[channel] + pcm
            whole_bytes = len(pcm) & ~1
            odd_bytes[channel] = pcm[whole_bytes:]
            pcm = pcm[:whole_bytes]
        return pcm

    def grant(self, message: bytes, request: BufferRequestData) -> None:
        """Take a request for audio, and the message that it came in."""
        if request.channel_id == _MIXED_CHANNEL:
            self._request, self._requested_bytes = message, request.requested_bytes
            self._outbox.grant(request.requested_bytes)

    def grant_again(self, message: bytes) -> bool:
        """Take a message that says what the last request did; return False if it does not."""
        if message != self._request:
            return False
        self._outbox.grant(self._requested_bytes)
        return True
