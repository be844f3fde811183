"""All calls of this node: placing them, finding them, driving them tick by tick, ending them.

Not here: the tick's clock (`ticker.py`), sockets (`api/`). Implements docs/explanation/calls.md.
The whole node short of its sockets: a test drives it with in-memory links in virtual time.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from telcoflow_sdk.audio.format import TICK_MS
from telcoflow_sdk.protocol.codes import (
    NORMAL_END_REASONS,
    CloseCode,
    EndReason,
    session_close_reason,
)
from telcoflow_server.call.call import Call, CallIdentity
from telcoflow_server.call.ports import MediaLink, Phone
from telcoflow_server.call.report import CallReport, Percentiles, end_fields, end_line
from telcoflow_server.call.session import AddressMaker, Session, SessionBoard
from telcoflow_server.media.plane import MIX_RATE_HZ, FrameLane, FrameSink, FrameSource, MediaPlane
from telcoflow_server.media.routing import Slot

logger = logging.getLogger(__name__)

LATENESS_TICKS_KEPT = 30_000
"""Ten minutes of tick lateness; a longer call's report covers its last ten minutes."""


class PhoneOnLine(Phone, FrameSource, FrameSink, Protocol):
    """A phone with its audio."""


class Recording(FrameLane, Protocol):
    """Where a call is recorded."""

    def close(self) -> None:
        """Nothing more will be written; never waits."""


@dataclass(frozen=True, slots=True)
class NewCall:
    """A call to be placed. Numbers are "" when withheld.

    Args:
        connector_uuid: Whose agents are asked.
        created_at_s: Wall-clock time, whole seconds since 1970, as clients are told it.
    """

    connector_uuid: str
    caller: str
    callee: str
    created_at_s: int


@dataclass(slots=True, eq=False)
class _Line:
    """A running call, its session, and the node's tick on which it was placed."""

    call: Call
    session: Session
    first_tick: int
    recording: Recording | None
    on_ended: Callable[[Call], None] | None


class Draining(Exception):
    """The node finishes its calls and takes no new ones."""


