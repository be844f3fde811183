"""How deep the buffer is: up at once, down only in silence, the same an hour later."""

from __future__ import annotations

from random import Random

import pytest

from telcoflow_server.media.delay import MAX_DEPTH_MS, MIN_DEPTH_MS
from telcoflow_server.media.jitter import JitterBuffer
from telcoflow_server.media.jitter_state import MAX_HELD_MS
from telcoflow_server.media.pieces import Lost, Packet
from tests.support.jitter import TICK_S, Line, numbers
from tests.support.network import Impairment, Network


@pytest.fixture
def line() -> Line:
    line = Line()
    line.settle()
    return line


def test_perfect_network_brings_the_target_to_its_least(line: Line) -> None:
    assert line.statistics.target_ms == MIN_DEPTH_MS


def test_depth_stays_while_somebody_speaks(line: Line) -> None:
    line.play(numbers(0, 500))

    assert line.statistics.depth_ms == 70
    assert line.statistics.shortened_ms == 0


def test_depth_falls_in_silence_by_exactly_the_ticks_that_were_silent(line: Line) -> None:
    line.put(0)
    line.run(is_silent=True)
    line.play("1 2 3 4")

    assert line.heard == "-2 -1 0 1 2"  # -3 was found silent, and -2 played in its place
    statistics = line.statistics
    assert (statistics.depth_ms, statistics.shortened_ms) == (50, 20)


def test_silence_is_asked_for_until_the_depth_is_its_target(line: Line) -> None:
    assert line.buffer.wants_silence
    line.put(0)
    line.run(is_silent=True)
    line.put(1)
    line.run()

    assert not line.buffer.wants_silence


def test_audio_of_ticks_that_were_skipped_is_not_played_late(line: Line) -> None:
    """Or a stall of the server's would be a delay that stays until the person pauses."""
    line.play("0 1")
    before = line.statistics
    for number in range(2, 7):
        line.put(number)
        line.ticks += 1
    line.play("7 8 9")

    assert line.heard == "-3 -2 4 5 6"
    assert line.statistics.depth_ms == before.depth_ms
    assert line.statistics.discarded - before.discarded == 5


def test_ticks_that_were_skipped_while_nothing_came_lose_nothing_more(line: Line) -> None:
    line.play("0 1")
    line.ticks += 5
    line.play("7 8 9 10 11 12")

    assert line.heard.endswith("7 8 9")
    assert line.statistics.depth_ms == 70


def test_depth_falls_no_further_than_the_target(line: Line) -> None:
    for number in range(100):
        line.put(number)
        line.run(is_silent=True)

    assert line.statistics.shortened_ms == 20
    assert MIN_DEPTH_MS <= line.statistics.depth_ms < MIN_DEPTH_MS + 20


def test_silence_is_kept_where_nothing_is_there_to_follow_it(line: Line) -> None:
    line.run(2)
    line.buffer.take(line.now_s)

    assert line.buffer.shorten() is None
    assert line.statistics.shortened_ms == 0


def test_silence_while_filling_changes_nothing() -> None:
    buffer: JitterBuffer[int] = JitterBuffer(8_000)
    buffer.take(0.0)

    assert buffer.shorten() is None


def test_announced_pause_can_be_shortened_too(line: Line) -> None:
    line.pause(0)
    line.run(3)
    line.forget()
    line.run(5, is_silent=True)
    line.play("1 2 3 4", skipped=7 * 160)

    assert line.heard == ". . . . . . . 1 2"
    assert line.statistics.depth_ms == 50


def spell(line: Line, late_ticks: int, packets: int = 120) -> None:
    """Have every other packet come so many ticks late, and none of them lost."""
    arrivals: dict[int, list[int]] = {}
    for number in range(packets):
        arrivals.setdefault(number + late_ticks * (number % 2), []).append(number)
    for tick in range(packets):
        for number in arrivals.get(tick, ()):
            line.put(number)
        line.run()


@pytest.mark.parametrize("late_ticks", [4, 5, 7])
def test_depth_grows_within_a_second_to_what_late_packets_need(line: Line, late_ticks: int) -> None:
    spell(line, late_ticks)

    assert "x" not in line.heard.split()[50:]
    statistics = line.statistics
    assert statistics.depth_ms >= 20 * late_ticks + 10
    assert statistics.target_ms <= 20 * late_ticks + 22
    assert statistics.concealed_ms >= statistics.grown_ms > 0


def test_growth_conceals_two_ticks_in_a_row_at_most() -> None:
    line = Line()
    line.settle()
    for number in range(100):  # all there in time, and yet measured as late
        line.put(number, before_s=TICK_S / 2 - 0.14 * (number % 2))
        line.run()

    runs = [piece.run for tick in line.pieces for piece in tick if isinstance(piece, Lost)]
    assert set(runs) == {1, 2}
    assert line.statistics.depth_ms >= 150


def test_growth_in_silence_takes_what_is_missing_to_the_target_at_once() -> None:
    line = Line()
    for number in range(300):  # 30 ms of jitter: a target of 52 ms and more
        line.put(number, before_s=0.035 if number % 2 else 0.005)
        line.run()
    for number in range(300, 320):
        line.put(number, before_s=0.035 if number % 2 else 0.005)
        line.run(is_silent=True)

    statistics = line.statistics
    assert statistics.target_ms <= statistics.depth_ms < statistics.target_ms + 20


