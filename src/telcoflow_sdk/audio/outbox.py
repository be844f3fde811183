"""Audio on its way to the server: credit and buffer in, messages out.

Not here: sockets, and waiting for credit (`_asyncio/media.py`).
Implements `buffer_request` of docs/reference/wire.md §3 and docs/explanation/flow-control.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from telcoflow_sdk.audio.format import BYTES_PER_SAMPLE, AudioFormat, BytesLike
from telcoflow_sdk.audio.intake import Intake

MAX_AUDIO_BYTES = 64 * 1024 - BYTES_PER_SAMPLE
"""Audio in one message: with the channel byte it stays below what either end accepts."""

MAX_CREDIT_BYTES = 16 * 1024 * 1024
"""Minutes of audio, far beyond any lead: a server that asks for more is broken."""

_MAX_REQUESTS = 64
"""Requests kept apart; more are added to the last one, so that a flood of them costs nothing."""

_CHANNEL = b"\x00"


@dataclass(frozen=True, slots=True)
class OutboxStatistics:
    """What went through an outbox.

    Attributes:
        queued_bytes: Waiting for credit; whole samples.
        credit_bytes: What the server is ready to take now.
        sent_bytes: What left, over the whole call.
        high_water_bytes: The most that was ever queued.
        rejected_writes: Writes that did not fit.
        discarded_bytes: Written after the end of the goodbye.
        cleared_bytes: Dropped by `clear`.
        overdue_bytes: Dropped because a command behind it could wait no longer.
    """

    queued_bytes: int
    credit_bytes: int
    sent_bytes: int
    high_water_bytes: int
    rejected_writes: int
    discarded_bytes: int
    cleared_bytes: int
    overdue_bytes: int


class Outbox:
    """Turns the application's chunks and the server's credit into messages.

    Never more is sent than was asked for; what is written leaves in order. Only whole samples
    leave: an odd last byte stays queued until its other half is written, or is dropped with
    the audio it belongs to.

    A mark is a place between two samples. Audio behind it is held back until the mark is taken,
    and it can be taken once everything in front of it is gone: so what is sent in its place
    keeps its place among the audio. A sample is behind a mark if its second byte is.

    Concurrency: `write` from any thread; everything else from the event loop's only. After a
    write on another thread `has_credit` tells whether the loop must be woken: credit is set
    before the buffer is looked at, and the buffer is filled before credit is looked at, so one
    of the two sides always sees the other.

    Args:
        audio_format: The format of the call; WAV headers are compared with it.
        capacity_bytes: The most that may be queued.
    """

    __slots__ = (
        "_buffer",
        "_credit_bytes",
        "_intake",
        "_marks",
        "_odd_credit",
        "_overdue_bytes",
        "_requests",
        "_sent_bytes",
    )

    def __init__(self, audio_format: AudioFormat, capacity_bytes: int) -> None:
        self._intake = Intake(audio_format, capacity_bytes)
        self._buffer = self._intake.buffer
        self._requests: list[int] = []  # even sizes, oldest first
        self._credit_bytes = 0  # their sum
        self._odd_credit = 0  # 0 or 1: half a sample that was asked for
        self._sent_bytes = 0
        self._overdue_bytes = 0
        # In order: name, and the audio between the mark before it (or the front) and it. Read
        # and dropped from the loop only, so no other thread can make these wrong.
        self._marks: dict[str, int] = {}

    @property
    def intake(self) -> Intake:
        """Where audio comes in."""
        return self._intake

    @property
    def queued_bytes(self) -> int:
        """Audio that has not left yet, in whole samples; reaches 0."""
        return self._buffer.queued_bytes & ~1

    @property
    def sent_bytes(self) -> int:
        """Audio that left, over the whole call."""
        return self._sent_bytes

    @property
    def is_sealed(self) -> bool:
        """Whether what is written is discarded, or refused."""
        return self._buffer.is_sealed

    @property
    def has_credit(self) -> bool:
        """Whether the server waits for audio."""
        return self._credit_bytes > 0

    @property
    def fills_request(self) -> bool:
        """Whether there is enough audio for all of the server's oldest request."""
        return bool(self._requests) and self._buffer.queued_bytes >= self._requests[0]

    @property
    def has_marks(self) -> bool:
        """Whether something waits for its place among the audio."""
        return bool(self._marks)

    @property
    def is_drained(self) -> bool:
        """Whether every whole sample has left, and every mark was taken."""
        return self._buffer.queued_bytes < BYTES_PER_SAMPLE and not self._marks

    def write(self, data: BytesLike) -> None:
        """Queue PCM; see `Intake.write`."""
        self._intake.write(data)

    def grant(self, requested_bytes: int) -> None:
        """Add to what the server is ready to take; nothing takes it away again.

        Args:
            requested_bytes: Zero and less are ignored.
        """
        room_bytes = MAX_CREDIT_BYTES - self._credit_bytes
        if requested_bytes <= 0 or room_bytes <= 0:
            return
        credit_bytes = min(requested_bytes, room_bytes) + self._odd_credit
        self._odd_credit = credit_bytes & 1
        credit_bytes &= ~1
        if credit_bytes == 0:
            return
        if len(self._requests) < _MAX_REQUESTS:
            self._requests.append(credit_bytes)
        else:
            self._requests[-1] += credit_bytes
        self._credit_bytes += credit_bytes

    def next_message(self) -> bytes | None:
        """Return the next binary message to send, or None when credit or audio is missing.

        Audio behind a mark is missing until the mark is taken.

        Requests are served in order, one message for each while there is enough audio. A part
        is sent at once, not held back until the request can be filled: the end of an utterance
        would wait for the next one otherwise.
        """
        requests = self._requests
        if not requests:
            return None
        request_bytes = requests[0]
        size = min(request_bytes, self._buffer.queued_bytes & ~1, MAX_AUDIO_BYTES)
        if self._marks:
            size = self._up_to_mark(size)
        if size == 0:
            return None
        pcm = self._buffer.read(size)
        if size == request_bytes:
            del requests[0]
        else:
            requests[0] = request_bytes - size
        self._credit_bytes -= size
        self._sent_bytes += size
        return _CHANNEL + pcm

    def mark(self, name: str) -> None:
        """Put a mark behind everything that is queued now.

        Args:
            name: Unique among the marks.
        """
        self._marks[name] = self.queued_bytes - sum(self._marks.values())

    def next_mark(self) -> str | None:
        """Take the first mark, if everything in front of it is gone; None otherwise."""
        for name, ahead_bytes in self._marks.items():
            if ahead_bytes > 0:
                break
            del self._marks[name]
            return name
        return None

    def remove_mark(self, name: str) -> None:
        """Forget a mark; the audio on both sides of it stays."""
        names = list(self._marks)
        behind = names[names.index(name) + 1 :]
        ahead_bytes = self._marks.pop(name)
        if behind:
            self._marks[behind[0]] += ahead_bytes

    def drop_before_mark(self, name: str) -> int:
        """Drop the audio in front of a mark, which can be taken now. Returns the bytes dropped."""
        names = list(self._marks)
        dropped_bytes = 0
        for other in names[: names.index(name) + 1]:
            dropped_bytes += self._marks[other]
            self._marks[other] = 0
        self._buffer.read(dropped_bytes)
        self._overdue_bytes += dropped_bytes
        return dropped_bytes

    def clear(self) -> int:
        """Drop what is queued, the odd byte too; credit and marks stay. Returns the bytes dropped.

        The marks have nothing in front of them any more, and keep their order.
        """
        dropped_bytes = self._buffer.clear() & ~1
        self._marks = dict.fromkeys(self._marks, 0)
        return dropped_bytes

    def drop_unsent(self) -> int:
        """Do what `clear` does: over v1 there is nothing that only an interruption drops."""
        return self.clear()

    def end_utterance(self) -> None:
        """Half a sample belongs to no other utterance; on v1 that is all there is to say."""
        self._buffer.drop_odd_byte()

    def seal(self) -> None:
        """Fix the end of the goodbye: what is written from now on is discarded and counted."""
        self._buffer.seal()

    def unseal(self) -> None:
        """Take audio again: the call goes on after all."""
        self._buffer.unseal()

    def close(self) -> None:
        """The call is over: drop everything, refuse what is written from now on."""
        self._buffer.close()
        self._buffer.clear()
        self._marks.clear()
        self._requests.clear()
        self._credit_bytes = 0

    def statistics(self) -> OutboxStatistics:
        """Return what went through."""
        buffer = self._buffer.statistics()
        return OutboxStatistics(
            queued_bytes=buffer.queued_bytes & ~1,
            credit_bytes=self._credit_bytes,
            sent_bytes=self._sent_bytes,
            high_water_bytes=buffer.high_water_bytes,
            rejected_writes=buffer.rejected_writes,
            discarded_bytes=buffer.discarded_bytes,
            cleared_bytes=buffer.cleared_bytes,
            overdue_bytes=self._overdue_bytes,
        )

    def _up_to_mark(self, size: int) -> int:
        """Return how much of the next `size` bytes is in front of the first mark, and count it."""
        name, ahead_bytes = next(iter(self._marks.items()))
        size = min(size, ahead_bytes)
        self._marks[name] = ahead_bytes - size
        return size
