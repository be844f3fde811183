"""Recordings: frames go in on the tick, a thread of its own writes them to WAV files.

Not here: what is recorded (`plane.py`, `legs/simulated.py`), reading WAV files (`sound.py`).
Implements "Recordings" of docs/explanation/media-plane.md. The only module of the media plane
with a thread and files: a disk may stall for seconds, the tick may not for milliseconds.
"""

from __future__ import annotations

import logging
import struct
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from telcoflow_sdk.audio.format import BYTES_PER_SAMPLE

logger = logging.getLogger(__name__)

LANE_BOUND_MS = 2_000
"""How long a disk may stall before a lane loses sound: 192 kB for a stereo lane."""
WRITE_INTERVAL_S = 0.1
"""The writer looks by itself instead of being woken by every frame: waking would take a lock
that the tick could have to wait for. What a kill loses is this much."""

_DEFAULT_RATE_HZ = 24_000
_SILENCE = bytes(64 * 1024)
_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
_MAX_DATA_BYTES = 0xFFFF_FFFF - _HEADER.size  # RIFF sizes have 32 bits: 12 hours of stereo


class RecordingFile(Protocol):
    """An unbuffered file, as `open(path, "wb", buffering=0)` returns it."""

    def write(self, data: bytes | memoryview, /) -> int | None:
        """Write some of `data`; return how many bytes."""

    def seek(self, offset: int, /) -> int:
        """Go to `offset` from the start."""

    def close(self) -> None:
        """Close the file."""


@dataclass(frozen=True, slots=True)
class LaneStatistics:
    """How one recording fares.

    Attributes:
        written_ms: In the file, silence for lost sound included.
        waiting_ms: Not yet written.
        silenced_ms: Sound that came while `LANE_BOUND_MS` were waiting; silence in the file.
        has_failed: The disk refused; what was written until then is in the file.
    """

    written_ms: float
    waiting_ms: float
    silenced_ms: float
    has_failed: bool


@dataclass(frozen=True, slots=True)
class RecorderStatistics:
    """All recordings of this recorder, finished ones included.

    Attributes:
        open_lanes: Not finished yet.
        silenced_ms: Sum over all lanes.
        failed_lanes: Ended early by the disk.
    """

    open_lanes: int
    silenced_ms: float
    failed_lanes: int


class Lane:
    """One recording. Made by `Recorder.open`.

    `write` and `close` belong to one thread, the one that ticks; the rest to the recorder's.
    They share only a deque and integers that one side writes and the other reads, so neither
    ever waits for the other.
    """

    def __init__(
        self, path: Path, open_file: Callable[[Path], RecordingFile], channels: int, rate_hz: int
    ) -> None:
        self._path = path
        self._open_file = open_file
        self._channels = channels
        self._rate_hz = rate_hz
        self._bytes_per_ms = rate_hz * channels * BYTES_PER_SAMPLE // 1000
        # Pieces are sound, or a number: so many bytes of silence.
        self._pieces: deque[bytes | int] = deque()
        # Of the ticking thread:
        self._offered_bytes = 0
        self._silenced_bytes = 0
        self._owed_bytes = 0  # silence to be queued before the next sound
        self._is_closed = False
        # Of the recorder's thread:
        self._file: RecordingFile | None = None
        self._taken_bytes = 0
        self._written_bytes = 0
        self._has_failed = False

    def write(self, frame: NDArray[np.int16]) -> None:
        """Queue one tick; never waits, never raises, does nothing after `close`.

        Args:
            frame: int16, shape (n,) or (n, channels); copied.
        """
        if self._is_closed or self._has_failed:
            return
        sound = frame.astype("<i2", copy=False).tobytes()
        if (
            self._offered_bytes - self._taken_bytes + len(sound)
            > LANE_BOUND_MS * self._bytes_per_ms
        ):
            self._silenced_bytes += len(sound)
            self._owed_bytes += len(sound)
            return
        self._pay_silence()
        self._pieces.append(sound)
        self._offered_bytes += len(sound)

    def skip(self, duration_ms: int) -> None:
        """Let so much silence go before the next sound; never waits, holds no memory for it."""
        if not self._is_closed:
            self._owed_bytes += duration_ms * self._bytes_per_ms

    def close(self) -> None:
        """End the recording; what is queued is still written. Idempotent, never waits."""
        if not self._is_closed:
            self._pay_silence()
            self._is_closed = True

    def _pay_silence(self) -> None:
        if self._owed_bytes:
            self._pieces.append(self._owed_bytes)
            self._owed_bytes = 0

    def statistics(self) -> LaneStatistics:
        """Return the lane's counters; for any thread."""
        return LaneStatistics(
            written_ms=self._written_bytes / self._bytes_per_ms,
            waiting_ms=(self._offered_bytes - self._taken_bytes) / self._bytes_per_ms,
            silenced_ms=self._silenced_bytes / self._bytes_per_ms,
            has_failed=self._has_failed,
        )

    def write_through(self) -> bool:
        """Write what is queued; for the recorder's thread, may block.

        Returns:
            Whether the recording is over: closed and written, or refused by the disk.
        """
        is_last = self._is_closed  # read first: what was queued before it is then seen below
        try:
            self._write_pieces()
            if is_last and self._file is not None:
                self._file.close()
        except OSError as error:
            self._has_failed = True
            # The name of the file is the call's; the rest of the path is the operator's business.
            logger.warning("recording %s ends early: %s", self._path.name, error.strerror)
            self._close_after_failure()
        return is_last or self._has_failed

    def _write_pieces(self) -> None:
        if self._file is None:
            self._file = self._open_file(self._path)
            self._write_all(self._header())
        before = self._written_bytes
        while self._pieces:
            sound = bytearray()
            silence_bytes = 0
            while self._pieces and not silence_bytes:
                piece = self._pieces.popleft()
                if isinstance(piece, bytes):
                    sound += piece
                else:
                    silence_bytes = piece
            self._write_all(sound)
            self._written_bytes += len(sound)
            self._taken_bytes += len(sound)
            self._write_silence(silence_bytes)
        if self._written_bytes > before:
            # After the sound, so that the header never claims what is not there.
            self._file.seek(0)
            self._write_all(self._header())
            self._file.seek(_HEADER.size + self._written_bytes)

    def _write_silence(self, count_bytes: int) -> None:
        while count_bytes > 0:
            piece = _SILENCE[:count_bytes]
            self._write_all(piece)
            self._written_bytes += len(piece)
            count_bytes -= len(piece)

    def _write_all(self, data: bytes | bytearray) -> None:
        assert self._file is not None, "opened by the caller"
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) or 0 :]

    def _close_after_failure(self) -> None:
        self._pieces.clear()
        if self._file is not None:
            try:
                self._file.close()
            except OSError:
                pass  # reported already, by what failed before it

    def _header(self) -> bytes:
        data_bytes = min(self._written_bytes, _MAX_DATA_BYTES)
        block_bytes = self._channels * BYTES_PER_SAMPLE
        return _HEADER.pack(
            b"RIFF",
            data_bytes + _HEADER.size - 8,
            b"WAVE",
            b"fmt ",
            16,
            1,  # PCM
            self._channels,
            self._rate_hz,
            self._rate_hz * block_bytes,
            block_bytes,
            8 * BYTES_PER_SAMPLE,
            b"data",
            data_bytes,
        )


