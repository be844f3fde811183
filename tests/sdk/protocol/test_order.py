"""Whatever happens, audio and commands leave in the order in which the application asked.

This is what keeps a whisper from the caller: "Changing mode" of docs/reference/sdk.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from telcoflow_sdk.exceptions import WSSCallCommandError
from telcoflow_sdk.protocol.commands import CommandName
from telcoflow_sdk.protocol.in_flight import HOLD_S
from telcoflow_sdk.protocol.states import CallState
from tests.support.engines import RING_TIME_S, MediaDialogue

MODES = (CommandName.WHISPER, CommandName.BARGE, CommandName.SPY)

Item = int | str
"""A sample, by the number that is its value, or a command, by its id."""


class Order(RuleBasedStateMachine):
    """An application that does anything, and a server that grants anything.

    Every sample has a value of its own, so that what is on the wire can be told apart. `asked`
    is what the application has asked for, in order, without what was dropped since.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Item] = []
        self.wire: list[Item] = []
        self.mode_of: dict[int, CommandName] = {}
        self.heard_in: dict[int, CommandName] = {}
        self.asked_mode = self.server_mode = CommandName.BARGE
        self.mode_commands: dict[str, CommandName] = {}
        self.connects: list[str] = []
        self.held_since: dict[str, float] = {}
        self.granted_bytes = 0
        self.sent_bytes = 0
        self.samples = 0
        self.half = b""

    @initialize(connected=st.booleans())
    def call(self, connected: bool) -> None:
        self.dialogue = MediaDialogue(answered=not connected, connected=connected)

    # --- the application -------------------------------------------------------------------

    @rule(size=st.integers(1, 9))
    def send(self, size: int) -> None:
        """Queue `size` bytes: what is left of the last sample, then new ones."""
        data = self.half
        while len(data) < size:
            data += self._next_sample()
        data, self.half = data[:size], data[size:]
        self.dialogue.outbox.write(data)
        # A sample counts from its second byte on; what is left over is less than one.
        for number in range(len(self.mode_of), self.samples - (1 if self.half else 0)):
            self.asked.append(number)
            self.mode_of[number] = self.asked_mode
        self._pump()

    @precondition(lambda self: self.dialogue.engine.state is CallState.CONNECTED)
    @rule(name=st.sampled_from(MODES))
    def change_mode(self, name: CommandName) -> None:
        command_id = self.dialogue.engine.send_command(name, self.dialogue.now)
        self.mode_commands[command_id] = self.asked_mode = name
        self._asked_for(command_id)

    @precondition(lambda self: self.dialogue.engine.state is CallState.ANSWERED)
    @rule()
    def connect(self) -> None:
        try:
            command_id = self.dialogue.engine.send_command(
                CommandName.CONNECT, self.dialogue.now, ring_time_s=RING_TIME_S
            )
        except WSSCallCommandError:
            return  # one is in progress
        self.connects.append(command_id)
        self._asked_for(command_id)

    @rule()
    def clear(self) -> None:
        self.dialogue.outbox.clear()
        self._drop(lambda _: True)
        if len(self.mode_of) < self.samples:  # the first byte of a sample goes, too
            self.half = b""
            self.mode_of[self.samples - 1] = self.asked_mode
        self._pump()

    @rule()
    def withdraw_connect(self) -> None:
        self.dialogue.engine.withdraw_connect()
        for command_id in self.connects:
            if command_id in self.asked and command_id not in self.wire:
                self.asked.remove(command_id)
        self._pump()

    # --- the server ------------------------------------------------------------------------

    @rule(requested_bytes=st.integers(-1, 12))
    def grant(self, requested_bytes: int) -> None:
        self.dialogue.outbox.grant(requested_bytes)
        self.granted_bytes += max(0, requested_bytes)
        self._pump()

    @rule(success=st.booleans())
    def answer_connect(self, success: bool) -> None:
        for command_id in self.connects:
            if command_id in self.wire:
                if success:
                    self.dialogue.succeeds(command_id)
                else:
                    self.dialogue.fails(command_id, "CALL_BUSY")

    @rule(seconds=st.sampled_from([1, 4, HOLD_S]))
    def wait(self, seconds: float) -> None:
        self.dialogue.now += seconds
        for command_id, since in list(self.held_since.items()):
            if command_id in self.wire or command_id not in self.asked:
                continue
            if since + HOLD_S <= self.dialogue.now:
                place = self.asked.index(command_id)
                self._drop(lambda item, place=place: self.asked.index(item) < place)  # type: ignore[misc]
        self.dialogue.engine.expire(self.dialogue.now)
        self._pump()

    # --- what must hold --------------------------------------------------------------------

    @invariant()
    def wire_is_what_was_asked_for_in_that_order(self) -> None:
        assert self.wire == self.asked[: len(self.wire)]

    @invariant()
    def nothing_is_sent_beyond_credit(self) -> None:
        assert self.sent_bytes <= self.granted_bytes

    @invariant()
    def nothing_is_held_back_that_could_leave(self) -> None:
        waiting = self.asked[len(self.wire) :]
        if waiting:
            assert isinstance(waiting[0], int)  # a command with nothing in front of it has left
            assert self.granted_bytes - self.sent_bytes < 2

    @invariant()
    def everything_is_heard_by_those_it_was_meant_for(self) -> None:
        for number, mode in self.heard_in.items():
            assert mode is self.mode_of[number]

    def teardown(self) -> None:
        if not hasattr(self, "dialogue"):
            return
        # Silence of the server's blocks no command for longer than the hold.
        self.wait(HOLD_S)
        assert not any(isinstance(item, str) for item in self.asked[len(self.wire) :])
        self.grant(2 * len(self.asked) + 2)
        assert self.wire == self.asked

    def _next_sample(self) -> bytes:
        self.samples += 1
        return (self.samples - 1).to_bytes(2, "big")

    def _asked_for(self, command_id: str) -> None:
        self.asked.append(command_id)
        self.held_since[command_id] = self.dialogue.now
        self._pump()

    def _drop(self, is_dropped: Callable[[Item], bool]) -> None:
        sent, waiting = self.asked[: len(self.wire)], self.asked[len(self.wire) :]
        kept = [item for item in waiting if isinstance(item, str) or not is_dropped(item)]
        self.asked = sent + kept

    def _pump(self) -> None:
        for sent in self.dialogue.pump():
            if isinstance(sent, dict):
                self._command_left(sent)
                continue
            self.sent_bytes += len(sent)
            for at in range(0, len(sent), 2):
                number = int.from_bytes(sent[at : at + 2], "big")
                self.wire.append(number)
                self.heard_in[number] = self.server_mode
        self.dialogue.events()

    def _command_left(self, command: dict[str, Any]) -> None:
        self.wire.append(command["command_id"])
        self.server_mode = self.mode_commands.get(command["command_id"], self.server_mode)


Order.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestOrder = pytest.mark.slow(Order.TestCase)
