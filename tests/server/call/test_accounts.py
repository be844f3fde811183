"""What all calls come to: every call counted once, whenever somebody looked."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_sdk.protocol.codes import EndReason, ErrorCode
from telcoflow_sdk.protocol.commands import GapCause
from telcoflow_server.call.accounts import Accounts, Distribution
from telcoflow_server.call.report import CallReport, ClearReport, GapReport, Percentiles

GAP = GapReport(1000, 40, GapCause.UNKNOWN)


def report(**more: Any) -> CallReport:
    fields: dict[str, Any] = {
        "call_id": "a",
        "answered": True,
        "states": (),
        "duration_ms": 2000,
        "gaps": (),
        "clears": (),
        "tick_lateness_ms": Percentiles(0.0, 0.0),
        "frames_to_agent": 0,
        "frames_from_agent": 0,
        "prefill_ms": 20.0,
        "lead_ms": 60.0,
        "end_reason": EndReason.CALLER_HUNG_UP,
    }
    return CallReport(**(fields | more))


def test_an_ended_call_is_counted_with_all_it_has() -> None:
    accounts = Accounts()

    accounts.add(
        report(
            gaps=(GAP, GapReport(3000, 20, GapCause.AGENT_SILENT)),
            gap_count=2,
            gap_causes={GapCause.UNKNOWN: 1, GapCause.AGENT_SILENT: 1},
            outages=2,
            outage_ms=420,
            protocol=2,
            loop_lag_ms=15,
            clears=(ClearReport(1500.0, 80.0, 400.0),),
            frames_to_agent=100,
            frames_from_agent=50,
            discarded_ms=5.0,
            unread_ms=20.0,
            refusals={ErrorCode.INVALID_STATE: 2},
        )
    )

    assert accounts.ended == {EndReason.CALLER_HUNG_UP: 1}
    assert accounts.gaps == Counter({GapCause.UNKNOWN: 1, GapCause.AGENT_SILENT: 1})
    assert accounts.gaps_ms == Counter({GapCause.UNKNOWN: 40, GapCause.AGENT_SILENT: 20})
    assert (accounts.outages, accounts.outage_ms) == (2, 420)
    assert (accounts.clears, accounts.cleared_ms) == (1, 80.0)
    assert (accounts.frames_to_agent, accounts.frames_from_agent) == (100, 50)
    assert (accounts.discarded_ms, accounts.unread_ms) == (5.0, 20.0)
    assert accounts.refusals == {ErrorCode.INVALID_STATE: 2}
    assert accounts.durations_s.total == 2.0
    assert accounts.leads_s.total == 0.06
    assert accounts.prefills_s.total == 0.02
    assert accounts.loop_lags_s.total == 0.015


def test_looking_at_a_running_call_counts_nothing_twice() -> None:
    accounts = Accounts()
    running = report(
        end_reason=None,
        gaps=(GAP,),
        gap_count=1,
        gap_causes={GapCause.UNKNOWN: 1},
        outages=1,
        outage_ms=100,
        frames_to_agent=10,
        refusals={ErrorCode.INVALID_COMMAND: 1},
    )

    accounts.add(running)
    accounts.add(running)
    accounts.add(
        msgspec.structs.replace(
            running,
            gaps=(GAP, GAP),
            gap_count=2,
            gap_causes={GapCause.UNKNOWN: 2},
            outages=1,
            outage_ms=160,
            frames_to_agent=25,
            refusals={ErrorCode.INVALID_COMMAND: 3},
            end_reason=EndReason.AGENT_LOST,
        )
    )

    assert accounts.gaps[GapCause.UNKNOWN] == 2
    assert accounts.gaps_ms[GapCause.UNKNOWN] == 80
    assert (accounts.outages, accounts.outage_ms) == (1, 160)
    assert accounts.frames_to_agent == 25
    assert accounts.refusals == {ErrorCode.INVALID_COMMAND: 3}
    assert accounts.ended == {EndReason.AGENT_LOST: 1}


def test_only_the_gaps_since_the_last_look_are_counted_where_a_report_lists_no_more() -> None:
    accounts = Accounts()
    before = {GapCause.UNKNOWN: 1000}
    accounts.add(report(end_reason=None, gaps=(GAP,) * 1000, gap_count=1000, gap_causes=before))

    accounts.add(
        report(
            gaps=(GAP,) * 999 + (GapReport(9000, 20, GapCause.AGENT_SILENT),),
            gap_count=1001,
            gap_causes={**before, GapCause.AGENT_SILENT: 1},
        )
    )

    assert accounts.gaps == Counter({GapCause.UNKNOWN: 1000, GapCause.AGENT_SILENT: 1})
    assert accounts.gaps_ms == Counter({GapCause.UNKNOWN: 40_000, GapCause.AGENT_SILENT: 20})


def test_a_client_of_v1_tells_nothing_of_its_event_loop() -> None:
    accounts = Accounts()

    accounts.add(report(protocol=1))

    assert accounts.loop_lags_s.cumulative()[-1][1] == 0


def test_a_call_nobody_answered_has_no_lead() -> None:
    accounts = Accounts()

    accounts.add(report(answered=False, end_reason=EndReason.NO_AGENT))

    assert accounts.leads_s.cumulative()[-1][1] == 0
    assert accounts.durations_s.cumulative()[-1][1] == 1


def test_a_value_on_a_bound_is_within_it() -> None:
    distribution = Distribution((1.0, 2.0))

    for value in (0.5, 1.0, 1.5, 2.5):
        distribution.add(value)

    assert distribution.cumulative() == [(1.0, 2), (2.0, 3), (float("inf"), 4)]
    assert distribution.total == 5.5


def test_many_values_add_to_what_was_counted() -> None:
    distribution = Distribution((1.0, 2.0))
    distribution.add(0.5)

    distribution.add_all([1.0, 1.5, 2.5])

    assert distribution.cumulative() == [(1.0, 2), (2.0, 3), (float("inf"), 4)]
    assert distribution.total == 5.5


@given(st.lists(st.floats(0, 5), max_size=20))
def test_many_values_at_once_are_as_one_by_one(values: list[float]) -> None:
    one_by_one, at_once = Distribution((1.0, 2.0)), Distribution((1.0, 2.0))

    for value in values:
        one_by_one.add(value)
    at_once.add_all(np.array(values))

    assert at_once.cumulative() == one_by_one.cumulative()
    assert np.isclose(at_once.total, one_by_one.total)
