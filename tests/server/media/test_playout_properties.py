"""What holds for playout whatever the agent and its network do."""

from __future__ import annotations

from collections import deque

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_sdk.audio.format import AudioFormat
from telcoflow_server.media.credit import Requests
from telcoflow_server.media.lead import MAX_LEAD_MS
from telcoflow_server.media.playout import Playout

FORMAT = AudioFormat(8_000)
FRAME = FORMAT.frame_samples
FRAME_BYTES = FORMAT.frame_bytes


def take(playout: Playout, tick: int) -> list[int]:
    """Return what the tick plays; nothing for silence. Padding is left out: it is zeros."""
    out = np.zeros(FRAME, dtype=np.int16)
    playout.take(tick, out)
    return [int(sample) for sample in out[out != 0]]


@given(
    sizes=st.lists(st.integers(0, 3 * FRAME_BYTES), max_size=20),
    pauses=st.lists(st.integers(0, 20), min_size=20, max_size=20),
)
def test_any_chunking_plays_the_same_samples(sizes: list[int], pauses: list[int]) -> None:
    playout = Playout(FORMAT)
    requests = Requests(playout, FORMAT)
    audio = np.arange(1, sum(sizes) // 2 + 2, dtype="<i2").tobytes()[: sum(sizes)]
    played: list[int] = []
    tick = 0

    at = 0
    for size, pause in zip(sizes, pauses, strict=False):
        while playout.queued_ms > 900:  # stay clear of the overrun
            played += take(playout, tick)
            tick += 1
        requests.receive(audio[at : at + size])
        at += size
        for _ in range(pause):
            played += take(playout, tick)
            tick += 1
    for _ in range(60):
        played += take(playout, tick)
        tick += 1

    assert played == list(range(1, sum(sizes) // 2 + 1))


class Op:
    TAKE, REQUEST, SEND, CLEAR = range(4)


operations = st.lists(
    st.tuples(st.sampled_from([0, 0, 0, 1, 1, 2, 2, 2, 3]), st.integers(1, 4 * FRAME_BYTES)),
    max_size=200,
)


@given(operations)
def test_ledger_of_an_honest_agent_holds_under_any_interleaving(
    script: list[tuple[int, int]],
) -> None:
    playout = Playout(FORMAT)
    requests = Requests(playout, FORMAT)
    credit = cleared_bytes = tick = 0

    for operation, size in script:
        if operation == Op.TAKE:
            take(playout, tick)
            tick += 1
        elif operation == Op.REQUEST:
            credit += requests.next_request()
        elif operation == Op.SEND:
            assert requests.receive(bytes([1]) * min(size, credit)) is None
            credit -= min(size, credit)
        else:
            cleared_bytes += requests.clear()

        now, owed = playout.statistics(), requests.statistics()
        assert owed.outstanding_ms == FORMAT.bytes_to_ms(credit)
        assert now.queued_ms + owed.outstanding_ms <= MAX_LEAD_MS + 20
        accounted = 2 * now.played_samples + cleared_bytes + owed.discarded_bytes
        waiting = owed.received_bytes - accounted - FORMAT.ms_to_bytes(now.queued_ms)
        assert waiting in (0, 1)  # at most the half of a sample


@given(operations)
def test_grant_never_exceeds_the_lead_by_more_than_a_frame(script: list[tuple[int, int]]) -> None:
    playout = Playout(FORMAT)
    requests = Requests(playout, FORMAT)

    for tick, (operation, size) in enumerate(script):
        take(playout, tick)
        if operation == Op.SEND:
            requests.receive(bytes([1]) * (4 * size))  # asked for or not
        elif operation == Op.CLEAR:
            requests.clear()
        asked = len(list(iter(requests.next_request, 0)))
        now, owed = playout.statistics(), requests.statistics()
        assert asked <= MAX_LEAD_MS // 20
        if asked:
            assert now.queued_ms + owed.outstanding_ms < now.lead_ms + 20
        assert now.queued_ms <= 1_000


@given(st.lists(st.integers(0, 2), min_size=10, max_size=80))
def test_agent_that_keeps_up_with_the_lead_has_no_gap(delays: list[int]) -> None:
    playout = Playout(FORMAT)
    requests = Requests(playout, FORMAT)
    sent: deque[tuple[int, bytes]] = deque()  # tick from which it is there, payload
    played: list[int] = []
    next_sample = 1
    arrives = 0

    for tick, delay in enumerate(delays):
        while requests.next_request():
            arrives = max(arrives, tick + delay)  # a link delays, but keeps the order
            samples = np.arange(next_sample, next_sample + FRAME, dtype="<i2")
            sent.append((arrives, samples.tobytes()))
            next_sample += FRAME
        while sent and sent[0][0] <= tick:
            requests.receive(sent.popleft()[1])
        played += take(playout, tick)

    assert playout.statistics().gap_count == 0
    assert played == list(range(1, len(played) + 1))
    assert len(played) >= (len(delays) - 5) * FRAME


@given(st.lists(st.integers(0, 1), min_size=10, max_size=80))
def test_real_time_agent_with_a_frame_of_jitter_has_no_gap(delays: list[int]) -> None:
    playout = Playout(FORMAT)
    requests = Requests(playout, FORMAT)
    sent: deque[int] = deque()

    for tick, delay in enumerate(delays):
        sent.append(max(tick + delay, sent[-1] if sent else 0))
        while sent and sent[0] <= tick:
            sent.popleft()
            requests.receive(bytes([1]) * FRAME_BYTES)
        take(playout, tick)

    assert playout.statistics().gap_count == 0
