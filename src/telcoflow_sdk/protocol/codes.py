"""Every code that crosses the wire, once, for both ends.

Not here: the messages that carry them (`messages.py`).
Implements the tables of codes in docs/reference/wire.md.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class ErrorCode(StrEnum):
    """Why something was refused: in responses, command responses, `call.error` and HTTP bodies."""

    # Who you are
    UNAUTHORIZED = "UNAUTHORIZED"  # HTTP 401: neither key nor certificate, or a key not known
    FORBIDDEN = "FORBIDDEN"  # HTTP 403: key or certificate is good, but not for this connector
    CERTIFICATE_UNKNOWN = "CERTIFICATE_UNKNOWN"  # HTTP 403: well signed, but of no connector
    TOKEN_MISSING = "TOKEN_MISSING"  # HTTP 403: media link without "Authorization: Bearer"
    TOKEN_INVALID = "TOKEN_INVALID"  # HTTP 403: forged, foreign or garbled token
    TOKEN_EXPIRED = "TOKEN_EXPIRED"  # HTTP 403: used too late
    # What you asked for
    NOT_FOUND = "NOT_FOUND"  # HTTP 404: no such path
    INVALID_REQUEST = "INVALID_REQUEST"  # known in form, wrong in content
    MALFORMED_MESSAGE = "MALFORMED_MESSAGE"  # not JSON, not an object, or of wrong types
    MALFORMED_AUDIO = "MALFORMED_AUDIO"  # a binary message too short to hold audio
    INVALID_CHANNEL = "INVALID_CHANNEL"  # audio for a channel that takes none
    INVALID_POSITION = "INVALID_POSITION"  # a place in the agent's audio that cannot be
    INVALID_SEQUENCE = "INVALID_SEQUENCE"  # a message was left out
    TOO_MANY_MARKS = "TOO_MANY_MARKS"  # marks and changes of mode that wait for their place
    UNSUPPORTED = "UNSUPPORTED"  # from our client: the link's protocol is too old for it
    INVALID_COMMAND = "INVALID_COMMAND"  # no such command
    INVALID_STATE = "INVALID_STATE"  # the command exists, not in this state of the call
    INVALID_WAV = "INVALID_WAV"  # HTTP 400: an upload that is no WAV file we can play
    # Sessions
    SESSION_NOT_FOUND = "SESSION_NOT_FOUND"
    SESSION_BUSY = "SESSION_BUSY"  # another client holds it
    SESSION_NOT_OPEN = "SESSION_NOT_OPEN"
    SESSION_CLOSED = "SESSION_CLOSED"
    CHANNEL_NOT_CONFIGURED = "CHANNEL_NOT_CONFIGURED"
    # Calls
    CALL_UNANSWERED = "CALL_UNANSWERED"  # the person called did not answer in the ring time
    CALL_BUSY = "CALL_BUSY"
    CALL_DECLINED = "CALL_DECLINED"  # also: hung up while it rang
    CALLEE_UNREACHABLE = "CALLEE_UNREACHABLE"  # there is no way to dial this number
    CALL_ENDED = "CALL_ENDED"  # HTTP 410 or a command after the end
    MEDIA_LINK_TAKEN = "MEDIA_LINK_TAKEN"  # HTTP 409: a second media link for one call
    # Limits
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"  # HTTP 429: the connector has as many calls as it may have
    OUTBOUND_OVERFLOW = "OUTBOUND_OVERFLOW"  # the same, for a call an agent wants to place
    AUDIO_OVERRUN = "AUDIO_OVERRUN"  # far more audio than was asked for: the excess is discarded
    RATE_LIMITED = "RATE_LIMITED"  # HTTP 429 or close 4429
    DRAINING = "DRAINING"  # HTTP 503: finishing calls, taking no new ones
    TIMEOUT = "TIMEOUT"
    INTERNAL_ERROR = "INTERNAL_ERROR"


class CloseCode(IntEnum):
    """Why the server closed a WebSocket; RFC 6455 §7.4.2 leaves 4000 to 4999 to applications."""

    NORMAL = 1000
    GOING_AWAY = 1001  # also what a proxy says that is shut down
    PROTOCOL_ERROR = 1002
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012  # from proxies (RFC 6455 registry)
    BAD_MESSAGES = 4400  # too many malformed messages in a row
    SETUP_TIMEOUT = 4408  # no `setup` or `hello` in time
    CALL_ENDED = 4410
    SLOW_READER = 4413  # did not read for too long
    BAD_POSITION = 4420  # audio that goes back, leaves a hole, or is of no generation
    SUPERSEDED = 4421  # the call has a newer media link
    BAD_SEQUENCE = 4422  # a text message was left out
    CREDIT_OVERRUN = 4423  # more audio than the window allows
    FLOOD = 4429  # more messages per second than allowed
    DRAINING = 4503


RESUMABLE_CLOSES = frozenset(
    {CloseCode.GOING_AWAY, CloseCode.SERVICE_RESTART, CloseCode.SLOW_READER}
)
"""With these a media link of protocol v2 is lost like one that broke: the call waits for another.
With every other code somebody has left, or broken the rules."""


class EndReason(StrEnum):
    """Why a call ended: a closed set, in logs and reports."""

    CALLER_HUNG_UP = "caller_hung_up"  # of an outbound call: the person called
    CALLEE_HUNG_UP = "callee_hung_up"
    AGENT_CLOSED = "agent_closed"  # `close` of an answered call
    AGENT_DISCONNECTED = "agent_disconnected"  # `disconnect`
    AGENT_REJECTED = "agent_rejected"  # `close` or `disconnect` of a ringing call
    AGENT_LOST = "agent_lost"  # its media link was lost for good
    NO_AGENT = "no_agent"  # nobody claimed the call while it rang
    NO_ANSWER = "no_answer"  # claimed, but not answered while it rang
    CALLEE_UNANSWERED = "callee_unanswered"  # an outbound call nobody answered
    CALLEE_BUSY = "callee_busy"
    CALLEE_DECLINED = "callee_declined"
    MAX_DURATION = "max_duration"
    SESSION_CLOSED = "session_closed"  # closed through REST
    SERVER_SHUTDOWN = "server_shutdown"
    SERVER_ERROR = "server_error"


NORMAL_END_REASONS = frozenset(
    {
        EndReason.CALLER_HUNG_UP,
        EndReason.CALLEE_HUNG_UP,
        EndReason.AGENT_CLOSED,
        EndReason.AGENT_DISCONNECTED,
    }
)
"""How an answered call ends when nothing went wrong."""


class SessionCloseReason(StrEnum):
    """Why a session closed, in the words of protocol v1; its clients take others for the last."""

    SDK_REQUEST = "SDK_REQUEST"  # the agent's side asked for it
    CALL_TERMINATED = "CALL_TERMINATED"  # the call ended by itself
    FORCE_CLOSE = "FORCE_CLOSE"  # the server ended it


_SESSION_CLOSE_REASONS = {
    EndReason.AGENT_CLOSED: SessionCloseReason.SDK_REQUEST,
    EndReason.AGENT_DISCONNECTED: SessionCloseReason.SDK_REQUEST,
    EndReason.AGENT_REJECTED: SessionCloseReason.SDK_REQUEST,
    EndReason.SESSION_CLOSED: SessionCloseReason.SDK_REQUEST,
    EndReason.MAX_DURATION: SessionCloseReason.FORCE_CLOSE,
    EndReason.SERVER_SHUTDOWN: SessionCloseReason.FORCE_CLOSE,
    EndReason.SERVER_ERROR: SessionCloseReason.FORCE_CLOSE,
}


def session_close_reason(end_reason: EndReason) -> SessionCloseReason:
    """Return how a session's clients are told of its call's end."""
    return _SESSION_CLOSE_REASONS.get(end_reason, SessionCloseReason.CALL_TERMINATED)
