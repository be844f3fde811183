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
from telcoflow_server.media.resample import ResamplePool, Seat
from telcoflow_server.media.routing import Audience, Listener, Slot, Stage, gains, heard

logger = logging.getLogger(__name__)

MIX_RATE_HZ = 24_000
"""The rate at which every call is mixed and recorded: the highest an agent may ask for."""

BLOCK_ROWS = 32
"""Rows to a block. A block's arrays (0.7 MB) stay in a core's second-level cache for the tick."""

_FRAME_SAMPLES = AudioFormat(MIX_RATE_HZ).frame_samples
_SILENCE = np.zeros(_FRAME_SAMPLES, dtype=np.int16)
_SILENCE.flags.writeable = False


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


class Joint(Protocol):
    """What many legs say and hear, each by the number of its row there."""

    def take(self, row: int, out: NDArray[np.int16]) -> None:
        """Fill `out`, one frame at the leg's rate."""

    def put(self, row: int, frame: NDArray[np.int16]) -> None:
        """Take what the leg hears; as `FrameSink.put`."""


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
    """The arrays of `BLOCK_ROWS` rows.

    Attributes:
        mixed: Those in which somebody hears two people at once, or which are recorded.
    """

    def __init__(self) -> None:
        self.samples = np.zeros((BLOCK_ROWS, len(Slot), _FRAME_SAMPLES), dtype=np.int16)
        self.gains = np.zeros((BLOCK_ROWS, len(Listener), len(Slot)), dtype=np.float32)
        self.mixes = np.zeros((BLOCK_ROWS, len(Listener), _FRAME_SAMPLES), dtype=np.int16)
        self._sources = np.zeros(self.samples.shape, dtype=np.float32)
        self._sums = np.zeros(self.mixes.shape, dtype=np.float32)
        self.mixed: set[int] = set()

    def mix(self) -> None:
        """Mix the rows up to the last that must be.

        Integers below 2^24 are exact in float32, so gain one is.
        """
        rows = max(self.mixed) + 1
        sources, sums = self._sources[:rows], self._sums[:rows]
        np.copyto(sources, self.samples[:rows])
        np.matmul(self.gains[:rows], sources, out=sums)
        np.rint(sums, out=sums)
        np.clip(sums, -32768, 32767, out=sums)
        np.copyto(self.mixes[:rows], sums, casting="unsafe")


@dataclass(slots=True, eq=False)
class _Mouth:
    """Where a leg's sound comes in.

    `said` is at the leg's rate, `in_mix` at the plane's; without a seat they are the same memory.
    With a `joint`, that is asked in place of the source.
    """

    row: Row
    slot: Slot
    source: FrameSource
    said: NDArray[np.int16]
    in_mix: NDArray[np.int16]
    seat: Seat | None
    is_tone: bool
    is_attached: bool = True
    joint: Joint | None = None
    joint_row: int = 0


@dataclass(slots=True, eq=False)
class _Ear:
    """Where a leg, or whoever taps one, is given sound.

    `of_mix` is at the plane's rate, `hears` at the listener's; without a seat they are the same
    memory: the row's mix for this listener or, where that is one person, what that one says.
    """

    row: Row
    slot: Slot
    sink: FrameSink
    of_mix: NDArray[np.int16]
    hears: NDArray[np.int16]
    seat: Seat | None
    is_muted: bool = False
    is_attached: bool = True
    joint: Joint | None = None
    joint_row: int = 0

    def aim(self, sound: NDArray[np.int16]) -> None:
        """Hear this from now on, at the plane's rate."""
        self.of_mix = sound
        if self.seat is None:
            self.hears = sound.view()
            self.hears.flags.writeable = False


class Strip:
    """Where an attached leg's sound goes in and comes out.

    A leg whose frames are kept elsewhere, with those of others, can have them taken and put there:
    with many calls, to come by each leg and its row costs more than its frame.
    """

    __slots__ = ("_ear", "_mouth")

    def __init__(self, mouth: _Mouth, ear: _Ear) -> None:
        self._mouth = mouth
        self._ear = ear

    def join(self, joint: Joint, row: int) -> None:
        """Ask `joint` in place of the leg; also in the middle of a tick."""
        for part in (self._mouth, self._ear):
            part.joint, part.joint_row = joint, row

    def part(self) -> None:
        """Ask the leg itself again. Idempotent."""
        self._mouth.joint = self._ear.joint = None


