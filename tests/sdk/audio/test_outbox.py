from __future__ import annotations

import io
import logging
import struct
import wave
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_sdk.audio.format import AudioFormat
from telcoflow_sdk.audio.outbox import MAX_AUDIO_BYTES, MAX_CREDIT_BYTES, Outbox
from telcoflow_sdk.exceptions import BufferClosedError, BufferFullError

FORMAT = AudioFormat(24_000)


def outbox(capacity_bytes: int = 1 << 20) -> Outbox:
    return Outbox(FORMAT, capacity_bytes)


def messages(box: Outbox) -> list[bytes]:
    """Take everything, checking that it is for channel 0."""
    taken = []
    while (message := box.next_message()) is not None:
        assert message[0] == 0
        taken.append(message[1:])
    return taken


def wav(pcm: bytes, *, sample_rate_hz: int = 24_000, channels: int = 1) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(sample_rate_hz)
        writer.writeframes(pcm)
    return file.getvalue()


def test_nothing_leaves_without_credit() -> None:
    box = outbox()
    box.write(b"ab" * 480)

    assert messages(box) == []
    assert not box.has_credit
    assert box.queued_bytes == 960


def test_nothing_leaves_without_audio() -> None:
    box = outbox()
    box.grant(960)

    assert messages(box) == []
    assert box.has_credit


def test_one_message_for_each_request() -> None:
    box = outbox()
    box.grant(960)
    box.grant(320)
    box.write(bytes(3_000))

    assert [len(message) for message in messages(box)] == [960, 320]
    assert box.queued_bytes == 3_000 - 1_280
    assert box.sent_bytes == 1_280
    assert not box.has_credit


def test_tail_of_an_utterance_is_sent_at_once() -> None:
    """Flaw 8 of the published client: less than 960 bytes stuck until the next utterance."""
    box = outbox()
    box.grant(960)
    box.grant(960)
    box.write(bytes(1_460))

    assert [len(message) for message in messages(box)] == [960, 500]
    assert box.queued_bytes == 0
    assert box.is_drained


def test_rest_of_a_request_is_kept_for_later_audio() -> None:
    box = outbox()
    box.grant(960)
    box.write(bytes(500))
    first = messages(box)
    box.write(bytes(1_000))

    assert [len(message) for message in first + messages(box)] == [500, 460]


@pytest.mark.parametrize("requested_bytes", [0, -1, -960])
def test_requests_for_nothing_are_ignored(requested_bytes: int) -> None:
    box = outbox()
    box.grant(requested_bytes)

    assert not box.has_credit


def test_whether_the_oldest_request_can_be_served_at_once() -> None:
    box = outbox()
    box.write(bytes(4))
    without_a_request = box.fills_request
    box.grant(6)
    box.grant(2)
    too_little = box.fills_request
    box.write(bytes(2))

    assert (without_a_request, too_little, box.fills_request) == (False, False, True)


def test_one_huge_request_is_served_in_messages_either_end_accepts() -> None:
    box = outbox()
    box.grant(1_000_000)
    box.write(bytes(200_000))

    sizes = [len(message) for message in messages(box)]

    assert sum(sizes) == 200_000
    assert max(sizes) == MAX_AUDIO_BYTES


def test_absurd_credit_is_bounded() -> None:
    box = outbox()
    box.grant(10**30)
    box.grant(960)

    assert box.statistics().credit_bytes == MAX_CREDIT_BYTES


def test_flood_of_requests_is_added_up() -> None:
    box = outbox()
    for _ in range(1_000):
        box.grant(2)
    box.write(bytes(3_000))

    sent = messages(box)

    assert sum(map(len, sent)) == 2_000
    assert len(sent) < 100


def test_halves_of_a_sample_that_were_asked_for_are_added_up() -> None:
    box = outbox()
    box.write(bytes(10))
    box.grant(1)
    assert messages(box) == []
    assert not box.has_credit

    box.grant(1)

    assert messages(box) == [bytes(2)]


def test_odd_byte_waits_for_its_other_half() -> None:
    box = outbox()
    box.grant(960)
    box.write(b"abc")
    first = messages(box)
    assert box.queued_bytes == 0
    assert box.is_drained

    box.write(b"def")

    assert first + messages(box) == [b"ab", b"cdef"]


def test_odd_byte_is_dropped_with_the_audio_it_belongs_to() -> None:
    box = outbox()
    box.write(b"abc")

    assert box.clear() == 2
    box.grant(960)
    box.write(b"de")

    assert messages(box) == [b"de"]


def test_credit_survives_a_clear() -> None:
    box = outbox()
    box.grant(960)
    box.clear()
    box.write(bytes(960))

    assert [len(message) for message in messages(box)] == [960]


def test_a_write_that_does_not_fit_changes_neither_buffer_nor_odd_byte() -> None:
    box = outbox(10)
    box.write(b"abc")

    with pytest.raises(BufferFullError):
        box.write(bytes(8))

    box.grant(960)
    box.write(b"d")
    assert messages(box) == [b"abcd"]


def test_audio_after_the_goodbye_is_discarded_and_counted() -> None:
    box = outbox()
    box.write(b"bye!")
    box.seal()
    box.write(b"too late")
    box.grant(960)

    assert messages(box) == [b"bye!"]
    assert box.is_drained
    assert box.statistics().discarded_bytes == 8


