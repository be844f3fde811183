"""From where it counts what was heard, and what a clear leaves of it."""

from __future__ import annotations

import pytest

from telcoflow_server.media.heard import Heard


@pytest.fixture
def heard() -> Heard:
    return Heard()


def test_an_utterance_counts_from_its_beginning(heard: Heard) -> None:
    heard.begin()
    heard.samples += 480
    heard.samples += 20

    assert heard.samples == heard.up_to_clear == 500


def test_silence_ends_it_as_long_as_the_client_never_says_so(heard: Heard) -> None:
    heard.begin()
    heard.samples += 480

    heard.begin()

    assert heard.samples == 0


def test_silence_ends_nothing_once_the_client_says_where_utterances_end(heard: Heard) -> None:
    heard.expect_ends()
    heard.begin()
    heard.samples += 480

    heard.begin()
    heard.samples += 20
    assert heard.samples == 500
    heard.finish()
    assert heard.samples == 500, "the last one's, until another begins"
    heard.begin()

    assert heard.samples == 0


def test_a_clear_leaves_what_was_heard_until_something_comes(heard: Heard) -> None:
    heard.begin()
    heard.samples += 480

    heard.clear()
    cleared = (heard.samples, heard.up_to_clear)
    heard.begin()

    assert cleared == (0, 480)
    assert heard.up_to_clear == 0


def test_of_a_second_clear_in_a_row_nothing_was_heard(heard: Heard) -> None:
    heard.begin()
    heard.samples += 480
    heard.clear()

    heard.clear()

    assert heard.up_to_clear == 0
