"""Jitter buffers of many legs as rows of arrays, while nothing is the matter with them.

Not here: one leg's buffer, which does everything else (`jitter.py`), when a leg may be here
(`legs/rtp_array.py`). Implements "Many legs at once" of docs/explanation/jitter-buffer.md.

For streams of 8 kHz clock rate in packets of one tick, of one octet per unit: G.711.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telcoflow_sdk.audio.format import TICK_MS
from telcoflow_server.media import delay
from telcoflow_server.media.jitter import JitterBuffer
from telcoflow_server.media.steady import SteadyBuffer, SteadyDelay
from telcoflow_server.media.timeline import JUMP_S

CLOCK_RATE_HZ = 8_000
UNITS = CLOCK_RATE_HZ * TICK_MS // 1000
"""Of a tick and a packet."""
MAX_HELD = 14
"""Packets: less than where `JitterBuffer` would have to make room."""
LAST = 3
"""Packets that are kept once they were played: more than a concealer's history."""

_SLOTS = 32  # a power of two, so that counting goes on through its wrap; holds both of the above
_BIN_UNITS = delay.BIN_MS * CLOCK_RATE_HZ // 1000
_JUMP_UNITS = JUMP_S * CLOCK_RATE_HZ
_NONE_YET = 1 << 62

Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Counted:
    """What became of one row since it entered.

    Attributes:
        now: See `JitterBuffer.catch_up`.
        came: Packets that came.
        played: Packets that were played.
        last: The last `LAST` of those, or as many as there are.
    """

    now: SteadyBuffer
    came: int
    played: int
    last: list[bytes]


