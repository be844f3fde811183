"""How long an event loop was blocked: what makes a client late, whatever the network does.

Not here: what is done about it (`media.py`). Implements "delay" and "loop lag" of
docs/reference/wire-v2.md.
"""

from __future__ import annotations

import asyncio
import logging
from weakref import WeakValueDictionary

BEAT_S = 0.02
"""As often as audio comes: a lag of less than this costs no frame."""

_FRESH_S = 0.005
"""For how long after a late beat everything that is read was waiting with it."""

WARN_LAG_S = 0.2
"""Longer than any lead: the caller has heard a gap."""

WARN_EVERY_S = 10.0

_logger = logging.getLogger("telcoflow_sdk")


class LoopLag:
    """Measures one loop, by a timer that should fire every 20 ms, while anybody watches.

    Concurrency: the loop's thread.

    Attributes:
        max_lag_s: The longest that the loop was blocked, since it is watched; to be read only.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watchers = 0
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._late_at = -1.0
        self._late_by_s = 0.0
        self._warned_at = -WARN_EVERY_S
        self.max_lag_s = 0.0

    @property
    def is_watched(self) -> bool:
        """Whether it is measured."""
        return self._watchers > 0

    def watch(self) -> None:
        """Measure, until `unwatch` was called as often."""
        self._watchers += 1
        if self._timer is None:
            self._due = self._loop.time() + BEAT_S
            self._timer = self._loop.call_at(self._due, self._beat)

    def unwatch(self) -> None:
        """Nobody reads it any more, as far as this watcher is concerned."""
        self._watchers -= 1
        if self._watchers == 0 and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def lag_s(self, now: float) -> float:
        """Return for how long what is read now could not be read before, seconds.

        Whether a loop runs its timers before or after what it reads, the beat that is overdue
        or was late just now tells.
        """
        # Written out: this is asked for every message of every call.
        lag_s = now - self._due
        if now - self._late_at < _FRESH_S and lag_s < self._late_by_s:
            return self._late_by_s
        return lag_s if lag_s > 0 else 0.0

    def _beat(self) -> None:
        now = self._loop.time()
        late_s = now - self._due
        if late_s > _FRESH_S:
            self._late_at, self._late_by_s = now, late_s
            self.max_lag_s = max(self.max_lag_s, late_s)
            if late_s > WARN_LAG_S and now - self._warned_at >= WARN_EVERY_S:
                self._warned_at = now
                _logger.warning(
                    "the event loop was blocked for %.0f ms: the caller hears gaps when that "
                    "takes longer than audio is kept ahead; move blocking work to a thread "
                    "(asyncio.to_thread)",
                    late_s * 1000,
                )
        # On the same grid, however late this beat was.
        self._due += BEAT_S * (1 + max(0, int(late_s / BEAT_S)))
        self._timer = self._loop.call_at(self._due, self._beat)


# By the id of its loop, which no other loop has as long as it is held here. Held by the calls: a
# loop without any is as free as if it had never been measured.
_of_loops: WeakValueDictionary[int, LoopLag] = WeakValueDictionary()


def loop_lag(loop: asyncio.AbstractEventLoop) -> LoopLag:
    """Return the one measurement of this loop, which all its calls share; hold it."""
    lag = _of_loops.get(id(loop))
    if lag is None:
        lag = _of_loops[id(loop)] = LoopLag(loop)
    return lag
