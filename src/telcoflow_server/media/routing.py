"""Who hears whom: one table of gain matrices.

Not here: the product itself (`plane.py`), which stage a call is in (`call/`).
Implements docs/explanation/modes.md and "Gain matrices" of docs/explanation/media-plane.md.

A matrix has two parts. The stage of the call says how the people hear each other and changes at
once. The audience says who hears the agent and belongs to the agent's audio: it changes where, in
that audio, the agent changed its mode.
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


class Stage(Enum):
    """How far a call has come."""

    RINGING = auto()  # nobody hears anybody, and nothing is recorded but silence
    ANSWERED = auto()  # the agent hears the caller
    # While the callee is rung, the callee's slot holds the ringback.
    RINGING_CALLEE = auto()  # the call is not answered: the caller hears the ringback alone
    ANSWERED_RINGING_CALLEE = auto()  # as answered, and the caller hears the ringback
    CONNECTED = auto()  # caller and callee hear each other, the agent hears both


class Audience(Enum):
    """Who hears the agent."""

    CALLER = auto()  # before there is a callee
    BOTH = auto()  # barge
    CALLEE = auto()  # whisper
    NOBODY = auto()  # spy


# A slot absent from a listener's tuple is not heard. No listener has its own slot: mix-minus is
# the zero diagonal. All gains are one, so a mix of one source is bit-exact.
_PEOPLE: dict[Stage, dict[Listener, tuple[Slot, ...]]] = {
    Stage.RINGING: {},
    Stage.ANSWERED: {
        Listener.AGENT: (Slot.CALLER,),
        Listener.RECORD_LEFT: (Slot.CALLER,),
    },
    Stage.RINGING_CALLEE: {
        Listener.CALLER: (Slot.CALLEE,),
        Listener.RECORD_RIGHT: (Slot.CALLEE,),
    },
    Stage.ANSWERED_RINGING_CALLEE: {
        Listener.CALLER: (Slot.CALLEE,),
        Listener.AGENT: (Slot.CALLER,),
        Listener.RECORD_LEFT: (Slot.CALLER,),
        Listener.RECORD_RIGHT: (Slot.CALLEE,),
    },
    Stage.CONNECTED: {
        Listener.CALLER: (Slot.CALLEE,),
        Listener.CALLEE: (Slot.CALLER,),
        Listener.AGENT: (Slot.CALLER, Slot.CALLEE),
        Listener.RECORD_LEFT: (Slot.CALLER,),
        Listener.RECORD_RIGHT: (Slot.CALLEE,),
    },
}

_HEAR_AGENT: dict[Audience, tuple[Listener, ...]] = {
    Audience.CALLER: (Listener.CALLER, Listener.RECORD_RIGHT),
    Audience.BOTH: (Listener.CALLER, Listener.CALLEE, Listener.RECORD_RIGHT),
    Audience.CALLEE: (Listener.CALLEE, Listener.RECORD_RIGHT),
    Audience.NOBODY: (),
}

_WITHOUT_AGENT = (Stage.RINGING, Stage.RINGING_CALLEE)
"""Before the answer nobody hears the agent, whatever its audience will be."""


def _matrix(stage: Stage, audience: Audience) -> NDArray[np.float32]:
    matrix = np.zeros((len(Listener), len(Slot)), dtype=np.float32)
    for listener, slots in _PEOPLE[stage].items():
        for slot in slots:
            matrix[listener, slot] = 1.0
    if stage not in _WITHOUT_AGENT:
        for listener in _HEAR_AGENT[audience]:
            matrix[listener, Slot.AGENT] = 1.0
    matrix.flags.writeable = False  # shared by every call of this kind
    return matrix


_GAINS = {(stage, audience): _matrix(stage, audience) for stage in Stage for audience in Audience}


def gains(stage: Stage, audience: Audience) -> NDArray[np.float32]:
    """Return what each listener hears of each slot, linear: float32, shape (5, 3), read-only."""
    return _GAINS[stage, audience]


def heard(stage: Stage, audience: Audience, listener: Listener) -> tuple[Slot, ...]:
    """Return whom a listener hears."""
    return tuple(slot for slot in Slot if _GAINS[stage, audience][listener, slot])
