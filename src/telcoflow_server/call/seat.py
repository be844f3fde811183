"""The agent's seat in a call: who may take it, over which link, and what comes from there.

Not here: what its commands do and what its leaving means (`call.py`), the agent itself
(`agent.py`), the first message of a link (`reception.py`). Implements "A link, from its first
message to its last" of docs/reference/wire-v2.md, and docs/reference/wire.md §2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from telcoflow_sdk.audio.format import AudioFormat
from telcoflow_sdk.protocol.messages import CommandData, HelloData
from telcoflow_server.call.agent import AgentEnd
from telcoflow_server.call.identity import CallTimes
from telcoflow_server.call.ports import MediaLink
from telcoflow_server.call.resumption import Superseded
from telcoflow_server.call.state import CommandRefused
from telcoflow_server.legs.agent_state import AgentAudio
from telcoflow_server.media.routing import Audience


class SeatOwner(Protocol):
    """The call that the seat is in."""

    def audience_changed(self, audience: Audience) -> None:
        """The agent comes to be heard by others."""

    def agent_joined(self, agent: AgentEnd) -> None:
        """The agent is on the line."""

    def carry_out(self, agent: AgentEnd, command: CommandData, since_tick_ms: float) -> None:
        """Do what the agent wants, or raise `CommandRefused`."""

    def agent_lost(self, agent: AgentEnd) -> None:
        """The agent is gone for good, without a command."""


class AgentSeat:
    """Where one agent sits, once it came; nobody else ever does.

    Args:
        owner: Told what happens here.
        times: How long the seat is kept for an agent whose link was lost; the range of its lead.

    Attributes:
        agent: Who came; also once it has left. To be read only.
    """

    def __init__(self, owner: SeatOwner, times: CallTimes) -> None:
        self.agent: AgentEnd | None = None
        self._owner = owner
        self._times = times

    @property
    def present(self) -> AgentEnd | None:
        """The agent, unless it has left; its link may be lost for now."""
        return self.agent if self.agent is not None and self.agent.is_present else None

    @property
    def audio(self) -> AgentAudio:
        """Where the agent's audio is now."""
        return self.agent.leg.audio if self.agent else AgentAudio()

    @property
    def was_left(self) -> bool:
        """Whether an agent came and is gone for good."""
        return self.agent is not None and not self.agent.is_present

    @property
    def awaits_first_word(self) -> bool:
        """Whether the agent's first link may have failed before it had the secret of the next."""
        resumption = self.present.resumption if self.present else None
        return resumption is not None and resumption.awaits_first_word

    def is_opened_by(self, secret: str) -> bool:
        """Return whether a media link with this secret may replace the agent's."""
        resumption = self.present.resumption if self.present else None
        return resumption is not None and resumption.is_opened_by(secret)

    def attach(self, link: MediaLink, audio: AudioFormat, *, is_isolated: bool = False) -> None:
        """Put an agent that speaks protocol v1 on the line; nothing flows before the answer.

        Args:
            link: Its media link.
            audio: What it asked for.
            is_isolated: Give it what caller and callee say on channels of their own, too.
        """
        self._seat(audio, is_isolated).link_v1(link)

    def greet(
        self,
        link: MediaLink,
        hello: HelloData,
        audio: AudioFormat,
        new_secret: Callable[[], str],
        *,
        is_isolated: bool = False,
    ) -> None:
        """Put an agent that speaks protocol v2 on the line, or back on it, and say welcome.

        Credit is granted at once: what it sends before the answer is there when it answers.

        Args:
            link: Its media link; the one before is closed.
            hello: What it said first.
            audio: What it asked for.
            new_secret: Makes an unguessable string.
            is_isolated: As in `attach`.

        Raises:
            Superseded: it has been here with a later attempt, or over a link of v1; nothing has
                changed.
        """
        agent = self.agent
        if agent is None:
            agent = self._seat(audio, is_isolated)
        elif agent.resumption is None:
            raise Superseded
        agent.link_v2(link, hello, new_secret, self._times.grace_ticks)

    def _seat(self, audio: AudioFormat, is_isolated: bool) -> AgentEnd:
        assert self.agent is None, "the rim refuses a second media link with 409"
        agent = AgentEnd(
            audio, self._owner.audience_changed, self._times.lead, is_isolated=is_isolated
        )
        self.agent = agent
        self._owner.agent_joined(agent)
        return agent

    def detach(self, link: MediaLink, *, is_final: bool = False) -> None:
        """A media link is gone. The seat is kept for another one, if the protocol has that.

        Args:
            link: Which; one that was replaced means nothing any more.
            is_final: The agent said goodbye, or broke the rules: it does not come back.
        """
        agent = self._linked_by(link)
        if agent is None:
            return
        if agent.resumption is None or is_final:
            self._owner.agent_lost(agent)
        else:
            agent.lose_link()

    def receive_message(self, link: MediaLink, data: bytes | str, since_tick_ms: float) -> None:
        """Act on one JSON message of the agent's.

        Args:
            link: Where it came from; what comes over one that was replaced is ignored.
            data: The message.
            since_tick_ms: How long ago the last tick was, 0 to 20: places what it does inside
                the tick on the call's time axis.

        Raises:
            ProtocolViolation: it was no command; the agent has been told, the caller counts it.
            LinkBroken: the link must be closed.
        """
        agent = self._linked_by(link)
        command = agent.parse(data) if agent is not None else None
        if agent is None or command is None:
            return
        try:
            self._owner.carry_out(agent, command, since_tick_ms)
        except CommandRefused as refusal:
            agent.respond(command.command_id, refusal.code, str(refusal))

    def receive_audio(self, link: MediaLink, message: bytes) -> None:
        """Take one binary message of the agent's.

        Raises:
            ProtocolViolation: it held no audio for this call; the agent has been told.
            LinkBroken: the link must be closed.
        """
        agent = self.agent
        if agent is not None and agent.link is link and agent.is_present:
            agent.receive_audio(message)

    def _linked_by(self, link: MediaLink) -> AgentEnd | None:
        """Return the agent if this is its link."""
        agent = self.present
        return agent if agent is not None and agent.link is link else None
