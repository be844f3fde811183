"""One call: what commands, hang-ups and time do to it, from the first ring to the report.

Not here: announcing it (`session.py`), all calls together (`exchange.py`), the agent's messages
(`agent.py`), ringing somebody (`dialling.py`), audio (`media/`). Implements
docs/explanation/calls.md. The call is driven from outside: messages of the agent's come in as
bytes, time as ticks, and everything it does goes to its ports.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from telcoflow_sdk.audio.format import TICK_MS, AudioFormat
from telcoflow_sdk.protocol.codes import CloseCode, EndReason, ErrorCode
from telcoflow_sdk.protocol.commands import (
    MAX_RING_TIME_S,
    MIN_RING_TIME_S,
    CommandName,
    DialProgress,
)
from telcoflow_sdk.protocol.messages import CommandData, ConnectData
from telcoflow_sdk.protocol.states import CallState
from telcoflow_server.call.agent import AgentEnd
from telcoflow_server.call.dialling import FAILURE_TEXTS, OUTBOUND_END_REASONS, Dialling
from telcoflow_server.call.ports import Dialer, Dialled, DialRequest, MediaLink, PhoneOnLine
from telcoflow_server.call.report import (
    CallReport,
    ClearReport,
    GapReport,
    ModeEntered,
    Percentiles,
    StateEntered,
)
from telcoflow_server.call.state import CommandRefused, next_state, parse_command
from telcoflow_server.media.plane import MIX_RATE_HZ, Row
from telcoflow_server.media.routing import Audience, Slot, Stage
from telcoflow_server.media.tone import Ringback

logger = logging.getLogger(__name__)

LISTED = 1000
"""How many clears and mode changes a report lists; a call has tens of them."""

_MODES = {
    CommandName.BARGE: Audience.BOTH,
    CommandName.WHISPER: Audience.CALLEE,
    CommandName.SPY: Audience.NOBODY,
}

_MODE_NAMES = {
    Audience.BOTH: "barge",
    Audience.CALLEE: "whisper",
    Audience.NOBODY: "spy",
}


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


@dataclass(frozen=True, slots=True)
class CallTimes:
    """How long things may take, in ticks."""

    ring_ticks: int
    call_ticks: int


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
        self._dialling: Dialling | None = None
        self._dialling_command: str | None = None
        self._told_progress: DialProgress | None = None
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
        """Whether a media link ever came; a second one is refused."""
        return self._agent is not None

    @property
    def queued_ms(self) -> float:
        """Agent audio that waits here to be played, in milliseconds."""
        return self._agent.leg.queued_ms if self._agent else 0.0

    # --- people ----------------------------------------------------------------------------

    def begin(self, caller: PhoneOnLine, sample_rate_hz: int) -> None:
        """An inbound call: this phone calls."""
        self._caller = caller
        self._row.attach(Slot.CALLER, caller, caller, sample_rate_hz)

    # --- the agent -------------------------------------------------------------------------

    def attach(self, link: MediaLink, audio: AudioFormat, *, is_isolated: bool = False) -> None:
        """Put the agent on the line; nothing flows before the answer.

        Args:
            link: Its media link.
            audio: What it asked for.
            is_isolated: Give it what caller and callee say on channels of their own, too.
        """
        assert self._agent is None, "the rim refuses a second media link with 409"
        self._agent = AgentEnd(link, audio, self._audience_changed)
        self._is_isolated = is_isolated
        if self.identity.is_outbound:
            self._dial(self.identity.callee, self._times.ring_ticks)

    def detach(self) -> None:
        """The agent's media link is gone for good, which on protocol v1 it is at once."""
        if self._agent is None or not self._agent.is_present:
            return
        self._agent.is_present = False
        if self.state is CallState.CONNECTED and self._closing is not EndReason.AGENT_DISCONNECTED:
            self._agent_gone()
        else:
            self.end(self._closing or EndReason.AGENT_LOST)

    def receive_message(self, data: bytes | str, since_tick_ms: float) -> None:
        """Act on one JSON message of the agent's.

        Args:
            data: The message.
            since_tick_ms: How long ago the last tick was, 0 to 20: places what it does inside
                the tick on the call's time axis.

        Raises:
            ProtocolViolation: it was no command; the agent has been told, the caller counts it.
        """
        if self._agent is None or not self._agent.is_present:
            return
        command = self._agent.parse(data)
        try:
            self._carry_out(self._agent, command, since_tick_ms)
        except CommandRefused as refusal:
            self._agent.respond(command.command_id, refusal.code, str(refusal))

    def receive_audio(self, message: bytes) -> None:
        """Take one binary message of the agent's.

        Raises:
            ProtocolViolation: it held no audio for this call; the agent has been told.
        """
        if self._agent is not None and self._agent.is_present:
            self._agent.receive_audio(message)

    def _carry_out(self, agent: AgentEnd, command: CommandData, since_tick_ms: float) -> None:
        name = parse_command(command.command)
        if name is CommandName.ANSWER and self.identity.is_outbound:
            self._await_answer(agent, command.command_id)
            return
        next_state(self.state, name)
        is_ringing = self._dialling is not None and self._dialling_command is not None
        if is_ringing and name in (CommandName.ANSWER, CommandName.CONNECT):
            raise CommandRefused(ErrorCode.INVALID_STATE, "call.connect is in progress")
        if name is CommandName.ANSWER:
            self._answer(agent)
            agent.respond(command.command_id)
        elif name is CommandName.CONNECT:
            self._connect(agent, command)
        elif name is CommandName.INTERRUPT:
            agent.respond(command.command_id, result=self._clear(agent, since_tick_ms))
        elif name in _MODES:
            agent.leg.switch(_MODES[name])
            agent.respond(command.command_id)
        else:
            self._close(agent, name, command.command_id)

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

    def _clear(self, agent: AgentEnd, since_tick_ms: float) -> dict[str, float]:
        dropped_bytes = agent.leg.clear()
        self._row.cut(Slot.AGENT)
        dropped_ms = agent.audio.bytes_to_ms(dropped_bytes)
        heard_ms = agent.leg.heard_ms
        if len(self._clears) < LISTED and self.state is not CallState.PENDING:
            # The frame of the last tick is sounding at the phone right now.
            at_ms = max(0.0, (self.tick - 1) * TICK_MS + since_tick_ms)
            self._clears.append(ClearReport(round(at_ms, 1), dropped_ms, heard_ms))
        return {"dropped_bytes": dropped_bytes, "dropped_ms": dropped_ms, "heard_ms": heard_ms}

    def _close(self, agent: AgentEnd, name: CommandName, command_id: str) -> None:
        """Play out what the agent said before it hung up, then end, or go on without it."""
        self._closing_commands.append(command_id)
        self._stop_dialling(ErrorCode.CALL_ENDED, "the agent hangs up")
        if self.state is CallState.PENDING:
            self.end(EndReason.AGENT_REJECTED)
        elif self._closing is None:
            is_close = name is CommandName.CLOSE
            self._closing = EndReason.AGENT_CLOSED if is_close else EndReason.AGENT_DISCONNECTED
            agent.leg.drain()
        elif name is CommandName.DISCONNECT and self.state is CallState.CONNECTED:
            self._closing = EndReason.AGENT_DISCONNECTED  # it was to leave alone; now all shall

    def _audience_changed(self, audience: Audience) -> None:
        self._row.set_audience(audience)
        if audience in _MODE_NAMES and len(self._modes) < LISTED:
            self._modes.append(ModeEntered(_MODE_NAMES[audience], self._row.tick * TICK_MS))

    # --- somebody is called ----------------------------------------------------------------

    def _connect(self, agent: AgentEnd, command: CommandData) -> None:
        ring_s = _ring_time_s(command)
        self._dialling_command = command.command_id
        self._dial(self.identity.callee, ring_s * 1000 // TICK_MS, is_waiting=True)
        if self.state is CallState.PENDING:
            self._start_ringing()
        else:
            agent.leg.switch(Audience.CALLER)  # a place in its audio: there the ringing begins

    def _dial(self, number: str, ring_ticks: int, *, is_waiting: bool = False) -> None:
        request = DialRequest(
            self.identity.call_id, self.identity.connector_uuid, number, self.identity.caller
        )
        self._told_progress = None
        self._dialling = Dialling(self._dialer, request, ring_ticks)
        if not is_waiting:
            self._dialling.start(self._row.tick)

    def _start_ringing(self) -> None:
        """Dial, and let the caller hear that it rings."""
        assert self._dialling is not None, "only a connect rings"
        is_answered = self.state is CallState.ANSWERED
        self._row.set_stage(Stage.ANSWERED_RINGING_CALLEE if is_answered else Stage.RINGING_CALLEE)
        tone = Ringback(self._row.tick)
        self._row.attach(Slot.CALLEE, tone, tone, MIX_RATE_HZ)
        self._dialling.start(self._row.tick)

    def _await_answer(self, agent: AgentEnd, command_id: str) -> None:
        """`call.answer` of an outbound call: it is the person called who answers."""
        if self.state is not CallState.PENDING:
            agent.respond(command_id)
        elif self._dialling_command is not None:
            raise CommandRefused(ErrorCode.INVALID_STATE, "call.answer is waiting already")
        else:
            self._dialling_command = command_id

    def _advance_dialling(self, agent: AgentEnd, dialling: Dialling) -> None:
        if dialling.progress is None:
            # `connect` from an answered call: what the agent said before is heard first.
            if agent.leg.has_switched:
                self._start_ringing()
            return
        dialling.advance(self._row.tick)
        if dialling.progress is not self._told_progress:
            self._told_progress = dialling.progress
            agent.tell_progress(dialling.progress)
        if dialling.failure is not None:
            self._unreached(dialling.failure)
        elif dialling.progress is DialProgress.ANSWERED:
            assert dialling.dialled is not None, "an answer comes from a phone"
            self._reached(agent, dialling.dialled)

    def _reached(self, agent: AgentEnd, dialled: Dialled) -> None:
        command_id, self._dialling_command = self._dialling_command, None
        self._dialling = None
        callee, rate_hz = dialled.callee, dialled.sample_rate_hz
        if self.identity.is_outbound and self._caller is None:
            self.begin(callee, rate_hz)
            self._answer(agent)
        else:
            self._row.detach(Slot.CALLEE)
            self._row.attach(Slot.CALLEE, callee, callee, rate_hz)
            self._callee = callee
            was_pending = self.state is CallState.PENDING
            self._enter(CallState.CONNECTED)
            self._row.set_stage(Stage.CONNECTED)
            callee.answered(self._row.tick)
            if was_pending:
                self._join_agent(agent)
                assert self._caller is not None, "connect() is for a call that somebody made"
                self._caller.answered(self._row.tick)
            agent.leg.switch(Audience.BOTH)
        if command_id is not None:
            agent.respond(command_id)

    def _unreached(self, code: ErrorCode) -> None:
        if self.identity.is_outbound and self._caller is None:
            if self._dialling_command is not None and self._agent is not None:
                self._agent.respond(self._dialling_command, code, FAILURE_TEXTS[code])
                self._dialling_command = None
            self._dialling = None
            self.end(OUTBOUND_END_REASONS[code])
            return
        self._stop_dialling(code, FAILURE_TEXTS[code])
        # A caller who was kept waiting for the callee gets the whole ring time again.
        self._ring_until_tick = self._row.tick + self._times.ring_ticks

    def _stop_dialling(self, code: ErrorCode, message: str) -> None:
        """Give up ringing, whoever wanted it; the call is as it was before."""
        if self._dialling is None:
            return
        self._dialling.cancel(self._row.tick)
        self._dialling = None
        command_id, self._dialling_command = self._dialling_command, None
        if command_id is not None and self._agent is not None:
            self._agent.respond(command_id, code, message)
        self._row.detach(Slot.CALLEE)
        is_answered = self.state is CallState.ANSWERED
        self._row.set_stage(Stage.ANSWERED if is_answered else Stage.RINGING)

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
        is_waiting = self.state is CallState.PENDING and self._dialling is None
        return is_waiting and self._row.tick >= self._ring_until_tick

    def _advance_agent(self, agent: AgentEnd) -> None:
        if self._dialling is not None:
            self._advance_dialling(agent, self._dialling)
        if self.is_over or self.state is CallState.PENDING:
            return
        if self._closing is not None and agent.leg.is_drained:
            self._hang_up(agent, self._closing)
        elif agent.leg.is_stalled:
            agent.dismiss(CloseCode.SLOW_READER, "audio was not read for 5 seconds")
            self._agent_lost()
        else:
            agent.leg.flush_credit()

    def _hang_up(self, agent: AgentEnd, reason: EndReason) -> None:
        if reason is EndReason.AGENT_CLOSED and self.state is CallState.CONNECTED:
            self._confirm_closing(agent)
            agent.dismiss()
            self._agent_gone()
        else:
            self.end(reason)

    def _agent_lost(self) -> None:
        if self.state is CallState.CONNECTED:
            self._agent_gone()
        else:
            self.end(EndReason.AGENT_LOST)

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
        self._stop_dialling(ErrorCode.CALL_ENDED, "the call has ended")
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
        leg = self._agent.statistics() if self._agent else None
        playout = leg.playout if leg else None
        to_ms = self._agent.audio.bytes_to_ms if self._agent else AudioFormat().bytes_to_ms
        return CallReport(
            call_id=self.identity.call_id,
            answered=len(self._states) > 1 and self._states[1].name != CallState.DISCONNECTED,
            states=tuple(self._states),
            modes=tuple(self._modes),
            duration_ms=self.tick * TICK_MS,
            gaps=tuple(GapReport(gap.at_ms, gap.ms, gap.cause) for gap in playout.gaps)
            if playout
            else (),
            gap_count=playout.gap_count if playout else 0,
            gap_ms=playout.gap_ms if playout else 0,
            clears=tuple(self._clears),
            discarded_ms=to_ms(playout.discarded_bytes) if playout else 0.0,
            unread_ms=leg.dropped_frames * TICK_MS if leg else 0.0,
            tick_lateness_ms=tick_lateness,
            frames_to_agent=leg.frames_to_agent if leg else 0,
            frames_from_agent=leg.frames_from_agent if leg else 0,
            prefill_ms=playout.prefill_ms if playout else 0.0,
            lead_ms=playout.lead_ms if playout else 0.0,
            end_reason=self.end_reason,
            refusals=dict(self._agent.refusals) if self._agent else {},
        )


def _ring_time_s(command: CommandData) -> int:
    try:
        data = msgspec.convert(command.data or {}, ConnectData)
    except msgspec.ValidationError as error:
        raise CommandRefused(ErrorCode.INVALID_REQUEST, f"call.connect: {error}") from None
    ring_s = data.ring_time_seconds
    if not MIN_RING_TIME_S <= ring_s <= MAX_RING_TIME_S:
        raise CommandRefused(
            ErrorCode.INVALID_REQUEST,
            f"ringTimeSeconds must be {MIN_RING_TIME_S} to {MAX_RING_TIME_S}, not {ring_s}",
        )
    return ring_s
