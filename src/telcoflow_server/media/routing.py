"""Who hears whom: one gain matrix per mode of a call.

Not here: the product itself (`plane.py`), which mode a call is in (`call/`).
Implements "One tick" of docs/explanation/media-plane.md, step 3.
"""

from __future__ import annotations

from enum import Enum, IntEnum, auto

import numpy as np
from numpy.typing import NDArray


class Slot(IntEnum):
    """Where a leg sits in its call's row; also its column in the gain matrix."""

    CALLER = 0
    CALLEE = 1
    AGENT = 2


class Listener(IntEnum):
    """Who gets a mix: the three slots, then the two sides of the recording."""

    CALLER = 0
    CALLEE = 1
    AGENT = 2
    RECORD_LEFT = 3  # the caller
    RECORD_RIGHT = 4  # everybody else


class Mode(Enum):
    """How the legs of a call are joined."""

    RINGING = auto()  # nobody hears anybody, and nothing is recorded but silence
    ANSWERED = auto()  # caller and agent hear each other


# A slot absent from a listener's tuple is not heard. No listener has its own slot: mix-minus is
# the zero diagonal. All gains are one, so a mix of one source is bit-exact.
_HEARD: dict[Mode, dict[Listener, tuple[Slot, ...]]] = {
    Mode.RINGING: {},
    Mode.ANSWERED: {
        Listener.CALLER: (Slot.AGENT,),
        Listener.AGENT: (Slot.CALLER,),
        Listener.RECORD_LEFT: (Slot.CALLER,),
        Listener.RECORD_RIGHT: (Slot.AGENT,),
    },
}


def _matrix(heard: dict[Listener, tuple[Slot, ...]]) -> NDArray[np.float32]:
    matrix = np.zeros((len(Listener), len(Slot)), dtype=np.float32)
    for listener, slots in heard.items():
        for slot in slots:
            matrix[listener, slot] = 1.0
    matrix.flags.writeable = False  # shared by every call in this mode
    return matrix


_GAINS = {mode: _matrix(heard) for mode, heard in _HEARD.items()}


def gains(mode: Mode) -> NDArray[np.float32]:
    """Return what each listener hears of each slot, linear: float32, shape (5, 3), read-only."""
    return _GAINS[mode]
