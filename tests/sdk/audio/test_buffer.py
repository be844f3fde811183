from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_sdk.audio.buffer import ConcurrentByteBuffer
from telcoflow_sdk.exceptions import BufferClosedError, BufferFullError


def test_bytes_come_out_in_order_whatever_the_sizes() -> None:
    buffer = ConcurrentByteBuffer(10_000)

    buffer.write(bytes(range(200)) * 4)  # a large chunk, then small ones that are joined
    buffer.write(b"abc")
    buffer.write(b"def")

    assert buffer.read(600) + buffer.read(150) + buffer.read(1_000) == bytes(range(200)) * 4 + (
        b"abcdef"
    )
    assert len(buffer) == 0


def test_read_of_an_empty_buffer_is_empty() -> None:
    assert ConcurrentByteBuffer(10).read(5) == b""


@pytest.mark.parametrize("max_bytes", [0, -1])
def test_read_of_nothing_takes_nothing(max_bytes: int) -> None:
    buffer = ConcurrentByteBuffer(10)
    buffer.write(b"abc")

    assert buffer.read(max_bytes) == b""
    assert len(buffer) == 3


def test_read_joins_chunks_up_to_what_was_asked_for() -> None:
    buffer = ConcurrentByteBuffer(10_000)
    first, second, third = b"a" * 600, b"b" * 600, b"c" * 600
    for chunk in (first, second, third):
        buffer.write(chunk)

    assert buffer.read(1_000) == first + second[:400]
    assert buffer.read(200) == second[400:]
    assert buffer.read(600) == third


def test_read_of_two_whole_chunks_leaves_the_third() -> None:
    buffer = ConcurrentByteBuffer(10_000)
    for letter in b"abc":
        buffer.write(bytes([letter]) * 600)

    assert buffer.read(1_200) == b"a" * 600 + b"b" * 600
    assert len(buffer) == 600


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_like_object_is_taken(kind: type[bytes] | type[bytearray]) -> None:
    buffer = ConcurrentByteBuffer(10)

    buffer.write(kind(b"abc"))

    assert buffer.read(10) == b"abc"


def test_what_was_written_is_a_copy() -> None:
    buffer = ConcurrentByteBuffer(10)
    chunk = bytearray(b"abc")

    buffer.write(chunk)
    chunk[:] = b"xyz"

    assert buffer.read(10) == b"abc"


@pytest.mark.parametrize("wrong", ["text", 5, None])
def test_what_is_not_bytes_like_is_a_type_error(wrong: object) -> None:
    buffer = ConcurrentByteBuffer(10)

    with pytest.raises(TypeError):
        buffer.write(wrong)  # type: ignore[arg-type]  # that is the point
    assert len(buffer) == 0


def test_a_write_that_does_not_fit_changes_nothing_and_says_the_numbers() -> None:
    buffer = ConcurrentByteBuffer(10)
    buffer.write(b"abcdefgh")

    with pytest.raises(BufferFullError) as caught:
        buffer.write(b"123")

    error = caught.value
    assert (error.capacity_bytes, error.queued_bytes, error.offered_bytes) == (10, 8, 3)
    assert all(number in str(error) for number in ("10", "8", "3"))
    assert buffer.read(100) == b"abcdefgh"
    assert buffer.statistics().rejected_writes == 1


def test_a_full_buffer_takes_a_write_of_nothing() -> None:
    buffer = ConcurrentByteBuffer(3)
    buffer.write(b"abc")

    buffer.write(b"")

    assert buffer.read(10) == b"abc"


def test_an_empty_buffer_takes_a_write_of_nothing() -> None:
    buffer = ConcurrentByteBuffer(3)

    buffer.write(b"")

    assert buffer.read(10) == b""


def test_clear_drops_what_is_queued_also_in_the_middle_of_a_chunk() -> None:
    buffer = ConcurrentByteBuffer(2_000)
    buffer.write(b"a" * 1_000)
    buffer.read(300)

    assert buffer.clear() == 700
    buffer.write(b"b" * 1_000)

    assert buffer.read(2_000) == b"b" * 1_000
    assert buffer.statistics().cleared_bytes == 700


def test_after_close_writes_are_refused_and_the_rest_can_be_read() -> None:
    buffer = ConcurrentByteBuffer(10)
    buffer.write(b"abc")

    buffer.close()

    with pytest.raises(BufferClosedError):
        buffer.write(b"d")
    with pytest.raises(BufferClosedError):
        buffer.write(b"")
    assert buffer.read(10) == b"abc"


def test_while_sealed_writes_are_discarded_and_counted() -> None:
    buffer = ConcurrentByteBuffer(10)
    buffer.write(b"abc")

    buffer.seal()
    buffer.write(b"defg")
    buffer.write(b"h" * 100)  # not even full: it is not queued
    buffer.unseal()
    buffer.write(b"ij")

    assert buffer.read(10) == b"abcij"
    assert buffer.statistics().discarded_bytes == 104


