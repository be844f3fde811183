"""Recordings: aligned whatever the disk does, and never in the way of the tick."""

from __future__ import annotations

import errno
import io
import threading
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from telcoflow_server.media.record import LANE_BOUND_MS, Recorder

FRAME = 480
BOUND_FRAMES = LANE_BOUND_MS // 20


def frame(number: int) -> NDArray[np.int16]:
    return np.full(FRAME, number, dtype=np.int16)


def read(data: bytes) -> NDArray[np.int16]:
    """Return the samples, shape (n, channels), as a foreign reader sees them."""
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getframerate(), file.getsampwidth()) == (24_000, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        assert samples.size == file.getnframes() * file.getnchannels()
        return samples.reshape(-1, file.getnchannels())


class Disk:
    """Files in memory; may stall, fill up, refuse, or write a few bytes at a time."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.gate = threading.Event()
        self.gate.set()
        self.room_bytes = 1 << 30
        self.piece_bytes = 1 << 30
        self.fails_to_close = False
        self._at = 0

    def open(self, path: Path) -> Disk:
        return self

    def write(self, data: bytes | memoryview, /) -> int:
        assert self.gate.wait(10)
        piece = bytes(data[: self.piece_bytes])
        if self._at + len(piece) > self.room_bytes:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.data[self._at : self._at + len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def seek(self, offset: int, /) -> int:
        self._at = offset
        return offset

    def close(self) -> None:
        if self.fails_to_close:
            raise OSError(errno.EIO, "Input/output error")


RecorderOn = Callable[[Disk], Recorder]


@pytest.fixture
def recorder_on() -> Iterator[RecorderOn]:
    made: list[tuple[Recorder, Disk]] = []

    def make(disk: Disk) -> Recorder:
        made.append((Recorder(disk.open), disk))
        return made[-1][0]

    yield make
    for recorder, disk in made:
        disk.gate.set()
        assert recorder.close()


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    yield recorder
    assert recorder.close()


def test_recording_holds_every_frame_in_order(recorder: Recorder, tmp_path: Path) -> None:
    lane = recorder.open(tmp_path / "call.wav", channels=1)
    for number in range(30):
        lane.write(frame(number))
    lane.close()

    assert recorder.flush()
    samples = read((tmp_path / "call.wav").read_bytes())
    assert (samples[:, 0] == np.repeat(np.arange(30), FRAME)).all()
    assert recorder.statistics().open_lanes == 0


def test_stereo_keeps_its_sides_apart(recorder: Recorder, tmp_path: Path) -> None:
    lane = recorder.open(tmp_path / "call.wav", channels=2)
    lane.write(np.stack([frame(1), frame(-2)]).T)  # not contiguous, as the plane hands it over
    lane.close()

    assert recorder.flush()
    assert read((tmp_path / "call.wav").read_bytes()).tolist() == [[1, -2]] * FRAME


def test_file_is_valid_while_it_is_being_written(recorder: Recorder, tmp_path: Path) -> None:
    lane = recorder.open(tmp_path / "call.wav", channels=1)
    assert recorder.flush()
    assert read((tmp_path / "call.wav").read_bytes()).size == 0

    lane.write(frame(7))
    assert recorder.flush()

    assert (read((tmp_path / "call.wav").read_bytes()) == 7).all()
    assert lane.statistics().written_ms == 20
    assert lane.statistics().waiting_ms == 0


def test_skipped_time_is_silence_before_the_next_sound(recorder: Recorder, tmp_path: Path) -> None:
    lane = recorder.open(tmp_path / "call.wav", channels=1)
    lane.skip(10 * LANE_BOUND_MS)
    lane.write(frame(7))
    lane.skip(20)
    lane.close()
    lane.skip(20)

    assert recorder.flush()
    samples = read((tmp_path / "call.wav").read_bytes())[:, 0]
    silent = 10 * BOUND_FRAMES * FRAME
    assert not samples[:silent].any()
    assert (samples[silent : silent + FRAME] == 7).all()
    assert len(samples) == silent + 2 * FRAME
    assert lane.statistics().silenced_ms == 0, "nothing was lost"


def test_frame_may_be_reused_after_write(recorder: Recorder, tmp_path: Path) -> None:
    lane = recorder.open(tmp_path / "call.wav", channels=1)
    samples = frame(7)
    lane.write(samples)
    samples[:] = 8
    lane.close()

    assert recorder.flush()
    assert (read((tmp_path / "call.wav").read_bytes()) == 7).all()


def test_stalled_disk_never_stalls_the_tick_and_the_recording_stays_aligned(
    recorder_on: RecorderOn,
) -> None:
    disk = Disk()
    recorder = recorder_on(disk)
    disk.gate.clear()
    lane = recorder.open(Path("call.wav"), channels=1)

    for number in range(1, 301):  # six seconds: would wait for ever if it waited at all
        lane.write(frame(number))
    assert lane.statistics().silenced_ms == 6_000 - LANE_BOUND_MS
    assert lane.statistics().waiting_ms == LANE_BOUND_MS
    disk.gate.set()
    assert recorder.flush()
    for number in range(301, 311):
        lane.write(frame(number))
    lane.close()
    assert recorder.flush()

    samples = read(bytes(disk.data))[:, 0].reshape(-1, FRAME)
    expected = [*range(1, BOUND_FRAMES + 1), *([0] * (300 - BOUND_FRAMES)), *range(301, 311)]
    assert samples[:, 0].tolist() == expected
    assert (samples == samples[:, :1]).all()
    assert recorder.statistics().silenced_ms == 6_000 - LANE_BOUND_MS


def test_recording_that_ends_during_a_stall_has_its_full_length(recorder_on: RecorderOn) -> None:
    disk = Disk()
    recorder = recorder_on(disk)
    disk.gate.clear()
    lane = recorder.open(Path("call.wav"), channels=1)
    for number in range(150):
        lane.write(frame(number))
    lane.close()
    lane.close()

    assert not recorder.flush(timeout_s=0.01)
    disk.gate.set()
    assert recorder.flush()

    assert read(bytes(disk.data)).size == 150 * FRAME


def test_what_is_written_after_close_is_ignored(recorder_on: RecorderOn) -> None:
    disk = Disk()
    recorder = recorder_on(disk)
    lane = recorder.open(Path("call.wav"), channels=1)
    lane.write(frame(1))
    lane.close()

    lane.write(frame(2))

    assert recorder.flush()
    assert read(bytes(disk.data)).size == FRAME


def test_disk_that_takes_a_few_bytes_at_a_time_gets_them_all(recorder_on: RecorderOn) -> None:
    disk = Disk()
    disk.piece_bytes = 7
    recorder = recorder_on(disk)
    lane = recorder.open(Path("call.wav"), channels=1)
    for number in range(3):
        lane.write(frame(number))
    lane.close()

    assert recorder.flush()
    assert (read(bytes(disk.data))[:, 0] == np.repeat(np.arange(3), FRAME)).all()


@pytest.mark.parametrize("fails_to_close", [False, True])
def test_full_disk_ends_the_recording_with_one_warning_and_leaves_it_valid(
    recorder_on: RecorderOn, caplog: pytest.LogCaptureFixture, fails_to_close: bool
) -> None:
    disk = Disk()
    disk.room_bytes = 5_000
    disk.fails_to_close = fails_to_close
    recorder = recorder_on(disk)
    lane = recorder.open(Path("/secret-folder/call.wav"), channels=1)
    for _ in range(5):
        lane.write(frame(1))
        assert recorder.flush()
    for _ in range(2 * BOUND_FRAMES):
        lane.write(frame(2))
    lane.close()
    assert recorder.flush()

    assert [record.getMessage() for record in caplog.records] == [
        "recording call.wav ends early: No space left on device"
    ]
    assert lane.statistics().has_failed
    assert recorder.statistics().failed_lanes == 1
    assert (read(bytes(disk.data)) == 1).all()


def test_folder_that_is_not_there_ends_the_recording_only(
    recorder: Recorder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lost = recorder.open(tmp_path / "nowhere" / "lost.wav", channels=1)
    kept = recorder.open(tmp_path / "kept.wav", channels=1)
    for lane in (lost, kept):
        lane.write(frame(3))
        lane.close()

    assert recorder.flush()
    assert len(caplog.records) == 1
    assert read((tmp_path / "kept.wav").read_bytes()).size == FRAME
    assert recorder.statistics().failed_lanes == 1


def test_close_ends_all_recordings_and_writes_what_waits(tmp_path: Path) -> None:
    recorder = Recorder()
    lanes = [recorder.open(tmp_path / f"{name}.wav", channels=1) for name in "abc"]
    for lane in lanes:
        lane.write(frame(9))

    assert recorder.close()
    assert recorder.close()

    sizes = [read((tmp_path / f"{name}.wav").read_bytes()).size for name in "abc"]
    assert sizes == [FRAME] * 3
    assert recorder.flush()
    with pytest.raises(RuntimeError, match="the recorder is closed"):
        recorder.open(tmp_path / "d.wav", channels=1)


def test_close_says_when_the_disk_did_not_finish(recorder_on: RecorderOn) -> None:
    disk = Disk()
    recorder = recorder_on(disk)
    disk.gate.clear()
    recorder.open(Path("call.wav"), channels=1)

    assert not recorder.close(timeout_s=0.01)


def test_recorder_without_recordings_has_no_thread() -> None:
    before = threading.active_count()
    recorder = Recorder()

    assert recorder.flush()
    assert threading.active_count() == before
    assert recorder.close()
