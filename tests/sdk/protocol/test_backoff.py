from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_sdk.protocol.backoff import Backoff, ReconnectPolicy


def test_delays_grow_to_the_cap() -> None:
    backoff = Backoff(ReconnectPolicy(), lambda: 0.0)

    delays = [backoff.next_delay_s() for _ in range(10)]

    assert delays[:3] == [0.5, 0.75, 1.125]
    assert delays[-1] == 10.0


def test_chance_adds_a_fifth_at_most() -> None:
    backoff = Backoff(ReconnectPolicy(), lambda: 1.0)

    assert backoff.next_delay_s() == pytest.approx(0.6)


def test_reset_starts_over() -> None:
    backoff = Backoff(ReconnectPolicy(), lambda: 0.0)
    backoff.next_delay_s()
    backoff.next_delay_s()

    backoff.reset()

    assert backoff.next_delay_s() == 0.5


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"initial_s": 0}, "initial_s"),
        ({"factor": 0.9}, "factor"),
        ({"cap_s": 0.1}, "cap_s"),
        ({"jitter": 1.1}, "jitter"),
        ({"jitter": -0.1}, "jitter"),
        ({"initial_s": float("nan")}, "initial_s"),
    ],
)
def test_values_out_of_range_are_named(wrong: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ReconnectPolicy(**wrong)


@given(chances=st.lists(st.floats(min_value=0, max_value=1), min_size=1, max_size=200))
def test_delays_never_leave_their_bounds(chances: list[float]) -> None:
    remaining = iter(chances)
    backoff = Backoff(ReconnectPolicy(), lambda: next(remaining))

    assert all(0.5 <= backoff.next_delay_s() <= 12 for _ in chances)
