"""How a call's end is told: in one line, to whoever counts calls, and never with a number."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pytest

from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_server.call.exchange import LATENESS_TICKS_KEPT
from telcoflow_server.call.report import CallReport, Percentiles, percentiles
from telcoflow_server.media.routing import Slot
from tests.support.exchange import CALLEE, CALLER, MemoryPhone, Node


def reports_of(node: Node) -> list[CallReport]:
    reports: list[CallReport] = []
    node.exchange.on_report = reports.append
    return reports


def test_an_ended_call_is_one_line_with_the_numbers_of_its_report(
    caplog: pytest.LogCaptureFixture,
) -> None:
    node = Node()
    reports = reports_of(node)
    caplog.set_level(logging.INFO)
    call, agent = node.answered_call(MemoryPhone())
    agent.command("call.nonsense")
    agent.say(bytes(960 * 10))
    node.run(50)
    agent.command("agent.interrupt")

    call.end(EndReason.CALLER_HUNG_UP)

    [line] = [r for r in caplog.records if r.name == "telcoflow_server.call.report"]
    [report] = reports
    fields = vars(line)
    assert line.levelno == logging.INFO
    assert fields["call_id"] == report.call_id == call.identity.call_id
    assert fields["connector_uuid"] == "c1"
    assert fields["session_id"]
    assert fields["end_reason"] == "caller_hung_up"
    assert fields["duration_ms"] == report.duration_ms == 1000
    assert fields["states"] == "PENDING@0,ANSWERED@0,DISCONNECTED@1000"
    assert fields["frames_to_agent"] == report.frames_to_agent == 50
    assert fields["frames_from_agent"] == report.frames_from_agent == 10
    assert (fields["gaps"], fields["clears"]) == (report.gap_count, 1)
    assert (fields["lead_ms"], fields["prefill_ms"]) == (report.lead_ms, report.prefill_ms)
    assert fields["tick_lateness_p99_ms"] == report.tick_lateness_ms.p99 == pytest.approx(1.0)
    assert fields["refusals"] == "INVALID_COMMAND:1"
    text = line.getMessage()
    assert text.startswith(f"call {report.call_id} ended: caller_hung_up ")
    for word in ("connector_uuid=c1", "duration_ms=1000", "clears=1", "refusals=INVALID_COMMAND:1"):
        assert word in text
    assert "modes=" not in text, "what is empty is left out"
    for number in (CALLER, CALLEE):
        assert number not in text


def test_what_is_said_can_be_looked_at() -> None:
    node = Node()
    call, _ = node.answered_call(MemoryPhone(np.arange(1, 481, dtype=np.int16)))

    node.run(1)

    assert call.said(Slot.CALLER).tolist() == list(range(1, 481))
    assert not call.said(Slot.AGENT).any()


def test_gaps_are_told_with_their_causes(caplog: pytest.LogCaptureFixture) -> None:
    node = Node()
    caplog.set_level(logging.INFO)
    call, agent = node.answered_call(MemoryPhone())
    agent.say(bytes(960 * 5))
    node.run(10)  # it runs dry within an utterance
    agent.say(bytes(960 * 5))
    node.run(10)

    call.end(EndReason.AGENT_LOST)

    fields = vars(caplog.records[-1])
    assert fields["gaps"] == 1
    assert fields["gaps_ms"] > 0
    assert fields["gap_causes"] == "unknown:1"
    assert caplog.records[-1].levelno == logging.WARNING


@pytest.mark.parametrize(
    ("values", "p50", "p99"),
    [
        ([], 0.0, 0.0),
        ([7.0], 7.0, 7.0),
        ([3.0, 1.0, 2.0], 2.0, 3.0),
        (range(1, 101), 50.0, 99.0),
        (range(200, 0, -1), 100.0, 198.0),
    ],
)
def test_percentiles_are_values_that_were_there(
    values: Sequence[float], p50: float, p99: float
) -> None:
    assert percentiles(np.array(values, np.float32)) == Percentiles(p50, p99)


def test_lateness_of_ticks_is_read_on_from_where_it_was_left() -> None:
    node = Node()
    node.run(3)
    following, first = node.exchange.lateness_ms(0)

    node.run(2)
    _, second = node.exchange.lateness_ms(following)

    assert first.tolist() == pytest.approx([1.0] * 3)
    assert second.tolist() == pytest.approx([1.0] * 2)


def test_lateness_of_ticks_is_kept_for_a_while() -> None:
    node = Node()
    node.run(LATENESS_TICKS_KEPT + 10)

    following, kept = node.exchange.lateness_ms(0)

    assert following == LATENESS_TICKS_KEPT + 10
    assert len(kept) == LATENESS_TICKS_KEPT
