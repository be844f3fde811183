"""The table of states and commands: what is in it, and that nothing else is allowed."""

from __future__ import annotations

import pytest

from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_sdk.protocol.commands import CommandName
from telcoflow_sdk.protocol.states import TRANSITIONS, CallState
from telcoflow_server.call.state import CommandRefused, next_state, parse_command


@pytest.mark.parametrize("command", CommandName)
@pytest.mark.parametrize("state", CallState)
def test_a_command_follows_the_table_or_names_state_and_command(
    state: CallState, command: CommandName
) -> None:
    expected = TRANSITIONS.get((state, command))

    if expected is not None:
        assert next_state(state, command) is expected
        return
    with pytest.raises(CommandRefused) as refusal:
        next_state(state, command)
    assert refusal.value.code is ErrorCode.INVALID_STATE
    assert state in str(refusal.value)
    assert command in str(refusal.value)


def test_nothing_leaves_disconnected() -> None:
    assert not [state for state, _ in TRANSITIONS if state is CallState.DISCONNECTED]


def test_every_wire_name_is_parsed() -> None:
    assert [parse_command(command.value) for command in CommandName] == list(CommandName)


def test_an_unknown_command_is_refused_with_the_known_ones() -> None:
    with pytest.raises(CommandRefused, match=r"call\.answer") as refusal:
        parse_command("call.explode")
    assert refusal.value.code is ErrorCode.INVALID_COMMAND
