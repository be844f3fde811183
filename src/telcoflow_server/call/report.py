"""What can be told of a call while it runs and after: one frozen object, for logs, REST and tests.

Not here: where the numbers come from (`media/playout.py`, `call.py`).
Implements the report of docs/reference/rest.md; all `at_ms` are on the call's time axis, whose
zero is the tick on which the call was placed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TypedDict

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from telcoflow_sdk.audio.format import TICK_MS
from telcoflow_sdk.protocol.codes import NORMAL_END_REASONS, EndReason, ErrorCode
from telcoflow_sdk.protocol.commands import GapCause
from telcoflow_server.call.agent import AgentEnd

logger = logging.getLogger(__name__)


class StateEntered(Struct, frozen=True):
    """The call entered the state `name`."""

    name: str
    at_ms: int


class ModeEntered(Struct, frozen=True):
    """The agent's audio came to be heard in another mode: barge, whisper or spy."""

    mode: str
    at_ms: int


class GapReport(Struct, frozen=True):
    """Silence of one tick or more inside an utterance of the agent's."""

    at_ms: int
    ms: int
    cause: GapCause


class ClearReport(Struct, frozen=True):
    """The agent discarded queued audio: how much of it, and how much had been heard."""

    at_ms: float
    dropped_ms: float
    heard_ms: float


class Percentiles(Struct, frozen=True):
    """Two points of a distribution, milliseconds."""

    p50: float
    p99: float


