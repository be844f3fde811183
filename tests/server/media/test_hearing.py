"""What one far end sounds like over networks that lose, delay, reorder and repeat: real speech."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from telcoflow_server.codec.g711 import MU_LAW
from telcoflow_server.media.conceal import HISTORY_S
from telcoflow_server.media.hearing import Hearing
from telcoflow_server.media.jitter_array import LAST, JitterArray
from telcoflow_server.media.pieces import JitterStatistics
from tests.support.network import Bursts, Impairment, Network
from tests.support.speech import Samples, longest_gap_ms, snr_db, speech, voiced

TICK = 160
TICK_S = 0.02
TAIL_TICKS = 12


@dataclass
class Call:
    """A G.711 phone that speaks, and what is heard of it."""

    said: Samples
    network: Network = field(default_factory=lambda: Network(Impairment()))
    ptime_ms: int = 20
    ssrc_changes_at: int | None = None  # number of a packet

    def hear(self) -> tuple[Samples, JitterStatistics]:
        """Return what is heard, from the first tick on, and the buffer's statistics."""
        hearing = Hearing[bytes](
            clock_rate_hz=8_000,
            sample_rate_hz=8_000,
            decode=MU_LAW.decode,
            generator=np.random.default_rng(1),
        )
        length = 8 * self.ptime_ms
        packets = [
            ((number + 1) * self.ptime_ms / 1000, number)
            for number in range(self.said.size // length)
        ]
        deliveries = self.network.carry(packets)
        deliveries.reverse()
        ticks = self.said.size // TICK + TAIL_TICKS
        heard = np.zeros(ticks * TICK, dtype=np.int16)
        shift = 0
        for tick in range(ticks):
            now_s = tick * TICK_S + 0.007
            while deliveries and deliveries[-1].at_s <= now_s:
                at_s, number = deliveries[-1].at_s, deliveries.pop().packet
                if self.ssrc_changes_at is not None and number >= self.ssrc_changes_at > 0:
                    hearing.buffer.restart()
                    self.ssrc_changes_at, shift = None, 1_000_000
                payload = MU_LAW.encode(self.said[number * length : (number + 1) * length])
                timestamp = (2**32 - 12_345 + number * length + shift) % 2**32
                hearing.buffer.put(65_500 + shift + number, timestamp, at_s, payload, length)
            hearing.take(now_s, heard[tick * TICK : (tick + 1) * TICK])
        return heard, hearing.buffer.statistics()


def coded(said: Samples) -> Samples:
    return MU_LAW.decode(MU_LAW.encode(said))


def start_of(heard: Samples) -> int:
    """Return the first sample of the first tick in which something is heard."""
    return int(np.flatnonzero(heard)[0]) // TICK * TICK


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 60])
def test_perfect_network_is_heard_sample_for_sample(ptime_ms: int) -> None:
    said = voiced(8_000)[: 480 * 60]

    heard, statistics = Call(said, ptime_ms=ptime_ms).hear()

    start = start_of(heard)
    assert np.array_equal(heard[start : start + said.size], coded(said))
    assert statistics.late == statistics.lost == statistics.grown_ms == 0


NETWORKS = {
    "0 % loss": Impairment(),
    "1 % loss": Impairment(loss=0.01),
    "3 % loss": Impairment(loss=0.03),
    "5 % loss": Impairment(loss=0.05),
    "30 ms jitter": Impairment(jitter_ms=30),
    "3 % loss and 30 ms jitter": Impairment(loss=0.03, jitter_ms=30),
    "bursts": Impairment(bursts=Bursts(begin=0.02, end=0.6)),
    "reordering": Impairment(reorder=0.1),
    "duplicates": Impairment(duplicate=0.3, jitter_ms=10),
}


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_impaired_network_is_heard_in_time_without_gaps(name: str, seed: int) -> None:
    said = voiced(8_000)

    heard, statistics = Call(said, Network(NETWORKS[name], seed)).hear()

    start = start_of(heard)
    frames = said.size // TICK - 2 * 10  # what was lost at either end is no gap
    spoken = heard[start : start + frames * TICK]
    assert longest_gap_ms(spoken, 8_000) <= 60
    assert statistics.late <= 2
    assert statistics.depth_ms <= 100
    reference = coded(said)[: spoken.size]
    exact = (spoken.reshape(-1, TICK) == reference.reshape(-1, TICK)).all(axis=1).sum()
    assert exact >= frames - statistics.lost - 4  # what follows a loss is there, and untouched
    assert snr_db(reference, spoken) > 3


