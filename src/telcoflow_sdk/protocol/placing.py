"""Calls that a client places, from `session.create` to `call.in`.

Not here: the sessions these become (`control.py`), ringing (`media.py`).
Implements "Placing a call" of docs/reference/wire.md §1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from telcoflow_sdk.exceptions import (
    WSSAuthenticationError,
    WSSCallClosedError,
    WSSCallCommandError,
    WSSCallCommandTimeoutError,
    WSSConnectionError,
    WSSError,
)
from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_sdk.protocol.messages import Response, SessionCreated

CREATE = "session.create"

CREATE_TIMEOUT_S = 30.0
"""From `session.create` to `call.in`: nobody is rung before that."""


@dataclass(frozen=True, slots=True)
class _Placing:
    deadline: float
    session_id: str | None = None  # not known before the server's answer


class CallsBeingPlaced:
    """What was asked for and has not become a call yet, by request id."""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls: dict[str, _Placing] = {}

    def begin(self, request_id: str, now: float) -> None:
        """`session.create` is sent."""
        self._calls[request_id] = _Placing(now + CREATE_TIMEOUT_S)

    def is_unanswered(self, request_id: str) -> bool:
        """Return whether this request waits for its response."""
        placing = self._calls.get(request_id)
        return placing is not None and placing.session_id is None

    def created(self, response: Response) -> str:
        """Take the response to an unanswered request; return the session to claim.

        Raises:
            WSSError: there is none, and why.
        """
        if not response.ok:
            raise refusal(response)
        try:
            content = msgspec.convert(response.content, SessionCreated)
        except msgspec.ValidationError:
            raise WSSConnectionError(f"the server's answer to {CREATE} names no session") from None
        if not content.created:
            raise WSSCallCommandError(
                CREATE, ErrorCode.SESSION_BUSY, "there is a call with this number already"
            )
        placing = self._calls[response.req_id]
        self._calls[response.req_id] = replace(placing, session_id=content.session_id)
        return content.session_id

    def request_of(self, session_id: str) -> str | None:
        """Return which request made this session; None when none of these did."""
        for request_id, placing in self._calls.items():
            if placing.session_id == session_id:
                return request_id
        return None

    def forget(self, request_id: str) -> str | None:
        """Forget a request, if it is known; return the session it made, if any."""
        placing = self._calls.pop(request_id, None)
        return None if placing is None else placing.session_id

    def request_ids(self) -> list[str]:
        """Return all requests, oldest first."""
        return list(self._calls)

    def deadlines(self) -> list[float]:
        """Return when each request is given up."""
        return [placing.deadline for placing in self._calls.values()]

    def expired(self, now: float) -> list[str]:
        """Return the requests that have waited too long."""
        return [key for key, placing in self._calls.items() if placing.deadline <= now]


def refusal(response: Response) -> WSSError:
    """Return what a refused `session.create`, or the claim after it, raises."""
    match response.error_code:
        case ErrorCode.UNAUTHORIZED:
            return WSSAuthenticationError(f"{CREATE} was refused: {ErrorCode.UNAUTHORIZED}")
        case ErrorCode.SESSION_CLOSED | ErrorCode.CALL_ENDED:
            return WSSCallClosedError()
        case ErrorCode.TIMEOUT:
            return WSSCallCommandTimeoutError(CREATE)
        case code:
            return WSSCallCommandError(CREATE, code or "", _message(response.error_content))


def _message(error_content: object) -> str:
    text = error_content.get("message") if isinstance(error_content, dict) else None
    return text if isinstance(text, str) else ""
