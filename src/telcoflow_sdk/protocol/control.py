"""The client's end of the control link: set-up, claims, calls delivered and placed. No I/O.

Not here: the socket and reconnecting (`_asyncio/control.py`, `client.py`), media (`media.py`).
Implements docs/reference/wire.md §1.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from telcoflow_sdk.exceptions import (
    WSSCallClosedError,
    WSSCallCommandTimeoutError,
    WSSConnectionError,
    WSSError,
)
from telcoflow_sdk.protocol.codec import ProtocolViolation, decode_control_event, encode
from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_sdk.protocol.messages import (
    CallIn,
    ControlError,
    ControlEvent,
    Response,
    SessionClosed,
    SessionCreate,
    SessionCreateData,
    SessionNotify,
    SessionOpen,
    SessionReady,
    Setup,
    SetupData,
    SetupDone,
)
from telcoflow_sdk.protocol.placing import CREATE, CallsBeingPlaced, refusal

SETUP_TIMEOUT_S = 10.0
CLAIM_TIMEOUT_S = 30.0

_MAX_WAITING = 1_000
"""Notifications kept while nobody handles calls; the oldest are forgotten beyond that."""

_GONE = frozenset(
    {
        ErrorCode.SESSION_BUSY,
        ErrorCode.SESSION_CLOSED,
        ErrorCode.SESSION_NOT_FOUND,
        ErrorCode.CALL_ENDED,
    }
)
"""Why a claim fails in the ordinary course of things: another process was faster, or the caller
gave up."""

_logger = logging.getLogger("telcoflow_sdk.control_connection")


class _Stage(Enum):
    """How far a session has come on its way to a call."""

    WAITING = "waiting"  # notified; nobody handles calls yet
    CLAIMING = "claiming"  # session.open sent
    READY = "ready"  # session.ready sent
    DELIVERED = "delivered"  # call.in received


@dataclass(frozen=True, slots=True)
class SetupCompleted:
    """The link is ready for notifications."""


@dataclass(frozen=True, slots=True)
class SetupTimedOut:
    """The server did not answer `setup`; the link is of no use."""


@dataclass(frozen=True, slots=True)
class CallOffered:
    """A call is ours: open its media link.

    Attributes:
        call: The call.
        request_id: As `ControlEngine.create_session` returned it; None when the call came in.
    """

    call: CallIn
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class CreationFailed:
    """A call could not be placed; nothing is left of it here.

    Attributes:
        request_id: As `ControlEngine.create_session` returned it.
        error: Why.
    """

    request_id: str
    error: WSSError


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """The session of a delivered call is over."""

    session_id: str
    reason: str


ControlOutput = SetupCompleted | SetupTimedOut | CallOffered | CreationFailed | SessionEnded


class ControlEngine:
    """What one client says and understands on its control link, over all its reconnects.

    Every method may leave messages to send and events to handle; take both afterwards.

    A claimed session that was not delivered is forgotten with the link, and the server
    notifies it again; a delivered one is kept, because its call lives on its media link.

    Args:
        sample_rate_hz: Asked for in `setup`.
        audio_mode: Asked for there, too.
        make_id: Returns a new request id, unique for this client.
    """

    __slots__ = (
        "_audio_mode",
        "_claims",
        "_events",
        "_is_accepting",
        "_is_set_up",
        "_make_id",
        "_messages",
        "_placing",
        "_sample_rate_hz",
        "_sessions",
        "_setup_deadline",
    )

    def __init__(self, sample_rate_hz: int, audio_mode: str, make_id: Callable[[], str]) -> None:
        self._sample_rate_hz = sample_rate_hz
        self._audio_mode = audio_mode
        self._make_id = make_id
        self._sessions: dict[str, _Stage] = {}
        self._claims: dict[str, tuple[str, float]] = {}  # request id: session id, deadline
        self._placing = CallsBeingPlaced()
        self._setup_deadline: float | None = None
        self._is_set_up = False
        self._is_accepting = False
        self._messages: list[bytes] = []
        self._events: list[ControlOutput] = []

    def link_opened(self, now: float) -> None:
        """The link is up: introduce ourselves."""
        data = SetupData(sample_rate=self._sample_rate_hz, audio_mode=self._audio_mode)
        self._messages.append(encode(Setup(data=data)))
        self._setup_deadline = now + SETUP_TIMEOUT_S

    def accept_calls(self, now: float) -> None:
        """Somebody handles calls from now on: claim what waits, and whatever comes."""
        self._is_accepting = True
        for session_id, stage in list(self._sessions.items()):
            if stage is _Stage.WAITING:
                self._claim(session_id, now)

    def create_session(self, number: str, ring_time_s: int, now: float) -> str:
        """Place a call; `CallOffered` or `CreationFailed` with the same id follows.

        Args:
            number: Whom to call.
            ring_time_s: How long to ring.
            now: Monotonic time, seconds.

        Returns:
            The id of the request.

        Raises:
            WSSConnectionError: the link is not set up; nothing was asked for.
        """
        if not self._is_set_up:
            raise WSSConnectionError("the control link is down: no call can be placed")
        request_id = self._make_id()
        self._placing.begin(request_id, now)
        data = SessionCreateData(ring_time_seconds=ring_time_s)
        request = SessionCreate(remote_address=number, req_id=request_id, data=data)
        self._messages.append(encode(request))
        return request_id

    def abandon_creation(self, request_id: str) -> None:
        """Nobody wants this call any more, if it is still being placed."""
        session_id = self._placing.forget(request_id)
        if session_id is not None:
            self._forget(session_id)

    def receive_message(self, data: bytes, now: float) -> None:
        """Take one text message of the server's; what is not understood is ignored."""
        try:
            message = decode_control_event(data)
        except ProtocolViolation as violation:
            _logger.debug("ignored a message on the control link: %s", violation)
            return
        self._dispatch(message, now)

    def forget_session(self, session_id: str) -> None:
        """The call of this session is over."""
        self._sessions.pop(session_id, None)

    def link_lost(self) -> None:
        """The link is gone: what is pending fails at once, delivered calls stay."""
        self._setup_deadline = None
        self._is_set_up = False
        for request_id in self._placing.request_ids():
            error = WSSConnectionError("the control link was lost while a call was placed")
            self._fail_creation(request_id, error)
        self._claims.clear()
        self._messages.clear()
        self._sessions = {
            session_id: stage
            for session_id, stage in self._sessions.items()
            if stage is _Stage.DELIVERED
        }

    def next_deadline(self) -> float | None:
        """Return when `expire` must be called, or None."""
        deadlines = [deadline for _, deadline in self._claims.values()]
        deadlines += self._placing.deadlines()
        if self._setup_deadline is not None:
            deadlines.append(self._setup_deadline)
        return min(deadlines, default=None)

    def expire(self, now: float) -> None:
        """Give up what has waited too long."""
        if self._setup_deadline is not None and self._setup_deadline <= now:
            self._setup_deadline = None
            self._events.append(SetupTimedOut())
        for request_id in self._placing.expired(now):
            self._fail_creation(request_id, WSSCallCommandTimeoutError(CREATE))
        for request_id, (session_id, deadline) in list(self._claims.items()):
            if deadline <= now:
                del self._claims[request_id]
                self._sessions.pop(session_id, None)
                _logger.warning("claiming session %s was not answered in time", session_id)

    def take_messages(self) -> list[bytes]:
        """Return what must be sent, in order."""
        messages, self._messages = self._messages, []
        return messages

    def take_events(self) -> list[ControlOutput]:
        """Return what has happened, in order."""
        events, self._events = self._events, []
        return events

    def _dispatch(self, message: ControlEvent, now: float) -> None:
        match message:
            case SetupDone():
                self._setup_done()
            case SessionNotify():
                self._notified(message.session_id, now)
            case Response():
                self._answered(message, now)
            case CallIn():
                self._call_in(message)
            case SessionClosed():
                self._session_closed(message)
            case ControlError():
                _logger.warning("the server did not understand us: %s", message.error_code)
            case _:
                assert_never(message)

    def _setup_done(self) -> None:
        if self._setup_deadline is not None:
            self._setup_deadline = None
            self._is_set_up = True
            self._events.append(SetupCompleted())

    def _notified(self, session_id: str, now: float) -> None:
        if session_id in self._sessions:
            return
        if self._is_accepting:
            self._claim(session_id, now)
            return
        self._sessions[session_id] = _Stage.WAITING
        waiting = [key for key, stage in self._sessions.items() if stage is _Stage.WAITING]
        if len(waiting) > _MAX_WAITING:
            del self._sessions[waiting[0]]

    def _claim(self, session_id: str, now: float) -> None:
        request_id = self._make_id()
        self._sessions[session_id] = _Stage.CLAIMING
        self._claims[request_id] = (session_id, now + CLAIM_TIMEOUT_S)
        self._messages.append(encode(SessionOpen(session_id=session_id, req_id=request_id)))

    def _answered(self, response: Response, now: float) -> None:
        if self._placing.is_unanswered(response.req_id):
            self._created(response, now)
            return
        claim = self._claims.pop(response.req_id, None)
        if claim is None:
            return
        session_id, _ = claim
        if response.ok:
            self._sessions[session_id] = _Stage.READY
            self._messages.append(encode(SessionReady(session_id=session_id)))
            return
        placed = self._placing.request_of(session_id)
        if placed is not None:
            self._fail_creation(placed, refusal(response))
            return
        self._sessions.pop(session_id, None)
        if response.error_code in _GONE:
            _logger.debug("session %s is not ours: %s", session_id, response.error_code)
        else:
            _logger.warning("claiming session %s failed: %s", session_id, response.error_code)

    def _call_in(self, call: CallIn) -> None:
        if self._sessions.get(call.session_id) is _Stage.READY:
            self._sessions[call.session_id] = _Stage.DELIVERED
            request_id = self._placing.request_of(call.session_id)
            if request_id is not None:
                self._placing.forget(request_id)
            self._events.append(CallOffered(call, request_id))

    def _session_closed(self, message: SessionClosed) -> None:
        request_id = self._placing.request_of(message.session_id)
        if request_id is not None:
            self._fail_creation(request_id, WSSCallClosedError())
            return
        stage = self._forget(message.session_id)
        if stage is _Stage.DELIVERED:
            self._events.append(SessionEnded(message.session_id, message.reason or ""))

    def _forget(self, session_id: str) -> _Stage | None:
        """Forget a session and its claim; return how far it had come."""
        for request_id, (claimed_id, _) in list(self._claims.items()):
            if claimed_id == session_id:
                del self._claims[request_id]
        return self._sessions.pop(session_id, None)

    def _created(self, response: Response, now: float) -> None:
        try:
            session_id = self._placing.created(response)
        except WSSError as error:
            self._fail_creation(response.req_id, error)
        else:
            self._claim(session_id, now)

    def _fail_creation(self, request_id: str, error: WSSError) -> None:
        self.abandon_creation(request_id)
        self._events.append(CreationFailed(request_id, error))
