"""Between telephone rates and the mix rate, for many legs at once: 8 and 16 kHz to 24 and back.

Not here: converting whole sound files (`sound.py`), which leg sits where (`plane.py`).
Implements "One tick" of docs/explanation/media-plane.md, step 2.

One frame in gives exactly one frame out: every output sample depends on the past only, so the
filter's delay (1.4 to 1.5 ms) replaces waiting for more input. The state is the last inputs.

The arithmetic is exact. Coefficients are multiples of 2^-30 and samples are 16-bit integers, so
every product and every partial sum fits the 53 bits of a float64 and nothing is rounded before
the one rounding to int16. Hence the order in which a BLAS adds up cannot matter: a leg's bytes
do not depend on who else is calling, on its seat in a block, or on the machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import gcd

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from telcoflow_sdk.audio.format import TICK_MS

BLOCK_LEGS = 16
"""Legs to a block: enough that numpy's cost per call is shared, few enough that a server with
one call does not filter much silence."""

_COEFFICIENT_STEP = 2.0**-30
_HOPS = 10
"""Hops in a frame. Each is one row of the product, 16 to 48 samples: long enough for BLAS to be
efficient, short enough that few of the matrix's entries are zeros."""

_STOP_BAND_DB = 91.0
"""Attenuation of images and aliases: what a full-scale tone leaves of itself elsewhere is then
smaller than one step of a 16-bit sample."""

_SPAN_S = 0.003
"""Length of the filter: 72 taps at 24 kHz. Half of it is the delay, 1.5 ms; with 91 dB its
transition is 2.0 kHz wide, and twice the length would narrow that for twice the delay."""

