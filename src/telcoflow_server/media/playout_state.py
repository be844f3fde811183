"""What a playout can be asked for, and how it goes on elsewhere while it plays as it should.

Not here: playing (`playout.py`), many of them at once (`playout_array.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from telcoflow_sdk.protocol.commands import GapCause
from telcoflow_server.media.gaps import Gap


class Phase(Enum):
    """What the next tick does with what is queued."""

    IDLE = auto()  # no utterance; what comes begins one
    HOLDING = auto()  # filling up before a start or a restart
    PLAYING = auto()
    STARVED = auto()  # ran dry; the end of the utterance or a gap, which only time tells


@dataclass(frozen=True, slots=True)
class PlayoutStatistics:
    """What was played and what went wrong.

    Attributes:
        queued_ms: Received and not yet played.
        lead_ms: What queued and requested audio is kept at.
        prefill_ms: How much is awaited behind a first frame.
        frames: Ticks that played audio.
        played_samples: Audio played; padding is not counted.
        cleared_samples: Dropped by clears.
        gaps: The last `MAX_GAPS_LISTED`.
        gap_count: All of them.
        gap_ms: Their sum.
        gap_causes: How many of each cause.
    """

    queued_ms: float
    lead_ms: int
    prefill_ms: int
    frames: int
    played_samples: int
    cleared_samples: int
    gaps: tuple[Gap, ...]
    gap_count: int
    gap_ms: int
    gap_causes: dict[GapCause, int]


@dataclass(frozen=True, slots=True)
class SteadyPlayout:
    """A playout that plays, with nothing ahead of it but more of the same; see `Playout`.

    Attributes:
        generation: How many clears there were.
        received: Samples of the generation.
        played: Likewise.
        heard: Of the utterance.
        is_audible: Whether what is played is heard by anybody.
        sounds_left: Frames that may be played before the lead changes.
        has_more: What the last arrival said.
        queued: Whole frames.
    """

    generation: int
    received: int
    played: int
    heard: int
    is_audible: bool
    sounds_left: int
    has_more: bool
    queued: bytes


@dataclass(frozen=True, slots=True)
class PlayedOn:
    """What became of it elsewhere.

    Attributes:
        sounded: Ticks, each of which played a frame.
        received: Samples of the generation.
        has_more: What the last arrival said.
        arrived_ticks_ago: How long before the last of these ticks audio was taken note of; None:
            in none of them.
        arrival: What the next tick is to take note of: see `Playout.append`.
        queued: What is given back.
    """

    sounded: int
    received: int
    has_more: bool
    arrived_ticks_ago: int | None
    arrival: tuple[bool, int] | None
    queued: bytes