def test_audio_is_taken_again_when_the_call_goes_on() -> None:
    box = outbox()
    box.seal()
    box.unseal()
    box.write(b"ab")

    assert box.queued_bytes == 2


def test_after_the_end_nothing_is_queued_and_writes_are_refused() -> None:
    box = outbox()
    box.write(bytes(100))
    box.grant(50)
    box.close()

    with pytest.raises(BufferClosedError):
        box.write(b"ab")
    assert (box.queued_bytes, box.has_credit, messages(box)) == (0, False, [])


def test_wav_header_in_the_call_format_is_left_out_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    box = outbox()
    box.grant(960)

    with caplog.at_level(logging.WARNING):
        box.write(wav(b"abcd"))
        box.write(wav(b"efgh"))

    assert messages(box) == [b"abcdefgh"]
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (wav(bytes(4), sample_rate_hz=44_100), "44100 Hz, 1 channel"),
        (wav(bytes(4), channels=2), "2 channel"),
        (wav(bytes(4))[:30], "cut short"),
        (
            b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0"
            + struct.pack("<HHIIHH", 7, 1, 24_000, 24_000, 1, 8)
            + b"data\0\0\0\0",
            "not PCM",
        ),
    ],
)
def test_any_other_wav_is_an_error_that_says_what_to_do(data: bytes, says: str) -> None:
    box = outbox()

    with pytest.raises(ValueError, match=says) as caught:
        box.write(data)

    assert "mono, 24000 Hz" in str(caught.value)
    assert box.queued_bytes == 0


def test_pcm_that_looks_like_the_start_of_a_wav_is_pcm() -> None:
    box = outbox()
    box.write(b"RIFFab")

    assert box.queued_bytes == 6


def test_any_bytes_like_object_is_taken() -> None:
    box = outbox()
    box.grant(960)
    box.write(bytearray(b"ab"))
    box.write(memoryview(b"cd"))

    assert messages(box) == [b"abcd"]


def test_statistics_report_levels_and_totals() -> None:
    box = outbox()
    box.write(bytes(101))
    box.grant(60)
    messages(box)
    box.grant(0)

    statistics = box.statistics()

    assert (statistics.queued_bytes, statistics.sent_bytes) == (40, 60)
    assert (statistics.high_water_bytes, statistics.credit_bytes) == (101, 0)
    assert (statistics.rejected_writes, statistics.cleared_bytes) == (0, 0)


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("write"), st.binary(max_size=3_000)),
            st.tuples(st.just("grant"), st.integers(min_value=-5, max_value=3_000)),
            st.tuples(st.just("send"), st.none()),
        ),
        max_size=60,
    )
)
def test_never_more_is_sent_than_granted_and_nothing_is_lost_or_reordered(
    steps: list[tuple[str, bytes | int | None]],
) -> None:
    box = outbox()
    granted_bytes = 0
    written, sent = bytearray(), bytearray()
    for _, argument in steps:
        if isinstance(argument, bytes):
            argument = argument.replace(b"RIFF", b"riff")
            box.write(argument)
            written += argument
        elif isinstance(argument, int):
            box.grant(argument)
            granted_bytes += max(0, argument)
        else:
            for message in messages(box):
                sent += message
                assert len(message) % 2 == 0
        assert len(sent) <= granted_bytes
        assert written.startswith(sent)
        assert box.queued_bytes == (len(written) - len(sent)) & ~1
    for message in messages(box):
        sent += message
    # All that credit allows has left: whole samples, of what was written and asked for.
    assert len(sent) == min(len(written) & ~1, granted_bytes & ~1)


@given(
    pcm=st.binary(max_size=4_000),
    cuts=st.lists(st.integers(min_value=0, max_value=4_000), max_size=20),
    request_bytes=st.integers(min_value=1, max_value=2_000),
)
def test_any_chunking_gives_the_same_audio(pcm: bytes, cuts: list[int], request_bytes: int) -> None:
    pcm = pcm.replace(b"RIFF", b"riff")
    box = outbox()
    sent = bytearray()
    edges = [0, *sorted(cuts), len(pcm)]
    for start, end in pairwise(edges):
        box.write(pcm[start:end])
        box.grant(request_bytes)
        sent += b"".join(messages(box))
    box.grant(2 * len(pcm) + 2)
    sent += b"".join(messages(box))

    assert bytes(sent) == pcm[: len(pcm) & ~1]


def test_over_v1_all_that_has_not_left_is_dropped_with_or_without_an_interruption() -> None:
    box = outbox()
    box.write(b"abcde")
    box.mark("mode")

    assert box.drop_unsent() == 4
    assert box.next_mark() == "mode"
    assert box.queued_bytes == 0


def test_the_end_of_an_utterance_drops_half_a_sample() -> None:
    box = outbox()
    box.write(b"abc")
    box.end_utterance()
    box.write(b"de")
    box.grant(960)

    assert b"".join(messages(box)) == b"abde"


def test_a_sealed_outbox_says_so() -> None:
    box = outbox()
    said = [box.is_sealed]
    box.seal()
    said.append(box.is_sealed)
    box.unseal()
    said.append(box.is_sealed)
    box.close()
    said.append(box.is_sealed)

    assert said == [False, True, False, True]
