"""A bounded FIFO of bytes that any thread may write and the event loop reads.

Not here: what the bytes mean and when they leave (`outbox.py`).
Implements the buffer of docs/explanation/flow-control.md.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from enum import Enum

from telcoflow_sdk.audio.format import BytesLike
from telcoflow_sdk.exceptions import BufferClosedError, BufferFullError

_SMALL_BYTES = 512
"""Writes below this are joined to the one before. A queued object costs about 40 bytes besides
its content, so a producer of single samples would take 20 times the capacity otherwise."""


class _Intake(Enum):
    """What happens to a write."""

    OPEN = "open"
    SEALED = "sealed"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class BufferStatistics:
    """What a buffer has seen.

    Attributes:
        capacity_bytes: What it holds at most.
        queued_bytes: What it holds now.
        high_water_bytes: The most it ever held.
        rejected_writes: Writes that did not fit.
        discarded_bytes: Written while the buffer was sealed.
        cleared_bytes: Dropped by `clear`.
    """

    capacity_bytes: int
    queued_bytes: int
    high_water_bytes: int
    rejected_writes: int
    discarded_bytes: int
    cleared_bytes: int


class ConcurrentByteBuffer:
    """A bounded FIFO of bytes; memory is taken as it fills, never in advance.

    Writes are all or nothing. What was written comes out in order, whatever the sizes of
    writes and reads.

    Concurrency: every method may be called from any thread, and holds a lock for a moment only.

    Args:
        capacity_bytes: The most it holds, at least 1.

    Attributes:
        queued_bytes: What it holds now, its length; to be read only.

    Raises:
        ValueError: a smaller capacity.
    """

    __slots__ = (
        "_capacity_bytes",
        "_chunks",
        "_cleared_bytes",
        "_discarded_bytes",
        "_head_offset",
        "_high_water_bytes",
        "_intake",
        "_limit_bytes",
        "_lock",
        "_rejected_writes",
        "queued_bytes",
    )

    def __init__(self, capacity_bytes: int) -> None:
        if capacity_bytes < 1:
            raise ValueError(f"capacity must be at least 1 byte, not {capacity_bytes}")
        self._capacity_bytes = capacity_bytes
        self._chunks: deque[bytes] = deque()
        self._head_offset = 0  # bytes of the first chunk that were read already
        self.queued_bytes = 0
        self._intake = _Intake.OPEN
        # The capacity while open, else -1: one comparison on the hot path tells both.
        self._limit_bytes = capacity_bytes
        self._lock = threading.Lock()
        self._high_water_bytes = 0
        self._rejected_writes = 0
        self._discarded_bytes = 0
        self._cleared_bytes = 0

    def __len__(self) -> int:
        return self.queued_bytes

    def write(self, data: BytesLike) -> None:
        """Queue all of `data`, or nothing.

        While the buffer is sealed the data is discarded and counted, without an error.

        Args:
            data: Any bytes-like object; copied unless it is `bytes`.

        Raises:
            BufferFullError: it does not fit; nothing was queued.
            BufferClosedError: the buffer was closed.
            TypeError: not bytes-like.
        """
        if type(data) is not bytes:
            data = memoryview(data).tobytes()
        size = len(data)
        # Here and in `read` not `with`: on Python 3.11 that takes a fifth of the method's time.
        self._lock.acquire()
        try:
            queued_bytes = self.queued_bytes + size
            if queued_bytes > self._limit_bytes:
                self._refuse(size)
                return
            if size < _SMALL_BYTES:
                self._append_small(data)
            else:
                self._chunks.append(data)
            self.queued_bytes = queued_bytes
            if queued_bytes > self._high_water_bytes:
                self._high_water_bytes = queued_bytes
        finally:
            self._lock.release()

    def read(self, max_bytes: int) -> bytes:
        """Take up to `max_bytes` from the front; b"" when nothing is queued."""
        self._lock.acquire()
        try:
            chunks = self._chunks
            if not chunks or max_bytes <= 0:
                return b""
            start = self._head_offset
            head = chunks[0]
            size = len(head) - start
            if size > max_bytes:
                self._head_offset = start + max_bytes
                self.queued_bytes -= max_bytes
                return head[start : start + max_bytes]
            del chunks[0]
            self.queued_bytes -= size
            if start:
                self._head_offset = 0
                head = head[start:]
            if size == max_bytes or not chunks:
                return head
            return self._join(head, max_bytes - size)
        finally:
            self._lock.release()

    def clear(self) -> int:
        """Drop everything queued; return how many bytes that was."""
        with self._lock:
            dropped_bytes = self.queued_bytes
            self._chunks.clear()
            self._head_offset = 0
            self.queued_bytes = 0
            self._cleared_bytes += dropped_bytes
            return dropped_bytes

    def drop_odd_byte(self) -> None:
        """Drop the last byte if half a sample is queued: its other half will not come."""
        with self._lock:
            if not self.queued_bytes & 1:
                return
            self.queued_bytes -= 1
            self._cleared_bytes += 1
            last = self._chunks.pop()
            start = self._head_offset if not self._chunks else 0
            if len(last) - start > 1:
                self._chunks.append(last[:-1])
            elif not self._chunks:
                self._head_offset = 0

    @property
    def capacity_bytes(self) -> int:
        """The most that may be queued."""
        return self._capacity_bytes

    @property
    def is_sealed(self) -> bool:
        """Whether what is written is discarded, or refused."""
        return self._intake is not _Intake.OPEN

    def seal(self) -> None:
        """From now on discard and count writes; what is queued can still be read."""
        with self._lock:
            if self._intake is _Intake.OPEN:
                self._intake = _Intake.SEALED
                self._limit_bytes = -1

    def unseal(self) -> None:
        """Take writes again after `seal`; does nothing to a closed buffer."""
        with self._lock:
            if self._intake is _Intake.SEALED:
                self._intake = _Intake.OPEN
                self._limit_bytes = self._capacity_bytes

    def close(self) -> None:
        """Refuse writes for good; what is queued can still be read."""
        with self._lock:
            self._intake = _Intake.CLOSED
            self._limit_bytes = -1

    def statistics(self) -> BufferStatistics:
        """Return what the buffer has seen, all numbers from one moment."""
        with self._lock:
            return BufferStatistics(
                capacity_bytes=self._capacity_bytes,
                queued_bytes=self.queued_bytes,
                high_water_bytes=self._high_water_bytes,
                rejected_writes=self._rejected_writes,
                discarded_bytes=self._discarded_bytes,
                cleared_bytes=self._cleared_bytes,
            )

    def _refuse(self, size: int) -> None:
        if self._intake is _Intake.CLOSED:
            raise BufferClosedError
        if self._intake is _Intake.SEALED:
            self._discarded_bytes += size
            return
        self._rejected_writes += 1
        raise BufferFullError(
            capacity_bytes=self._capacity_bytes,
            queued_bytes=self.queued_bytes,
            offered_bytes=size,
        )

    def _append_small(self, data: bytes) -> None:
        chunks = self._chunks
        if chunks and len(chunks[-1]) < _SMALL_BYTES:
            chunks[-1] += data
        elif data:
            chunks.append(data)

    def _join(self, head: bytes, wanted_bytes: int) -> bytes:
        """Return `head` and up to `wanted_bytes` more of what is queued behind it."""
        parts = [head]
        chunks = self._chunks
        while chunks and wanted_bytes:
            part = chunks[0]
            if len(part) > wanted_bytes:
                parts.append(part[:wanted_bytes])
                self._head_offset = wanted_bytes
                self.queued_bytes -= wanted_bytes
                break
            chunks.popleft()
            parts.append(part)
            self.queued_bytes -= len(part)
            wanted_bytes -= len(part)
        return b"".join(parts)
