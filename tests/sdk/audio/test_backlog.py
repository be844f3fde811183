from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from telcoflow_sdk.audio.backlog import Backlog


def test_chunks_are_taken_in_order() -> None:
    backlog = Backlog(100)
    backlog.put(b"ab", 0)
    backlog.put(b"cd", 1)

    assert [backlog.take(), backlog.take(), backlog.take()] == [(0, b"ab"), (1, b"cd"), None]


def test_the_oldest_is_dropped_and_counted() -> None:
    backlog = Backlog(4)
    for offset, chunk in enumerate((b"ab", b"cd", b"ef")):
        backlog.put(chunk, offset)

    assert backlog.dropped_bytes == 2
    assert backlog.queued_bytes == 4
    assert backlog.take() == (1, b"cd")


def test_a_chunk_larger_than_the_limit_is_dropped_whole() -> None:
    backlog = Backlog(4)

    backlog.put(b"abcdef", 0)

    assert backlog.take() is None
    assert backlog.dropped_bytes == 6


def test_clear_drops_everything() -> None:
    backlog = Backlog(4)
    backlog.put(b"ab", 0)

    backlog.clear()

    assert backlog.take() is None
    assert backlog.queued_bytes == 0


@given(chunks=st.lists(st.binary(min_size=1, max_size=50)), limit_bytes=st.integers(0, 200))
def test_what_is_kept_is_the_newest_and_nothing_is_unaccounted(
    chunks: list[bytes], limit_bytes: int
) -> None:
    backlog = Backlog(limit_bytes)
    for chunk in chunks:
        backlog.put(chunk, -1)
        assert backlog.queued_bytes <= limit_bytes

    dropped_bytes = backlog.dropped_bytes
    kept = bytearray()
    while (oldest := backlog.take()) is not None:
        kept += oldest[1]

    assert b"".join(chunks).endswith(bytes(kept))
    assert dropped_bytes + len(kept) == sum(map(len, chunks))
