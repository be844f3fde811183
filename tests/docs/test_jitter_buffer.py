"""Numbers of the page on the jitter buffer are those of the code."""

from __future__ import annotations

from telcoflow_server.media import delay, hearing, jitter, jitter_state
from tests.support.pages import EXPLANATION, table

PAGE = EXPLANATION / "jitter-buffer.md"


def test_depths_and_bounds_are_those_of_the_engine() -> None:
    rows = table(PAGE, "How deep")

    assert {row[0]: int(row[1]) for row in rows} == {
        "least depth": delay.MIN_DEPTH_MS,
        "most depth": delay.MAX_DEPTH_MS,
        "starting depth": delay.START_DEPTH_MS,
        "held": jitter_state.MAX_HELD_MS,
        "stopped": jitter.STOPPED_MS,
        "quiet": hearing.QUIET_TICKS * 20,
    }


def test_percentages_are_those_of_the_engine() -> None:
    text = PAGE.read_text(encoding="utf-8")

    assert f"more than {delay.LATE_PERCENT} % of the packets lie beyond it" in text
    assert f"no more than {delay.LATE_PERCENT_AFTER_FALL} % would" in text
