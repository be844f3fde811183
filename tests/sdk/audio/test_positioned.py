from __future__ import annotations

import threading

import pytest

from telcoflow_sdk.audio.format import AudioFormat
from telcoflow_sdk.audio.intake import Intake
from telcoflow_sdk.audio.outbox import MAX_AUDIO_BYTES
from telcoflow_sdk.audio.positioned import PositionedOutbox
from telcoflow_sdk.exceptions import BufferClosedError, BufferFullError
from telcoflow_sdk.protocol.messages import Place
from telcoflow_sdk.protocol.positions import (
    AUDIO_HEADER_BYTES,
    END,
    MORE,
    AudioMessage,
    Position,
    parse_audio,
)

FRAME = 480
"""Samples."""

WINDOW = 3 * FRAME
NOW = 100.0


def outbox(capacity_bytes: int = 1 << 20) -> PositionedOutbox:
    return PositionedOutbox(Intake(AudioFormat(24_000), capacity_bytes))


def open_outbox(window: int = WINDOW) -> PositionedOutbox:
    """Return an outbox whose server takes audio."""
    box = outbox()
    box.update(position(window=window), NOW)
    return box


def position(
    played: int = 0,
    received: int | None = None,
    *,
    generation: int = 0,
    window: int = WINDOW,
    heard: int = 0,
    paused: bool = False,
) -> Position:
    received = played if received is None else received
    return Position(generation, received, played, window, heard, 0, paused)


def pcm(samples: int, first: int = 0) -> bytes:
    """Return samples that each have another value."""
    return b"".join((first + n).to_bytes(2, "little") for n in range(samples))


def messages(box: PositionedOutbox, now: float = NOW) -> list[AudioMessage]:
    taken = []
    while (message := box.next_message(now)) is not None:
        taken.append(parse_audio(message))
    return taken


def test_nothing_leaves_before_the_first_position() -> None:
    box = outbox()
    box.write(pcm(FRAME))

    assert messages(box) == []
    assert not box.has_credit
    assert box.queued_bytes == 2 * FRAME


def test_what_leaves_says_where_it_belongs() -> None:
    box = open_outbox()
    box.write(pcm(10))
    first = messages(box)
    box.write(pcm(5, 10))

    assert first == [AudioMessage(0, 0, 0, 0, 0, pcm(10))]
    assert messages(box) == [AudioMessage(0, 0, 0, 0, 10, pcm(5, 10))]


