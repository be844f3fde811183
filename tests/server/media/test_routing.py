"""Who hears whom, cell by cell: every stage, every audience."""

from __future__ import annotations

import numpy as np
import pytest

from telcoflow_server.media.routing import Audience, Listener, Slot, Stage, gains

PEOPLE = (Listener.CALLER, Listener.CALLEE, Listener.AGENT)


def heard_by(listener: Listener, stage: Stage, audience: Audience) -> set[Slot]:
    return {slot for slot in Slot if gains(stage, audience)[listener, slot]}


def test_nobody_hears_anybody_while_it_rings() -> None:
    assert not any(gains(Stage.RINGING, audience).any() for audience in Audience)


def test_caller_and_agent_hear_each_other_once_answered() -> None:
    matrix = gains(Stage.ANSWERED, Audience.CALLER)

    assert matrix[Listener.CALLER].tolist() == [0, 0, 1]
    assert matrix[Listener.AGENT].tolist() == [1, 0, 0]
    assert not matrix[Listener.CALLEE].any()


@pytest.mark.parametrize(
    ("audience", "caller_hears", "callee_hears"),
    [
        (Audience.BOTH, {Slot.CALLEE, Slot.AGENT}, {Slot.CALLER, Slot.AGENT}),
        (Audience.CALLEE, {Slot.CALLEE}, {Slot.CALLER, Slot.AGENT}),
        (Audience.NOBODY, {Slot.CALLEE}, {Slot.CALLER}),
        # What the agent said before the callee came is the caller's alone.
        (Audience.CALLER, {Slot.CALLEE, Slot.AGENT}, {Slot.CALLER}),
    ],
)
def test_the_people_always_hear_each_other_and_the_agent_as_the_mode_says(
    audience: Audience, caller_hears: set[Slot], callee_hears: set[Slot]
) -> None:
    assert heard_by(Listener.CALLER, Stage.CONNECTED, audience) == caller_hears
    assert heard_by(Listener.CALLEE, Stage.CONNECTED, audience) == callee_hears
    assert heard_by(Listener.AGENT, Stage.CONNECTED, audience) == {Slot.CALLER, Slot.CALLEE}


def test_the_agent_does_not_hear_the_ringback() -> None:
    stage = Stage.ANSWERED_RINGING_CALLEE

    assert heard_by(Listener.AGENT, stage, Audience.CALLER) == {Slot.CALLER}
    assert heard_by(Listener.CALLER, stage, Audience.CALLER) == {Slot.CALLEE, Slot.AGENT}


def test_a_caller_who_was_not_answered_hears_the_ringback_alone() -> None:
    assert heard_by(Listener.CALLER, Stage.RINGING_CALLEE, Audience.CALLER) == {Slot.CALLEE}
    assert heard_by(Listener.AGENT, Stage.RINGING_CALLEE, Audience.CALLER) == set()


@pytest.mark.parametrize("audience", Audience)
@pytest.mark.parametrize("stage", Stage)
def test_the_recording_has_the_caller_left_and_everybody_else_right(
    stage: Stage, audience: Audience
) -> None:
    assert heard_by(Listener.RECORD_LEFT, stage, audience) <= {Slot.CALLER}
    heard_by_somebody = {
        slot for person in PEOPLE[:2] for slot in heard_by(person, stage, audience)
    }
    assert heard_by(Listener.RECORD_RIGHT, stage, audience) == heard_by_somebody - {Slot.CALLER}


@pytest.mark.parametrize("audience", Audience)
@pytest.mark.parametrize("stage", Stage)
def test_nobody_hears_themselves(stage: Stage, audience: Audience) -> None:
    assert all(gains(stage, audience)[slot, slot] == 0 for slot in Slot)


@pytest.mark.parametrize("stage", Stage)
def test_matrix_has_a_row_per_listener_and_cannot_be_changed(stage: Stage) -> None:
    matrix = gains(stage, Audience.BOTH)

    assert matrix.shape == (len(Listener), len(Slot))
    assert matrix.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        matrix[0, 0] = 1


def test_every_slot_is_a_listener_of_the_same_number() -> None:
    assert all(Listener[slot.name].value == slot.value for slot in Slot)
