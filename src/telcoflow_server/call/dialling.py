"""Ringing a person: from dialling to an answer or the reason why there is none.

Not here: what the call does with the answer (`call.py`), the phone (`legs/`).
Implements docs/explanation/calls.md, "Ringing somebody". Time is the call's ticks.
"""

from __future__ import annotations

import msgspec

from telcoflow_sdk.audio.format import TICK_MS
from telcoflow_sdk.protocol.codes import EndReason, ErrorCode
from telcoflow_sdk.protocol.commands import MAX_RING_TIME_S, MIN_RING_TIME_S, DialProgress
from telcoflow_sdk.protocol.messages import CommandData, ConnectData
from telcoflow_server.call.agent import AgentEnd
from telcoflow_server.call.ports import (
    Callee,
    CalleeProgress,
    Dialer,
    DialRequest,
    PhoneOnLine,
)
from telcoflow_server.call.state import CommandRefused
from telcoflow_server.media.plane import MIX_RATE_HZ, Row
from telcoflow_server.media.routing import Slot, Stage
from telcoflow_server.media.tone import Ringback

_FAILURES = {
    CalleeProgress.BUSY: ErrorCode.CALL_BUSY,
    CalleeProgress.DECLINED: ErrorCode.CALL_DECLINED,
    CalleeProgress.UNANSWERED: ErrorCode.CALL_UNANSWERED,
    CalleeProgress.UNREACHABLE: ErrorCode.CALLEE_UNREACHABLE,
}

OUTBOUND_END_REASONS = {
    ErrorCode.CALL_UNANSWERED: EndReason.CALLEE_UNANSWERED,
    ErrorCode.CALL_BUSY: EndReason.CALLEE_BUSY,
    ErrorCode.CALL_DECLINED: EndReason.CALLEE_DECLINED,
    ErrorCode.CALLEE_UNREACHABLE: EndReason.CALLEE_UNANSWERED,
}
"""How an outbound call ends when nobody came to it."""

_FAILURE_TEXTS = {
    ErrorCode.CALL_UNANSWERED: "nobody answered in the ring time",
    ErrorCode.CALL_BUSY: "the line is busy",
    ErrorCode.CALL_DECLINED: "the call was declined",
    ErrorCode.CALLEE_UNREACHABLE: "this server has no way to call this number",
}


class Dialling:
    """One attempt to reach one person.

    Args:
        dialer: The way to the phone.
        request: Whom to call.
        ring_ticks: How long it may ring, from the first tick of `advance` on.

    Attributes:
        progress: How far it has come; None before it rings.
        failure: Why nobody came, or None.
        callee: The phone, while it rings and once it has answered.
    """

    def __init__(self, dialer: Dialer, request: DialRequest, ring_ticks: int) -> None:
        self.progress: DialProgress | None = None
        self.failure: ErrorCode | None = None
        self.callee: Callee | None = None
        self._dialer = dialer
        self._request = request
        self._ring_ticks = ring_ticks
        self._give_up_tick = 0

    @property
    def answered_by(self) -> Callee | None:
        """The phone, once the person has answered."""
        return self.callee if self.progress is DialProgress.ANSWERED else None

    def start(self, tick: int) -> None:
        """Dial."""
        self._give_up_tick = tick + self._ring_ticks
        self.callee = self._dialer.dial(self._request)
        if self.callee is None:
            self._fail(ErrorCode.CALLEE_UNREACHABLE)
        else:
            self.progress = DialProgress.RINGING

    def advance(self, tick: int) -> None:
        """Look how far the phone has come; once it has failed or was answered, nothing changes."""
        if self.callee is None or self.progress is DialProgress.ANSWERED:
            return
        came_to = self.callee.ring(tick)
        if came_to in _FAILURES:
            self._release(tick)
            self._fail(_FAILURES[came_to])
        elif came_to is CalleeProgress.ANSWERED:
            self.progress = DialProgress.ANSWERED
        elif tick >= self._give_up_tick:
            self._release(tick)
            self._fail(ErrorCode.CALL_UNANSWERED)
        elif came_to is CalleeProgress.EARLY:
            self.progress = DialProgress.EARLY

    def cancel(self, tick: int) -> None:
        """Nobody waits for an answer any more."""
        self._release(tick)

    def _release(self, tick: int) -> None:
        if self.callee is not None:
            self.callee.ended(tick, EndReason.CALLEE_UNANSWERED)
            self.callee = None

    def _fail(self, code: ErrorCode) -> None:
        self.failure = code
        self.progress = DialProgress.FAILED


