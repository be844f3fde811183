"""Packets of any length: a tick is always one tick of audio time, and nothing is decoded twice."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from telcoflow_server.media.delay import START_DEPTH_MS
from telcoflow_server.media.pieces import Lost, Packet
from tests.support.jitter import Line

NEVER = 1_000_000
NONE_LATE: Mapping[int, int] = {}


def stream(line: Line, ptime_ms: int, ticks: int, late: Mapping[int, int] = NONE_LATE) -> None:
    """Play packets as they come in real time: each once its last sample has been spoken.

    Args:
        line: Which.
        ptime_ms: Their length.
        ticks: How many to run.
        late: By how many ticks some packets come later.
    """
    arrivals: dict[int, list[int]] = {}
    for number in range(ticks * 20 // ptime_ms):
        tick = -(-(number + 1) * ptime_ms // 20) + late.get(number, 0)
        arrivals.setdefault(tick, []).append(number)
    for tick in range(ticks):
        for number in arrivals.get(tick, ()):
            spoken_s = (number + 1) * ptime_ms / 1000 + late.get(number, 0) * 0.02
            line.put(number, before_s=line.now_s - spoken_s)
        line.run()


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 40, 60])
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 48_000])
def test_every_unit_is_played_once_in_order_without_a_gap(ptime_ms: int, rate_hz: int) -> None:
    line = Line(ptime_ms, rate_hz)

    stream(line, ptime_ms, 200)

    first = line.places.index(0)
    assert line.places[:first] == [-2] * first
    assert line.places[first:] == list(range(len(line.places) - first))
    assert first <= line.tick * 10
    assert line.statistics.late == line.statistics.lost == 0


@pytest.mark.parametrize("ptime_ms", [10, 30, 60])
def test_each_payload_is_new_once(ptime_ms: int) -> None:
    line = Line(ptime_ms)

    stream(line, ptime_ms, 60)

    pieces = [piece for tick in line.pieces for piece in tick if isinstance(piece, Packet)]
    assert [piece.payload for piece in pieces if piece.is_new] == sorted(
        {piece.payload for piece in pieces}
    )
    assert all(piece.is_new == (piece.offset_units == 0) for piece in pieces)


def test_two_packets_of_10_ms_make_a_tick() -> None:
    line = Line(10)

    stream(line, 10, 6)

    assert line.heard == ". . . . 0+1 2+3"


def test_packets_of_30_ms_take_turns() -> None:
    line = Line(30)

    stream(line, 30, 11)

    assert line.heard == ". . . . . 0 0+1 1 2 2+3 3"


def test_packet_of_60_ms_is_played_over_three_ticks() -> None:
    line = Line(60)

    stream(line, 60, 12)

    assert line.heard == ". . . . . . . 0 0 0 1 1"


def test_loss_of_30_ms_is_30_ms_of_concealment() -> None:
    line = Line(30)

    stream(line, 30, 14, late={2: NEVER})

    assert line.heard == ". . . . . 0 0+1 1 x x+3 3 4 4+5 5"
    assert [piece for tick in line.pieces for piece in tick if isinstance(piece, Lost)] == [
        Lost(160, 1),
        Lost(80, 2, following=3, is_new=True),
    ]
    assert line.statistics.lost == 1


def test_of_a_long_packet_that_comes_too_late_the_rest_is_played() -> None:
    line = Line(60)

    stream(line, 60, 254, late={80: 5})

    assert line.heard.endswith("79 79 79 x 80 80 81 81 81 82")
    assert line.pieces[248] == (Packet(80, offset_units=160, length_units=160, is_new=True),)
    assert line.statistics.late == line.statistics.lost == 0


def test_change_of_length_goes_on_without_a_gap() -> None:
    line = Line(20)
    line.settle()
    for half in range(40):
        seq = 65_533 + line.origin + half
        timestamp = (2**32 - 480 + line.origin * 160 + half * 80) % 2**32
        line.buffer.put(seq, timestamp, line.now_s - 0.01 * (half % 2), half, 80)
        if half % 2:
            line.run()

    lengths = [[piece.length_units for piece in tick] for tick in line.pieces]
    assert lengths[:4] == [[160], [160], [160], [80, 80]]
    assert "x" not in line.heard
    assert line.statistics.lost == line.statistics.late == 0


def test_long_packets_are_forgotten_with_their_source() -> None:
    line = Line(ptime_ms=60)
    stream(line, 60, ticks=9)
    of_long_packets = line.statistics.target_ms

    line.buffer.restart()

    assert (of_long_packets, line.statistics.target_ms) == (62, START_DEPTH_MS)
