"""Ringing a person: from dialling to an answer or the reason why there is none.

Not here: what the call does with the answer (`call.py`), the phone (`legs/`).
Implements docs/explanation/calls.md, "Ringing somebody". Time is the call's ticks.
"""

from __future__ import annotations

from telcoflow_sdk.protocol.codes import EndReason, ErrorCode
from telcoflow_sdk.protocol.commands import DialProgress
from telcoflow_server.call.ports import CalleeProgress, Dialer, Dialled, DialRequest

_FAILURES = {
    CalleeProgress.BUSY: ErrorCode.CALL_BUSY,
    CalleeProgress.DECLINED: ErrorCode.CALL_DECLINED,
}

OUTBOUND_END_REASONS = {
    ErrorCode.CALL_UNANSWERED: EndReason.CALLEE_UNANSWERED,
    ErrorCode.CALL_BUSY: EndReason.CALLEE_BUSY,
    ErrorCode.CALL_DECLINED: EndReason.CALLEE_DECLINED,
    ErrorCode.CALLEE_UNREACHABLE: EndReason.CALLEE_UNANSWERED,
}
"""How an outbound call ends when nobody came to it."""

FAILURE_TEXTS = {
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
        dialled: The phone, from dialling to the end of the attempt.
    """

    def __init__(self, dialer: Dialer, request: DialRequest, ring_ticks: int) -> None:
        self.progress: DialProgress | None = None
        self.failure: ErrorCode | None = None
        self.dialled: Dialled | None = None
        self._dialer = dialer
        self._request = request
        self._ring_ticks = ring_ticks
        self._give_up_tick = 0

    def start(self, tick: int) -> None:
        """Dial."""
        self._give_up_tick = tick + self._ring_ticks
        self.dialled = self._dialer.dial(self._request)
        if self.dialled is None:
            self._fail(ErrorCode.CALLEE_UNREACHABLE)
        else:
            self.progress = DialProgress.RINGING

    def advance(self, tick: int) -> None:
        """Look how far the phone has come; once it has failed or was answered, nothing changes."""
        if self.dialled is None or self.progress is DialProgress.ANSWERED:
            return
        came_to = self.dialled.callee.ring(tick)
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
        if self.dialled is not None:
            self.dialled.callee.ended(tick, EndReason.CALLEE_UNANSWERED)
            self.dialled = None

    def _fail(self, code: ErrorCode) -> None:
        self.failure = code
        self.progress = DialProgress.FAILED
