"""When somebody speaks in a recording, and whether a sound is in it: arithmetic on samples.

Not here: what an agent must do (`conversation.py`).
Implements "What counts" of docs/how-to/test-conversations.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telcoflow_server.legs.simulated import SILENCE_DB, level_db
from telcoflow_server.media.plane import MIX_RATE_HZ
from telcoflow_server.media.sound import Sound
from telcoflow_server.testing.sound import FRAME_SAMPLES

SAMPLES_PER_MS = MIX_RATE_HZ // 1000

SAME_MS = 10
"""Of two sounds in which so much is the same to the bit, one is a copy of the other."""
ALIKE_MS = 100
"""How much must be alike where a copy was resampled, coded or mixed: two sounds of one voice are
alike for a few periods of it, but not for so long."""
ALIKE = 0.9
"""Correlation from which on it is a copy; G.711 and a resampler stay above 0.98 with speech."""

_AUDIBLE = 32768 * 10 ** (SILENCE_DB / 20)  # every frame at the limit has such a sample
_BLOCK_SAMPLES = 16_384  # of one transform; the fewer, the more of them overlap
_BLOCKS_AT_ONCE = 64  # 37 s of sound, 30 MB of arithmetic


@dataclass(frozen=True, slots=True)
class Phrase:
    """Somebody speaks from here to there, on the recording's time axis."""

    begin_ms: float
    end_ms: float

    @property
    def duration_ms(self) -> float:
        """How long it is."""
        return self.end_ms - self.begin_ms


@dataclass(frozen=True, slots=True)
class Found:
    """A piece of one sound in another one: where in either, and how long it is that is sure."""

    in_sound_ms: float
    in_recording_ms: float
    duration_ms: float