_EDGE_BELOW_NYQUIST_HZ = 370.0
"""Distance of the -6 dB point from the lower rate's Nyquist frequency. It divides the transition
between what speech loses (2.4 dB at 3.4 kHz, the edge of a telephone channel) and what is folded
(full attenuation from 0.65 kHz above Nyquist: the image of 3.4 kHz, at 4.6, is 80 dB down)."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """One direction between two rates, as a matrix over sliding windows of the input.

    Attributes:
        history_samples: Inputs before the frame that its outputs depend on.
        frame_in_samples: Samples of a frame at the source rate.
        frame_out_samples: Samples of a frame at the target rate.
        hop_samples: Inputs from one window to the next.
        matrix: float64, shape (history + hop, outputs per hop).
        delay_s: Group delay, the same at all frequencies.
    """

    history_samples: int
    frame_in_samples: int
    frame_out_samples: int
    hop_samples: int
    matrix: NDArray[np.float64]
    delay_s: float


def prototype(common_rate_hz: int, lower_rate_hz: int) -> NDArray[np.float64]:
    """Return the low-pass at the common rate: Kaiser-windowed sinc, linear phase, sum 1.

    A Kaiser window because its two parameters are what we choose by: attenuation gives beta,
    and length then gives the width of the transition.

    Source: Kaiser 1974; Oppenheim and Schafer, Discrete-Time Signal Processing §7.5.3.
    """
    taps = round(_SPAN_S * common_rate_hz)
    edge = 2 * (lower_rate_hz / 2 - _EDGE_BELOW_NYQUIST_HZ) / common_rate_hz
    at = np.arange(taps) - (taps - 1) / 2
    low_pass = np.sinc(edge * at) * np.kaiser(taps, 0.1102 * (_STOP_BAND_DB - 8.7))
    return np.asarray(low_pass / low_pass.sum(), dtype=np.float64)


@cache
def conversion(from_hz: int, to_hz: int) -> Conversion:
    """Return the conversion between two rates, designed on first use.

    Args:
        from_hz: Rate of the frames given, whole multiple of 50 Hz times the hops in a frame.
        to_hz: Rate of the frames wanted; the ratio must be a small fraction, such as 1:3.
    """
    shared = gcd(from_hz, to_hz)
    up, down = to_hz // shared, from_hz // shared
    phases = _exact_phases(prototype(from_hz * up, min(from_hz, to_hz)), up)
    taps = phases.size
    frame_in, frame_out = from_hz * TICK_MS // 1000, to_hz * TICK_MS // 1000
    hop_in, hop_out = frame_in // _HOPS, frame_out // _HOPS
    # Output o of a hop lies at o * down + (down - 1) of the common rate: as late as it can
    # without needing an input of the next hop, which makes the delay as short as it can be.
    lag = down - 1
    history = (taps - 1 - lag) // up
    matrix = np.zeros((history + hop_in, hop_out))
    for output in range(hop_out):
        for row in range(history + hop_in):
            tap = output * down + lag - (row - history) * up
            if 0 <= tap < taps:
                matrix[row, output] = phases[tap % up, tap // up]
    delay_s = ((taps - 1) / 2 - lag) / (from_hz * up)
    return Conversion(history, frame_in, frame_out, hop_in, matrix, delay_s)


def _exact_phases(low_pass: NDArray[np.float64], up: int) -> NDArray[np.float64]:
    """Split into polyphase branches of gain exactly one, on the grid that makes sums exact.

    Branches of equal gain leave no image of a constant input, however small.
    """
    branches = np.round(low_pass.reshape(-1, up).T * up / _COEFFICIENT_STEP)
    largest = np.abs(branches).argmax(axis=1)
    branches[np.arange(up), largest] += 1 / _COEFFICIENT_STEP - branches.sum(axis=1)
    return np.asarray(branches * _COEFFICIENT_STEP, dtype=np.float64)


class ResampleBlock:
    """`BLOCK_LEGS` legs in one conversion, one frame each per `run`.

    A seat's input and output are views that stay good for the block's life: the plane lets the
    leg write and read them in place. Not thread-safe.

    Args:
        from_hz: Rate of the frames given.
        to_hz: Rate of the frames wanted.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self._conversion = conversion(from_hz, to_hz)
        form = self._conversion
        span = form.history_samples + form.frame_in_samples
        self._line = np.zeros((BLOCK_LEGS, span), dtype=np.int16)
        self._windows = sliding_window_view(
            self._line, form.history_samples + form.hop_samples, axis=1
        )[:, :: form.hop_samples]
        self._gathered = np.empty(self._windows.shape, dtype=np.float64)
        self._product = np.empty((BLOCK_LEGS * _HOPS, form.matrix.shape[1]), dtype=np.float64)
        self._output = np.zeros((BLOCK_LEGS, form.frame_out_samples), dtype=np.int16)
        self._free = list(range(BLOCK_LEGS - 1, -1, -1))

    @property
    def has_room(self) -> bool:
        """Whether a seat is free."""
        return bool(self._free)

    @property
    def is_empty(self) -> bool:
        """Whether all seats are free; `run` would only filter silence."""
        return len(self._free) == BLOCK_LEGS

    def take_seat(self) -> int:
        """Return a free seat, its filter at rest. Raises IndexError when there is no room."""
        return self._free.pop()

    def leave_seat(self, seat: int) -> None:
        """Give a seat back and forget its state."""
        self._line[seat] = 0
        self._output[seat] = 0
        self._free.append(seat)

    def cut(self, seat: int) -> None:
        """Forget the past of a seat: nothing given before is in what comes out after."""
        self._line[seat, : self._conversion.history_samples] = 0

    def input(self, seat: int) -> NDArray[np.int16]:
        """Return the view to write this seat's next frame to: int16, shape (frame_in,)."""
        return self._line[seat, self._conversion.history_samples :]

    def output(self, seat: int) -> NDArray[np.int16]:
        """Return the view that holds this seat's frame after `run`: int16, shape (frame_out,)."""
        view: NDArray[np.int16] = self._output[seat]
        return view

    def run(self) -> None:
        """Convert the frames written into the inputs; rounds and saturates once."""
        form = self._conversion
        np.copyto(self._gathered, self._windows)
        np.matmul(self._gathered.reshape(BLOCK_LEGS * _HOPS, -1), form.matrix, out=self._product)
        np.rint(self._product, out=self._product)
        np.clip(self._product, -32768, 32767, out=self._product)
        np.copyto(self._output.reshape(self._product.shape), self._product, casting="unsafe")
        # The frame's end becomes the next one's past; it is the shorter of the two.
        self._line[:, : form.history_samples] = self._line[:, form.frame_in_samples :]


@dataclass(frozen=True, slots=True, eq=False)
class Seat:
    """One leg's place in a block: write `input`, read `output` after the run."""

    block: ResampleBlock
    number: int
    input: NDArray[np.int16]
    output: NDArray[np.int16]

    def cut(self) -> None:
        """Forget the past; see `ResampleBlock.cut`."""
        self.block.cut(self.number)

    def leave(self) -> None:
        """Give the seat back."""
        self.block.leave_seat(self.number)


class ResamplePool:
    """All blocks of the plane's one direction, made as seats are asked for."""

    def __init__(self) -> None:
        self._blocks: dict[tuple[int, int], list[ResampleBlock]] = {}

    def seat(self, from_hz: int, to_hz: int) -> Seat:
        """Return a free seat in a block of this conversion."""
        blocks = self._blocks.setdefault((from_hz, to_hz), [])
        block = next((block for block in blocks if block.has_room), None)
        if block is None:
            block = ResampleBlock(from_hz, to_hz)
            blocks.append(block)
        number = block.take_seat()
        return Seat(block, number, block.input(number), block.output(number))

    def run(self) -> None:
        """Convert every block that anybody sits in."""
        for blocks in self._blocks.values():
            for block in blocks:
                if not block.is_empty:
                    block.run()