def test_quality_falls_gently_with_loss() -> None:
    said = voiced(8_000)
    errors = []
    for loss in (0.0, 0.01, 0.03, 0.05):
        heard, _ = Call(said, Network(Impairment(loss=loss), seed=4)).hear()
        start = start_of(heard)
        errors.append(snr_db(said, heard[start : start + said.size]))

    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 33
    assert errors[-1] > 8


def test_change_of_source_is_heard_on_after_a_new_start() -> None:
    said = voiced(8_000)

    heard, statistics = Call(said, ssrc_changes_at=100).hear()

    reference = coded(said)
    after = heard[-TAIL_TICKS * TICK - 50 * TICK : -TAIL_TICKS * TICK]
    at = int(np.argmax(np.correlate(reference.astype(float), after.astype(float), "valid")))
    assert np.array_equal(after, reference[at : at + after.size])
    assert statistics.restarts == 1
    assert longest_gap_ms(heard[start_of(heard) : -TAIL_TICKS * TICK], 8_000) <= 60


def test_depth_falls_in_the_pauses_of_speech_and_no_word_is_touched() -> None:
    said = speech(8_000)

    heard, statistics = Call(said).hear()

    assert statistics.shortened_ms == 20
    frames = [frame.tobytes() for frame in coded(said).reshape(-1, TICK)]
    start = start_of(heard)
    at = -1
    left_out: list[int] = []
    for frame in heard[start : start + (len(frames) - 1) * TICK].reshape(-1, TICK):
        found = frames.index(frame.tobytes(), at + 1)
        left_out += range(at + 1, found) if at >= 0 else []
        at = found
    assert len(left_out) == 1
    quiet = coded(said).reshape(-1, TICK)[left_out[0]].astype(np.float64)
    assert np.sqrt(np.mean(quiet**2)) < 100


def hearing(sample_rate_hz: int = 8_000, clock_rate_hz: int = 8_000) -> Hearing[Samples]:
    return Hearing(
        clock_rate_hz=clock_rate_hz,
        sample_rate_hz=sample_rate_hz,
        decode=lambda payload: payload,
        generator=np.random.default_rng(1),
    )