def phrases(recording: Sound, pause_ms: float) -> list[Phrase]:
    """Return when somebody speaks, to the sample.

    Args:
        recording: int16, shape (n,), 24 kHz.
        pause_ms: Silence shorter than that is within a phrase.
    """
    padded = np.zeros(-(-recording.size // FRAME_SAMPLES) * FRAME_SAMPLES, np.int16)
    padded[: recording.size] = recording
    frames = padded.reshape(-1, FRAME_SAMPLES)
    power = np.square(frames.astype(np.float32)).mean(axis=1) / 32768**2
    sounding = np.flatnonzero(power >= 10 ** (SILENCE_DB / 10))
    if not sounding.size:
        return []
    breaks = np.flatnonzero(np.diff(sounding) > 1)
    firsts = sounding[np.concatenate(([0], breaks + 1))]
    lasts = sounding[np.concatenate((breaks, [-1]))]
    runs = [
        Phrase(_onset_ms(frames, int(first)), _end_ms(frames, int(last)))
        for first, last in zip(firsts, lasts, strict=True)
    ]
    return _joined(runs, pause_ms)


def overlaps(ones: Sequence[Phrase], others: Sequence[Phrase]) -> list[Phrase]:
    """Return when two speak at once."""
    both = (
        Phrase(max(one.begin_ms, other.begin_ms), min(one.end_ms, other.end_ms))
        for one in ones
        for other in others
    )
    return [found for found in both if found.duration_ms > 0]


def silences(ones: Sequence[Phrase], others: Sequence[Phrase], whole: Phrase) -> list[Phrase]:
    """Return when, in the whole, neither of two speaks."""
    found: list[Phrase] = []
    quiet_since_ms = whole.begin_ms
    for phrase in sorted((*ones, *others), key=lambda one: one.begin_ms):
        found.append(Phrase(quiet_since_ms, min(phrase.begin_ms, whole.end_ms)))
        quiet_since_ms = max(quiet_since_ms, phrase.end_ms)
    found.append(Phrase(quiet_since_ms, whole.end_ms))
    return [silence for silence in found if silence.duration_ms > 0]


def find(sound: Sound, recording: Sound) -> Found | None:
    """Find a piece of a sound in a recording.

    Twice `SAME_MS` are found if they are the same to the bit, twice `ALIKE_MS` if they are alike.
    Silence is found nowhere.

    Args:
        sound: int16, shape (n,), 24 kHz.
        recording: The same.

    Raises:
        ValueError: the sound is too short, or silent.
    """
    same = _pieces(sound, SAME_MS)
    if not same:
        raise ValueError(f"this sound is shorter than {SAME_MS} ms, or silent: nobody can find it")
    return _find_same(sound, same, recording) or _find_alike(sound, recording)


def _onset_ms(frames: NDArray[np.int16], number: int) -> float:
    first = int(np.argmax(np.abs(frames[number].astype(np.int32)) >= _AUDIBLE))
    return (number * FRAME_SAMPLES + first) / SAMPLES_PER_MS


def _end_ms(frames: NDArray[np.int16], number: int) -> float:
    after = int(np.argmax(np.abs(frames[number][::-1].astype(np.int32)) >= _AUDIBLE))
    return ((number + 1) * FRAME_SAMPLES - after) / SAMPLES_PER_MS


def _joined(runs: Sequence[Phrase], pause_ms: float) -> list[Phrase]:
    joined = [runs[0]]
    for run in runs[1:]:
        if run.begin_ms - joined[-1].end_ms < pause_ms:
            joined[-1] = Phrase(joined[-1].begin_ms, run.end_ms)
        else:
            joined.append(run)
    return joined


def _pieces(sound: Sound, ms: int) -> list[int]:
    """Return where pieces of so many ms begin that are no silence."""
    size = ms * SAMPLES_PER_MS
    starts = range(0, sound.size - size + 1, size)
    return [at for at in starts if level_db(sound[at : at + size]) >= SILENCE_DB]


def _find_same(sound: Sound, starts: Sequence[int], recording: Sound) -> Found | None:
    size = SAME_MS * SAMPLES_PER_MS
    if recording.size < size:
        return None
    # Eight bytes of each piece against all of the recording's: few are left to be looked for.
    keys = np.lib.stride_tricks.sliding_window_view(sound, 4)[list(starts)]
    all_keys = np.lib.stride_tricks.sliding_window_view(recording, 4)
    is_there = np.isin(_as_numbers(keys), _as_numbers(all_keys))
    haystack = recording.tobytes()
    for start in np.asarray(starts)[is_there]:
        needle = sound[start : start + size].tobytes()
        at = haystack.find(needle)
        while at >= 0 and at % 2:  # between two samples
            at = haystack.find(needle, at + 1)
        if at >= 0:
            return Found(start / SAMPLES_PER_MS, at // 2 / SAMPLES_PER_MS, SAME_MS)
    return None


def _as_numbers(rows: NDArray[np.int16]) -> NDArray[np.int64]:
    return np.ascontiguousarray(rows).view(np.int64).reshape(-1)


def _find_alike(sound: Sound, recording: Sound) -> Found | None:
    size = ALIKE_MS * SAMPLES_PER_MS
    blocks = [
        (at, recording[at : at + _BLOCK_SAMPLES])
        for at in range(0, recording.size - size + 1, _BLOCK_SAMPLES - size + 1)
    ]
    sounding = [(at, block) for at, block in blocks if np.abs(block.astype(int)).max() >= _AUDIBLE]
    starts = _pieces(sound, ALIKE_MS)
    for first in range(0, len(sounding), _BLOCKS_AT_ONCE):
        found = _find_in_blocks(sound, starts, sounding[first : first + _BLOCKS_AT_ONCE])
        if found is not None:
            return found
    return None


def _find_in_blocks(
    sound: Sound, starts: Sequence[int], blocks: Sequence[tuple[int, Sound]]
) -> Found | None:
    size = ALIKE_MS * SAMPLES_PER_MS
    rows = np.zeros((len(blocks), _BLOCK_SAMPLES))
    for row, (_, block) in zip(rows, blocks, strict=True):
        row[: block.size] = block
    # Energy of the recording below each place of the piece; a silent one is like nothing.
    sums = np.concatenate((np.zeros((len(rows), 1)), np.cumsum(rows**2, axis=1)), axis=1)
    energy = np.maximum(sums[:, size:] - sums[:, :-size], size * _AUDIBLE**2)
    spectra = np.fft.rfft(rows)
    for start in starts:
        piece = sound[start : start + size].astype(np.float64)
        spectrum = np.conj(np.fft.rfft(piece, _BLOCK_SAMPLES))
        products = np.fft.irfft(spectra * spectrum, _BLOCK_SAMPLES)[:, : energy.shape[1]]
        likeness = products / np.sqrt(energy * np.sum(piece**2))
        row_number, place = np.unravel_index(int(np.argmax(likeness)), likeness.shape)
        if likeness[row_number, place] >= ALIKE:
            at = blocks[int(row_number)][0] + int(place)
            return Found(start / SAMPLES_PER_MS, at / SAMPLES_PER_MS, ALIKE_MS)
    return None
