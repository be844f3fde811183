from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_sdk.audio.arrivals import Arrival, Arrivals
from telcoflow_sdk.protocol.codec import ProtocolViolation
from telcoflow_sdk.protocol.positions import DISCONTINUITY, build_audio


def audio(offset: int, pcm: bytes, channel: int = 0, flags: int = 0) -> bytes:
    return build_audio(channel, flags, 0, 0, offset, pcm)


def test_audio_has_its_place_on_the_calls_axis() -> None:
    arrivals = Arrivals(1)

    assert arrivals.take(audio(100, b"abcd")) == Arrival(0, 100, b"abcd")
    assert arrivals.take(audio(102, b"ef")) == Arrival(0, 102, b"ef")
    assert arrivals.ends == [103]


def test_audio_that_came_before_is_nothing_new() -> None:
    arrivals = Arrivals(1)
    arrivals.take(audio(100, b"abcd"))

    assert arrivals.take(audio(100, b"abcd")) is None
    assert arrivals.take(audio(99, b"xyab")) is None
    assert arrivals.ends == [102]


def test_what_is_known_of_it_is_trimmed() -> None:
    arrivals = Arrivals(1)
    arrivals.take(audio(100, b"abcd"))

    assert arrivals.take(audio(101, b"cdef")) == Arrival(0, 102, b"ef")
    assert arrivals.ends == [103]


def test_what_is_missing_shows_in_the_place_of_what_follows() -> None:
    arrivals = Arrivals(1)
    arrivals.take(audio(100, b"ab"))

    assert arrivals.take(audio(200, b"cd", flags=DISCONTINUITY)) == Arrival(0, 200, b"cd")
    assert arrivals.ends == [201]


def test_each_channel_has_an_end_of_its_own() -> None:
    arrivals = Arrivals(3)
    arrivals.take(audio(10, b"ab", channel=2))

    assert arrivals.take(audio(10, b"ab", channel=1)) == Arrival(1, 10, b"ab")
    assert arrivals.ends == [0, 11, 11]


def test_a_channel_that_was_not_asked_for_is_dropped() -> None:
    arrivals = Arrivals(1)

    assert arrivals.take(audio(10, b"ab", channel=1)) is None
    assert arrivals.ends == [0]


def test_what_cannot_be_read_is_a_violation() -> None:
    with pytest.raises(ProtocolViolation):
        Arrivals(1).take(b"\0abc")


@given(
    cuts=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 20)), max_size=30),
)
def test_whatever_is_sent_again_every_sample_is_new_once(cuts: list[tuple[int, int]]) -> None:
    """As after a resume: each message begins where the last ended, or before."""
    arrivals = Arrivals(1)
    whole = b"".join(n.to_bytes(2, "little") for n in range(700))
    heard = b""
    end = 0
    for back, size in cuts:
        offset = max(0, end - back)
        arrival = arrivals.take(audio(offset, whole[2 * offset : 2 * (offset + size)]))
        end = max(end, offset + size)
        if arrival is not None:
            assert arrival.offset == len(heard) // 2
            heard += arrival.pcm

    assert heard == whole[: 2 * end]
    assert arrivals.ends == [end]
