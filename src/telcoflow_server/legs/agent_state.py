"""What can be told of an agent's leg.

Not here: the leg (`agent.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from telcoflow_server.media.credit import CreditStatistics
from telcoflow_server.media.gaps import Gap
from telcoflow_server.media.playout_state import PlayoutStatistics


@dataclass(frozen=True, slots=True)
class AgentLegStatistics:
    """What went to the agent and what came from it.

    Attributes:
        frames_to_agent: Messages of audio given to the link.
        frames_from_agent: Ticks that played the agent's audio.
        dropped_frames: Frames the agent never got because it did not read, or was away too long.
        loop_lag_ms: The longest that the agent said its event loop was blocked.
        playout: The other direction in detail.
        credit: And what was asked for there.
    """

    frames_to_agent: int
    frames_from_agent: int
    dropped_frames: int
    loop_lag_ms: int
    playout: PlayoutStatistics
    credit: CreditStatistics


class AgentAudio(NamedTuple):
    """Where an agent's audio is in one moment, ms; all 0 before there is an agent.

    Attributes:
        queued_ms: Waiting here.
        in_flight_ms: Asked for, and not here: under way, or not said yet.
        heard_ms: Audible to somebody, since the utterance in progress began.
        lead_ms: What the first two together are kept at.
        gap_count: How many silences there were inside its utterances.
        last_gap: The last of them.
    """

    queued_ms: float = 0.0
    in_flight_ms: float = 0.0
    heard_ms: float = 0.0
    lead_ms: float = 0.0
    gap_count: int = 0
    last_gap: Gap | None = None
