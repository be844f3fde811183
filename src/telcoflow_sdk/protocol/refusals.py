"""Why a command failed, as the error that its caller gets.

Not here: when (`media.py`), the errors themselves (`exceptions.py`).
Implements "Error codes" of docs/reference/wire.md for commands.
"""

from __future__ import annotations

from telcoflow_sdk.exceptions import (
    WSSCallClosedError,
    WSSCallCommandError,
    WSSCallCommandTimeoutError,
    WSSCallError,
)
from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_sdk.protocol.commands import CommandName
from telcoflow_sdk.protocol.messages import CallEventData, CommandResponseData


def not_possible(name: CommandName, why: str) -> WSSCallCommandError:
    """Return the error for a command that the call's state does not allow."""
    return WSSCallCommandError(name, ErrorCode.INVALID_STATE, f"{name} is not possible {why}")


def unsupported(name: CommandName) -> WSSCallCommandError:
    """Return the error for a command that the server's protocol has no words for."""
    return WSSCallCommandError(
        name, ErrorCode.UNSUPPORTED, f"{name} needs media protocol v2; the server speaks v1"
    )


def unanswered(data: CallEventData) -> WSSCallCommandError:
    """Return why the person we called did not answer."""
    return WSSCallCommandError(CommandName.ANSWER, data.error_code or "", data.error_message or "")


def refused(name: CommandName, response: CommandResponseData) -> WSSCallError:
    """Return the error for a command that the server refused."""
    match response.error_code:
        case ErrorCode.TIMEOUT:
            return WSSCallCommandTimeoutError(name)
        case ErrorCode.CALL_ENDED:
            return WSSCallClosedError()
        case code:
            return WSSCallCommandError(name, code or "", response.error_message or "")