class Exchange:
    """The calls of one node.

    Args:
        make_address: Makes media URL and token for a client that claimed a session.
        new_id: Makes session, call and client ids; unguessable in production.
        ring_timeout_s: How long an unanswered call rings, seconds.

    Attributes:
        board: The sessions of these calls, as clients see them.
        is_draining: Set it, and no new call is placed.
        on_empty: Called whenever the last running call has ended.
        on_report: Called with the report of every call that has ended.
        new_id: Makes an id.

    Concurrency: one thread; no method waits.
    """

    def __init__(
        self, make_address: AddressMaker, new_id: Callable[[], str], *, ring_timeout_s: float
    ) -> None:
        self.board = SessionBoard(make_address, new_id)
        self.is_draining = False
        self.on_empty: Callable[[], None] | None = None
        self.on_report: Callable[[CallReport], None] | None = None
        self.new_id = new_id
        self._ring_ticks = int(ring_timeout_s * 1000 / TICK_MS)
        self._plane = MediaPlane()
        self._lines: dict[str, _Line] = {}
        self._ticks = 0
        self._lateness_ms = array("f", bytes(4 * LATENESS_TICKS_KEPT))

    @property
    def call_count(self) -> int:
        """How many calls run."""
        return len(self._lines)

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls that run, oldest first."""
        return tuple(line.call for line in self._lines.values())

    @property
    def failed_legs(self) -> int:
        """How many legs were taken out because they raised."""
        return self._plane.statistics().failed_legs

    def place(
        self,
        phone: PhoneOnLine,
        new_call: NewCall,
        *,
        sample_rate_hz: int = MIX_RATE_HZ,
        recording: Recording | None = None,
        call_id: str | None = None,
        on_ended: Callable[[Call], None] | None = None,
    ) -> Call:
        """Let `phone` call; its connector's clients hear of it at once.

        Args:
            phone: Its audio is taken and given from the next tick on.
            sample_rate_hz: Of that audio.
            recording: A stereo lane, left the caller, right everybody else; closed with the call.
            call_id: To use instead of a new one.
            on_ended: Called once, after the clients were told.

        Raises:
            Draining: the node takes no new calls.
        """
        if self.is_draining:
            raise Draining("the server is finishing its calls and takes no new ones")
        identity = CallIdentity(
            call_id or self.new_id(), new_call.connector_uuid, new_call.caller, new_call.callee
        )
        row = self._plane.open_row(
            lambda slot, error: self._leg_failed(identity.call_id, slot, error)
        )
        row.attach(Slot.CALLER, phone, phone, sample_rate_hz)
        row.record(recording)
        call = Call(identity, phone, row, ring_ticks=self._ring_ticks, on_ended=self._call_ended)
        session = Session(
            self.new_id(),
            identity.call_id,
            identity.connector_uuid,
            identity.caller,
            identity.callee,
            new_call.created_at_s,
        )
        self._lines[identity.call_id] = _Line(call, session, self._ticks, recording, on_ended)
        self.board.announce(session)
        return call

    def find(self, call_id: str) -> Call | None:
        """Return the running call of that id, or None."""
        line = self._lines.get(call_id)
        return line.call if line else None

    def attach(self, call: Call, link: MediaLink) -> None:
        """Put the agent behind `link` on the line, with the audio its client asked for."""
        session = self._lines[call.identity.call_id].session
        self.board.attached(session)
        call.attach(link, session.audio)

    def end_session(self, session: Session) -> None:
        """End the call of a session that REST closes."""
        self._lines[session.call_id].call.end(EndReason.SESSION_CLOSED)

    def tick(self, lateness_s: float) -> None:
        """Advance every call by one tick.

        A call that fails ends with `server_error`; the others go on.

        Args:
            lateness_s: How late after its deadline this tick runs, seconds.
        """
        self._lateness_ms[self._ticks % LATENESS_TICKS_KEPT] = lateness_s * 1000
        self._ticks += 1
        self._plane.tick()
        for line in list(self._lines.values()):
            call = line.call
            call.was_claimed = line.session.was_claimed
            try:
                call.advance()
            except Exception:
                logger.exception("call %s failed and is ended", call.identity.call_id)
                call.end(EndReason.SERVER_ERROR)

    def report(self, call: Call) -> CallReport:
        """Return a running call's report with the tick lateness of its time."""
        return call.report(self.lateness(call))

    def shut_down(self) -> None:
        """End every call and close every control link: the server stops."""
        self.is_draining = True
        for line in list(self._lines.values()):
            line.call.end(EndReason.SERVER_SHUTDOWN)
        self.board.close_links(CloseCode.GOING_AWAY, "the server stops")

    def _leg_failed(self, call_id: str, slot: Slot, error: Exception) -> None:
        line = self._lines.get(call_id)  # None: the other leg failed in the same tick
        if line is not None:
            line.call.leg_failed(slot, error)

    def _call_ended(self, call: Call) -> None:
        line = self._lines[call.identity.call_id]
        assert call.end_reason is not None, "a call ends with a reason"
        report = self.report(call)
        _log_end(report, line.session)
        if self.on_report is not None:
            self.on_report(report)
        self.board.close(line.session, session_close_reason(call.end_reason))
        if line.recording is not None:
            line.recording.close()
        if line.on_ended is not None:
            line.on_ended(call)
        del self._lines[call.identity.call_id]
        if not self._lines and self.on_empty is not None:
            self.on_empty()

    def lateness(self, call: Call) -> Percentiles:
        """Return how late the node's ticks were while a call ran; zero once it is forgotten."""
        line = self._lines.get(call.identity.call_id)
        count = min(self._ticks - line.first_tick, LATENESS_TICKS_KEPT) if line else 0
        if count == 0:
            return Percentiles(0.0, 0.0)
        indexes = np.arange(self._ticks - count, self._ticks) % LATENESS_TICKS_KEPT
        p50, p99 = np.percentile(np.frombuffer(self._lateness_ms, np.float32)[indexes], [50, 99])
        return Percentiles(round(float(p50), 3), round(float(p99), 3))

    def lateness_ms(self, since_tick: int) -> tuple[int, NDArray[np.float32]]:
        """Return how late ticks were, from one on, as far as the last ten minutes hold them.

        Args:
            since_tick: What an earlier call returned, or 0.

        Returns:
            The tick to continue at, and milliseconds, float32, shape (n,).
        """
        first = max(since_tick, self._ticks - LATENESS_TICKS_KEPT)
        indexes = np.arange(first, self._ticks) % LATENESS_TICKS_KEPT
        return self._ticks, np.frombuffer(self._lateness_ms, np.float32)[indexes]


def _log_end(report: CallReport, session: Session) -> None:
    ids = {"connector_uuid": session.connector_uuid, "session_id": session.session_id}
    fields = end_fields(report, ids)
    level = logging.INFO if report.end_reason in NORMAL_END_REASONS else logging.WARNING
    logger.log(level, "%s", end_line(fields), extra=fields)
