"""Whose fault a gap was, and what is kept of it."""

from __future__ import annotations

import pytest

from telcoflow_sdk.protocol.commands import GapCause
from telcoflow_server.media.gaps import CLIENT_LATE_MS, MAX_GAPS_LISTED, Gap, GapLog, cause_of


@pytest.mark.parametrize(
    ("had_more", "delay_ms", "cause"),
    [
        (None, 0, GapCause.UNKNOWN),
        (None, 500, GapCause.UNKNOWN),
        (False, 0, GapCause.AGENT_SILENT),
        (False, 500, GapCause.AGENT_SILENT),
        (True, 0, GapCause.NETWORK_LATE),
        (True, CLIENT_LATE_MS, GapCause.NETWORK_LATE),
        (True, CLIENT_LATE_MS + 1, GapCause.CLIENT_LATE),
        (True, 65_535, GapCause.CLIENT_LATE),
    ],
)
def test_cause_is_what_the_client_told(
    had_more: bool | None, delay_ms: int, cause: GapCause
) -> None:
    assert cause_of(had_more, delay_ms) is cause


def test_gaps_are_counted_by_cause_and_told_once() -> None:
    log = GapLog()
    gaps = (
        Gap(100, 40, GapCause.CLIENT_LATE),
        Gap(300, 20, GapCause.NETWORK_LATE),
        Gap(500, 60, GapCause.CLIENT_LATE),
    )

    has_untold = [log.has_untold]
    log.add(gaps[0])
    has_untold.append(log.has_untold)
    assert log.take_untold() == gaps[:1]
    has_untold.append(log.has_untold)
    log.add(gaps[1])
    log.add(gaps[2])

    assert has_untold == [False, True, False]
    assert (log.count, log.total_ms, log.listed, log.last) == (3, 120, gaps, gaps[-1])
    assert log.by_cause == {GapCause.CLIENT_LATE: 2, GapCause.NETWORK_LATE: 1}
    assert log.take_untold() == gaps[1:]
    assert log.take_untold() == ()


def test_there_is_no_last_gap_at_first() -> None:
    assert GapLog().last is None


def test_lists_are_bounded_and_all_gaps_are_counted() -> None:
    log = GapLog()

    for number in range(MAX_GAPS_LISTED + 1):
        log.add(Gap(number * 100, 20))

    assert log.count == MAX_GAPS_LISTED + 1
    assert len(log.listed) == len(log.take_untold()) == MAX_GAPS_LISTED
    assert log.listed[0].at_ms == 100
