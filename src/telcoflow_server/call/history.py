"""What happened in a call, kept for its report.

Not here: the report's words (`report.py`), what makes it happen (`call.py`).
Implements the report of docs/reference/rest.md; all times are on the call's time axis.
"""

from __future__ import annotations

from telcoflow_sdk.audio.format import TICK_MS
from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_sdk.protocol.states import CallState
from telcoflow_server.call.agent import AgentEnd
from telcoflow_server.call.report import (
    NO_AGENT,
    CallReport,
    ClearReport,
    ModeEntered,
    Percentiles,
    StateEntered,
    agent_numbers,
)
from telcoflow_server.media.routing import Audience

LISTED = 1000
"""How many clears and mode changes a report lists; a call has tens of them."""

MODE_NAMES = {
    Audience.BOTH: "barge",
    Audience.CALLEE: "whisper",
    Audience.NOBODY: "spy",
}
"""What a report calls it when these hear the agent."""


class History:
    """The states, modes and clears of one call, in order."""

    def __init__(self) -> None:
        self._states = [StateEntered(CallState.PENDING, 0)]
        self._modes: list[ModeEntered] = []
        self._clears: list[ClearReport] = []

    def enter(self, state: CallState, tick: int) -> None:
        """The call is in this state from now on."""
        self._states.append(StateEntered(state, tick * TICK_MS))

    def switch(self, audience: Audience, tick: int) -> None:
        """The agent is heard by others from now on."""
        if audience in MODE_NAMES and len(self._modes) < LISTED:
            self._modes.append(ModeEntered(MODE_NAMES[audience], tick * TICK_MS))

    def clear(self, at_ms: float, dropped_ms: float, heard_ms: float) -> None:
        """The agent discarded its audio."""
        if len(self._clears) < LISTED:
            self._clears.append(ClearReport(round(at_ms, 1), dropped_ms, heard_ms))

    def report(
        self,
        call_id: str,
        agent: AgentEnd | None,
        *,
        tick: int,
        end_reason: EndReason | None,
        tick_lateness: Percentiles,
    ) -> CallReport:
        """Return the call in numbers, as it is before `tick`."""
        return CallReport(
            call_id=call_id,
            answered=len(self._states) > 1 and self._states[1].name != CallState.DISCONNECTED,
            states=tuple(self._states),
            modes=tuple(self._modes),
            duration_ms=tick * TICK_MS,
            clears=tuple(self._clears),
            tick_lateness_ms=tick_lateness,
            end_reason=end_reason,
            refusals=dict(agent.refusals) if agent else {},
            **(agent_numbers(agent) if agent else NO_AGENT),
        )
