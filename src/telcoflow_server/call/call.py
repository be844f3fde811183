"""One call: what commands, hang-ups and time do to it, from the first ring to the report.

Not here: announcing it (`session.py`), all calls together (`exchange.py`), the agent's messages
(`agent.py`), ringing somebody (`dialling.py`), audio (`media/`). Implements
docs/explanation/calls.md. The call is driven from outside: messages of the agent's come in as
bytes, time as ticks, and everything it does goes to its ports.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from telcoflow_sdk.audio.format import TICK_MS
from telcoflow_sdk.protocol.codes import CloseCode, EndReason, ErrorCode
from telcoflow_sdk.protocol.commands import CommandName
from telcoflow_sdk.protocol.messages import CommandData
from telcoflow_sdk.protocol.states import CallState
from telcoflow_server.call.agent import AgentEnd
from telcoflow_server.call.attention import REST_TICKS
from telcoflow_server.call.closing import Closing
from telcoflow_server.call.dialling import OUTBOUND_END_REASONS, Dialling, Ringing, ring_ticks_of
from telcoflow_server.call.errands import Errands
from telcoflow_server.call.history import MODE_NAMES, History
from telcoflow_server.call.identity import CallIdentity, CallTimes
from telcoflow_server.call.people import People
from telcoflow_server.call.ports import Callee, Dialer, PhoneOnLine
from telcoflow_server.call.report import CallReport, Percentiles
from telcoflow_server.call.seat import AgentSeat
from telcoflow_server.call.state import CommandRefused, next_state, parse_command
from telcoflow_server.legs.agent import STALLED_TICKS
from telcoflow_server.media.plane import Row
from telcoflow_server.media.routing import Audience, Slot, Stage

logger = logging.getLogger(__name__)


class CallOwner(Protocol):
    """Whoever keeps the call, and is told what becomes of it."""

    def agent_left(self, call: Call) -> None:
        """The agent has gone; the two people go on."""

    def woken(self, call: Call) -> None:
        """The call may rest no longer."""

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
        self.is_over = False
        """Whether it has ended; to be read only, like the state and the next."""
        self.may_rest = False
        """Whether, for `REST_TICKS`, `advance` has nothing to do until the owner hears `woken`."""
        self.was_claimed = False
        """Set by whoever announced the call: tells *nobody there* from *nobody answered*."""
        self.end_reason: EndReason | None = None
        self.seat = AgentSeat(self, times)
        self._row = row
        self._times = times
        self._dialer = dialer
        self._owner = owner
        self._woken = partial(owner.woken, self)
        self._people = People(row, self._woken)
        self._errands = Errands()
        self._ring_until_tick = times.ring_ticks
        self._ended_tick: int | None = None
        self._closing = Closing()
        self._ringing: Ringing | None = None
        self._history = History()

    @property
    def tick(self) -> int:
        """The tick that comes next on the call's time axis, or would have when it ended."""
        return self._row.tick if self._ended_tick is None else self._ended_tick

    @property
    def mode(self) -> str | None:
        """Who hears the agent: barge, whisper or spy; None while there is no callee or agent."""
        return MODE_NAMES.get(self._row.audience) if self.seat.present else None

    def said(self, slot: Slot) -> NDArray[np.int16]:
        """Return what was said in the last tick in a slot of the running call, 24 kHz."""
        return self._row.said(slot)

    # --- people ----------------------------------------------------------------------------

    def begin(self, caller: PhoneOnLine) -> None:
        """An inbound call: this phone calls."""
        self._people.join(Slot.CALLER, caller)

    def retune(self, phone: PhoneOnLine) -> None:
        """A phone in the call, or about to be, has audio of another rate from now on."""
        self._people.retune(phone)
        if self._ringing is not None:
            self._ringing.retune(phone)

    # --- the agent -------------------------------------------------------------------------

    def agent_joined(self, agent: AgentEnd) -> None:
        """See `SeatOwner`."""
        agent.leg.woken = self._woken
        if self.identity.is_outbound:
            self._ringing = self._new_ringing(agent, self._times.ring_ticks)
            self._ringing.start(None)

    def agent_lost(self, agent: AgentEnd) -> None:
        """See `SeatOwner`."""
        agent.is_present = False
        closing = self._closing.reason
        if self.state is CallState.CONNECTED and closing is not EndReason.AGENT_DISCONNECTED:
            self._agent_gone()
        else:
            self.end(closing or EndReason.AGENT_LOST)

    def carry_out(self, agent: AgentEnd, command: CommandData, since_tick_ms: float) -> None:
        """See `SeatOwner`."""
        name = parse_command(command.command)
        agent.check_known(name)
        if name is CommandName.ANSWER and self.identity.is_outbound:
            self._await_answer(agent, command)
            return
        next_state(self.state, name)
        if self._ringing is not None and name in (CommandName.ANSWER, CommandName.CONNECT):
            raise CommandRefused(ErrorCode.INVALID_STATE, "call.connect is in progress")
        if name is CommandName.CONNECT and self.identity.is_outbound:
            why = "call.connect rings the number that was called, and that person is on the line"
            raise CommandRefused(ErrorCode.INVALID_STATE, why)
        if name is CommandName.ANSWER:
            self._answer(agent)
            agent.respond(command.command_id)
        elif name is CommandName.CONNECT:
            self._connect(agent, command)
        elif name is CommandName.INTERRUPT:
            agent.respond(command.command_id, result=self._clear(agent, command, since_tick_ms))
        elif name in (CommandName.CLOSE, CommandName.DISCONNECT):
            self._close(agent, name, command)
        elif name in (CommandName.SEND_DTMF, CommandName.TRANSFER):
            agent.set_errand(name, command)
        else:
            agent.steer_playback(name, command)

    def _answer(self, agent: AgentEnd) -> None:
        self._enter(CallState.ANSWERED)
        self._row.set_stage(Stage.ANSWERED)
        self._join_agent(agent)
        self._people.answered(Slot.CALLER)

    def _join_agent(self, agent: AgentEnd) -> None:
        rate_hz = agent.audio.sample_rate_hz
        agent.leg.use_strip(self._row.attach(Slot.AGENT, agent.leg, agent.leg, rate_hz))
        if agent.is_isolated:
            self._row.tap(Slot.CALLER, agent.leg.ear(1), rate_hz)
            self._row.tap(Slot.CALLEE, agent.leg.ear(2), rate_hz)

    def _clear(
        self, agent: AgentEnd, command: CommandData, since_tick_ms: float
    ) -> dict[str, float]:
        result = agent.interrupt(command)
        self._row.cut(Slot.AGENT)
        if self.state is not CallState.PENDING:
            # The frame of the last tick is sounding at the phone right now.
            at_ms = max(0.0, (self.tick - 1) * TICK_MS + since_tick_ms)
            self._history.clear(at_ms, result["dropped_ms"], result["heard_ms"])
        return result

    def _close(self, agent: AgentEnd, name: CommandName, command: CommandData) -> None:
        """Play out what the agent said before it hung up, then end, or go on without it."""
        is_ringing = self.state is CallState.PENDING
        is_first = not is_ringing and self._closing.reason is None
        if is_first and not agent.leg.drain(agent.place_of(command)):
            raise agent.misplaced(command)
        is_connected = self.state is CallState.CONNECTED
        self._closing.ask(name, command.command_id, is_connected=is_connected)
        self._stop_ringing(ErrorCode.CALL_ENDED, "the agent hangs up")
        if is_ringing:
            self.end(EndReason.AGENT_REJECTED)

    def audience_changed(self, audience: Audience) -> None:
        """See `SeatOwner`."""
        self._row.set_audience(audience)
        self._history.switch(audience, self._row.tick)

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
            assert self._people.caller is not None, "an outbound call takes no connect"
            self._people.caller.hears_early(self._row.tick)

    def _new_ringing(
        self, agent: AgentEnd, ring_ticks: int, command_id: str | None = None
    ) -> Ringing:
        dialling = Dialling(self._dialer, self.identity.dial_request, ring_ticks)
        return Ringing(dialling, self._row, agent, command_id)

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
        failure, callee = ringing.dialling.failure, ringing.dialling.answered_by
        if failure is not None:
            self._unreached(failure)
        elif callee is not None:
            self._ringing = None
            self._reached(agent, callee)
            ringing.settle()
        else:
            ringing.expire()

    def _reached(self, agent: AgentEnd, callee: Callee) -> None:
        if self._people.caller is None:
            self.begin(callee)
            self._answer(agent)
            return
        self._people.join(Slot.CALLEE, callee)
        was_pending = self.state is CallState.PENDING
        self._enter(CallState.CONNECTED)
        self._row.set_stage(Stage.CONNECTED)
        self._people.answered(Slot.CALLEE)
        if was_pending:
            self._join_agent(agent)
            self._people.answered(Slot.CALLER)
        agent.leg.switch_at_end(Audience.BOTH)

    def _unreached(self, code: ErrorCode) -> None:
        self._stop_ringing(code)
        if self._people.caller is None:
            self.end(OUTBOUND_END_REASONS[code])
        # A caller who was kept waiting for the callee gets the whole ring time again.
        self._ring_until_tick = self._row.tick + self._times.ring_ticks

    def _stop_ringing(self, code: ErrorCode, message: str | None = None) -> None:
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
        self.may_rest = False
        agent, tick, errands = self.seat.agent, self._row.tick, self._errands
        if agent is not None and not agent.is_present:
            agent = None  # it has left
        hung_up = self._people.advance(agent, tick)
        if errands.transfer is not None and errands.is_transferred(self._people.caller):
            # Whatever the phone does with its own dialog.
            errands.settle(agent)
            self.end(EndReason.TRANSFERRED)
        elif hung_up is not None:
            self.end(hung_up)
        elif tick >= self._times.call_ticks:
            self.end(EndReason.MAX_DURATION)
        elif (
            tick >= self._ring_until_tick
            and self._ringing is None
            and self.state is CallState.PENDING
        ):
            self.end(EndReason.NO_ANSWER if self.was_claimed else EndReason.NO_AGENT)
        elif agent is not None:
            self._advance_agent(agent, tick)

    def _advance_agent(self, agent: AgentEnd, tick: int) -> None:
        if self._ringing is not None:
            self._advance_ringing(agent, self._ringing)
            if self.is_over:
                return
        if agent.leg.together is not None and not agent.is_lost and self._errands.transfer is None:
            # Nothing is the matter with its audio, and it has its position.
            is_long = tick + REST_TICKS < self._times.call_ticks
            self.may_rest = is_long and self._ringing is None and self._people.may_rest
            return
        agent.advance()
        if agent.has_errands or self._errands.transfer is not None:
            self._errands.run(agent, self._people, tick)
        resumption = agent.resumption
        if agent.is_lost or (resumption is not None and resumption.is_away and resumption.is_over):
            agent.close_link(CloseCode.BAD_MESSAGES, "nothing is acknowledged")
            self.agent_lost(agent)
        elif self._closing.reason is not None and agent.leg.is_drained:
            self._hang_up(agent, self._closing.reason)
        elif agent.leg.unread_ticks >= STALLED_TICKS:
            self._stalled(agent)
        elif resumption is not None or self.state is not CallState.PENDING:
            agent.leg.flush_credit(0 if resumption is None else resumption.seen.last)

    def _stalled(self, agent: AgentEnd) -> None:
        why = "audio was not read for 5 seconds"
        if agent.resumption is not None:
            agent.lose_link(CloseCode.SLOW_READER, why)
            return
        agent.dismiss(CloseCode.SLOW_READER, why)
        if self.state is CallState.CONNECTED:
            self._agent_gone()
        else:
            self.end(EndReason.AGENT_LOST)

    def _hang_up(self, agent: AgentEnd, reason: EndReason) -> None:
        if reason is EndReason.AGENT_CLOSED and self.state is CallState.CONNECTED:
            self._closing.confirm(agent)
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
        self.is_over = True
        self.end_reason = reason
        agent = self.seat.present
        if agent is not None:
            self._closing.confirm(agent)
            agent.dismiss()
        self._ended_tick = self._row.tick
        self._people.ended(reason)
        self._row.close()
        self._owner.ended(self)

    def _enter(self, state: CallState) -> None:
        self.state = state
        self._history.enter(state, self._row.tick)

    def report(self, tick_lateness: Percentiles) -> CallReport:
        """Return the call in numbers, now or after its end."""
        return self._history.report(
            self.identity.call_id,
            self.seat.agent,
            tick=self.tick,
            end_reason=self.end_reason,
            tick_lateness=tick_lateness,
        )
