"""PCMU and PCMA: both laws as tables, for one payload or for all legs of a node at once.

Not here: payload types and rates (`table.py`).
Implements ITU-T G.711, scaled to 16 bits as ITU-T G.191 (the Software Tool Library) does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_CODES = np.arange(256)
_INTERVALS = np.arange(128)
"""All magnitudes a code can have: three bits of segment, four of place in it."""
_SEGMENTS, _PLACES = _INTERVALS >> 4, _INTERVALS & 0x0F

_SAMPLE_COUNT = 1 << 16


def _mu_law_levels() -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Return lower bound and output level of each interval (G.711 Table 2a), times 4."""
    bounds = ((16 + _PLACES) << (_SEGMENTS + 1)) - 33
    levels = ((33 + 2 * _PLACES) << _SEGMENTS) - 33
    return np.maximum(bounds, 0) * 4, levels * 4


def _a_law_levels() -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Return lower bound and output level of each interval (G.711 Table 1a), times 16."""
    first = _SEGMENTS == 0  # the lowest two segments have one slope
    shift = np.maximum(_SEGMENTS - 1, 0)
    bounds = np.where(first, _PLACES, (16 + _PLACES) << shift) * 16
    levels = np.where(first, 2 * _PLACES + 1, (33 + 2 * _PLACES) << shift) * 8
    return bounds, levels


class Law:
    """One of the two laws. Stateless: one object serves every stream, both ways.

    Args:
        bounds: Smallest magnitude of each of the 128 intervals, on the scale of int16.
        levels: What each decodes to.
        inverted: The bits of a code that the law sends inverted, the sign's apart.
    """

    def __init__(self, bounds: NDArray[np.int_], levels: NDArray[np.int_], inverted: int) -> None:
        # A sign bit of 1 says positive, in both laws, and is never inverted.
        intervals = (_CODES ^ inverted) & 0x7F
        signs = np.where(_CODES & 0x80, 1, -1)
        self._samples = (levels[intervals] * signs).astype(np.int16)
        self._samples.setflags(write=False)
        values = np.arange(_SAMPLE_COUNT).astype(np.uint16).view(np.int16).astype(np.int_)
        # G.191 takes the one's complement of what is below zero: a value exactly between two
        # levels goes to the upper one, whatever its sign, and -32768 needs no case of its own.
        magnitudes = np.where(values < 0, ~values, values)
        intervals = np.searchsorted(bounds, magnitudes, side="right") - 1
        self._codes = ((intervals ^ inverted) | np.where(values < 0, 0, 0x80)).astype(np.uint8)
        self._codes.setflags(write=False)

    def decode_array(
        self, codes: NDArray[np.uint8], out: NDArray[np.int16] | None = None
    ) -> NDArray[np.int16]:
        """Return the samples of codes of any shape, such as (legs, samples).

        Args:
            codes: uint8.
            out: Where to put them: int16, contiguous, of the same shape; None for a new array.
        """
        # Any uint8 is in the table; "clip" says so, which lets numpy write without a copy.
        samples: NDArray[np.int16] = self._samples.take(codes, out=out, mode="clip")
        return samples

    def encode_array(
        self, samples: NDArray[np.int16], out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Return the codes of samples of any shape, such as (legs, samples).

        Args:
            samples: int16.
            out: Where to put them: uint8, contiguous, of the same shape; None for a new array.
        """
        return self._codes.take(samples.view(np.uint16), out=out, mode="clip")

    def decode(self, payload: bytes) -> NDArray[np.int16]:
        """Return the samples of one payload; every payload is valid."""
        codes = np.frombuffer(payload, np.uint8)
        samples: NDArray[np.int16] = self._samples.take(codes, mode="clip")  # as `decode_array`
        return samples

    def encode(self, samples: NDArray[np.int16]) -> bytes:
        """Return the payload of one frame of any length."""
        return self.encode_array(samples).tobytes()


MU_LAW = Law(*_mu_law_levels(), inverted=0x7F)
"""PCMU. All bits but the sign's are sent inverted (G.711 Table 2a)."""

A_LAW = Law(*_a_law_levels(), inverted=0x55)
"""PCMA. The even bits are sent inverted (G.711 Table 1a)."""