def open_unbuffered(path: Path) -> RecordingFile:
    """Create the file at `path`. Raises OSError."""
    return path.open("wb", buffering=0)


class Recorder:
    """Writes all recordings of a node, on one thread that starts with the first of them.

    Args:
        open_file: How files come to be; tests pass disks that stall or are full.
    """

    def __init__(self, open_file: Callable[[Path], RecordingFile] = open_unbuffered) -> None:
        self._open_file = open_file
        self._lanes: deque[Lane] = deque()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._rounds = threading.Condition()
        self._rounds_begun = 0
        self._rounds_done = 0
        self._is_closing = False
        self._finished_silenced_ms = 0.0
        self._failed_lanes = 0

    def open(self, path: Path, *, channels: int, sample_rate_hz: int = _DEFAULT_RATE_HZ) -> Lane:
        """Begin a recording. The file is created by the recorder's thread: nothing waits here.

        Args:
            path: Replaced if it exists; its folder must exist.
            channels: 1 or 2.
            sample_rate_hz: Of the frames to come.

        Raises:
            RuntimeError: the recorder is closed.
        """
        if self._is_closing:
            raise RuntimeError("the recorder is closed")
        lane = Lane(path, self._open_file, channels, sample_rate_hz)
        self._lanes.append(lane)
        if self._thread is None:
            # A daemon, so that a disk that never answers cannot keep the process from ending.
            self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
            self._thread.start()
        self._wake.set()
        return lane

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until everything queued before the call is in its file.

        Blocks: not for the ticking thread.

        Returns:
            False: the disk did not finish within `timeout_s`.
        """
        if self._thread is None:
            return True
        with self._rounds:
            wanted = self._rounds_begun + 1  # the one under way may be past what matters
            self._wake.set()
            return self._rounds.wait_for(
                lambda: self._rounds_done >= wanted or self._is_finished, timeout_s
            )

    def close(self, timeout_s: float = 5.0) -> bool:
        """End all recordings and wait until they are written. Idempotent; blocks.

        Returns:
            False: the disk did not finish within `timeout_s`; its thread is left behind.
        """
        self._is_closing = True
        for lane in list(self._lanes):
            lane.close()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
        return self._is_finished

    def statistics(self) -> RecorderStatistics:
        """Return the recorder's counters; for any thread."""
        lanes = list(self._lanes)
        silenced_ms = sum(lane.statistics().silenced_ms for lane in lanes)
        return RecorderStatistics(
            len(lanes), self._finished_silenced_ms + silenced_ms, self._failed_lanes
        )

    @property
    def _is_finished(self) -> bool:
        return self._thread is None or not self._thread.is_alive()

    def _run(self) -> None:
        is_last = False
        while not is_last:
            self._wake.wait(WRITE_INTERVAL_S if self._lanes else None)
            self._wake.clear()
            is_last = self._is_closing  # read first: lanes closed before it end in this round
            with self._rounds:
                self._rounds_begun += 1
            for lane in list(self._lanes):
                if lane.write_through():
                    self._finish(lane)
            with self._rounds:
                self._rounds_done = self._rounds_begun
                self._rounds.notify_all()

    def _finish(self, lane: Lane) -> None:
        statistics = lane.statistics()
        self._lanes.remove(lane)
        self._finished_silenced_ms += statistics.silenced_ms
        self._failed_lanes += statistics.has_failed
