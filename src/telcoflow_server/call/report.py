"""What can be told of a call while it runs and after: one frozen object, for logs, REST and tests.

Not here: where the numbers come from (`media/playout.py`, `call.py`).
Implements the report of docs/reference/rest.md; all `at_ms` are on the call's time axis, whose
zero is the tick on which the call was placed.
"""

from __future__ import annotations

from msgspec import Struct

from telcoflow_sdk.protocol.codes import EndReason


class StateEntered(Struct, frozen=True):
    """The call entered the state `name`."""

    name: str
    at_ms: int


class GapReport(Struct, frozen=True):
    """Silence of one tick or more inside an utterance of the agent's."""

    at_ms: int
    ms: int
    cause: str


class ClearReport(Struct, frozen=True):
    """The agent discarded queued audio: how much of it, and how much had been heard."""

    at_ms: float
    dropped_ms: float
    heard_ms: float


class Percentiles(Struct, frozen=True):
    """Two points of a distribution, milliseconds."""

    p50: float
    p99: float


class CallReport(Struct, frozen=True):
    """One call in numbers. `end_reason` is None while it runs."""

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