def test_delay_that_stays_is_taken_for_the_network_within_seconds(line: Line) -> None:
    """A new route, 100 ms longer: late at first, then the depth is as before."""
    line.play("- - - - -")
    for number in range(700):
        line.put(number)
        line.run(is_silent=number % 4 == 3)

    statistics = line.statistics
    assert statistics.late + statistics.lost == 0
    assert statistics.depth_ms < 90


def test_delay_never_creeps_under_steady_jitter_and_loss() -> None:
    network = Network(Impairment(loss=0.03, jitter_ms=30, reorder=0.02, duplicate=0.02), seed=7)
    depths = simulate(network, packets=15_000, silent_every=0)

    after_start = depths[10:]
    assert max(after_start) - min(after_start) <= 20
    assert max(after_start) <= 90


def simulate(
    network: Network, packets: int, silent_every: int, buffer: JitterBuffer[int] | None = None
) -> list[float]:
    """Send packets through a network and return the depth once a second.

    Args:
        network: Which.
        packets: How many, 20 ms apart.
        silent_every: One second in so many is silent; 0: never.
        buffer: To read afterwards.
    """
    buffer = buffer or JitterBuffer(8_000)
    arrivals = network.carry((number * TICK_S, number) for number in range(packets))
    arrivals.reverse()
    depths = []
    for tick in range(packets):
        now_s = tick * TICK_S
        while arrivals and arrivals[-1].at_s <= now_s:
            at_s, number = arrivals[-1].at_s, arrivals.pop().packet
            buffer.put(number + 60_000, (2**32 - 800_000 + number * 160) % 2**32, at_s, number, 160)
        buffer.take(now_s)
        if silent_every and tick // 50 % silent_every == 0:
            buffer.shorten()
        if tick % 50 == 0:
            depths.append(buffer.statistics().depth_ms)
    return depths


@pytest.mark.slow
@pytest.mark.parametrize("drift_ppm", [-200.0, 200.0])
def test_drift_of_an_hour_is_absorbed_in_silence(drift_ppm: float) -> None:
    """720 ms in all: 36 ticks left out or put in, none of them while anybody speaks."""
    buffer: JitterBuffer[int] = JitterBuffer(8_000)
    network = Network(Impairment(drift_ppm=drift_ppm, jitter_ms=10), seed=3)

    depths = simulate(network, packets=180_000, silent_every=5, buffer=buffer)

    statistics = buffer.statistics()
    assert (statistics.late, statistics.lost, statistics.discarded) == (0, 0, 0)
    assert max(depths[10:]) <= 80
    assert min(depths[10:]) >= 30
    if drift_ppm > 0:  # the far end is fast: it sends more than is played
        assert 660 <= statistics.shortened_ms <= 780
        assert statistics.grown_ms == 0
    else:
        assert 660 <= statistics.grown_ms <= 780
        assert statistics.concealed_ms == statistics.grown_ms


@pytest.mark.slow
@pytest.mark.parametrize("drift_ppm", [-200.0, 200.0])
def test_drift_of_somebody_who_never_stops_speaking_is_bounded(drift_ppm: float) -> None:
    buffer: JitterBuffer[int] = JitterBuffer(8_000)
    network = Network(Impairment(drift_ppm=drift_ppm), seed=3)

    depths = simulate(network, packets=90_000, silent_every=0, buffer=buffer)

    statistics = buffer.statistics()
    assert (statistics.late, statistics.lost) == (0, 0)
    assert max(depths) <= MAX_HELD_MS + 20
    assert min(depths[10:]) >= 20


def test_jitter_beyond_the_largest_depth_is_bounded_and_counted() -> None:
    buffer: JitterBuffer[int] = JitterBuffer(8_000)
    network = Network(Impairment(jitter_ms=400), seed=5)

    depths = simulate(network, packets=3_000, silent_every=3, buffer=buffer)

    statistics = buffer.statistics()
    assert statistics.target_ms == MAX_DEPTH_MS
    assert max(depths) <= MAX_HELD_MS + 20
    assert statistics.late > 500


def test_taken_packets_are_whole_whatever_the_network() -> None:
    """Ten seconds of everything at once: places never go back, and nothing is played twice."""
    random = Random(11)
    for seed in range(5):
        line = Line()
        network = Network(
            Impairment(
                loss=random.random() / 10,
                jitter_ms=100 * random.random(),
                reorder=0.05,
                duplicate=0.05,
            ),
            seed,
        )
        deliveries = network.carry((number * TICK_S, number) for number in range(500))
        for _ in range(500):
            while deliveries and deliveries[0].at_s <= line.now_s:
                delivery = deliveries.pop(0)
                line.put(delivery.packet, before_s=line.now_s - delivery.at_s)
            line.run(is_silent=random.random() < 0.2)

        payloads = [
            piece.payload for tick in line.pieces for piece in tick if isinstance(piece, Packet)
        ]
        assert payloads == sorted(set(payloads))
