"""One call: what commands, hang-ups and time do to it, from the first ring to the report.

Not here: announcing it (`session.py`), all calls together (`exchange.py`), the agent's messages
(`agent.py`), ringing somebody (`dialling.py`), audio (`media/`). Implements
docs/explanation/calls.md. The call is driven from outside: messages of the agent's come in as
bytes, time as ticks, and everything it does goes to its ports.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from telcoflow_sdk.audio.format import TICK_MS, AudioFormat
from telcoflow_sdk.protocol.codes import CloseCode, EndReason, ErrorCode
from telcoflow_sdk.protocol.commands import CommandName
from telcoflow_sdk.protocol.messages import CommandData, HelloData
from telcoflow_sdk.protocol.states import CallState
from telcoflow_server.call.agent import MODES, AgentEnd
from telcoflow_server.call.dialling import (
    FAILURE_TEXTS,
    OUTBOUND_END_REASONS,
    Dialling,
    Ringing,
    ring_ticks_of,
)
from telcoflow_server.call.identity import CallIdentity, CallTimes
from telcoflow_server.call.ports import (
    Dialer,
    Dialled,
    DialRequest,
    MediaLink,
    PhoneOnLine,
)
from telcoflow_server.call.report import (
    NO_AGENT,
    CallReport,
    ClearReport,
    ModeEntered,
    Percentiles,
    StateEntered,
    agent_numbers,
)
from telcoflow_server.call.state import CommandRefused, next_state, parse_command
from telcoflow_server.media.plane import Row
from telcoflow_server.media.routing import Audience, Slot, Stage

logger = logging.getLogger(__name__)

LISTED = 1000
"""How many clears and mode changes a report lists; a call has tens of them."""

_MODE_NAMES = {
    Audience.BOTH: "barge",
    Audience.CALLEE: "whisper",
    Audience.NOBODY: "spy",
}


class CallOwner(Protocol):
    """Whoever keeps the call, and is told what becomes of it."""

    def agent_left(self, call: Call) -> None:
        """The agent has gone; the two people go on."""

    def ended(self, call: Call) -> None:
        """The call is over; everybody in it was told."""


class Call:
    """A call between a person, an agent, and perhaps a second person.

    Args:
        identity: Names and numbers.
        row: The call's row in the media plane; the call closes it.
        times: How long it may ring and last.
        dialer: The way to people who are called.
        owner: Told of the agent's leaving and of the end.

    Concurrency: one thread; no method waits.
    """

    def __init__(
        self, identity: CallIdentity, row: Row, times: CallTimes, dialer: Dialer, owner: CallOwner
    ) -> None:
        self.identity = identity
        self.state = CallState.PENDING
        self.was_claimed = False
        """Set by whoever announced the call: tells *nobody there* from *nobody answered*."""
        self.end_reason: EndReason | None = None
        self._row = row
        self._times = times
        self._dialer = dialer
        self._owner = owner
        self._caller: PhoneOnLine | None = None
        self._callee: PhoneOnLine | None = None
        self._agent: AgentEnd | None = None
        self._is_isolated = False
        self._ring_until_tick = times.ring_ticks
        self._ended_tick: int | None = None
        self._closing: EndReason | None = None
        self._closing_commands: list[str] = []
        self._ringing: Ringing | None = None
        self._states = [StateEntered(CallState.PENDING, 0)]
        self._modes: list[ModeEntered] = []
        self._clears: list[ClearReport] = []

    @property
    def tick(self) -> int:
        """The tick that comes next on the call's time axis, or would have when it ended."""
        return self._row.tick if self._ended_tick is None else self._ended_tick

    @property
    def is_over(self) -> bool:
        """Whether the call has ended."""
        return self.state is CallState.DISCONNECTED

    @property
    def had_agent(self) -> bool:
        """Whether a media link ever came; a second one needs the secret of the first."""
        return self._agent is not None

    @property
    def awaits_first_word(self) -> bool:
        """Whether the agent's first link may have failed before it had the secret of the next."""
        resumption = self._agent.resumption if self._agent else None
        return resumption is not None and resumption.awaits_first_word

    def is_opened_by(self, secret: str) -> bool:
        """Return whether a media link with this secret may replace the agent's."""
        if self._agent is None or self._agent.resumption is None or not self._agent.is_present:
            return False
        return self._agent.resumption.is_opened_by(secret)

    @property
    def queued_ms(self) -> float:
        """Agent audio that waits here to be played, in milliseconds."""
        return self._agent.leg.queued_ms if self._agent else 0.0

    @property
    def mode(self) -> str | None:
        """Who hears the agent: barge, whisper or spy; None while there is no callee or agent."""
        is_there = self._agent is not None and self._agent.is_present
        return _MODE_NAMES.get(self._row.audience) if is_there else None

    def said(self, slot: Slot) -> NDArray[np.int16]:
        """Return what was said in the last tick in a slot of the running call, 24 kHz."""
        return self._row.said(slot)

    # --- people ----------------------------------------------------------------------------

    def begin(self, caller: PhoneOnLine, sample_rate_hz: int) -> None:
        """An inbound call: this phone calls."""
        self._caller = caller
        self._row.attach(Slot.CALLER, caller, caller, sample_rate_hz)

    # --- the agent -------------------------------------------------------------------------

    def attach(self, link: MediaLink, audio: AudioFormat, *, is_isolated: bool = False) -> None:
        """Put an agent that speaks protocol v1 on the line; nothing flows before the answer.

        Args:
            link: Its media link.
            audio: What it asked for.
            is_isolated: Give it what caller and callee say on channels of their own, too.
        """
        self._new_agent(audio, is_isolated).link_v1(link)

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
            Superseded: it has been here with a later attempt; nothing has changed.
        """
        agent = self._agent or self._new_agent(audio, is_isolated)
        agent.link_v2(link, hello, new_secret, self._times.grace_ticks)

    def _new_agent(self, audio: AudioFormat, is_isolated: bool) -> AgentEnd:
        assert self._agent is None, "the rim refuses a second media link with 409"
        agent = AgentEnd(audio, self._audience_changed, self._times.lead)
        self._agent = agent
        self._is_isolated = is_isolated
        if self.identity.is_outbound:
            self._ringing = self._new_ringing(agent, self._times.ring_ticks)
            self._ringing.start(None)
        return agent

    def detach(self, link: MediaLink, *, is_final: bool = False) -> None:
        """A media link is gone. The call waits for another one, if the agent's protocol has that.

        Args:
            link: Which; one that was replaced means nothing any more.
            is_final: The agent said goodbye, or broke the rules: it does not come back.
        """
        agent = self._agent
        if agent is None or not agent.is_present or not agent.is_linked_by(link):
            return
        if agent.resumption is None or is_final:
            self._lose(agent)
        else:
            agent.lose_link()

    def _lose(self, agent: AgentEnd) -> None:
        """The agent is gone for good."""
        agent.is_present = False
        if self.state is CallState.CONNECTED and self._closing is not EndReason.AGENT_DISCONNECTED:
            self._agent_gone()
        else:
            self.end(self._closing or EndReason.AGENT_LOST)

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
        agent = self._agent
        if agent is None or not agent.is_present or not agent.is_linked_by(link):
            return
        command = agent.parse(data)
        if command is None:
            return
        try:
            self._carry_out(agent, command, since_tick_ms)
        except CommandRefused as refusal:
            agent.respond(command.command_id, refusal.code, str(refusal))

    def receive_audio(self, link: MediaLink, message: bytes) -> None:
        """Take one binary message of the agent's.

        Raises:
            ProtocolViolation: it held no audio for this call; the agent has been told.
            LinkBroken: the link must be closed.
        """
        agent = self._agent
        if agent is not None and agent.is_present and agent.is_linked_by(link):
            agent.receive_audio(message)

    def _carry_out(self, agent: AgentEnd, command: CommandData, since_tick_ms: float) -> None:
        name = parse_command(command.command)
        agent.check_known(name)
        if name is CommandName.ANSWER and self.identity.is_outbound:
            self._await_answer(agent, command)
            return
        next_state(self.state, name)
        if self._ringing is not None and name in (CommandName.ANSWER, CommandName.CONNECT):
            raise CommandRefused(ErrorCode.INVALID_STATE, "call.connect is in progress")
        if name is CommandName.CONNECT and self.identity.is_outbound:
            raise CommandRefused(
                ErrorCode.INVALID_STATE,
                "call.connect rings the number that was called, and that person is on the line",
            )
        if name is CommandName.ANSWER:
            self._answer(agent)
            agent.respond(command.command_id)
        elif name is CommandName.CONNECT:
            self._connect(agent, command)
        elif name is CommandName.INTERRUPT:
            agent.respond(command.command_id, result=self._clear(agent, command, since_tick_ms))
        elif name in MODES:
            agent.set_mode(name, command)
        elif name is CommandName.MARK:
            agent.set_mark(command)
        elif name is CommandName.PAUSE:
            agent.leg.pause()
            agent.respond(command.command_id)
        elif name is CommandName.RESUME:
            agent.leg.resume()
            agent.respond(command.command_id)
        else:
            self._close(agent, name, command)

    def _answer(self, agent: AgentEnd) -> None:
        self._enter(CallState.ANSWERED)
        self._row.set_stage(Stage.ANSWERED)
        self._join_agent(agent)
        assert self._caller is not None, "somebody calls, or was reached"
        self._caller.answered(self._row.tick)

    def _join_agent(self, agent: AgentEnd) -> None:
        rate_hz = agent.audio.sample_rate_hz
        self._row.attach(Slot.AGENT, agent.leg, agent.leg, rate_hz)
        if self._is_isolated:
            self._row.tap(Slot.CALLER, agent.leg.ear(1), rate_hz)
            self._row.tap(Slot.CALLEE, agent.leg.ear(2), rate_hz)

    def _clear(
        self, agent: AgentEnd, command: CommandData, since_tick_ms: float
    ) -> dict[str, float]:
        played = agent.leg.played
        dropped_bytes = agent.leg.clear(agent.place_of(command))
        if dropped_bytes is None:
            raise agent.misplaced(command)
        self._row.cut(Slot.AGENT)
        dropped_ms = agent.audio.bytes_to_ms(dropped_bytes)
        heard_ms = agent.leg.heard_ms
        if len(self._clears) < LISTED and self.state is not CallState.PENDING:
            # The frame of the last tick is sounding at the phone right now.
            at_ms = max(0.0, (self.tick - 1) * TICK_MS + since_tick_ms)
            self._clears.append(ClearReport(round(at_ms, 1), dropped_ms, heard_ms))
        return {
            "played": played,
            "dropped_bytes": dropped_bytes,
            "dropped_ms": dropped_ms,
            "heard_ms": heard_ms,
        }

    def _close(self, agent: AgentEnd, name: CommandName, command: CommandData) -> None:
        """Play out what the agent said before it hung up, then end, or go on without it."""
        is_ringing = self.state is CallState.PENDING
        if (
            not is_ringing
            and self._closing is None
            and not agent.leg.drain(agent.place_of(command))
        ):
            raise agent.misplaced(command)
        self._closing_commands.append(command.command_id)
        self._stop_ringing(ErrorCode.CALL_ENDED, "the agent hangs up")
        if is_ringing:
            self.end(EndReason.AGENT_REJECTED)
        elif self._closing is None:
            is_close = name is CommandName.CLOSE
            self._closing = EndReason.AGENT_CLOSED if is_close else EndReason.AGENT_DISCONNECTED
        elif name is CommandName.DISCONNECT and self.state is CallState.CONNECTED:
            self._closing = EndReason.AGENT_DISCONNECTED  # it was to leave alone; now all shall

    def _audience_changed(self, audience: Audience) -> None:
        self._row.set_audience(audience)
        if audience in _MODE_NAMES and len(self._modes) < LISTED:
            self._modes.append(ModeEntered(_MODE_NAMES[audience], self._row.tick * TICK_MS))

    # --- somebody is called ----------------------------------------------------------------

    def _connect(self, agent: AgentEnd, command: CommandData) -> None:
        ring_ticks = ring_ticks_of(command)
        is_pending = self.state is CallState.PENDING
        # A place in its audio: there the ringing begins. Nobody hears a call that rings.
        if not is_pending and not agent.leg.switch(Audience.CALLER, agent.place_of(command)):
            raise agent.misplaced(command)
        self._ringing = self._new_ringing(agent, ring_ticks, command.command_id)
        if is_pending:
            self._ringing.start(Stage.RINGING_CALLEE)

    def _new_ringing(
        self, agent: AgentEnd, ring_ticks: int, command_id: str | None = None
    ) -> Ringing:
        identity = self.identity
        request = DialRequest(
            identity.call_id, identity.connector_uuid, identity.callee, identity.caller
        )
        return Ringing(Dialling(self._dialer, request, ring_ticks), self._row, agent, command_id)

    def _await_answer(self, agent: AgentEnd, command: CommandData) -> None:
        """`call.answer` of an outbound call: it is the person called who answers."""
        if self.state is not CallState.PENDING or self._ringing is None:
            agent.respond(command.command_id)
        elif self._ringing.command_id is not None:
            raise CommandRefused(ErrorCode.INVALID_STATE, "call.answer is waiting already")
        else:
            # Some clients wait for less time than it may ring; they can ask again.
            self._ringing.wait(command.command_id, command.timeout_ms // TICK_MS)

    def _advance_ringing(self, agent: AgentEnd, ringing: Ringing) -> None:
        if not ringing.has_started:
            # `connect` from an answered call: what the agent said before is heard first.
            if agent.leg.has_switched:
                ringing.start(Stage.ANSWERED_RINGING_CALLEE)
            return
        ringing.advance()
        failure, dialled = ringing.dialling.failure, ringing.dialling.answered_by
        if failure is not None:
            self._unreached(failure)
        elif dialled is not None:
            self._ringing = None
            self._reached(agent, dialled)
            ringing.settle()
        else:
            ringing.expire()

    def _reached(self, agent: AgentEnd, dialled: Dialled) -> None:
        callee, rate_hz = dialled.callee, dialled.sample_rate_hz
        if self._caller is None:
            self.begin(callee, rate_hz)
            self._answer(agent)
            return
        self._row.detach(Slot.CALLEE)
        self._row.attach(Slot.CALLEE, callee, callee, rate_hz)
        self._callee = callee
        was_pending = self.state is CallState.PENDING
        self._enter(CallState.CONNECTED)
        self._row.set_stage(Stage.CONNECTED)
        callee.answered(self._row.tick)
        if was_pending:
            self._join_agent(agent)
            self._caller.answered(self._row.tick)
        agent.leg.switch_at_end(Audience.BOTH)

    def _unreached(self, code: ErrorCode) -> None:
        self._stop_ringing(code, FAILURE_TEXTS[code])
        if self._caller is None:
            self.end(OUTBOUND_END_REASONS[code])
        # A caller who was kept waiting for the callee gets the whole ring time again.
        self._ring_until_tick = self._row.tick + self._times.ring_ticks

    def _stop_ringing(self, code: ErrorCode, message: str) -> None:
        """Give up ringing, whoever wanted it; the call is as it was before."""
        if self._ringing is not None:
            ringing, self._ringing = self._ringing, None
            is_answered = self.state is CallState.ANSWERED
            ringing.stop(Stage.ANSWERED if is_answered else Stage.RINGING)
            ringing.settle(code, message)

    # --- time ------------------------------------------------------------------------------

    def advance(self) -> None:
        """Act on what this tick brought; called once after every tick of the media plane."""
        if self.is_over:
            return
        if self._caller is not None and self._caller.has_hung_up:
            self.end(EndReason.CALLER_HUNG_UP)
        elif self._callee is not None and self._callee.has_hung_up:
            self.end(EndReason.CALLEE_HUNG_UP)
        elif self._row.tick >= self._times.call_ticks:
            self.end(EndReason.MAX_DURATION)
        elif self._is_rung_out:
            self.end(EndReason.NO_ANSWER if self.was_claimed else EndReason.NO_AGENT)
        elif self._agent is not None and self._agent.is_present:
            self._advance_agent(self._agent)

    @property
    def _is_rung_out(self) -> bool:
        is_waiting = self.state is CallState.PENDING and self._ringing is None
        return is_waiting and self._row.tick >= self._ring_until_tick

    def _advance_agent(self, agent: AgentEnd) -> None:
        if self._ringing is not None:
            self._advance_ringing(agent, self._ringing)
        if self.is_over:
            return
        agent.advance()
        if agent.is_lost or (agent.resumption is not None and agent.resumption.is_over):
            agent.close_link(CloseCode.BAD_MESSAGES, "nothing is acknowledged")
            self._lose(agent)
        elif self._closing is not None and agent.leg.is_drained:
            self._hang_up(agent, self._closing)
        elif agent.leg.is_stalled:
            self._stalled(agent)
        elif self.state is not CallState.PENDING or agent.resumption is not None:
            agent.flush_credit()

    def _stalled(self, agent: AgentEnd) -> None:
        why = "audio was not read for 5 seconds"
        if agent.resumption is not None:
            agent.lose_link(CloseCode.SLOW_READER, why)
        else:
            agent.dismiss(CloseCode.SLOW_READER, why)
            self._lose(agent)

    def _hang_up(self, agent: AgentEnd, reason: EndReason) -> None:
        if reason is EndReason.AGENT_CLOSED and self.state is CallState.CONNECTED:
            self._confirm_closing(agent)
            agent.dismiss()
            self._agent_gone()
        else:
            self.end(reason)

    def _agent_gone(self) -> None:
        """The two people go on by themselves."""
        self._row.detach(Slot.AGENT)
        self._owner.agent_left(self)

    def leg_failed(self, slot: Slot, error: Exception) -> None:
        """A leg's source or sink raised: our fault, and the end of this call alone."""
        logger.error(
            "call %s: the %s's leg failed", self.identity.call_id, slot.name.lower(), exc_info=error
        )
        self.end(EndReason.SERVER_ERROR)

    def end(self, reason: EndReason) -> None:
        """End the call for everybody; does nothing when it is over.

        The order is the one protocol v1 clients rely on: the command's response, then
        `call.terminated`, then the close of the link, then (by the owner) `session.closed`.
        """
        if self.is_over:
            return
        self._stop_ringing(ErrorCode.CALL_ENDED, "the call has ended")
        self._enter(CallState.DISCONNECTED)
        self.end_reason = reason
        if self._agent is not None and self._agent.is_present:
            self._confirm_closing(self._agent)
            self._agent.dismiss()
        self._ended_tick = self._row.tick
        for phone in (self._caller, self._callee):
            if phone is not None:
                phone.ended(self._ended_tick, reason)
        self._row.close()
        self._owner.ended(self)

    def _confirm_closing(self, agent: AgentEnd) -> None:
        for command_id in self._closing_commands:
            agent.respond(command_id)
        self._closing_commands.clear()

    def _enter(self, state: CallState) -> None:
        self.state = state
        self._states.append(StateEntered(state, self._row.tick * TICK_MS))

    def report(self, tick_lateness: Percentiles) -> CallReport:
        """Return the call in numbers, now or after its end."""
        agent = self._agent
        return CallReport(
            call_id=self.identity.call_id,
            answered=len(self._states) > 1 and self._states[1].name != CallState.DISCONNECTED,
            states=tuple(self._states),
            modes=tuple(self._modes),
            duration_ms=self.tick * TICK_MS,
            clears=tuple(self._clears),
            tick_lateness_ms=tick_lateness,
            end_reason=self.end_reason,
            refusals=dict(agent.refusals) if agent else {},
            **(agent_numbers(agent) if agent else NO_AGENT),
        )
