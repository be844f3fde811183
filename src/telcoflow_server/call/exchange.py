"""All calls of this node: placing them, finding them, driving them tick by tick, ending them.

Not here: the tick's clock (`ticker.py`), sockets (`api/`). Implements docs/explanation/calls.md.
The whole node short of its sockets: a test drives it with in-memory links in virtual time.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from telcoflow_sdk.audio.format import TICK_MS
from telcoflow_sdk.protocol.codes import (
    CloseCode,
    EndReason,
    session_close_reason,
)
from telcoflow_sdk.protocol.messages import HelloData
from telcoflow_server.call.attention import Attention
from telcoflow_server.call.call import Call
from telcoflow_server.call.identity import CallIdentity, CallTimes
from telcoflow_server.call.ports import Callee, Dialer, DialRequest, MediaLink, PhoneOnLine
from telcoflow_server.call.recordings import Recordings
from telcoflow_server.call.report import CallReport, Percentiles, log_end, percentiles
from telcoflow_server.call.session import AddressMaker, Session, SessionBoard
from telcoflow_server.legs.agent_rates import AgentArrays
from telcoflow_server.media.lead import LeadRange
from telcoflow_server.media.plane import MediaPlane, PlaneStatistics
from telcoflow_server.media.routing import Slot

logger = logging.getLogger(__name__)

LATENESS_TICKS_KEPT = 30_000
"""Ten minutes of tick lateness; a longer call's report covers its last ten minutes."""

DEFAULT_CALL_DURATION_S = 4 * 3600.0
DEFAULT_MEDIA_GRACE_S = 10.0


@dataclass(frozen=True, slots=True)
class NewCall:
    """A call to be placed. Numbers are "" when withheld.

    Args:
        connector_uuid: Whose agents are asked.
        created_at_s: Wall-clock time, whole seconds since 1970, as clients are told it.
    """

    connector_uuid: str
    caller: str = field(repr=False)
    callee: str = field(repr=False)
    created_at_s: int


@dataclass(slots=True, eq=False)
class _Line:
    """A running call, its session, and the node's tick on which it was placed."""

    call: Call
    session: Session
    first_tick: int
    recordings: Recordings
    on_ended: Callable[[Call], None] | None


class NoDialer:
    """The dialer of a node that can reach nobody."""

    def dial(self, request: DialRequest) -> Callee | None:
        """There is no way."""
        return None


class Draining(Exception):
    """The node finishes its calls and takes no new ones."""


class QuotaExceeded(Exception):
    """A connector has as many calls as it may have."""


