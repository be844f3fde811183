"""Guessers and floods, by address, in virtual time."""

from __future__ import annotations

from telcoflow_server.sip.guard import (
    FORGET_S,
    FREE_FAILURES,
    MAX_ADDRESSES,
    MAX_FAILURES,
    REPORT_INTERVAL_S,
    LoginGuard,
    RateLimit,
    network_of,
)

HERE = "192.0.2.1"


def refused_guard() -> LoginGuard:
    guard = LoginGuard()
    for _ in range(MAX_FAILURES):
        guard.failed(HERE, 0)
    return guard


def test_failures_are_free_then_slowed_then_refused() -> None:
    guard = LoginGuard()

    delays = [guard.failed(HERE, 0) for _ in range(MAX_FAILURES)]

    assert delays == [0.0] * FREE_FAILURES + [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    assert guard.is_refused(HERE, 0)
    assert not guard.is_refused("192.0.2.2", 0)


def test_quiet_time_and_a_right_password_forgive() -> None:
    guard = refused_guard()
    other = refused_guard()

    other.succeeded(HERE)

    assert guard.is_refused(HERE, FORGET_S)
    assert not guard.is_refused(HERE, FORGET_S + 1)
    assert not other.is_refused(HERE, 0)


def test_refused_address_is_reported_once_a_minute() -> None:
    guard = refused_guard()

    reports = [guard.report(HERE, now_s) for now_s in (0, 1, REPORT_INTERVAL_S)]

    assert reports == [MAX_FAILURES, None, MAX_FAILURES]
    assert guard.report("192.0.2.2", 0) is None


def test_memory_is_bounded() -> None:
    guard, limit = LoginGuard(), RateLimit(1, 1)
    for number in range(MAX_ADDRESSES + 1):
        guard.failed(str(number), 0)
        limit.admit(str(number), 0)

    assert [guard.failed("0", 0) for _ in range(FREE_FAILURES + 1)][-1] == 1.0
    assert limit.admit("0", 0)  # forgotten, so its burst is whole again
    assert not limit.admit(str(MAX_ADDRESSES), 0)


def test_calls_are_admitted_in_a_burst_and_then_at_their_rate() -> None:
    limit = RateLimit(2, 3)

    admitted = [limit.admit(HERE, now_s) for now_s in (0, 0, 0, 0, 0.25, 0.5, 0.5, 100, 100)]

    assert admitted == [True, True, True, False, False, True, False, True, True]


def test_addresses_of_one_network_count_as_one() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") == "2001:db8::/64"
    assert network_of("192.0.2.1") == "192.0.2.1"
    assert network_of("no address") == "no address"
