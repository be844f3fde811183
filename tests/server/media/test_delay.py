"""The distribution of relative delay, and the depth that follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from random import Random

import pytest

from telcoflow_server.media.delay import (
    LATE_PERCENT,
    LATE_PERCENT_AFTER_FALL,
    MAX_DEPTH_MS,
    MEASURED_PACKETS,
    MIN_DEPTH_MS,
    START_DEPTH_MS,
    RelativeDelay,
)

UNITS_PER_MS = 8
PACKET = 160


def depth_ms(delay: RelativeDelay, packet_ms: int = 20) -> float:
    return delay.depth_units(packet_ms * UNITS_PER_MS) / UNITS_PER_MS


def measured(delays_ms: Sequence[float], transit_ms: float = 1e6) -> RelativeDelay:
    delay = RelativeDelay(8_000)
    for late_ms in delays_ms:
        delay.add(round((transit_ms + late_ms) * UNITS_PER_MS))
    return delay


def test_nothing_measured_is_the_starting_depth() -> None:
    delay = RelativeDelay(8_000)

    assert delay.fastest_units is None
    assert depth_ms(delay) == START_DEPTH_MS


def test_perfect_network_gets_the_least_depth_once_that_is_believed() -> None:
    assert depth_ms(measured([0] * (MEASURED_PACKETS - 1))) == START_DEPTH_MS
    assert depth_ms(measured([0] * MEASURED_PACKETS)) == MIN_DEPTH_MS


def test_zero_of_the_transit_does_not_matter() -> None:
    random = Random(1)
    late_ms = [random.uniform(0, 80) for _ in range(400)]

    assert depth_ms(measured(late_ms, -1e9)) == depth_ms(measured(late_ms, 1e9)) > MIN_DEPTH_MS


@pytest.mark.parametrize("jitter_ms", [30, 60, 100])
def test_depth_is_the_late_percentile_plus_a_packet(jitter_ms: int) -> None:
    random = Random(jitter_ms)
    delay = measured([random.uniform(0, jitter_ms) for _ in range(2_000)])

    percentile_ms = jitter_ms * (100 - LATE_PERCENT) / 100
    assert depth_ms(delay) == pytest.approx(percentile_ms + 20, abs=4)


@pytest.mark.parametrize(("packet_ms", "added_ms"), [(10, 20), (20, 20), (30, 30), (60, 60)])
def test_what_is_added_is_the_packet_or_a_tick(packet_ms: int, added_ms: int) -> None:
    delay = measured([0, 50] * 200)

    assert depth_ms(delay, packet_ms) == 52 + added_ms


def test_few_late_packets_are_left_out_and_more_are_not() -> None:
    assert depth_ms(measured(([100] + [0] * 59) * 8)) == MIN_DEPTH_MS
    assert depth_ms(measured(([100] + [0] * 39) * 8)) == 122


def test_depth_is_never_more_than_the_largest() -> None:
    assert depth_ms(measured([0, 5_000] * 100)) == MAX_DEPTH_MS


def test_depth_grows_at_once_and_falls_again_when_late_packets_are_forgotten() -> None:
    delay = measured([0] * 1_000)
    for late_ms in [80] * 100:
        delay.add(round((1e6 + late_ms) * UNITS_PER_MS))
    assert depth_ms(delay) == 102

    for _ in range(2_500):  # 50 s
        delay.add(round(1e6 * UNITS_PER_MS))

    assert depth_ms(delay) == MIN_DEPTH_MS


def test_drift_is_followed_by_the_fastest_packet() -> None:
    delay = RelativeDelay(8_000)
    for number in range(180_000):
        delay.add(round(number * 20 * UNITS_PER_MS * 200e-6))

    assert depth_ms(delay) == MIN_DEPTH_MS


def test_longer_route_is_no_jitter_once_it_is_the_only_one() -> None:
    delay = measured([0] * 400 + [150] * 199)
    assert delay.fastest_units == 1e6 * UNITS_PER_MS
    assert depth_ms(delay) == 172

    delay.add(round((1e6 + 150) * UNITS_PER_MS))

    assert delay.fastest_units == (1e6 + 150) * UNITS_PER_MS
    assert depth_ms(delay) == MIN_DEPTH_MS


def test_jitter_is_remembered_over_a_change_of_route() -> None:
    random = Random(5)
    delay = measured([random.uniform(0, 60) + 100 * (at >= 1_000) for at in range(2_000)])

    assert depth_ms(delay) == pytest.approx(79, abs=4)


def test_restart_forgets_the_transit_and_keeps_the_depth() -> None:
    delay = measured([0, 100] * 100)

    delay.restart()
    assert delay.fastest_units is None
    assert depth_ms(delay) == 122

    delay.restart(77)
    assert delay.fastest_units == 77


def test_stalls_every_few_seconds_are_not_followed_up_and_down() -> None:
    """3 of 150 packets late is just as many as may be: the target must not swing around it."""
    delay = RelativeDelay(8_000)
    targets = []
    for number in range(9_000):
        late_ms = 60 - number % 150 * 20 if number % 150 < 3 else 0
        delay.add(round((1e6 + late_ms) * UNITS_PER_MS))
        targets.append(depth_ms(delay))

    later = targets[1_000:]
    changes = sum(before != after for before, after in pairwise(later))
    assert changes <= 5


@pytest.mark.parametrize("seed", range(3))
def test_edge_is_where_a_count_from_scratch_puts_it(seed: int) -> None:
    random = Random(seed)
    delay = RelativeDelay(8_000)
    late_ms = [0]
    delay.add(0)

    for _ in range(480):  # before the first halving all weigh the same
        late_ms.append(2 * int(random.expovariate(0.15)) + 1)
        delay.add(late_ms[-1] * UNITS_PER_MS)
        edge_ms = depth_ms(delay) - 20
        if len(late_ms) < MEASURED_PACKETS or not MIN_DEPTH_MS < edge_ms + 20 < MAX_DEPTH_MS:
            continue
        beyond = sum(one >= edge_ms for one in late_ms)
        beyond_below = sum(one >= edge_ms - 2 for one in late_ms)
        assert beyond <= len(late_ms) * LATE_PERCENT / 100
        assert beyond_below > len(late_ms) * LATE_PERCENT_AFTER_FALL / 100 - 1