def percentiles(values: NDArray[np.float32]) -> Percentiles:
    """Return two points of a distribution by nearest rank, zeros where there are no values.

    `np.percentile` would import a package when it is first used: 30 ms in which no tick runs.
    """
    count = len(values)
    if count == 0:
        return Percentiles(0.0, 0.0)
    ranks = [(count - 1) // 2, (99 * count + 99) // 100 - 1]
    p50, p99 = np.partition(values, ranks)[ranks].tolist()
    return Percentiles(round(p50, 3), round(p99, 3))


class CallReport(Struct, frozen=True):
    """One call in numbers. `end_reason` is None while it runs.

    `gaps` lists the last thousand; `gap_count` and `gap_ms` are of all of them. `discarded_ms` of
    the agent's audio came unasked or after it had hung up. `unread_ms` of what was said in the call
    never reached the agent, because it did not read. `refusals` are the codes its commands and
    messages were refused with, and how often. `gap_causes` counts gaps by whose fault they were.
    `outages` are losses of the agent's media link that it came back from, or that the call waited
    for in vain; `loop_lag_ms` the longest that its event loop was blocked, as it says itself.
    `protocol` is the media protocol it spoke: 1, 2, or 0 if none came.
    """

    call_id: str
    answered: bool
    states: tuple[StateEntered, ...]
    duration_ms: int
    gaps: tuple[GapReport, ...]
    clears: tuple[ClearReport, ...]
    tick_lateness_ms: Percentiles
    frames_to_agent: int
    frames_from_agent: int
    prefill_ms: float
    lead_ms: float
    end_reason: EndReason | None
    gap_count: int = 0
    gap_ms: int = 0
    discarded_ms: float = 0.0
    unread_ms: float = 0.0
    refusals: dict[ErrorCode, int] = field(default_factory=dict)
    modes: tuple[ModeEntered, ...] = ()
    gap_causes: dict[GapCause, int] = field(default_factory=dict)
    protocol: int = 0
    outages: int = 0
    outage_ms: int = 0
    loop_lag_ms: int = 0


class AgentNumbers(TypedDict):
    """The part of a report that comes from the agent's leg."""

    frames_to_agent: int
    frames_from_agent: int
    gaps: tuple[GapReport, ...]
    gap_count: int
    gap_ms: int
    discarded_ms: float
    unread_ms: float
    prefill_ms: float
    lead_ms: float
    gap_causes: dict[GapCause, int]
    protocol: int
    outages: int
    outage_ms: int
    loop_lag_ms: int


NO_AGENT: AgentNumbers = {
    "frames_to_agent": 0,
    "frames_from_agent": 0,
    "gaps": (),
    "gap_count": 0,
    "gap_ms": 0,
    "discarded_ms": 0.0,
    "unread_ms": 0.0,
    "prefill_ms": 0.0,
    "lead_ms": 0.0,
    "gap_causes": {},
    "protocol": 0,
    "outages": 0,
    "outage_ms": 0,
    "loop_lag_ms": 0,
}


def agent_numbers(agent: AgentEnd) -> AgentNumbers:
    """Return what an agent's counters say in a report's words."""
    leg, audio, resumption = agent.leg.statistics(), agent.audio, agent.resumption
    playout = leg.playout
    return {
        "frames_to_agent": leg.frames_to_agent,
        "frames_from_agent": leg.frames_from_agent,
        "gaps": tuple(GapReport(gap.at_ms, gap.ms, gap.cause) for gap in playout.gaps),
        "gap_count": playout.gap_count,
        "gap_ms": playout.gap_ms,
        "discarded_ms": audio.bytes_to_ms(leg.credit.discarded_bytes),
        "unread_ms": leg.dropped_frames * TICK_MS,
        "prefill_ms": playout.prefill_ms,
        "lead_ms": playout.lead_ms,
        "gap_causes": playout.gap_causes,
        "protocol": 1 if resumption is None else 2,
        "outages": resumption.outages if resumption else 0,
        "outage_ms": resumption.outage_ticks * TICK_MS if resumption else 0,
        "loop_lag_ms": leg.loop_lag_ms,
    }


def end_fields(report: CallReport, ids: Mapping[str, str]) -> dict[str, str | int | float]:
    """Return an ended call as the fields of one log line, each a plain number or word.

    Args:
        report: The call, over.
        ids: Its names by field, such as `connector_uuid`; never a number dialled.
    """
    return {
        "call_id": report.call_id,
        **ids,
        "end_reason": str(report.end_reason),
        "duration_ms": report.duration_ms,
        "states": ",".join(f"{entered.name}@{entered.at_ms}" for entered in report.states),
        "modes": ",".join(f"{entered.mode}@{entered.at_ms}" for entered in report.modes),
        "frames_to_agent": report.frames_to_agent,
        "frames_from_agent": report.frames_from_agent,
        "gaps": report.gap_count,
        "gaps_ms": report.gap_ms,
        "gap_causes": ",".join(
            f"{cause}:{count}" for cause, count in sorted(report.gap_causes.items())
        ),
        "clears": len(report.clears),
        "cleared_ms": round(sum(clear.dropped_ms for clear in report.clears), 1),
        "discarded_ms": report.discarded_ms,
        "unread_ms": report.unread_ms,
        "lead_ms": report.lead_ms,
        "prefill_ms": report.prefill_ms,
        "protocol": report.protocol,
        "outages": report.outages,
        "outage_ms": report.outage_ms,
        "loop_lag_ms": report.loop_lag_ms,
        "tick_lateness_p50_ms": report.tick_lateness_ms.p50,
        "tick_lateness_p99_ms": report.tick_lateness_ms.p99,
        "refusals": ",".join(f"{code}:{n}" for code, n in sorted(report.refusals.items())),
    }


def end_line(fields: Mapping[str, str | int | float]) -> str:
    """Return those fields as text; what is empty is left out."""
    words = " ".join(
        f"{name}={value}"
        for name, value in fields.items()
        if name not in ("call_id", "end_reason") and value != ""
    )
    return f"call {fields['call_id']} ended: {fields['end_reason']} {words}"


def log_end(report: CallReport, ids: Mapping[str, str]) -> None:
    """Log how a call ended: a warning, if it was by a fault."""
    fields = end_fields(report, ids)
    level = logging.INFO if report.end_reason in NORMAL_END_REASONS else logging.WARNING
    logger.log(level, "%s", end_line(fields), extra=fields)
