"""An agent that hangs up: what it said before is played out, then the call ends or goes on.

Not here: what is said (`legs/agent.py`), what the call does then (`call.py`).
Implements `call.close` and `call.disconnect` of docs/explanation/calls.md.
"""

from __future__ import annotations

from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_sdk.protocol.commands import CommandName
from telcoflow_server.call.agent import AgentEnd


class Closing:
    """The hanging up of one agent.

    Attributes:
        reason: How it hangs up; None: it does not.
    """

    def __init__(self) -> None:
        self.reason: EndReason | None = None
        self._command_ids: list[str] = []

    def ask(self, name: CommandName, command_id: str, *, is_connected: bool) -> None:
        """Hang up once everything was played.

        Args:
            name: CLOSE or DISCONNECT.
            command_id: Answered by `confirm`.
            is_connected: Whether there are two people who could go on alone.
        """
        self._command_ids.append(command_id)
        if self.reason is None:
            is_close = name is CommandName.CLOSE
            self.reason = EndReason.AGENT_CLOSED if is_close else EndReason.AGENT_DISCONNECTED
        elif name is CommandName.DISCONNECT and is_connected:
            self.reason = EndReason.AGENT_DISCONNECTED  # it was to leave alone; now all shall

    def confirm(self, agent: AgentEnd) -> None:
        """Answer the commands: it was done."""
        for command_id in self._command_ids:
            agent.respond(command_id)
        self._command_ids.clear()
