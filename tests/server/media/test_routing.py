"""Who hears whom in each mode."""

from __future__ import annotations

import numpy as np
import pytest

from telcoflow_server.media.routing import Listener, Mode, Slot, gains


def test_nobody_hears_anybody_while_it_rings() -> None:
    assert not gains(Mode.RINGING).any()


def test_caller_and_agent_hear_each_other_once_answered() -> None:
    matrix = gains(Mode.ANSWERED)

    assert matrix[Listener.CALLER].tolist() == [0, 0, 1]
    assert matrix[Listener.AGENT].tolist() == [1, 0, 0]
    assert not matrix[Listener.CALLEE].any()


def test_recording_has_the_caller_left_and_the_agent_right() -> None:
    matrix = gains(Mode.ANSWERED)

    assert matrix[Listener.RECORD_LEFT].tolist() == [1, 0, 0]
    assert matrix[Listener.RECORD_RIGHT].tolist() == [0, 0, 1]


@pytest.mark.parametrize("mode", Mode)
def test_nobody_hears_themselves(mode: Mode) -> None:
    assert all(gains(mode)[slot, slot] == 0 for slot in Slot)


@pytest.mark.parametrize("mode", Mode)
def test_matrix_has_a_row_per_listener_and_cannot_be_changed(mode: Mode) -> None:
    matrix = gains(mode)

    assert matrix.shape == (len(Listener), len(Slot))
    assert matrix.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        matrix[0, 0] = 1


def test_every_slot_is_a_listener_of_the_same_number() -> None:
    assert all(Listener[slot.name].value == slot.value for slot in Slot)