@pytest.mark.parametrize(
    ("clock_rate_hz", "sample_rate_hz"), [(8_000, 16_000), (48_000, 24_000), (48_000, 8_000)]
)
def test_clock_and_sample_rate_may_differ(clock_rate_hz: int, sample_rate_hz: int) -> None:
    """G.722 has a clock of 8000 for 16 kHz (RFC 3551 §4.5.2); Opus always one of 48000."""
    said = voiced(sample_rate_hz)
    ear = hearing(sample_rate_hz, clock_rate_hz)
    length, units = sample_rate_hz * 3 // 100, clock_rate_hz * 3 // 100
    out = np.zeros(sample_rate_hz // 50, dtype=np.int16)
    heard = []
    for tick in range(100):
        if tick % 3 != 1:
            number = tick // 3 * 2 + (tick % 3) // 2
            payload = said[number * length : (number + 1) * length]
            ear.buffer.put(number, number * units, number * 0.03, payload, units)
        ear.take(tick * TICK_S + 0.02, out)
        heard.append(out.copy())

    joined = np.concatenate(heard)
    at = int(np.flatnonzero(joined)[0]) - int(np.flatnonzero(said)[0])
    assert at % (out.size // 2) == 0
    length = joined.size - at
    assert np.array_equal(joined[at:], said[:length])


def test_nothing_heard_is_said_and_is_zeros() -> None:
    ear = hearing()
    out = np.ones(TICK, dtype=np.int16)

    assert ear.take(0.0, out) is False
    assert not out.any()


def test_loss_before_a_pause_fades_into_it() -> None:
    said = voiced(8_000)
    ear = hearing()
    out = np.zeros(TICK, dtype=np.int16)
    heard = []
    for tick in range(20):
        if tick < 10:
            payload = said[tick * TICK : (tick + 1) * TICK]
            ear.buffer.put(tick, tick * TICK, tick * TICK_S, payload, TICK)
        if tick == 11:  # 10 is lost
            ear.buffer.pause(11, 11 * TICK, tick * TICK_S, b"\x7f")
        is_heard = ear.take(tick * TICK_S, out)
        assert is_heard == out.any()
        heard.append(out.copy())

    joined = np.concatenate(heard).astype(np.int32)
    end = int(np.flatnonzero(joined)[-1])
    assert 14 * TICK < end < 14 * TICK + 80
    assert np.abs(np.diff(joined[13 * TICK :])).max() <= np.abs(np.diff(said.astype(int))).max()


def test_comfort_noise_is_heard_at_its_level() -> None:
    ear = hearing()
    ear.buffer.pause(1, 0, 0.0, b"\x28")
    out = np.zeros(TICK, dtype=np.int16)
    levels = []
    for tick in range(50):
        assert ear.take(tick * TICK_S, out) is True
        levels.append(np.mean(out.astype(np.float64) ** 2))

    assert 10 * np.log10(np.mean(levels) / 32_768**2) == pytest.approx(-40, abs=1)


def test_each_payload_is_decoded_once_and_in_order() -> None:
    decoded: list[int] = []

    def decode(payload: int) -> Samples:
        decoded.append(payload)
        return np.full(480, payload, dtype=np.int16)

    ear = Hearing[int](
        clock_rate_hz=8_000,
        sample_rate_hz=8_000,
        decode=decode,
        generator=np.random.default_rng(1),
    )
    out = np.zeros(TICK, dtype=np.int16)
    for tick in range(90):
        if tick % 3 == 0 and tick != 30:  # one is lost
            ear.buffer.put(tick // 3, tick * TICK, tick * TICK_S, tick // 3, 480)
        ear.take(tick * TICK_S, out)

    assert decoded == [number for number in range(decoded[-1] + 1) if number != 10]
    assert len(decoded) >= 27


def test_what_follows_a_loss_is_decoded_once_though_the_depth_grows_before_it_is_played() -> None:
    decoded: list[int] = []

    def decode(payload: int) -> Samples:
        decoded.append(payload)
        return voiced(8_000)[payload * TICK : (payload + 1) * TICK]

    ear = Hearing[int](
        clock_rate_hz=8_000,
        sample_rate_hz=8_000,
        decode=decode,
        generator=np.random.default_rng(1),
    )
    out = np.zeros(TICK, dtype=np.int16)
    for tick, numbers in enumerate(([0], [1], [], [3], [4], [5], [2, 6], [7], [8], [9])):
        for number in numbers:
            ear.buffer.put(number, number * TICK, tick * TICK_S - 0.01, number, TICK)
        ear.take(tick * TICK_S, out)

    assert decoded == [0, 1, 3, 4, 5]
    assert ear.buffer.statistics().grown_ms == 20
    assert ear.buffer.statistics().concealed_ms == 40


def test_payload_after_a_loss_that_cannot_be_read_is_made_up_for_as_well() -> None:
    said = voiced(8_000)
    ear = hearing()
    out = np.zeros(TICK, dtype=np.int16)
    heard = []
    for number in range(40):
        payload = said[number * TICK : (number + 1) * TICK]
        if number != 20:
            payload = payload if number != 21 else payload[:0]
            ear.buffer.put(number, number * TICK, number * TICK_S, payload, TICK)
        ear.take(number * TICK_S, out)
        heard.append(out.copy())

    assert longest_gap_ms(np.concatenate(heard[20:]), 8_000) <= 20
    assert np.array_equal(heard[25][80:], said[22 * TICK + 80 : 23 * TICK])


@pytest.mark.parametrize("there", [0, 60])
def test_payload_that_holds_less_than_it_said_is_made_up_for(there: int) -> None:
    said = voiced(8_000)
    ear = hearing()
    out = np.zeros(TICK, dtype=np.int16)
    heard = []
    for number in range(40):
        payload = said[number * TICK : (number + 1) * TICK]
        payload = payload[:there] if number == 20 else payload
        ear.buffer.put(number, number * TICK, number * TICK_S, payload, TICK)
        assert ear.take(number * TICK_S, out) is (number >= 3)
        heard.append(out.copy())

    frame = heard[23]
    assert np.array_equal(frame[:there], said[20 * TICK : 20 * TICK + there])
    assert longest_gap_ms(frame, 8_000) <= 5
    assert np.array_equal(heard[24][80:], said[21 * TICK + 80 : 22 * TICK])


def test_pause_without_a_description_is_silent_and_shortened_to_the_least_depth() -> None:
    said = voiced(8_000)
    ear = hearing()
    out = np.zeros(TICK, dtype=np.int16)
    for tick in range(200):
        if tick < 60:
            payload = said[tick * TICK : (tick + 1) * TICK]
            ear.buffer.put(tick, tick * TICK, tick * TICK_S, payload, TICK)
        is_heard = ear.take(tick * TICK_S, out)

    assert is_heard is False
    assert not out.any()
    assert ear.buffer.statistics().depth_ms < 60


@pytest.mark.parametrize(("closed_ticks", "shortened_ms"), [(2, 0), (3, 20)])
def test_closure_within_a_word_is_no_silence(closed_ticks: int, shortened_ms: int) -> None:
    said = voiced(8_000)[: 120 * TICK].copy()
    said[80 * TICK : (80 + closed_ticks) * TICK] = 0
    ear = hearing()
    out = np.zeros(TICK, dtype=np.int16)
    for number in range(120):
        payload = said[number * TICK : (number + 1) * TICK]
        ear.buffer.put(number, number * TICK, number * TICK_S, payload, TICK)
        ear.take(number * TICK_S, out)

    assert ear.buffer.statistics().shortened_ms == shortened_ms


def test_steady_noise_far_below_speech_counts_as_silence() -> None:
    """A noisy line is never below -60 dBov; its depth must come down all the same."""
    random = np.random.default_rng(2)
    said = voiced(8_000)[: 100 * TICK].astype(np.float64)
    said = np.concatenate((said, np.zeros(100 * TICK))) + random.normal(0, 50, 200 * TICK)
    ear = hearing()
    out = np.zeros(TICK, dtype=np.int16)
    for number in range(200):
        payload = said[number * TICK : (number + 1) * TICK].astype(np.int16)
        ear.buffer.put(number, number * TICK, number * TICK_S, payload, TICK)
        ear.take(number * TICK_S, out)
        if number == 99:
            assert ear.buffer.statistics().shortened_ms == 0

    assert ear.buffer.statistics().shortened_ms == 20


def test_depth_that_is_a_little_short_grows_in_the_next_pause_and_not_before() -> None:
    speaks = range(150, 300)
    said = voiced(8_000)
    ear = hearing()
    out = np.zeros(TICK, dtype=np.int16)
    arrivals = []
    for number in range(330):
        at = number - speaks.start
        payload = said[at * TICK : (at + 1) * TICK] if number in speaks else np.zeros_like(out)
        late_s = 0.026 * (number % 2) * (number in speaks)
        arrivals.append((number * TICK_S + late_s, number, payload))
    arrivals.sort(key=lambda arrival: arrival[0], reverse=True)

    grown_ms = []
    for tick in range(330):
        now_s = tick * TICK_S + 0.005
        while arrivals and arrivals[-1][0] <= now_s:
            at_s, number, payload = arrivals.pop()
            ear.buffer.put(number, number * TICK, at_s, payload, TICK)
        ear.take(now_s, out)
        grown_ms.append(ear.buffer.statistics().grown_ms)

    statistics = ear.buffer.statistics()
    assert grown_ms[299] == 0
    assert grown_ms[-1] == 20
    assert (statistics.depth_ms, statistics.target_ms) == (65, 48)
    assert statistics.late == statistics.lost == 0


def listening() -> Hearing[bytes]:
    return Hearing[bytes](
        clock_rate_hz=8_000,
        sample_rate_hz=8_000,
        decode=MU_LAW.decode,
        generator=np.random.default_rng(1),
    )


@pytest.mark.parametrize("elsewhere", [1, 2, 3, 40])
def test_what_was_heard_elsewhere_is_concealed_with_when_more_is_lost(elsewhere: int) -> None:
    """Three packets of 20 ms are more than a concealer's history."""
    assert LAST * TICK_S > HISTORY_S
    payloads = [MU_LAW.encode(frame) for frame in voiced(8_000)[: 160 * 120].reshape(-1, TICK)]
    payloads[50:60] = [MU_LAW.encode(np.zeros(TICK, np.int16))] * 10  # here the depth falls
    begun = 70
    alone, other, array = listening(), listening(), JitterArray(1)
    row, heard = np.array([0]), []
    for number in range(begun + elsewhere + 10):
        now_s, at_s = number * TICK_S, number * TICK_S - 0.01
        is_lost = number >= begun + elsewhere
        frames = [np.zeros(TICK, np.int16) for _ in range(2)]
        for hearing in (alone, other):
            if not is_lost and (hearing is alone or number < begun):
                payload = payloads[number % len(payloads)]
                hearing.buffer.put(number, number * TICK, at_s, payload, TICK)
        if number == begun:
            steady = other.steady()
            assert steady is not None
            array.enter(0, steady)
        if number == begun + elsewhere:
            array.count(0, other.buffer)
            counted = array.leave(0)
            other.catch_up(counted.now, counted.came, counted.played, counted.last)
        alone.take(now_s, frames[0])
        if begun <= number < begun + elsewhere:
            codes = np.frombuffer(payloads[number % len(payloads)], np.uint8)[None]
            assert array.put(row, np.array([True]), np.array([at_s]), codes).all()
            assert array.are_due(row, now_s).all()
            MU_LAW.decode_array(array.next_payloads(row)[0], frames[1])
            array.play(row, now_s)
        else:
            other.take(now_s, frames[1])
        heard.append(np.array_equal(frames[0], frames[1]))

    assert all(heard)
    assert alone.steady() is None, "it is concealing"
    assert alone.buffer.statistics() == other.buffer.statistics()
