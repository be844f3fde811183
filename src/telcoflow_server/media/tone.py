"""Tones that telephones make themselves.

Not here: recorded sound (`sound.py`). Implements ITU-T E.180, supplement 2 (North America):
ringback is 440 Hz and 480 Hz together, two seconds on, four seconds off.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from telcoflow_sdk.audio.format import TICK_MS
from telcoflow_server.media.plane import MIX_RATE_HZ

_ON_TICKS = 2_000 // TICK_MS
_CADENCE_TICKS = 6_000 // TICK_MS
_AMPLITUDE = 1_600
"""Of each tone, -26 dB of full scale: both together are as loud as speech from a handset."""


def _one_second() -> NDArray[np.int16]:
    at = np.arange(MIX_RATE_HZ) / MIX_RATE_HZ
    both = np.sin(2 * np.pi * 440 * at) + np.sin(2 * np.pi * 480 * at)
    second: NDArray[np.int16] = np.rint(_AMPLITUDE * both).astype(np.int16)
    return second


# Whole periods of both tones fit into a second, so it repeats, and begins and ends, at zero.
_SECOND = _one_second()


class Ringback:
    """What a caller hears while the other phone rings; a `FrameSource` at the mix rate.

    It listens to nobody: as a `FrameSink` it discards.

    Args:
        first_tick: When the cadence begins.
    """

    def __init__(self, first_tick: int) -> None:
        self._first_tick = first_tick

    def take(self, tick: int, out: NDArray[np.int16]) -> bool:
        """Give one frame of the cadence; False in its pauses."""
        at = (tick - self._first_tick) % _CADENCE_TICKS
        if at >= _ON_TICKS:
            return False
        begin = at * len(out) % len(_SECOND)
        out[:] = _SECOND[begin : begin + len(out)]
        return True

    def put(self, tick: int, frame: NDArray[np.int16]) -> None:
        """Discard: a tone has no ears."""
