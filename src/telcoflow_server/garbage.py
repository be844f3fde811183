"""When the process looks for cyclic garbage: not while a tick of many calls has to wait for it.

Not here: the tick (`ticker.py`). Implements "Pauses" of docs/explanation/media-plane.md.

Python looks through all objects whenever their number has grown by a quarter. With 150 calls that
took 54 ms, and every call had a gap: ticks are late by as much, and a phone's jitter buffer is
shorter than that. What is young goes on being looked through by Python itself, in about 1 ms.
"""

from __future__ import annotations

import gc
import time

FEW_CALLS = 30
"""So many calls' objects are looked through in about 5 ms, a quarter of a tick."""

EVERY_TICKS = 500
"""10 s: with few calls there is no hurry, and no reason to wait."""

ENDED_PER_RUNNING = 4
"""With many calls, garbage may grow to what so many times as many calls have left behind. What a
call leaves is less than what it needed, since its audio is gone."""

_NEVER = 1 << 30


class Garbage:
    """Decides for the whole process, which must be the server's own.

    One thread, that of the ticks.

    Attributes:
        longest_s: The longest time that looking through everything took.
        searches: How often it was done since `take_over`.
    """

    def __init__(self) -> None:
        self.longest_s = 0.0
        self.searches = 0
        self._ticks = 0
        self._ended_before = 0
        self._thresholds: tuple[int, int, int] | None = None

    def take_over(self) -> None:
        """Leave out from now on what exists already: modules, settings, the server itself."""
        gc.collect()
        gc.freeze()
        self._thresholds = gc.get_threshold()
        youngest, middle, _ = self._thresholds
        gc.set_threshold(youngest, middle, _NEVER)

    def give_back(self) -> None:
        """Let Python decide again. Idempotent."""
        if self._thresholds is not None:
            gc.set_threshold(*self._thresholds)
            gc.unfreeze()
            self._thresholds = None

    def after_tick(self, running_calls: int, ended_calls: int) -> None:
        """Look for garbage if it is time; the next tick is a while off.

        Args:
            running_calls: How many calls run.
            ended_calls: How many have ended since the start of the server.
        """
        if self._thresholds is None:
            return
        self._ticks += 1
        if running_calls <= FEW_CALLS:
            is_due = self._ticks >= EVERY_TICKS
        else:
            is_due = ended_calls - self._ended_before >= ENDED_PER_RUNNING * running_calls
        if is_due:
            self._ticks = 0
            self._ended_before = ended_calls
            self._search()

    def _search(self) -> None:
        started_s = time.perf_counter()
        gc.collect()
        self.longest_s = max(self.longest_s, time.perf_counter() - started_s)
        self.searches += 1
