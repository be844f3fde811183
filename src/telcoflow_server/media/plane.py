"""Every call of the node as rows of arrays: one tick takes, resamples, mixes and hands out.

Not here: what legs are (`legs/`), who hears whom (`routing.py`), when to tick (`ticker.py`).
Implements "One tick" of docs/explanation/media-plane.md.

Arithmetic is done on blocks of rows that are allotted once and never move, so the views that legs
read and write stay good while calls come and go, even in the middle of a tick. Nothing computed
for one row depends on another row.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from telcoflow_sdk.audio.format import SAMPLE_RATES_HZ, AudioFormat
from telcoflow_server.media.resample import ResampleBlock
from telcoflow_server.media.routing import Listener, Mode, Slot, gains

logger = logging.getLogger(__name__)

MIX_RATE_HZ = 24_000
"""The rate at which every call is mixed and recorded: the highest an agent may ask for."""

BLOCK_ROWS = 32
"""Rows to a block. A block's arrays (0.7 MB) stay in a core's second-level cache for the tick."""

_FRAME_SAMPLES = AudioFormat(MIX_RATE_HZ).frame_samples


class FrameSource(Protocol):
    """What a leg says."""

    def take(self, tick: int, out: NDArray[np.int16]) -> bool:
        """Fill `out`, one frame at the leg's rate, for this tick of the call.

        Returns:
            True: `out` is filled. False: silence; whatever is in `out` is discarded.
        """


class FrameSink(Protocol):
    """What a leg hears."""

    def put(self, tick: int, frame: NDArray[np.int16]) -> None:
        """Take the mix of this tick, at the leg's rate; `frame` is good during the call only."""


class FrameLane(Protocol):
    """Where a call is recorded."""

    def write(self, frame: NDArray[np.int16]) -> None:
        """Take one tick, shape (480, 2): the caller left, everybody else right. Never raises."""


LegFailed = Callable[[Slot, Exception], None]
"""Told, at the end of the tick, which leg of a row raised what; it is detached by then."""


@dataclass(frozen=True, slots=True)
class PlaneStatistics:
    """What the plane holds and what went wrong on it.

    Attributes:
        ticks: Ticks done.
        rows: Open rows.
        legs: Attached legs.
        failed_legs: Legs detached because their source or sink raised, in total.
    """

    ticks: int
    rows: int
    legs: int
    failed_legs: int


class _RowBlock:
    """The arrays of `BLOCK_ROWS` rows."""

    def __init__(self) -> None:
        self.samples = np.zeros((BLOCK_ROWS, len(Slot), _FRAME_SAMPLES), dtype=np.int16)
        self.gains = np.zeros((BLOCK_ROWS, len(Listener), len(Slot)), dtype=np.float32)
        self.mixes = np.zeros((BLOCK_ROWS, len(Listener), _FRAME_SAMPLES), dtype=np.int16)
        self._sources = np.zeros(self.samples.shape, dtype=np.float32)
        self._sums = np.zeros(self.mixes.shape, dtype=np.float32)

    def mix(self, rows: int) -> None:
        """Mix the first `rows` rows. Integers below 2^24 are exact in float32, so gain one is."""
        sources, sums = self._sources[:rows], self._sums[:rows]
        np.copyto(sources, self.samples[:rows])
        np.matmul(self.gains[:rows], sources, out=sums)
        np.rint(sums, out=sums)
        np.clip(sums, -32768, 32767, out=sums)
        np.copyto(self.mixes[:rows], sums, casting="unsafe")


@dataclass(frozen=True, slots=True, eq=False)
class _Seat:
    """A leg's place in a block of legs that need the same conversion."""

    block: ResampleBlock
    number: int
    input: NDArray[np.int16]
    output: NDArray[np.int16]


@dataclass(slots=True, eq=False)
class _Leg:
    """One attached leg: whom to ask, and the views that are handed over.

    `said` and `hears` are at the leg's rate, `in_mix` and `of_mix` at the plane's. Without
    seats, for a leg at the mix rate, they are the same memory.
    """

    row: Row
    slot: Slot
    source: FrameSource
    sink: FrameSink
    said: NDArray[np.int16]
    hears: NDArray[np.int16]
    in_mix: NDArray[np.int16]
    of_mix: NDArray[np.int16]
    seats: tuple[_Seat, _Seat] | None
    is_attached: bool = True


