from __future__ import annotations

import pytest

from telcoflow_sdk.protocol.commands import check_ring_time


@pytest.mark.parametrize("seconds", [1, 60, 120])
def test_ring_times_in_the_range_are_taken(seconds: int) -> None:
    check_ring_time(seconds)


@pytest.mark.parametrize("seconds", [0, -1, 121, 1.5, float("nan"), float("inf"), True, "60", None])
def test_other_ring_times_are_refused_with_the_range(seconds: int) -> None:
    with pytest.raises(ValueError, match="from 1 to 120"):
        check_ring_time(seconds)
