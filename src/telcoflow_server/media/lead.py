"""How much audio is kept ahead: the lead, and the prefill before a start; both follow the gaps.

Not here: what is ahead (`playout.py`), how it is asked for (`credit.py`).
Implements "Credit" of docs/explanation/flow-control.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from telcoflow_sdk.audio.format import TICK_MS
from telcoflow_sdk.protocol.commands import GapCause

START_LEAD_MS = 60
"""Queued plus requested at the start: one frame being played, one here, one under way."""
MIN_LEAD_MS = 40
"""With less, a reply that takes a millisecond over a tick would already leave a gap."""
MAX_LEAD_MS = 200
"""What an interruption may have to recall, and still a late network's worst."""
MIN_PREFILL_MS = 20
"""One frame in hand covers the jitter of a loopback or a good network."""
MAX_PREFILL_MS = 60
"""More would be heard as a slow answer; who jitters by more has gaps."""
STEP_MS = TICK_MS
"""Lead and prefill change by whole frames: credit is granted in frames."""
TAIL_TICKS = 2
"""How long a part frame waits for its rest: as long as an answer within the starting lead may
take. With a smaller lead less is queued ahead of it, and it waits correspondingly less."""
STEADY_TICKS = 10_000 // TICK_MS
"""Sound without a gap for 10 s brings lead and prefill one step down: slower than any gap
brings them up, so a link that fails every few seconds keeps what it needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadRange:
    """Where the lead begins, and how far it may go, ms."""

    start_ms: int = START_LEAD_MS
    min_ms: int = MIN_LEAD_MS
    max_ms: int = MAX_LEAD_MS


class Lead:
    """The lead and the prefill of one agent.

    Args:
        within: The range of the lead.

    Attributes:
        lead_ms: What is queued at the server and under way to it; to be read only.
        prefill_ms: What is awaited behind a first frame; to be read only.
    """

    def __init__(self, within: LeadRange) -> None:
        self.lead_ms = within.start_ms
        self.prefill_ms = MIN_PREFILL_MS
        self._range = within
        self._steady_ticks = 0

    def is_filled(self, behind_ms: float, held_ms: int) -> bool:
        """Return whether there is enough behind a first frame, or it has waited long enough."""
        # With the whole lead here, nothing more comes before some of it is played.
        awaited_ms = min(self.prefill_ms, self.lead_ms - TICK_MS)
        return behind_ms >= awaited_ms or held_ms >= self.prefill_ms

    @property
    def tail_ticks(self) -> int:
        """How long a part frame waits for its rest."""
        return min(TAIL_TICKS, self.lead_ms // TICK_MS - 1)

    def note_gap(self, cause: GapCause) -> None:
        """Keep more ahead, because there was silence inside an utterance.

        Audio that its maker had not made yet cannot be fetched earlier: then it is only held
        longer before the next start.
        """
        self._steady_ticks = 0
        self.prefill_ms = min(self.prefill_ms + STEP_MS, MAX_PREFILL_MS)
        if cause is not GapCause.AGENT_SILENT:
            self.lead_ms = min(self.lead_ms + STEP_MS, self._range.max_ms)

    @property
    def sounds_left(self) -> int:
        """How many more ticks may be noted by `note_sounds`."""
        return STEADY_TICKS - 1 - self._steady_ticks

    def note_sounds(self, ticks: int) -> None:
        """Count so many ticks, at most `sounds_left`, as `note_sound` does."""
        self._steady_ticks += ticks

    def note_sound(self) -> None:
        """Count a tick that sounded as it should; keep less ahead after many of them."""
        self._steady_ticks += 1
        if self._steady_ticks == STEADY_TICKS:
            self._steady_ticks = 0
            self.prefill_ms = max(self.prefill_ms - STEP_MS, MIN_PREFILL_MS)
            self.lead_ms = max(self.lead_ms - STEP_MS, self._range.min_ms)
