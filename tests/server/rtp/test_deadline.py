"""Media that stays away ends a call, unless none is due."""

from __future__ import annotations

import pytest

from telcoflow_server.rtp.deadline import MediaDeadline


def test_nothing_is_due_before_media_is_expected() -> None:
    deadline = MediaDeadline(60.0)
    deadline.note_media(5.0)

    assert deadline.at_s is None


def test_expected_media_moves_the_deadline_on() -> None:
    deadline = MediaDeadline(60.0)

    deadline.expect(10.0)
    before = deadline.at_s
    deadline.note_media(30.0)

    assert (before, deadline.at_s) == (70.0, 90.0)


def test_hold_suspends_it_and_resuming_restarts_it() -> None:
    deadline = MediaDeadline(60.0)
    deadline.expect(0.0)

    deadline.suspend()
    deadline.note_media(50.0)
    held = deadline.at_s
    deadline.expect(500.0)

    assert (held, deadline.at_s) == (None, 560.0)


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("nan")])
def test_timeout_is_above_zero(timeout_s: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        MediaDeadline(timeout_s)