def test_a_closed_buffer_stays_closed() -> None:
    buffer = ConcurrentByteBuffer(10)
    buffer.close()

    buffer.seal()
    buffer.unseal()

    with pytest.raises(BufferClosedError):
        buffer.write(b"a")


def test_statistics_report_capacity_level_and_high_water() -> None:
    buffer = ConcurrentByteBuffer(10)
    buffer.write(b"abcdef")
    buffer.read(4)

    statistics = buffer.statistics()

    assert (statistics.capacity_bytes, statistics.queued_bytes) == (10, 2)
    assert statistics.high_water_bytes == 6


def test_capacity_must_be_positive() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ConcurrentByteBuffer(0)


@given(
    chunks=st.lists(st.binary(max_size=1_500), max_size=30),
    sizes=st.lists(st.integers(min_value=1, max_value=2_000), min_size=1, max_size=20),
)
def test_any_chunking_gives_the_same_bytes(chunks: list[bytes], sizes: list[int]) -> None:
    buffer = ConcurrentByteBuffer(100_000)
    for chunk in chunks:
        buffer.write(chunk)

    read = bytearray()
    while len(buffer):
        for size in sizes:
            part = buffer.read(size)
            assert len(part) == min(size, len(part) + len(buffer))
            read += part

    assert bytes(read) == b"".join(chunks)


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("write"), st.binary(max_size=700)),
            st.tuples(st.just("read"), st.integers(min_value=0, max_value=900)),
            st.tuples(st.just("clear"), st.none()),
        )
    )
)
def test_it_behaves_as_a_plain_byte_string_does(
    steps: list[tuple[str, bytes | int | None]],
) -> None:
    capacity_bytes = 2_000
    buffer = ConcurrentByteBuffer(capacity_bytes)
    model = b""
    for _, argument in steps:
        if isinstance(argument, bytes):
            if len(model) + len(argument) > capacity_bytes:
                with pytest.raises(BufferFullError):
                    buffer.write(argument)
            else:
                buffer.write(argument)
                model += argument
        elif isinstance(argument, int):
            assert buffer.read(argument) == model[:argument]
            model = model[argument:]
        else:
            assert buffer.clear() == len(model)
            model = b""
        assert len(buffer) == len(model)


def test_writers_on_many_threads_lose_and_reorder_nothing() -> None:
    buffer = ConcurrentByteBuffer(1 << 20)
    writes, writers = 400, 6

    def write(number: int) -> None:
        for count in range(writes):
            # Sizes on both sides of what is joined; the content says whose and which.
            size = (count % 5 + 1) * 60
            buffer.write(bytes((number, count % 256)) * size)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    received = bytearray()
    while any(thread.is_alive() for thread in threads):
        received += buffer.read(960)
    received += buffer.read(1 << 20)
    for thread in threads:
        thread.join()

    seen: dict[int, list[int]] = {number: [] for number in range(writers)}
    at = 0
    while at < len(received):
        number, count = received[at], received[at + 1]
        expected = seen[number][-1] + 1 if seen[number] else 0
        assert count == expected % 256
        size = (expected % 5 + 1) * 60
        assert received[at : at + 2 * size] == bytes((number, count)) * size
        seen[number].append(expected)
        at += 2 * size
    assert all(counts == list(range(writes)) for counts in seen.values())


@given(
    chunks=st.lists(st.binary(max_size=3_000), max_size=6),
    read_bytes=st.integers(0, 4_000),
    more=st.binary(max_size=5),
)
def test_half_a_sample_at_the_end_is_dropped_and_nothing_else(
    chunks: list[bytes], read_bytes: int, more: bytes
) -> None:
    buffer = ConcurrentByteBuffer(100_000)
    for chunk in chunks:
        buffer.write(chunk)
    buffer.read(read_bytes)
    left = b"".join(chunks)[read_bytes:]

    buffer.drop_odd_byte()
    buffer.write(more)

    whole = left[: len(left) & ~1]
    assert buffer.queued_bytes == len(whole) + len(more)
    assert buffer.read(100_000) == whole + more
    assert buffer.statistics().cleared_bytes == len(left) & 1


def test_a_buffer_says_what_it_holds_at_most() -> None:
    assert ConcurrentByteBuffer(10).capacity_bytes == 10


def test_a_half_sample_that_is_all_that_is_left_of_a_chunk_leaves_nothing_of_its_place() -> None:
    buffer = ConcurrentByteBuffer(100)
    buffer.write(b"abc")
    buffer.read(2)

    buffer.drop_odd_byte()
    buffer.write(b"wxyz")

    assert buffer.read(100) == b"wxyz"


def test_a_half_sample_in_a_chunk_of_its_own_leaves_the_chunks_before_it() -> None:
    buffer = ConcurrentByteBuffer(10_000)
    buffer.write(bytes(2_000))  # too large to be joined with what follows
    buffer.write(b"x")
    buffer.read(500)

    buffer.drop_odd_byte()
    buffer.write(b"yz")

    assert buffer.read(10_000) == bytes(1_500) + b"yz"