class JitterArray:
    """What `JitterBuffer` and `RelativeDelay` keep of a leg, for many legs.

    Says of each packet and of each tick whether it is an ordinary one, and only then takes it.

    Args:
        rows: How many there may be.
    """

    def __init__(self, rows: int) -> None:
        self._next_place = np.zeros(rows, np.int64)
        self._target = np.zeros(rows, np.int64)
        self._came = np.zeros(rows, np.int64)  # those held when it entered included
        self._played = np.zeros(rows, np.int64)
        self._played_at_s = np.zeros(rows)
        self._held_at_first = np.zeros(rows, np.int64)
        self._counted = np.zeros(rows, np.int64)  # of those that came, told to the buffer
        self._payloads = np.zeros((rows, _SLOTS, UNITS), np.uint8)
        self._fastest = np.zeros(rows, np.int64)
        self._window_fastest = np.zeros(rows, np.int64)
        self._left = np.zeros(rows, np.int64)
        self._bins = np.zeros((rows, delay.BINS), np.int64)
        self._total = np.zeros(rows, np.int64)
        self._edge = np.zeros(rows, np.int64)
        self._beyond = np.zeros(rows, np.int64)

    def enter(self, row: int, steady: SteadyBuffer) -> None:
        """Go on with a leg here."""
        held, its = steady.held, steady.delay
        self._next_place[row] = steady.next_place
        self._target[row] = steady.target_units
        self._came[row] = self._held_at_first[row] = self._counted[row] = len(held)
        self._played[row] = 0
        for slot, payload in enumerate(held):
            self._payloads[row, slot] = np.frombuffer(payload, np.uint8)
        self._fastest[row] = its.fastest_units
        window = its.window_fastest_units
        self._window_fastest[row] = _NONE_YET if window is None else window
        self._left[row] = its.packets_left
        self._bins[row] = its.bins
        self._total[row] = its.total
        self._edge[row] = its.edge
        self._beyond[row] = its.beyond

    def put(
        self,
        rows: Rows,
        is_next: NDArray[np.bool_],
        arrived_s: NDArray[np.float64],
        payloads: NDArray[np.uint8],
    ) -> NDArray[np.bool_]:
        """Take the next packet of each of these rows, if it is an ordinary one.

        Args:
            rows: Each at most once.
            is_next: Whether there is such a packet, shape (rows,).
            arrived_s: See `JitterBuffer.put`.
            payloads: uint8, shape (rows, `UNITS`).

        Returns:
            Which were taken; of the others nothing was touched.
        """
        transit = np.rint(arrived_s * CLOCK_RATE_HZ).astype(np.int64) - self._next_place[rows]
        before = self._fastest[rows]
        fastest = np.minimum(before, transit)
        at = np.minimum((transit - fastest) // _BIN_UNITS, delay.BINS - 1)
        total = self._total[rows] + delay.WEIGHT
        edge = self._edge[rows]
        beyond = self._beyond[rows] + delay.WEIGHT * (at > edge)
        with_edge = beyond + self._bins[rows, edge] + delay.WEIGHT * (at == edge)
        is_taken = is_next & (self._left[rows] > 0)
        is_taken &= np.abs(transit - before) <= _JUMP_UNITS
        is_taken &= self._came[rows] - self._played[rows] < MAX_HELD
        # The depth stays: `RelativeDelay.add`.
        is_taken &= beyond * 100 <= total * delay.LATE_PERCENT
        is_taken &= (edge == 0) | (with_edge > total * delay.LATE_PERCENT_AFTER_FALL // 100)
        if not is_taken.all():
            rows, at, payloads = rows[is_taken], at[is_taken], payloads[is_taken]
            transit, fastest = transit[is_taken], fastest[is_taken]
            total, beyond = total[is_taken], beyond[is_taken]
        self._fastest[rows] = fastest
        self._window_fastest[rows] = np.minimum(self._window_fastest[rows], transit)
        self._left[rows] -= 1
        self._bins[rows, at] += delay.WEIGHT
        self._total[rows] = total
        self._beyond[rows] = beyond
        self._next_place[rows] += UNITS
        came = self._came[rows]
        self._payloads[rows, came % _SLOTS] = payloads
        self._came[rows] = came + 1
        return is_taken

    def are_due(self, rows: Rows, now_s: float) -> NDArray[np.bool_]:
        """Return which of these play their next packet at the tick of `now_s`; see `take`."""
        now = round(now_s * CLOCK_RATE_HZ)
        held = self._came[rows] - self._played[rows]
        head = self._next_place[rows] - held * UNITS
        excess = now - self._fastest[rows] - head - self._target[rows]
        is_due: NDArray[np.bool_] = (held > 0) & (excess >= 0) & (excess < UNITS)
        return is_due

    def next_payloads(self, rows: Rows) -> NDArray[np.uint8]:
        """Return what these play next: uint8, shape (rows, `UNITS`)."""
        payloads: NDArray[np.uint8] = self._payloads[rows, self._played[rows] % _SLOTS]
        return payloads

    def play(self, rows: Rows, now_s: float) -> None:
        """Note that the next packet of these was played at the tick of `now_s`."""
        self._played[rows] += 1
        self._played_at_s[rows] = now_s

    def count(self, row: int, buffer: JitterBuffer[bytes]) -> None:
        """Tell a row's buffer what has happened to it since this was told last."""
        came = int(self._came[row])
        head = int(self._next_place[row]) - (came - int(self._played[row])) * UNITS
        played_at_s = float(self._played_at_s[row])
        buffer.count(came - int(self._counted[row]), head, int(self._fastest[row]), played_at_s)
        self._counted[row] = came

    def leave(self, row: int) -> Counted:
        """Return what became of a row, after `count`."""
        came, played = int(self._came[row]), int(self._played[row])
        next_place = int(self._next_place[row])
        window = int(self._window_fastest[row])
        its = SteadyDelay(
            int(self._fastest[row]),
            None if window == _NONE_YET else window,
            int(self._left[row]),
            self._bins[row].tolist(),
            int(self._total[row]),
            int(self._edge[row]),
            int(self._beyond[row]),
        )
        head = next_place - (came - played) * UNITS
        payloads = self._payloads[row]
        held = [payloads[at % _SLOTS].tobytes() for at in range(played, came)]
        last = [payloads[at % _SLOTS].tobytes() for at in range(max(played - LAST, 0), played)]
        now = SteadyBuffer(next_place, head, int(self._target[row]), held, its)
        return Counted(now, came - int(self._held_at_first[row]), played, last)
