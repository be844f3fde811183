"""What an agent wants done at a place in its audio that is no audio: digits sent, a transfer.

Not here: the places (`media/places.py`), the phones (`people.py`).
Implements `call.send_dtmf` and `call.transfer` of docs/reference/wire-v2.md.
"""

from __future__ import annotations

from telcoflow_sdk.audio.format import TICK_MS
from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_sdk.protocol.commands import TRANSFER_TIMEOUT_S, CommandName
from telcoflow_server.call.agent import AgentEnd
from telcoflow_server.call.people import People
from telcoflow_server.call.ports import PhoneOnLine
from telcoflow_server.media.places import Errand

_PATIENCE_TICKS = TRANSFER_TIMEOUT_S * 1000 // TICK_MS


class Errands:
    """The errands of one call: each is run when its place was played, or an interruption passed it.

    A transfer that an interruption passes is made all the same: it was to happen then, and nothing
    is left to be said before it. Digits are dropped with the audio they belong to.

    Attributes:
        transfer: What is in progress, or None; to be read only.
    """

    def __init__(self) -> None:
        self.transfer: Errand | None = None
        self._give_up_tick = 0

    def run(self, agent: AgentEnd, people: People, tick: int) -> None:
        """Do what has come to its place; answer a transfer that did not succeed."""
        for errand, is_cleared in agent.take_errands():
            if errand.command == CommandName.SEND_DTMF:
                if not is_cleared:
                    self._press(agent, people, errand)
            elif self.transfer is not None:
                agent.respond(
                    errand.command_id, ErrorCode.INVALID_STATE, "another transfer is in progress"
                )
            else:
                assert people.caller is not None, "an answered call has somebody on the line"
                self.transfer = errand
                self._give_up_tick = tick + _PATIENCE_TICKS
                people.caller.transfer(errand.text)
        if self.transfer is not None and people.caller is not None:
            if people.caller.transferred is False:
                self._fail(agent, "the phone did not reach whom it was sent to")
            elif tick >= self._give_up_tick:
                self._fail(agent, f"the phone has told nothing for {TRANSFER_TIMEOUT_S} s")

    def is_transferred(self, caller: PhoneOnLine | None) -> bool:
        """Return whether the caller has gone to somebody else."""
        return self.transfer is not None and caller is not None and caller.transferred is True

    def settle(self, agent: AgentEnd | None) -> None:
        """Answer the transfer that succeeded, if the agent is still there."""
        if self.transfer is not None and agent is not None:
            agent.respond(self.transfer.command_id)
        self.transfer = None

    def _fail(self, agent: AgentEnd, message: str) -> None:
        assert self.transfer is not None, "checked by who calls"
        agent.respond(self.transfer.command_id, ErrorCode.TRANSFER_FAILED, message)
        self.transfer = None

    def _press(self, agent: AgentEnd, people: People, errand: Errand) -> None:
        problem = people.press(errand.text)
        if problem is not None:
            agent.tell_error(ErrorCode.DTMF_REFUSED, problem)