class Exchange:
    """The calls of one node.

    Args:
        make_address: Makes media URL and token for a client that claimed a session.
        new_id: Makes session, call and client ids; unguessable in production.
        ring_timeout_s: How long an unanswered call rings, seconds.
        call_duration_s: How long a call may last, seconds.
        media_grace_s: How long a call waits for its agent's next media link, seconds.
        lead: The range of the agents' leads; None: the usual one.
        calls_per_connector: How many calls of one connector may run at once; None: any.
        dialer: The way to people who are called.

    Attributes:
        board: The sessions of these calls, as clients see them.
        is_draining: Set it, and no new call is placed.
        ended_calls: How many calls have ended.
        on_empty: Called whenever the last running call has ended.
        on_report: Called with the report of every call that has ended.
        new_id: Makes an id.

    Concurrency: one thread; no method waits.
    """

    def __init__(
        self,
        make_address: AddressMaker,
        new_id: Callable[[], str],
        *,
        ring_timeout_s: float,
        call_duration_s: float = DEFAULT_CALL_DURATION_S,
        media_grace_s: float = DEFAULT_MEDIA_GRACE_S,
        lead: LeadRange | None = None,
        calls_per_connector: int | None = None,
        dialer: Dialer | None = None,
    ) -> None:
        self._calls_per_connector = calls_per_connector
        self.board = SessionBoard(make_address, new_id)
        self.board.abandoned = self._abandoned
        self.is_draining = False
        self.ended_calls = 0
        self.on_empty: Callable[[], None] | None = None
        self.on_report: Callable[[CallReport], None] | None = None
        self.new_id = new_id
        self._times = CallTimes(
            _ticks(ring_timeout_s),
            _ticks(call_duration_s),
            _ticks(media_grace_s),
            lead or LeadRange(),
        )
        self._dialer: Dialer = dialer or NoDialer()
        self._plane = MediaPlane()
        self._agents = AgentArrays()
        self._lines: dict[str, _Line] = {}
        self._attention = Attention()
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

    def plane_statistics(self) -> PlaneStatistics:
        """Return what the media plane holds, and what went wrong on it."""
        return self._plane.statistics()

    # --- placing ---------------------------------------------------------------------------

    def check_room(self, connector_uuid: str) -> None:
        """Return if a connector may have one more call; else raise one of the two."""
        if self.is_draining:
            raise Draining("the server is finishing its calls and takes no new ones")
        running = sum(call.identity.connector_uuid == connector_uuid for call in self.calls)
        if self._calls_per_connector is not None and running >= self._calls_per_connector:
            raise QuotaExceeded(f"the connector has {running} calls, as many as it may have")

    def place(
        self,
        phone: PhoneOnLine,
        new_call: NewCall,
        *,
        recordings: Recordings | None = None,
        call_id: str | None = None,
        on_ended: Callable[[Call], None] | None = None,
    ) -> Call:
        """Let `phone` call; its connector's clients hear of it at once.

        Args:
            phone: Its audio is taken and given from the next tick on.
            new_call: Whom it calls.
            recordings: Where the call is recorded.
            call_id: To use instead of a new one.
            on_ended: Called once, after the clients were told.

        Raises:
            Draining, QuotaExceeded: as `check_room`.
        """
        identity = CallIdentity(
            call_id or self.new_id(), new_call.connector_uuid, new_call.caller, new_call.callee
        )
        line = self._open(identity, new_call.created_at_s, self._times, recordings, on_ended)
        line.call.begin(phone)
        self.board.announce(line.session)
        return line.call

    def place_outbound(
        self,
        new_call: NewCall,
        ring_time_s: float,
        *,
        recordings: Recordings | None = None,
        call_id: str | None = None,
        on_ended: Callable[[Call], None] | None = None,
    ) -> Session:
        """Make a call to a person, who is dialled once an agent is on its media link.

        Args:
            new_call: Whose agent calls, and whom.
            ring_time_s: How long the person is rung, seconds.
            recordings: Where the call is recorded.
            call_id: To use instead of a new one.
            on_ended: Called once, after the clients were told.

        Returns:
            Its session, for the client that asked to claim.

        Raises:
            Draining, QuotaExceeded: as `check_room`.
        """
        identity = CallIdentity(
            call_id or self.new_id(),
            new_call.connector_uuid,
            new_call.caller,
            new_call.callee,
            is_outbound=True,
        )
        times = replace(self._times, ring_ticks=_ticks(ring_time_s))
        line = self._open(identity, new_call.created_at_s, times, recordings, on_ended)
        self.board.add(line.session)
        return line.session

    def _open(
        self,
        identity: CallIdentity,
        created_at_s: int,
        times: CallTimes,
        recordings: Recordings | None,
        on_ended: Callable[[Call], None] | None,
    ) -> _Line:
        self.check_room(identity.connector_uuid)
        row = self._plane.open_row(
            lambda slot, error: self._leg_failed(identity.call_id, slot, error)
        )
        recordings = recordings or Recordings()
        recordings.start(row)
        call = Call(identity, row, times, self._dialer, self)
        session = Session(
            self.new_id(),
            identity.call_id,
            identity.connector_uuid,
            identity.caller,
            identity.callee,
            created_at_s,
            identity.is_outbound,
        )
        line = _Line(call, session, self._ticks, recordings, on_ended)
        self._lines[identity.call_id] = line
        self._attention.wake(identity.call_id)
        return line

    # --- running ---------------------------------------------------------------------------

    def find(self, call_id: str) -> Call | None:
        """Return the running call of that id, or None."""
        line = self._lines.get(call_id)
        return line.call if line else None

    def attach(self, call: Call, link: MediaLink) -> None:
        """Put the agent behind `link` on the line, with the audio its client asked for (v1)."""
        session = self._lines[call.identity.call_id].session
        self.board.attached(session)
        call.seat.attach(link, session.audio, is_isolated=session.is_isolated)

    def greet(self, call: Call, link: MediaLink, hello: HelloData) -> None:
        """The same for protocol v2, also for an agent that comes back. Raises `Superseded`."""
        session = self._lines[call.identity.call_id].session
        self.board.attached(session)
        isolated = session.is_isolated
        call.seat.greet(link, hello, session.audio, self.new_id, is_isolated=isolated)
        assert call.seat.agent is not None, "it has been greeted"
        self._agents.add(call.seat.agent.leg)

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
        self._agents.begin()
        self._plane.tick()
        self._agents.finish()
        self.board.tick()
        for call_id in self._attention.tick():
            self._advance(call_id)
        self._agents.admit()

    def _advance(self, call_id: str) -> None:
        line = self._lines.get(call_id)
        if line is None:
            self._attention.forget(call_id)
            return
        call = line.call
        call.was_claimed = line.session.was_claimed
        try:
            call.advance()
        except Exception:
            logger.exception("call %s failed and is ended", call_id)
            call.end(EndReason.SERVER_ERROR)
        if call.may_rest:
            self._attention.rest(call_id)

    def shut_down(self) -> None:
        """End every call and close every control link: the server stops."""
        self.is_draining = True
        for line in list(self._lines.values()):
            line.call.end(EndReason.SERVER_SHUTDOWN)
        self.board.close_links(CloseCode.GOING_AWAY, "the server stops")

    # --- what calls tell: CallOwner --------------------------------------------------------

    def woken(self, call: Call) -> None:
        """See `CallOwner`."""
        self._attention.wake(call.identity.call_id)

    def agent_left(self, call: Call) -> None:
        """See `CallOwner`: the session was the agent's, and goes with it."""
        self._let_go(call)
        line = self._lines[call.identity.call_id]
        self.board.close(line.session, session_close_reason(EndReason.AGENT_CLOSED))

    def ended(self, call: Call) -> None:
        """See `CallOwner`."""
        line = self._lines[call.identity.call_id]
        assert call.end_reason is not None, "a call ends with a reason"
        self._let_go(call)
        report = self.report(call)
        session = line.session
        ids = {"connector_uuid": session.connector_uuid, "session_id": session.session_id}
        log_end(report, ids)
        if self.on_report is not None:
            self.on_report(report)
        self.board.close(line.session, session_close_reason(call.end_reason))
        line.recordings.close()
        if line.on_ended is not None:
            line.on_ended(call)
        del self._lines[call.identity.call_id]
        self.ended_calls += 1
        if not self._lines and self.on_empty is not None:
            self.on_empty()

    def _let_go(self, call: Call) -> None:
        if call.seat.agent is not None:
            self._agents.remove(call.seat.agent.leg)

    def _abandoned(self, session: Session) -> None:
        """Nobody else can take a call that a client placed: it ends with its client."""
        self._lines[session.call_id].call.end(EndReason.NO_AGENT)

    def _leg_failed(self, call_id: str, slot: Slot, error: Exception) -> None:
        line = self._lines.get(call_id)  # None: the other leg failed in the same tick
        if line is not None:
            line.call.leg_failed(slot, error)

    # --- what can be told ------------------------------------------------------------------

    def report(self, call: Call) -> CallReport:
        """Return a running call's report with the tick lateness of its time."""
        return call.report(self.lateness(call))

    def lateness(self, call: Call) -> Percentiles:
        """Return how late the node's ticks were while a call ran; zero once it is forgotten."""
        line = self._lines.get(call.identity.call_id)
        return percentiles(self.lateness_ms(line.first_tick if line else self._ticks)[1])

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


def _ticks(duration_s: float) -> int:
    return int(duration_s * 1000 / TICK_MS)