class Ringing:
    """Somebody is being rung for a call: the attempt, who waits for it, what the caller hears.

    Args:
        dialling: The attempt, not yet started.
        row: The call's row; the callee's slot must be free.
        agent: Who wanted it; told of the progress.
        command_id: The command that is answered when the attempt is over, or None.
    """

    def __init__(
        self, dialling: Dialling, row: Row, agent: AgentEnd, command_id: str | None
    ) -> None:
        self.dialling = dialling
        self.command_id = command_id
        self._row = row
        self._agent = agent
        self._told: DialProgress | None = None
        self._has_tone = False
        self._early: PhoneOnLine | None = None  # who is heard before the answer
        self._patient_until_tick: int | None = None

    @property
    def has_started(self) -> bool:
        """Whether the number was dialled."""
        return self.dialling.progress is not None

    def start(self, stage: Stage | None) -> None:
        """Dial; with a stage, let the caller hear in it that it rings."""
        if stage is not None:
            self._has_tone = True
            tone = Ringback(self._row.tick)
            self._row.attach(Slot.CALLEE, tone, tone, MIX_RATE_HZ, is_tone=True)
            self._row.set_stage(stage)
        self.dialling.start(self._row.tick)

    def advance(self) -> None:
        """Look how far it has come, and tell the agent when that has changed."""
        self.dialling.advance(self._row.tick)
        progress = self.dialling.progress
        if progress is not None and progress is not self._told:
            self._told = progress
            callee = self.dialling.callee
            if progress is DialProgress.EARLY and self._has_tone and callee is not None:
                self._let_be_heard(callee)
            self._agent.tell_progress(progress, self.dialling.failure)

    def retune(self, phone: PhoneOnLine) -> None:
        """The phone's audio has another rate from now on; does nothing if it is not heard yet."""
        if self._early is phone:
            self._let_be_heard(phone)

    def _let_be_heard(self, callee: PhoneOnLine) -> None:
        """Who is rung is to be heard before the answer: an announcement instead of our ringback."""
        self._early = callee
        self._row.detach(Slot.CALLEE)
        # As the tone: nobody's voice, for the agent's channels, before the answer.
        self._row.attach(Slot.CALLEE, callee, callee, callee.sample_rate_hz, is_tone=True)

    def wait(self, command_id: str, ticks: int) -> None:
        """Answer this command when the attempt is over, or after so many ticks with TIMEOUT."""
        self.command_id = command_id
        self._patient_until_tick = self._row.tick + ticks

    def expire(self) -> None:
        """Answer the command that has waited for as long as it can; the ringing goes on."""
        if self._patient_until_tick is not None and self._row.tick >= self._patient_until_tick:
            self.settle(ErrorCode.TIMEOUT, "nobody has answered yet; it goes on ringing")
            self.command_id = self._patient_until_tick = None

    def stop(self, stage: Stage) -> None:
        """Give up; the people hear each other as in `stage` again."""
        self.dialling.cancel(self._row.tick)
        self._row.detach(Slot.CALLEE)
        self._row.set_stage(stage)

    def settle(self, code: ErrorCode | None = None, message: str | None = None) -> None:
        """Answer the command that waits, if one does; a failure has its own words."""
        if self.command_id is not None:
            words = _FAILURE_TEXTS.get(code, message) if code else message
            self._agent.respond(self.command_id, code, words)


def ring_ticks_of(command: CommandData) -> int:
    """Return how long `call.connect` lets it ring, in ticks. Raises `CommandRefused`."""
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
    return ring_s * 1000 // TICK_MS
