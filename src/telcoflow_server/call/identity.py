"""What a call is from its beginning: names, numbers, and how long it may take.

Not here: what becomes of it (`call.py`). Implements docs/explanation/calls.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from telcoflow_server.call.ports import DialRequest
from telcoflow_server.media.lead import LeadRange


@dataclass(frozen=True, slots=True)
class CallIdentity:
    """Which call this is. Numbers are "" when withheld, and never part of a log line.

    Args:
        call_id: Unguessable.
        connector_uuid: Whose agents take it.
        caller: Who calls.
        callee: Who is called.
        is_outbound: Whether the connector's agent calls a person, who is the callee then and sits
            in the caller's slot: the one person of the call so far.
    """

    call_id: str
    connector_uuid: str
    caller: str = field(repr=False)
    callee: str = field(repr=False)
    is_outbound: bool = False

    @property
    def dial_request(self) -> DialRequest:
        """How the callee is called."""
        return DialRequest(self.call_id, self.connector_uuid, self.callee, self.caller)


@dataclass(frozen=True, slots=True)
class CallTimes:
    """How long things may take, in ticks.

    Args:
        ring_ticks: From the first ring to the answer.
        call_ticks: The whole call.
        grace_ticks: From the loss of the agent's media link to another one.
        lead: The range of the agent's lead.
    """

    ring_ticks: int
    call_ticks: int
    grace_ticks: int
    lead: LeadRange