class MediaPlane:
    """All rows; `tick` advances every one of them by 20 ms. Reads no clock; one thread only.

    Attributes:
        ticks_done: How many ticks all rows have done together; to be read only.
        unaimed: Rows in which others are heard from the next mix on; for rows.
        recorded: Those that are recorded; likewise.
    """

    def __init__(self) -> None:
        self._blocks: list[_RowBlock] = []
        self._free: list[int] = []  # a heap: low rows first, so that high ones need no mixing
        self._open: set[Row] = set()
        self.up = ResamplePool()
        self.down = ResamplePool()
        # Tuples, replaced when they change: a tick goes through those it began with.
        self._mouths: tuple[_Mouth, ...] = ()
        self._ears: tuple[_Ear, ...] = ()
        self._seated_mouths: tuple[tuple[_Mouth, Seat], ...] = ()  # those of them at other rates
        self._seated_ears: tuple[tuple[_Ear, Seat], ...] = ()
        self._failures: list[tuple[Row, Slot, Exception]] = []
        self._failed_legs = 0
        self.unaimed: set[Row] = set()
        self.recorded: set[Row] = set()
        self._ticks_begun = 0
        self.ticks_done = 0

    @property
    def rows(self) -> int:
        """How many rows are open."""
        return len(self._open)

    def statistics(self) -> PlaneStatistics:
        """Return the plane's counters."""
        return PlaneStatistics(self.ticks_done, self.rows, len(self._mouths), self._failed_legs)

    def open_row(self, failed: LegFailed | None = None) -> Row:
        """Return a row for a new call: stage RINGING, no legs, its next tick is 0.

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
        ears, number = self._ears, self.ticks_done
        self._ticks_begun = number + 1
        self._take_all(number)
        self._resample_up()
        self._mix()
        self._resample_down()
        self._put_all(ears, number)
        for row in self.recorded:
            row.write_lane(number)
        self.ticks_done = self._ticks_begun
        self._report_failures()

    def _take_all(self, number: int) -> None:
        for mouth in self._mouths:
            if not mouth.is_attached:
                continue
            try:
                if mouth.joint is not None:
                    mouth.joint.take(mouth.joint_row, mouth.said)
                    continue
                is_sounding = mouth.source.take(number - mouth.row.opened_at, mouth.said)
            except Exception as error:  # whatever it is, it is this leg's fault and no other's
                is_sounding = False
                self._fail(mouth, error)
            if not (is_sounding and mouth.is_attached):
                mouth.said.fill(0)

    def _put_all(self, ears: tuple[_Ear, ...], number: int) -> None:
        for ear in ears:
            if not ear.is_attached:
                continue
            # A resampled ear was fed silence.
            hears = _SILENCE if ear.is_muted and ear.seat is None else ear.hears
            try:
                if ear.joint is not None:
                    ear.joint.put(ear.joint_row, hears)
                    continue
                ear.sink.put(number - ear.row.opened_at, hears)
            except Exception as error:  # as in `_take_all`
                self._fail(ear, error)

    def _resample_up(self) -> None:
        self.up.run()
        for mouth, seat in self._seated_mouths:
            mouth.in_mix[:] = seat.output

    def _resample_down(self) -> None:
        for ear, seat in self._seated_ears:
            seat.input[:] = _SILENCE if ear.is_muted else ear.of_mix
        self.down.run()

    def _mix(self) -> None:
        for row in self.unaimed:
            row.aim()
        self.unaimed.clear()
        for block in self._blocks:
            if block.mixed:
                block.mix()

    def _fail(self, part: _Mouth | _Ear, error: Exception) -> None:
        self._failed_legs += 1
        self._failures.append((part.row, part.slot, error))
        if part.is_attached:
            part.row.drop(part)

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

    def add(self, mouth: _Mouth | None, ear: _Ear) -> None:
        """Let them take part from the next tick on."""
        mouths = self._mouths if mouth is None else (*self._mouths, mouth)
        self._keep(mouths, (*self._ears, ear))

    def remove(self, mouth: _Mouth | None, ears: list[_Ear]) -> None:
        """Drop them and silence what they left behind."""
        for part in (mouth, *ears):
            if part is not None:
                part.is_attached = False
                if part.seat is not None:
                    part.seat.leave()
        if mouth is not None:
            mouth.in_mix.fill(0)
        self._keep(
            tuple(other for other in self._mouths if other.is_attached),
            tuple(ear for ear in self._ears if ear.is_attached),
        )

    def _keep(self, mouths: tuple[_Mouth, ...], ears: tuple[_Ear, ...]) -> None:
        self._mouths, self._ears = mouths, ears
        self._seated_mouths = tuple((mouth, mouth.seat) for mouth in mouths if mouth.seat)
        self._seated_ears = tuple((ear, ear.seat) for ear in ears if ear.seat)

    def remove_row(self, row: Row) -> None:
        """Give the row's place to the next call."""
        self._open.discard(row)
        self.unaimed.discard(row)
        heapq.heappush(self._free, row.number)


