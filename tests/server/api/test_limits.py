from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_server.api.limits import AddressLimits, Verdict

HERE, THERE = "192.0.2.1", "192.0.2.2"


def test_connections_beyond_the_number_open_at_once_are_refused_until_one_closes() -> None:
    limits = AddressLimits(connections=2, attempts_per_minute=100)

    verdicts = [limits.admit(HERE, 0.0) for _ in range(3)]
    limits.release(HERE)
    limits.release(HERE)

    assert verdicts == [Verdict.ADMIT, Verdict.ADMIT, Verdict.REFUSE]
    assert limits.admit(HERE, 0.0) is Verdict.ADMIT


def test_attempts_of_a_minute_may_come_at_once_as_many_again_are_answered_the_rest_is_not() -> None:
    limits = AddressLimits(connections=100, attempts_per_minute=3)
    verdicts = []

    for _ in range(8):
        verdicts.append(limits.admit(HERE, 0.0))
        if verdicts[-1] is not Verdict.DROP:
            limits.release(HERE)

    assert verdicts == [Verdict.ADMIT] * 3 + [Verdict.REFUSE] * 3 + [Verdict.DROP] * 2


def test_attempts_come_back_with_time() -> None:
    limits = AddressLimits(connections=100, attempts_per_minute=60)
    for _ in range(60):
        limits.admit(HERE, 0.0)

    assert limits.admit(HERE, 0.9) is Verdict.REFUSE
    assert limits.admit(HERE, 1.0) is Verdict.ADMIT
    assert limits.admit(HERE, 1.0) is Verdict.REFUSE


def test_one_address_over_its_limits_changes_nothing_for_another() -> None:
    limits = AddressLimits(connections=5, attempts_per_minute=5)
    for _ in range(100):
        limits.admit(HERE, 0.0)

    assert [limits.admit(THERE, 0.0) for _ in range(5)] == [Verdict.ADMIT] * 5


@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("no:address", "no:other", False),
    ],
)
def test_an_ipv6_network_of_one_customer_is_one_address(
    one: str, other: str, are_one: bool
) -> None:
    limits = AddressLimits(connections=1, attempts_per_minute=100)
    limits.admit(one, 0.0)

    assert limits.admit(other, 0.0) is (Verdict.REFUSE if are_one else Verdict.ADMIT)


def test_quiet_addresses_are_forgotten_and_busy_ones_are_not() -> None:
    limits = AddressLimits(connections=5, attempts_per_minute=5)
    limits.admit(HERE, 0.0)
    for number in range(100):
        address = f"198.51.100.{number}"
        limits.admit(address, 1.0)
        limits.release(address)

    limits.admit(THERE, 120.0)

    assert len(limits) == 2
    limits.release(HERE)


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 30)), max_size=200),
    st.integers(1, 5),
    st.integers(1, 20),
)
def test_never_more_are_open_or_admitted_than_the_limits_say(
    script: list[tuple[bool, float]], connections: int, attempts: int
) -> None:
    limits = AddressLimits(connections, attempts)
    now_s, admitted, kinds = 0.0, 0, []

    for opens, pause_s in script:
        now_s += pause_s
        if opens:
            verdict = limits.admit(HERE, now_s)
            admitted += verdict is Verdict.ADMIT
            if verdict is not Verdict.DROP:
                kinds.append(verdict)
        elif kinds:
            kinds.pop()
            limits.release(HERE)
        assert kinds.count(Verdict.ADMIT) <= connections
        assert admitted <= attempts * (1 + now_s / 60) + 1e-6
