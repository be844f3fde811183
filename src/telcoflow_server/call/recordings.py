"""Where one call is recorded, and what of it.

Not here: writing files (`media/record.py`), naming them (`simulation.py`).
Implements "Recordings" of docs/explanation/media-plane.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from telcoflow_server.media.plane import MIX_RATE_HZ, FrameLane, Row
from telcoflow_server.media.routing import Slot


class Recording(FrameLane, Protocol):
    """Where a call, or one party of it, is recorded."""

    def close(self) -> None:
        """Nothing more will be written; never waits."""


@dataclass(frozen=True, slots=True)
class Recordings:
    """Where a call is recorded; all are closed with it.

    Args:
        stereo: Left the caller, right everybody else, or None.
        split: One party each, mono, as it spoke.
    """

    stereo: Recording | None = None
    split: Mapping[Slot, Recording] = field(default_factory=dict)

    def start(self, row: Row) -> None:
        """Record from the row's next tick on."""
        row.record(self.stereo)
        for slot, lane in self.split.items():
            row.tap(slot, _Tape(lane), MIX_RATE_HZ)

    def close(self) -> None:
        """Close them all."""
        for lane in (self.stereo, *self.split.values()):
            if lane is not None:
                lane.close()


@dataclass(frozen=True, slots=True)
class _Tape:
    """A lane as the sink of a tap."""

    lane: Recording

    def put(self, tick: int, frame: NDArray[np.int16]) -> None:
        """Record one frame."""
        self.lane.write(frame)