class MediaPlane:
    """All rows; `tick` advances every one of them by 20 ms. Reads no clock; one thread only."""

    def __init__(self) -> None:
        self._blocks: list[_RowBlock] = []
        self._free: list[int] = []  # a heap: low rows first, so that high ones need no mixing
        self._open: set[Row] = set()
        self._resamplers: dict[tuple[int, int], list[ResampleBlock]] = {}
        # A tuple, replaced when it changes: a tick goes through the legs it began with.
        self._legs: tuple[_Leg, ...] = ()
        self._failures: list[tuple[Row, Slot, Exception]] = []
        self._failed_legs = 0
        self._ticks_begun = 0
        self._ticks_done = 0

    @property
    def rows(self) -> int:
        """How many rows are open."""
        return len(self._open)

    def statistics(self) -> PlaneStatistics:
        """Return the plane's counters."""
        return PlaneStatistics(self._ticks_done, self.rows, len(self._legs), self._failed_legs)

    def open_row(self, failed: LegFailed | None = None) -> Row:
        """Return a row for a new call: mode RINGING, no legs, its next tick is 0.

        Opened in the middle of a tick, it begins with the next one.

        Args:
            failed: Told when a leg was detached because its source or sink raised. Called after
                that tick; may close rows and open others. What it raises is logged, as is the
                failure itself when there is nobody to tell.
        """
        if not self._free:
            first = len(self._blocks) * BLOCK_ROWS
            self._blocks.append(_RowBlock())
            self._free.extend(range(first, first + BLOCK_ROWS))
        number = heapq.heappop(self._free)
        row = Row(self, self._blocks[number // BLOCK_ROWS], number, self._ticks_begun, failed)
        self._open.add(row)
        return row

    def tick(self) -> None:
        """Advance every row by one tick.

        A leg whose source or sink raises is detached, counted and reported; the others do not
        notice.
        """
        legs, number = self._legs, self._ticks_done
        self._ticks_begun = number + 1
        for leg in legs:
            if leg.is_attached:
                self._take(leg, number)
        self._resample_up()
        self._mix()
        self._resample_down()
        for leg in legs:
            if leg.is_attached:
                self._put(leg, number)
        for row in self._open:
            row.write_lane(number)
        self._ticks_done = self._ticks_begun
        self._report_failures()

    def _take(self, leg: _Leg, number: int) -> None:
        is_sounding = False
        try:
            is_sounding = leg.source.take(number - leg.row.opened_at, leg.said)
        except Exception as error:  # whatever it is, it is this leg's fault and no other's
            self._fail(leg, error)
        if not (is_sounding and leg.is_attached):
            leg.said.fill(0)

    def _put(self, leg: _Leg, number: int) -> None:
        try:
            leg.sink.put(number - leg.row.opened_at, leg.hears)
        except Exception as error:  # as in `_take`
            self._fail(leg, error)

    def _resample_up(self) -> None:
        self._run_resamplers(to_mix=True)
        for leg in self._legs:
            if leg.seats is not None:
                leg.in_mix[:] = leg.seats[0].output

    def _resample_down(self) -> None:
        for leg in self._legs:
            if leg.seats is not None:
                leg.seats[1].input[:] = leg.of_mix
        self._run_resamplers(to_mix=False)

    def _run_resamplers(self, *, to_mix: bool) -> None:
        for (_, to_hz), blocks in self._resamplers.items():
            if (to_hz == MIX_RATE_HZ) == to_mix:
                for block in blocks:
                    if not block.is_empty:
                        block.run()

    def _mix(self) -> None:
        rows_left = max((row.number for row in self._open), default=-1) + 1
        for block in self._blocks:
            if rows_left <= 0:
                break
            block.mix(min(rows_left, BLOCK_ROWS))
            rows_left -= BLOCK_ROWS

    def _fail(self, leg: _Leg, error: Exception) -> None:
        self._failed_legs += 1
        self._failures.append((leg.row, leg.slot, error))
        if leg.is_attached:
            leg.row.detach(leg.slot)

    def _report_failures(self) -> None:
        failures, self._failures = self._failures, []
        for row, slot, error in failures:
            if row.failed is None:
                logger.error("the %s's leg failed", slot.name.lower(), exc_info=error)
                continue
            try:
                row.failed(slot, error)
            except Exception:  # the row's owner must not stop the other rows either
                logger.exception("a row's owner failed when told of its failed leg")

    # What rows ask of their plane.

    def ticks_done(self) -> int:
        """Return the ticks all rows have done together."""
        return self._ticks_done

    def add(self, leg: _Leg) -> None:
        """Let `leg` take part from the next tick on."""
        self._legs = (*self._legs, leg)

    def remove(self, leg: _Leg) -> None:
        """Drop `leg` and silence what it left behind."""
        leg.is_attached = False
        self._legs = tuple(other for other in self._legs if other is not leg)
        leg.in_mix.fill(0)
        for seat in leg.seats or ():
            seat.block.leave_seat(seat.number)

    def seat(self, from_hz: int, to_hz: int) -> _Seat:
        """Find a free seat in the blocks of one conversion."""
        blocks = self._resamplers.setdefault((from_hz, to_hz), [])
        block = next((block for block in blocks if block.has_room), None)
        if block is None:
            block = ResampleBlock(from_hz, to_hz)
            blocks.append(block)
        number = block.take_seat()
        return _Seat(block, number, block.input(number), block.output(number))

    def remove_row(self, row: Row) -> None:
        """Give the row's place to the next call."""
        self._open.discard(row)
        heapq.heappush(self._free, row.number)


class Row:
    """One call on the plane: three slots, a mode, perhaps a recording.

    Made by `MediaPlane.open_row`. For the thread that ticks only; may be used from within `take`
    and `put`. Once closed, everything but `close`, `detach` and `tick` raises ValueError.
    """

    def __init__(
        self,
        plane: MediaPlane,
        block: _RowBlock,
        number: int,
        opened_at: int,
        failed: LegFailed | None,
    ) -> None:
        self.number = number
        self.opened_at = opened_at
        self.failed = failed
        self._plane = plane
        self._block = block
        self._index = number % BLOCK_ROWS
        self._legs: dict[Slot, _Leg] = {}
        self._lane: FrameLane | None = None
        self._is_open = True
        self.set_mode(Mode.RINGING)

    @property
    def tick(self) -> int:
        """The number of this row's next tick, which is how many it has done."""
        return max(0, self._plane.ticks_done() - self.opened_at)

    def attach(self, slot: Slot, source: FrameSource, sink: FrameSink, sample_rate_hz: int) -> None:
        """Let a leg take part from the next tick on.

        Args:
            slot: Where it sits; must be free.
            source: Asked for a frame on every tick.
            sink: Given the mix of every tick, silence included.
            sample_rate_hz: Of both; one of `SAMPLE_RATES_HZ`.

        Raises:
            ValueError: the row is closed, the slot is taken, or the rate is none of ours.
        """
        self._require_open()
        if slot in self._legs:
            raise ValueError(f"slot {slot.name} is taken; detach it first")
        if sample_rate_hz not in SAMPLE_RATES_HZ:
            raise ValueError(f"rate must be one of {SAMPLE_RATES_HZ} Hz, not {sample_rate_hz}")
        in_mix = self._block.samples[self._index, slot]
        of_mix = self._block.mixes[self._index, slot]
        seats: tuple[_Seat, _Seat] | None = None
        said, hears = in_mix, of_mix.view()
        if sample_rate_hz != MIX_RATE_HZ:
            seats = (
                self._plane.seat(sample_rate_hz, MIX_RATE_HZ),
                self._plane.seat(MIX_RATE_HZ, sample_rate_hz),
            )
            said, hears = seats[0].input, seats[1].output
        hears.flags.writeable = False
        leg = _Leg(self, slot, source, sink, said, hears, in_mix, of_mix, seats)
        self._legs[slot] = leg
        self._plane.add(leg)

    def detach(self, slot: Slot) -> None:
        """Take a leg out; it is silent from the next mix on. Does nothing if the slot is free."""
        leg = self._legs.pop(slot, None)
        if leg is not None:
            self._plane.remove(leg)

    def set_mode(self, mode: Mode) -> None:
        """Choose who hears whom from the next tick on."""
        self._require_open()
        self._block.gains[self._index] = gains(mode)

    def record(self, lane: FrameLane | None) -> None:
        """Record every tick from the next one on; with `None`, stop. The lane stays open."""
        self._require_open()
        self._lane = lane

    def write_lane(self, number: int) -> None:
        """Record the tick just mixed; for the plane. A row opened during it has none yet."""
        if self._lane is not None and number >= self.opened_at:
            self._lane.write(self._block.mixes[self._index, Listener.RECORD_LEFT :].T)

    def close(self) -> None:
        """Detach every leg, stop recording, give the row back. Idempotent."""
        if not self._is_open:
            return
        for slot in list(self._legs):
            self.detach(slot)
        self._is_open = False
        self._plane.remove_row(self)

    def _require_open(self) -> None:
        if not self._is_open:
            raise ValueError("the row is closed")
