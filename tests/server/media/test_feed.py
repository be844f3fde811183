"""What is said to an agent arrives in order: late, over another link, or with a hole it is told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from telcoflow_server.media.feed import WAITING_FRAMES, FedFrame, Feed

FRAME = 160
KEPT = 50
"""Frames, a second."""


def put(feed: Feed, tick: int, channels: int = 1) -> None:
    for channel in range(channels):
        feed.put(channel, tick * FRAME, tick.to_bytes(2, "little") * FRAME)


def sent(feed: Feed) -> list[FedFrame]:
    """Send everything."""
    return list(iter(feed.next, None))


def ticks(frames: list[FedFrame]) -> list[int]:
    return [frame.offset // FRAME for frame in frames]


def test_frames_leave_in_order_with_their_place() -> None:
    feed = Feed(0)
    put(feed, 5)
    put(feed, 6)

    first, second = sent(feed)

    assert (first.offset, first.end, second.offset) == (5 * FRAME, 6 * FRAME, 6 * FRAME)
    assert (first.channel, first.is_discontinuous) == (0, False)
    assert feed.next() is None


def test_what_was_not_sent_waits() -> None:
    feed = Feed(0)
    waiting = [len(feed.waiting)]
    put(feed, 0)
    waiting.append(len(feed.waiting))
    sent(feed)
    waiting.append(len(feed.waiting))

    assert waiting == [0, 1, 0]


def test_the_newest_wait_for_an_agent_that_is_behind_and_the_hole_is_told_once() -> None:
    feed = Feed(1_000)
    for tick in range(WAITING_FRAMES + 3):
        put(feed, tick)
        feed.trim()

    frames = sent(feed)

    assert ticks(frames) == list(range(3, WAITING_FRAMES + 3))
    assert [frame.is_discontinuous for frame in frames] == [True] + [False] * (WAITING_FRAMES - 1)
    assert feed.dropped_frames == 3


def test_a_hole_is_told_on_the_channel_that_has_it() -> None:
    feed = Feed(0)
    feed.channels = 3
    for tick in range(WAITING_FRAMES):
        put(feed, tick, channels=3)
    feed.put(0, WAITING_FRAMES * FRAME, bytes(2 * FRAME))
    feed.trim()

    frames = sent(feed)

    assert [frame.channel for frame in frames if frame.is_discontinuous] == [0]
    assert feed.dropped_frames == 1


def test_nothing_is_sent_again_on_v1() -> None:
    feed = Feed(0)
    put(feed, 0)
    sent(feed)

    assert feed.relink([0]) == [0]
    assert sent(feed) == []


def test_what_did_not_arrive_is_sent_again_from_the_exact_sample() -> None:
    feed = Feed(1_000)
    for tick in range(5):
        put(feed, tick)
    before = sent(feed)
    feed.unlink()
    put(feed, 5)

    continues = feed.relink([2 * FRAME])

    assert continues == [2 * FRAME]
    assert sent(feed) == [*before[2:], FedFrame(0, 5 * FRAME, 6 * FRAME, b"\5\0" * FRAME, False)]


def test_a_frame_that_arrived_in_part_is_sent_whole() -> None:
    """No frame is ever cut: the client drops what it has, and `continues` is what it has."""
    feed = Feed(1_000)
    put(feed, 0)
    put(feed, 1)
    sent(feed)

    continues = feed.relink([FRAME + 10])

    assert continues == [FRAME + 10]
    assert ticks(sent(feed)) == [1]


def test_what_was_acknowledged_is_forgotten() -> None:
    feed = Feed(1_000)
    for tick in range(4):
        put(feed, tick)
    sent(feed)

    feed.acknowledge(2 * FRAME + 1)

    assert feed.relink([0]) == [2 * FRAME]
    assert ticks(sent(feed)) == [2, 3]


def test_while_there_is_no_link_everything_is_kept_for_as_long_as_the_grace() -> None:
    feed = Feed(KEPT * 20)
    feed.unlink()
    for tick in range(KEPT + 2):
        put(feed, tick)
        feed.trim()
    assert feed.is_catching_up

    continues = feed.relink([0])

    assert continues == [2 * FRAME]
    frames = sent(feed)
    assert ticks(frames) == list(range(2, KEPT + 2))
    assert frames[0].is_discontinuous
    assert not feed.is_catching_up


def test_an_agent_that_catches_up_keeps_all_it_missed_however_slow_it_is() -> None:
    feed = Feed(KEPT * 20)
    feed.unlink()
    for tick in range(WAITING_FRAMES * 2):
        put(feed, tick)
        feed.trim()
    feed.relink([0])

    got: list[FedFrame] = []
    for tick in range(WAITING_FRAMES * 2, WAITING_FRAMES * 2 + 10):
        put(feed, tick)
        frame = feed.next()
        assert frame is not None
        got.append(frame)
        feed.trim()
    got += sent(feed)

    assert ticks(got) == list(range(WAITING_FRAMES * 2 + 10))
    assert feed.dropped_frames == 0


def test_what_an_agent_never_acknowledges_is_kept_for_the_grace_only() -> None:
    feed = Feed(KEPT * 20)
    for tick in range(KEPT * 2):
        put(feed, tick)
        feed.next()

    assert feed.relink([0]) == [KEPT * FRAME]


def test_channels_are_told_apart_and_unknown_ones_begin_with_what_is_kept() -> None:
    feed = Feed(1_000)
    feed.channels = 3
    for tick in range(3):
        put(feed, tick, channels=3)
    sent(feed)

    continues = feed.relink([2 * FRAME, FRAME])

    assert continues == [2 * FRAME, FRAME]
    again = sent(feed)
    assert [(frame.channel, frame.offset // FRAME) for frame in again] == [
        (2, 0), (1, 1), (2, 1), (0, 2), (1, 2), (2, 2),
    ]  # fmt: skip


@given(
    st.lists(
        st.one_of(st.just("tick"), st.just("arrive"), st.just("acknowledge"), st.just("break")),
        max_size=120,
    )
)
def test_an_agent_that_is_never_away_for_long_gets_every_frame_once_and_in_order(
    script: list[str],
) -> None:
    feed = Feed(200 * 20)
    tick = received = acknowledged = 0
    under_way: list[FedFrame] = []
    got: list[int] = []

    def arrive() -> None:
        nonlocal received
        for frame in under_way:
            assert frame.offset == received
            assert not frame.is_discontinuous
            received = frame.end
            got.append(frame.offset // FRAME)
        under_way.clear()

    for step in script:
        if step == "tick":
            put(feed, tick)
            tick += 1
            under_way += sent(feed)
            feed.trim()
        elif step == "arrive":
            arrive()
        elif step == "acknowledge":
            acknowledged = received
            feed.acknowledge(acknowledged)
        else:  # what is under way is lost; two ticks later there is a new link
            under_way.clear()
            feed.unlink()
            for _ in range(2):
                put(feed, tick)
                tick += 1
                feed.trim()
            assert feed.relink([received]) == [received]
            under_way += sent(feed)
    arrive()

    assert got == list(range(tick))


def test_what_was_sent_elsewhere_is_kept_like_the_rest_and_no_longer() -> None:
    feed = Feed(KEPT * 20)
    put(feed, 0)
    sent(feed)
    assert feed.is_steady
    elsewhere = [
        FedFrame(0, tick * FRAME, (tick + 1) * FRAME, b"\0\0" * FRAME, False)
        for tick in range(1, KEPT + 5)
    ]
    feed.catch_up(elsewhere, (KEPT + 5) * FRAME)

    assert feed.end == (KEPT + 5) * FRAME
    assert feed.relink([0]) == [5 * FRAME]
    assert ticks(sent(feed)) == list(range(5, KEPT + 5))


def test_a_feed_is_steady_while_all_that_is_said_leaves_at_once() -> None:
    forgetting, isolated, waiting, lost = Feed(0), Feed(1_000), Feed(1_000), Feed(1_000)
    isolated.channels = 3
    put(waiting, 0)
    lost.unlink()

    assert not any(feed.is_steady for feed in (forgetting, isolated, waiting, lost))
