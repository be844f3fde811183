"""A bounded queue of received audio that forgets the oldest.

Not here: who waits for it (`_asyncio/streams.py`).
Implements the `audio_stream` row of docs/reference/sdk.md.
"""

from __future__ import annotations

from collections import deque


class Backlog:
    """Chunks of PCM in order of arrival, the oldest dropped and counted when there is no room.

    Each keeps its place on the call's time axis, in samples; -1 where that is not known.

    For a listener who fell behind, late audio is worth less than current audio.

    Args:
        limit_bytes: The most it holds.
    """

    __slots__ = ("_chunks", "_dropped_bytes", "_limit_bytes", "_queued_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._chunks: deque[tuple[int, bytes]] = deque()
        self._queued_bytes = 0
        self._dropped_bytes = 0

    @property
    def queued_bytes(self) -> int:
        """What waits to be taken."""
        return self._queued_bytes

    @property
    def dropped_bytes(self) -> int:
        """What was never taken because newer audio needed its place."""
        return self._dropped_bytes

    def put(self, chunk: bytes, offset: int) -> None:
        """Queue `chunk`, dropping from the front what no longer fits."""
        self._chunks.append((offset, chunk))
        self._queued_bytes += len(chunk)
        while self._queued_bytes > self._limit_bytes:
            oldest = len(self._chunks.popleft()[1])
            self._queued_bytes -= oldest
            self._dropped_bytes += oldest

    def take(self) -> tuple[int, bytes] | None:
        """Return the oldest chunk and its place, or None when nothing waits."""
        if not self._chunks:
            return None
        oldest = self._chunks.popleft()
        self._queued_bytes -= len(oldest[1])
        return oldest

    def clear(self) -> None:
        """Drop everything."""
        self._chunks.clear()
        self._queued_bytes = 0