def test_credit_is_a_cursor_that_repeated_positions_do_not_move() -> None:
    box = open_outbox()
    box.write(pcm(10 * FRAME))
    sent = [len(message.pcm) // 2 for message in messages(box)]

    for _ in range(3):
        box.update(position(FRAME, 2 * FRAME), NOW)
        sent += [len(message.pcm) // 2 for message in messages(box)]

    assert sent == [WINDOW, FRAME]
    assert box.sent == FRAME + WINDOW


def test_a_window_that_shrinks_takes_nothing_back_and_holds_the_rest() -> None:
    box = open_outbox()
    box.write(pcm(10 * FRAME))
    messages(box)

    box.update(position(FRAME, WINDOW, window=FRAME), NOW)
    held = messages(box)
    box.update(position(WINDOW, WINDOW, window=FRAME), NOW)

    assert held == []
    assert [len(message.pcm) for message in messages(box)] == [2 * FRAME]


def test_a_message_is_no_larger_than_either_end_takes() -> None:
    box = open_outbox(window=100_000)
    box.write(pcm(40_000))

    sizes = [AUDIO_HEADER_BYTES + len(message.pcm) for message in messages(box)]

    assert sizes[0] == MAX_AUDIO_BYTES
    assert sum(sizes) == 80_000 + 2 * AUDIO_HEADER_BYTES


def test_a_position_of_a_generation_that_was_cleared_tells_the_window_only() -> None:
    box = open_outbox()
    box.write(pcm(FRAME))
    messages(box)
    box.clear()

    box.update(position(FRAME, heard=FRAME, window=FRAME, paused=True), NOW)
    box.write(pcm(10 * FRAME))

    assert box.played == 0
    assert not box.is_paused
    assert box.playback().heard_ms == 0
    assert box.playback().lead_ms == 20
    assert sum(len(message.pcm) for message in messages(box)) == 2 * WINDOW


@pytest.mark.parametrize(("played", "received"), [(0, FRAME + 1), (2, 1)])
def test_a_position_beyond_what_was_sent_is_refused(played: int, received: int) -> None:
    box = open_outbox()
    box.write(pcm(FRAME))
    messages(box)

    with pytest.raises(ValueError, match="480 that were sent"):
        box.update(position(played, received, window=1), NOW)

    assert box.played == 0
    assert box.playback().lead_ms == 60


def test_new_audio_after_a_clear_leaves_at_once_within_the_last_window() -> None:
    box = open_outbox()
    box.write(pcm(WINDOW + 100))
    messages(box)

    dropped_bytes = box.clear()
    box.write(pcm(10 * FRAME))
    after = messages(box)

    assert dropped_bytes == 200
    assert box.cleared_sent == WINDOW
    assert [(m.generation, m.offset, len(m.pcm)) for m in after] == [(1, 0, 2 * WINDOW)]
    assert box.place == Place(1, 10 * FRAME)


@pytest.mark.parametrize(
    ("played", "begins"), [(10, {10}), (11, set())], ids=["up to the end", "beyond it"]
)
def test_a_clear_tells_of_utterances_that_may_not_have_begun(played: int, begins: set[int]) -> None:
    box = open_outbox()
    box.write(pcm(10))
    box.end_utterance()
    box.write(pcm(10))
    messages(box)
    box.update(position(played, 20), NOW)

    box.clear()

    assert box.cleared_begins == begins


def test_clear_drops_half_a_sample_and_does_not_count_it() -> None:
    box = open_outbox()
    box.write(pcm(1) + b"x")

    assert box.clear() == 2
    box.write(b"yz")
    assert [message.pcm for message in messages(box)] == [b"yz"]


def test_what_was_not_sent_is_dropped_within_the_generation() -> None:
    box = open_outbox()
    box.write(pcm(WINDOW + 100))
    messages(box)
    box.end_utterance()

    dropped_bytes = box.drop_unsent()

    assert dropped_bytes == 200
    assert (box.generation, box.written, box.sent) == (0, WINDOW, WINDOW)
    assert box.is_drained


def test_half_a_sample_waits_for_the_other() -> None:
    box = open_outbox()
    box.write(b"abc")
    first = messages(box)
    box.write(b"d")

    assert [message.pcm for message in first + messages(box)] == [b"ab", b"cd"]


def test_half_a_sample_at_the_end_of_an_utterance_is_dropped() -> None:
    box = open_outbox()
    box.write(b"abc")
    box.end_utterance()
    box.write(b"de")

    taken = messages(box)

    assert [(message.flags, message.pcm) for message in taken] == [(END | MORE, b"ab"), (0, b"de")]


def test_more_says_that_a_sample_is_queued_behind() -> None:
    box = open_outbox(window=10)
    box.write(pcm(15) + b"x")
    flags = [message.flags for message in messages(box)]
    box.update(position(10, window=10), NOW)

    flags += [message.flags for message in messages(box)]

    assert flags == [MORE, 0]  # half a sample is no more


def test_an_end_behind_audio_that_has_left_needs_no_credit() -> None:
    box = open_outbox(window=10)
    box.write(pcm(10))
    messages(box)

    box.end_utterance()
    assert not box.is_drained

    assert messages(box) == [AudioMessage(0, END, 0, 0, 10, b"")]
    assert box.is_drained


def test_an_end_beyond_the_credit_waits_for_the_audio_in_front_of_it() -> None:
    box = open_outbox(window=10)
    box.write(pcm(15))
    box.end_utterance()
    within = messages(box)
    box.update(position(10, window=10), NOW)

    assert within == [AudioMessage(0, MORE, 0, 0, 0, pcm(10))]
    assert messages(box) == [AudioMessage(0, END, 0, 0, 10, pcm(5, 10))]


def test_an_utterance_ends_once() -> None:
    box = open_outbox()
    box.write(pcm(10))
    box.end_utterance()
    box.end_utterance()
    ended = messages(box)
    box.end_utterance()

    assert [message.flags for message in ended] == [END]
    assert messages(box) == []


def test_an_end_before_anything_was_said_declares_that_ends_will_be_told() -> None:
    """Else a pause in the first utterance of a call would be taken for its end."""
    box = open_outbox()

    box.end_utterance()
    box.end_utterance()

    assert messages(box) == [AudioMessage(0, END, 0, 0, 0, b"")]


def test_every_utterance_ends_in_its_place() -> None:
    box = open_outbox()
    for size in (10, 20, 30):
        box.write(pcm(size))
        box.end_utterance()

    taken = messages(box)

    assert [(m.offset, len(m.pcm) // 2, m.flags & END) for m in taken] == [
        (0, 10, END),
        (10, 20, END),
        (30, 30, END),
    ]


def test_delay_is_counted_from_when_there_was_credit_again() -> None:
    box = open_outbox(window=10)
    box.write(pcm(10))
    messages(box, NOW + 0.03)
    box.update(position(5, 10, window=10), NOW + 1)
    box.update(position(6, 10, window=10), NOW + 2)

    box.write(pcm(1))
    (late,) = messages(box, NOW + 2.5)
    box.write(pcm(1))

    assert late.delay_ms == 1500
    assert messages(box, NOW + 100)[0].delay_ms == 65_535


def test_a_relink_sends_again_what_is_missing_and_nothing_else() -> None:
    box = open_outbox(window=30)
    for first in (0, 10, 20):
        box.write(pcm(10, first))
        messages(box)
    box.update(position(5, 10, window=30), NOW)

    box.relink(0, 15, NOW)

    # The server has half of the second message, and cuts that off.
    assert messages(box) == [
        AudioMessage(0, 0, 0, 0, 10, pcm(10, 10)),
        AudioMessage(0, 0, 0, 0, 20, pcm(10, 20)),
    ]
    assert box.sent == 30
    assert box.sent_bytes == 60


def test_a_relink_leaves_out_what_arrived_and_was_not_acknowledged() -> None:
    box = open_outbox()
    for first in (0, 10):
        box.write(pcm(10, first))
        messages(box)

    box.relink(0, 10, NOW)

    assert [message.offset for message in messages(box)] == [10]


def test_what_an_outage_held_up_was_not_held_up_by_this_process() -> None:
    """The server took the gap for the client's fault: its delay was as long as the outage."""
    box = open_outbox(window=20)
    box.write(pcm(10))
    messages(box)
    box.write(pcm(5, 10))  # while there is no link

    box.relink(0, 10, NOW + 2)

    assert [message.delay_ms for message in messages(box, NOW + 2.001)] == [1]


def test_a_relink_that_is_lost_again_begins_anew() -> None:
    box = open_outbox()
    for first in (0, 10):
        box.write(pcm(10, first))
        messages(box)
    box.relink(0, 0, NOW)
    box.next_message(NOW)
    assert not box.is_drained

    box.relink(0, 0, NOW)

    assert [message.offset for message in messages(box)] == [0, 10]
    assert box.is_drained


def test_a_relink_tells_an_end_also_when_another_utterance_has_begun_behind_it() -> None:
    """Only the last end was told again: two utterances became one."""
    box = open_outbox()
    for samples in (10, 5):
        box.write(pcm(samples))
        messages(box)
        box.end_utterance()
        messages(box)

    box.relink(0, 10, NOW)

    again = messages(box)
    assert [(one.offset, len(one.pcm) // 2, one.flags & END) for one in again] == [
        (10, 0, END),
        (10, 5, 0),
        (15, 0, END),
    ]


def test_a_relink_tells_the_end_that_may_not_have_arrived() -> None:
    box = open_outbox(window=10)
    box.write(pcm(10))
    messages(box)
    box.end_utterance()
    messages(box)
    box.update(position(10, window=10), NOW)

    box.relink(0, 10, NOW)

    assert messages(box) == [AudioMessage(0, END, 0, 0, 10, b"")]


def test_a_relink_sends_an_end_again_with_the_audio_that_it_ends() -> None:
    box = open_outbox()
    box.write(pcm(10))
    box.end_utterance()
    messages(box)

    box.relink(0, 0, NOW)

    assert messages(box) == [AudioMessage(0, END, 0, 0, 0, pcm(10))]


def test_a_relink_to_a_server_that_missed_a_clear_begins_the_generation_again() -> None:
    box = open_outbox()
    box.write(pcm(10))
    messages(box)
    box.clear()
    box.write(pcm(20))
    messages(box)

    box.relink(0, 10, NOW)

    assert [(m.generation, m.offset, m.pcm) for m in messages(box)] == [(1, 0, pcm(20))]


@pytest.mark.parametrize(
    ("generation", "received"),
    [(1, 0), (0, 21), (0, 9)],
    ids=["generation not begun", "more than was sent", "less than was acknowledged"],
)
def test_a_relink_to_a_server_that_knows_what_cannot_be_is_refused(
    generation: int, received: int
) -> None:
    box = open_outbox(window=20)
    for first in (0, 10):
        box.write(pcm(10, first))
        messages(box)
    box.update(position(10, window=20), NOW)

    with pytest.raises(ValueError, match="of generation"):
        box.relink(generation, received, NOW)

    assert messages(box) == []


def test_what_was_played_in_flight_and_queued_is_told_in_ms() -> None:
    box = open_outbox()
    box.write(pcm(5 * FRAME))
    messages(box)
    box.update(position(FRAME, 2 * FRAME, heard=FRAME, paused=True), NOW)

    playback = box.playback()

    assert (playback.queued_ms, playback.in_flight_ms, playback.heard_ms) == (40, 40, 20)
    assert (playback.is_paused, playback.lead_ms) == (True, 60)
    assert box.unplayed_ms == 80


def test_a_request_is_filled_by_a_frame_or_by_all_the_credit_there_is() -> None:
    box = open_outbox(window=FRAME + 10)
    box.write(pcm(FRAME - 1))
    part = box.fills_request
    box.write(pcm(1))
    whole = box.fills_request
    messages(box)
    box.write(pcm(10))

    assert (part, whole, box.fills_request) == (False, True, True)


def test_what_is_written_into_a_sealed_outbox_is_discarded_until_it_is_unsealed() -> None:
    box = open_outbox()
    box.seal()
    box.write(pcm(10))
    sealed = box.is_sealed
    box.unseal()
    box.write(pcm(5))

    assert sealed
    assert not box.is_sealed
    assert [message.pcm for message in messages(box)] == [pcm(5)]
    assert box.statistics().discarded_bytes == 20


def test_what_is_closed_takes_and_sends_nothing() -> None:
    box = open_outbox()
    box.write(pcm(10))
    box.end_utterance()
    box.close()

    with pytest.raises(BufferClosedError):
        box.write(pcm(1))
    assert messages(box) == []
    assert not box.has_credit
    assert box.is_drained


def test_statistics_count_what_went_through() -> None:
    box = PositionedOutbox(Intake(AudioFormat(24_000), 4 * FRAME))
    box.update(position(window=FRAME), NOW)
    box.write(pcm(2 * FRAME))
    with pytest.raises(BufferFullError):
        box.write(pcm(1))
    messages(box)

    counted = box.statistics()
    box.clear()

    assert (counted.queued_bytes, counted.credit_bytes) == (2 * FRAME, 0)
    assert (counted.sent_bytes, counted.high_water_bytes) == (2 * FRAME, 4 * FRAME)
    assert (counted.rejected_writes, counted.overdue_bytes) == (1, 0)
    assert box.statistics().cleared_bytes == 2 * FRAME


def test_threads_may_write_while_audio_leaves_and_is_cleared() -> None:
    box = open_outbox(window=1 << 30)
    writers = 4

    def write() -> None:
        for _ in range(500):
            box.write(pcm(7))

    threads = [threading.Thread(target=write) for _ in range(writers)]
    sent = dropped = turns = 0
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) or not box.is_drained:
        turns += 1
        taken = messages(box)
        assert all(message.generation == box.generation for message in taken)
        sent += sum(len(message.pcm) for message in taken)
        if turns % 10 == 0:
            dropped += box.clear()
    for thread in threads:
        thread.join()

    assert sent + dropped == writers * 500 * 14
    assert box.sent_bytes == sent