class Row:
    """One call on the plane: three slots, a stage, perhaps a recording.

    Made by `MediaPlane.open_row`. For the thread that ticks only; may be used from within `take`
    and `put`. Once closed, everything but `close`, `detach` and `tick` raises ValueError.

    Attributes:
        lane: Where it is recorded; to be read only.
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
        self._mouths: dict[Slot, _Mouth] = {}
        self._ears: dict[Slot, _Ear] = {}
        self._taps: list[_Ear] = []
        self.lane: FrameLane | None = None
        self._next_lane: FrameLane | None = None
        self._is_open = True
        self._stage = Stage.RINGING
        self._audience = Audience.CALLER
        plane.unaimed.add(self)

    @property
    def tick(self) -> int:
        """The number of this row's next tick, which is how many it has done."""
        ticks = self._plane.ticks_done - self.opened_at
        return ticks if ticks > 0 else 0

    def attach(
        self,
        slot: Slot,
        source: FrameSource,
        sink: FrameSink,
        sample_rate_hz: int,
        *,
        is_tone: bool = False,
    ) -> Strip:
        """Let a leg take part from the next tick on.

        Args:
            slot: Where it sits; must be free.
            source: Asked for a frame on every tick.
            sink: Given the mix of every tick, silence included.
            sample_rate_hz: Of both; one of `SAMPLE_RATES_HZ`.
            is_tone: Whether it is nobody's voice: the slot's taps get silence meanwhile.

        Returns:
            Of use until the leg is detached.

        Raises:
            ValueError: the row is closed, the slot is taken, or the rate is none of ours.
        """
        self._require_open()
        if slot in self._mouths:
            raise ValueError(f"slot {slot.name} is taken; detach it first")
        _require_rate(sample_rate_hz)
        said = in_mix = self._block.samples[self._index, slot]
        seat: Seat | None = None
        if sample_rate_hz != MIX_RATE_HZ:
            seat = self._plane.up.seat(sample_rate_hz, MIX_RATE_HZ)
            said = seat.input
        mouth = _Mouth(self, slot, source, said, in_mix, seat, is_tone)
        self._mouths[slot] = mouth
        self._mute_taps(slot)
        ear = self._ears[slot] = self._ear(slot, sink, _SILENCE, sample_rate_hz)
        self._plane.add(mouth, ear)
        self._plane.unaimed.add(self)
        return Strip(mouth, ear)

    def tap(self, slot: Slot, sink: FrameSink, sample_rate_hz: int) -> None:
        """Give `sink`, on every tick from the next one on, what the leg in `slot` says.

        Silence while the slot is free, or holds a tone. Untouched by the stage. Ends with the row,
        or when the sink raises.

        Raises:
            ValueError: the row is closed, or the rate is none of ours.
        """
        self._require_open()
        _require_rate(sample_rate_hz)
        said = self._block.samples[self._index, slot]
        tap = self._ear(slot, sink, said, sample_rate_hz)
        self._taps.append(tap)
        self._mute_taps(slot)
        self._plane.add(None, tap)

    def _mute_taps(self, slot: Slot) -> None:
        mouth = self._mouths.get(slot)
        for tap in self._taps:
            if tap.slot is slot:
                tap.is_muted = mouth is not None and mouth.is_tone

    def _ear(
        self, slot: Slot, sink: FrameSink, sound: NDArray[np.int16], sample_rate_hz: int
    ) -> _Ear:
        seat: Seat | None = None
        hears = sound
        if sample_rate_hz != MIX_RATE_HZ:
            seat = self._plane.down.seat(MIX_RATE_HZ, sample_rate_hz)
            hears = seat.output
            hears.flags.writeable = False
        ear = _Ear(self, slot, sink, sound, hears, seat)
        ear.aim(sound)
        return ear

    def cut(self, slot: Slot) -> None:
        """Make sure that nothing the leg has said is heard after the tick that is under way.

        A leg at another rate goes through a filter that remembers 1.5 ms; the mode may change
        who hears the leg, and then the new listeners must not get the end of the old words.
        """
        mouth = self._mouths.get(slot)
        if mouth is not None and mouth.seat is not None:
            mouth.seat.cut()

    def detach(self, slot: Slot) -> None:
        """Take a leg out; it is silent from the next mix on. Does nothing if the slot is free."""
        mouth = self._mouths.pop(slot, None)
        if mouth is not None:
            self._plane.remove(mouth, [self._ears.pop(slot)])
            self._mute_taps(slot)

    def drop(self, part: _Mouth | _Ear) -> None:
        """Detach the leg or the tap that failed; for the plane."""
        if part in self._taps:
            self._taps = [tap for tap in self._taps if tap is not part]
            self._plane.remove(None, [part])
        else:
            self.detach(part.slot)

    @property
    def audience(self) -> Audience:
        """Who hears the agent."""
        return self._audience

    def set_stage(self, stage: Stage) -> None:
        """Choose how the people hear each other, from the next mix on."""
        self._require_open()
        self._stage = stage
        self._plane.unaimed.add(self)

    def set_audience(self, audience: Audience) -> None:
        """Choose who hears the agent, from the next mix on: within `take`, of this very tick.

        What the agent said before is heard by the earlier audience only.
        """
        self._require_open()
        self._audience = audience
        self._plane.unaimed.add(self)
        self.cut(Slot.AGENT)

    def aim(self) -> None:
        """Let every ear hear what stage and audience say, from the mix that follows; for the plane.

        Where all listeners hear one person at most, as in an answered call that is not recorded,
        there is nothing to mix.
        """
        block, index = self._block, self._index
        block.gains[index] = gains(self._stage, self._audience)
        self._set_lane(self._next_lane)
        is_mixed = self.lane is not None
        for slot, ear in self._ears.items():
            slots = heard(self._stage, self._audience, Listener(slot))
            if len(slots) > 1:
                is_mixed = True
                ear.aim(block.mixes[index, slot])
            else:
                ear.aim(block.samples[index, slots[0]] if slots else _SILENCE)
        if is_mixed:
            block.mixed.add(index)
        else:
            block.mixed.discard(index)

    def record(self, lane: FrameLane | None) -> None:
        """Record every tick from the next one on; with `None`, stop. The lane stays open."""
        self._require_open()
        self._next_lane = lane
        if lane is None:
            self._set_lane(None)
        self._plane.unaimed.add(self)

    def _set_lane(self, lane: FrameLane | None) -> None:
        self.lane = lane
        if lane is None:
            self._plane.recorded.discard(self)
        else:
            self._plane.recorded.add(self)

    def said(self, slot: Slot) -> NDArray[np.int16]:
        """Return the last tick's sound in a slot, at the mix rate; zeros if the slot is free."""
        self._require_open()
        sound: NDArray[np.int16] = self._block.samples[self._index, slot].copy()
        return sound

    def write_lane(self, number: int) -> None:
        """Record the tick just mixed; for the plane. A row opened during it has none yet."""
        if number >= self.opened_at and self.lane is not None:
            self.lane.write(self._block.mixes[self._index, Listener.RECORD_LEFT :].T)

    def close(self) -> None:
        """Detach every leg, stop recording, give the row back. Idempotent."""
        if not self._is_open:
            return
        for slot in list(self._mouths):
            self.detach(slot)
        self._plane.remove(None, self._taps)
        self._is_open = False
        self._set_lane(None)
        self._block.mixed.discard(self._index)
        self._plane.remove_row(self)

    def _require_open(self) -> None:
        if not self._is_open:
            raise ValueError("the row is closed")


def _require_rate(sample_rate_hz: int) -> None:
    if sample_rate_hz not in SAMPLE_RATES_HZ:
        raise ValueError(f"rate must be one of {SAMPLE_RATES_HZ} Hz, not {sample_rate_hz}")
