"""One call: what commands, hang-ups and time do to it, from the first ring to the report.

Not here: announcing it (`session.py`), all calls together (`exchange.py`), audio (`media/`).
Implements docs/explanation/calls.md. The call is driven from outside: messages of the agent's come
in as bytes, time as ticks, and everything it does goes to its ports.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from telcoflow_sdk.audio.format import TICK_MS, AudioFormat
from telcoflow_sdk.protocol.codec import ProtocolViolation, decode_command, encode
from telcoflow_sdk.protocol.codes import CloseCode, EndReason, ErrorCode
from telcoflow_sdk.protocol.commands import CallEventName, CommandName
from telcoflow_sdk.protocol.messages import (
    CallEventData,
    CallEventMessage,
    CommandData,
    CommandResponse,
    CommandResponseData,
)
from telcoflow_sdk.protocol.states import CallState
from telcoflow_server.call.ports import MediaLink, Phone
from telcoflow_server.call.report import (
    CallReport,
    ClearReport,
    GapReport,
    Percentiles,
    StateEntered,
)
from telcoflow_server.call.state import CommandRefused, next_state, parse_command
from telcoflow_server.legs.agent import AgentLeg
from telcoflow_server.media.plane import Row
from telcoflow_server.media.routing import Mode, Slot

logger = logging.getLogger(__name__)

CLEARS_KEPT = 1000
"""How many interruptions a report lists; a call has tens, so only a broken agent gets there."""


@dataclass(frozen=True, slots=True)
class CallIdentity:
    """Which call this is. Numbers are "" when withheld, and never part of a log line."""

    call_id: str
    connector_uuid: str
    caller: str
    callee: str


class Call:
    """A call between a phone and an agent.

    Args:
        identity: Names and numbers.
        phone: The caller's phone.
        row: The call's row in the media plane; the call closes it.
        ring_ticks: Unanswered for so long, it ends.
        on_ended: Called once, after everything was told of the end.

    Concurrency: one thread; no method waits.
    """

    def __init__(
        self,
        identity: CallIdentity,
        phone: Phone,
        row: Row,
        *,
        ring_ticks: int,
        on_ended: Callable[[Call], None],
    ) -> None:
        self.identity = identity
        self.state = CallState.PENDING
        self.was_claimed = False
        """Set by whoever announced the call: tells *nobody there* from *nobody answered*."""
        self.end_reason: EndReason | None = None
        self._phone = phone
        self._row = row
        self._ring_ticks = ring_ticks
        self._on_ended = on_ended
        self._leg: AgentLeg | None = None
        self._audio = AudioFormat()
        self._link: MediaLink | None = None
        self._had_agent = False
        self._ended_tick: int | None = None
        self._closing: EndReason | None = None
        self._closing_commands: list[str] = []
        self._states = [StateEntered(CallState.PENDING, 0)]
        self._clears: list[ClearReport] = []
        self._refusals: Counter[ErrorCode] = Counter()
        self._has_reported_overrun = False

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
        return self._had_agent

    @property
    def queued_ms(self) -> float:
        """Agent audio that waits here to be played, in milliseconds."""
        return self._leg.queued_ms if self._leg else 0.0

    # --- the agent -------------------------------------------------------------------------

    def attach(self, link: MediaLink, audio: AudioFormat) -> None:
        """Put the agent on the line; nothing flows before the answer."""
        assert not self._had_agent, "the rim refuses a second media link with 409"
        self._had_agent = True
        self._link = link
        self._audio = audio
        self._leg = AgentLeg(link, audio)

    def detach(self) -> None:
        """The agent's media link is gone for good: on protocol v1 that ends the call."""
        self._link = None
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
        if self.is_over:
            return
        try:
            command = decode_command(data).data
        except ProtocolViolation as violation:
            if violation.reply_to:
                self._respond(violation.reply_to, violation.code, str(violation))
            else:
                self._tell_error(violation.code, str(violation))
            raise
        try:
            self._carry_out(command, since_tick_ms)
        except CommandRefused as refusal:
            self._respond(command.command_id, refusal.code, str(refusal))

    def receive_audio(self, message: bytes) -> None:
        """Take one binary message of the agent's: channel byte, then PCM.

        Raises:
            ProtocolViolation: it held no audio for this call; the agent has been told.
        """
        if self._leg is None or self.is_over:
            return
        code = self._leg.receive_audio(message)
        if code is None:
            return
        if code is ErrorCode.AUDIO_OVERRUN:
            # Told once: an agent that pushes instead of waiting for requests would get one
            # error per message. The report counts what was discarded.
            if not self._has_reported_overrun:
                self._has_reported_overrun = True
                self._tell_error(code, "more audio than was requested; the excess is discarded")
            return
        self._tell_error(code, "audio is a channel byte 0 followed by PCM")
        raise ProtocolViolation(code, "unusable audio message")

    def _carry_out(self, command: CommandData, since_tick_ms: float) -> None:
        name = parse_command(command.command)
        state = next_state(self.state, name)
        if name is CommandName.ANSWER:
            self._enter(state)
            self._row.set_mode(Mode.ANSWERED)
            self._connect_media()
            self._respond(command.command_id)
        elif name is CommandName.INTERRUPT:
            self._respond(command.command_id, result=self._clear(since_tick_ms))
        else:
            self._close(name, command.command_id)

    def _connect_media(self) -> None:
        assert self._leg is not None, "commands come from an attached agent"
        self._row.attach(Slot.AGENT, self._leg, self._leg, self._audio.sample_rate_hz)
        self._phone.answered(self._row.tick)

    def _clear(self, since_tick_ms: float) -> dict[str, float]:
        assert self._leg is not None, "commands come from an attached agent"
        dropped_bytes = self._leg.clear()
        dropped_ms = self._audio.bytes_to_ms(dropped_bytes)
        heard_ms = self._leg.heard_ms
        if len(self._clears) < CLEARS_KEPT and self.state is CallState.ANSWERED:
            # The frame of the last tick is sounding at the phone right now.
            at_ms = max(0.0, (self.tick - 1) * TICK_MS + since_tick_ms)
            self._clears.append(ClearReport(round(at_ms, 1), dropped_ms, heard_ms))
        return {"dropped_bytes": dropped_bytes, "dropped_ms": dropped_ms, "heard_ms": heard_ms}

    def _close(self, name: CommandName, command_id: str) -> None:
        """Play out what the agent said before it hung up, then end."""
        self._closing_commands.append(command_id)
        if self.state is CallState.PENDING:
            self.end(EndReason.AGENT_REJECTED)
            return
        if self._closing is None:
            is_close = name is CommandName.CLOSE
            self._closing = EndReason.AGENT_CLOSED if is_close else EndReason.AGENT_DISCONNECTED
            assert self._leg is not None, "commands come from an attached agent"
            self._leg.drain()

    # --- time ------------------------------------------------------------------------------

    def advance(self) -> None:
        """Act on what this tick brought; called once after every tick of the media plane."""
        if self.is_over:
            return
        if self._phone.has_hung_up:
            self.end(EndReason.CALLER_HUNG_UP)
        elif self.state is CallState.PENDING and self._row.tick >= self._ring_ticks:
            self.end(EndReason.NO_ANSWER if self.was_claimed else EndReason.NO_AGENT)
        elif self._leg is not None and self.state is CallState.ANSWERED:
            self._advance_agent(self._leg)

    def leg_failed(self, slot: Slot, error: Exception) -> None:
        """A leg's source or sink raised: our fault, and the end of this call alone."""
        logger.error(
            "call %s: the %s's leg failed", self.identity.call_id, slot.name.lower(), exc_info=error
        )
        self.end(EndReason.SERVER_ERROR)

    def _advance_agent(self, leg: AgentLeg) -> None:
        if self._closing is not None and leg.is_drained:
            self.end(self._closing)
        elif leg.is_stalled:
            assert self._link is not None, "a leg has a link until the call ends"
            self._link.close(CloseCode.SLOW_READER, "audio was not read for 5 seconds")
            self._link = None
            self.end(EndReason.AGENT_LOST)
        else:
            leg.flush_credit()

    def end(self, reason: EndReason) -> None:
        """End the call for everybody; does nothing when it is over.

        The order is the one protocol v1 clients rely on: the command's response, then
        `call.terminated`, then the close of the link, then (by `on_ended`) `session.closed`.
        """
        if self.is_over:
            return
        self._enter(CallState.DISCONNECTED)
        self.end_reason = reason
        if self._link is not None:
            for command_id in self._closing_commands:
                self._respond(command_id)
            self._send(CallEventMessage(CallEventData(CallEventName.TERMINATED)))
            self._link.close(CloseCode.NORMAL, "call ended")
            self._link = None
        self._ended_tick = self._row.tick
        self._phone.ended(self._ended_tick, reason)
        self._row.close()
        self._on_ended(self)

    def _enter(self, state: CallState) -> None:
        self.state = state
        self._states.append(StateEntered(state, self._row.tick * TICK_MS))

    # --- what is told ----------------------------------------------------------------------

    def _respond(
        self,
        command_id: str,
        error_code: ErrorCode | None = None,
        error_message: str | None = None,
        *,
        result: object = None,
    ) -> None:
        if error_code is not None:
            self._refusals[error_code] += 1
        data = CommandResponseData(
            command_id,
            success=error_code is None,
            result=result,
            error_code=error_code,
            error_message=error_message,
        )
        self._send(CommandResponse(data))

    def _tell_error(self, code: ErrorCode, message: str) -> None:
        self._refusals[code] += 1
        data = CallEventData(CallEventName.ERROR, error_code=code, error_message=message)
        self._send(CallEventMessage(data))

    def _send(self, message: CommandResponse | CallEventMessage) -> None:
        assert self._link is not None, "only a call with an agent is asked or tells anything"
        self._link.send_message(encode(message))

    def report(self, tick_lateness: Percentiles) -> CallReport:
        """Return the call in numbers, now or after its end."""
        statistics = self._leg.statistics() if self._leg else None
        return CallReport(
            call_id=self.identity.call_id,
            answered=any(entered.name == CallState.ANSWERED for entered in self._states),
            states=tuple(self._states),
            duration_ms=self.tick * TICK_MS,
            gaps=tuple(GapReport(gap.at_ms, gap.ms, gap.cause) for gap in statistics.playout.gaps)
            if statistics
            else (),
            clears=tuple(self._clears),
            tick_lateness_ms=tick_lateness,
            frames_to_agent=statistics.frames_to_agent if statistics else 0,
            frames_from_agent=statistics.frames_from_agent if statistics else 0,
            prefill_ms=statistics.playout.prefill_ms if statistics else 0.0,
            lead_ms=statistics.playout.lead_ms if statistics else 0.0,
            end_reason=self.end_reason,
            gap_count=statistics.playout.gap_count if statistics else 0,
            gap_ms=statistics.playout.gap_ms if statistics else 0,
            discarded_ms=self._audio.bytes_to_ms(statistics.playout.discarded_bytes)
            if statistics
            else 0.0,
            unread_ms=statistics.dropped_frames * TICK_MS if statistics else 0.0,
            refusals=dict(self._refusals),
        )
