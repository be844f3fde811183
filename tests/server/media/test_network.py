"""The simulated network does what it is told, and the same each time."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.network import Bursts, Delivery, Impairment, Network

SENT = [(number * 0.02, number) for number in range(20_000)]


def carried(impairment: Impairment, seed: int = 1) -> list[Delivery[int]]:
    return Network(impairment, seed).carry(SENT)


def test_perfect_network_delays_and_nothing_else() -> None:
    deliveries = carried(Impairment(delay_ms=5))

    assert [delivery.packet for delivery in deliveries] == list(range(20_000))
    assert deliveries[7].at_s == pytest.approx(7 * 0.02 + 0.005)


def test_seed_decides_everything() -> None:
    rough = Impairment(loss=0.1, jitter_ms=50, duplicate=0.1, reorder=0.1)

    assert carried(rough, 1) == carried(rough, 1)
    assert carried(rough, 1) != carried(rough, 2)


def test_loss_is_as_often_as_asked_for() -> None:
    assert len(carried(Impairment(loss=0.05))) == pytest.approx(19_000, rel=0.01)


def test_bursts_have_the_length_and_share_asked_for() -> None:
    deliveries = carried(Impairment(bursts=Bursts(begin=0.01, end=0.25)))

    gaps = np.diff([delivery.packet for delivery in deliveries]) - 1
    assert gaps[gaps > 0].mean() == pytest.approx(4, rel=0.1)
    assert len(deliveries) == pytest.approx(20_000 * 0.25 / 0.26, rel=0.02)


def test_bad_state_may_lose_only_some() -> None:
    deliveries = carried(Impairment(bursts=Bursts(begin=0.5, end=0.5, loss=0.5)))

    assert len(deliveries) == pytest.approx(15_000, rel=0.03)


def test_jitter_is_even_and_lets_packets_overtake() -> None:
    deliveries = carried(Impairment(jitter_ms=40, delay_ms=0))

    late_ms = [1000 * (delivery.at_s - delivery.packet * 0.02) for delivery in deliveries]
    assert np.mean(late_ms) == pytest.approx(20, rel=0.02)
    assert 0 <= min(late_ms) <= max(late_ms) <= 40
    order = [delivery.packet for delivery in deliveries]
    assert order != sorted(order)


def test_reordering_and_duplicates_are_as_often_as_asked_for() -> None:
    deliveries = carried(Impairment(reorder=0.1, duplicate=0.2))

    order = np.array([delivery.packet for delivery in deliveries])
    assert len(order) == pytest.approx(24_000, rel=0.02)
    assert len(set(order.tolist())) == 20_000
    assert (np.diff(carried_order(Impairment(reorder=0.1))) < 0).mean() == pytest.approx(
        0.09, abs=0.02
    )


def carried_order(impairment: Impairment) -> list[int]:
    return [delivery.packet for delivery in carried(impairment)]


def test_fast_clock_sends_early() -> None:
    last = carried(Impairment(drift_ppm=200, delay_ms=0))[-1]

    assert last.packet * 0.02 - last.at_s == pytest.approx(0.08, rel=0.01)
