"""A sound in which every sample says where it stands, and what can be read off a recording of it.

The ruler has 65 535 marks, every int16 but 0, and then begins anew: 2.7 s at 24 kHz. A recording
in which less than that is missing in one place is read without a doubt. Silence is no mark.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]
Positions = NDArray[np.int64]

PERIOD = 65_535
RATE_HZ = 24_000
FRAME_SAMPLES = 480
SAMPLES_PER_MS = 24


def ruler(first: int, samples: int) -> Samples:
    """Return a piece of the ruler."""
    marks = np.arange(first, first + samples) % PERIOD - 32_768
    return np.where(marks >= 0, marks + 1, marks).astype(np.int16)


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What was read off a recording.

    Attributes:
        positions: Of the samples that are no silence, on the ruler; they only grow.
        places: Where these samples are in the recording.
    """

    positions: Positions
    places: Positions

    def between(self, first: int, end: int) -> Reading:
        """Return what was heard of a piece of the ruler."""
        low, high = np.searchsorted(self.positions, (first, end))
        return Reading(self.positions[low:high], self.places[low:high])

    @property
    def size(self) -> int:
        return int(self.positions.size)

    @property
    def is_without_a_hole(self) -> bool:
        return bool((np.diff(self.positions) == 1).all())


def read(recording: Samples) -> Reading:
    """Read a recording of one ruler.

    A sample that comes twice, or too early, reads as one that is a whole period further on, and so
    do all behind it: whoever compares the end with what was said notices.
    """
    places = np.flatnonzero(recording)
    marks = recording[places].astype(np.int64)
    codes = np.where(marks > 0, marks - 1, marks) + 32_768
    if not codes.size:
        return Reading(codes, places)
    steps = np.diff(codes) % PERIOD
    steps[steps == 0] = PERIOD
    return Reading(np.concatenate((codes[:1], codes[0] + np.cumsum(steps))), places)


def assert_heard_once(recording: Samples, first: int, samples: int) -> Reading:
    """A piece of the ruler is heard, all of it, once, in order, with silence between at most."""
    reading = read(recording)
    assert reading.is_without_a_hole, "a sample is missing, or came twice"
    assert reading.size == samples
    assert not samples or reading.positions[0] == first % PERIOD
    return reading
