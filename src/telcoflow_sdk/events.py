"""The events an application can register handlers for, as enums and as plain strings.

Not here: when they are raised (`client.py`, `call.py`).
Implements the events section of docs/reference/sdk.md.
"""

from __future__ import annotations

from enum import StrEnum


class ClientEvent(StrEnum):
    """Events of a `TelcoflowClient`."""

    CALL_OFFERED = "call.offered"
    """A call was claimed; its media link is not open yet, so that it can be given to another
    process. Argument: the `OfferedCall`."""

    INCOMING_CALL = "call.incoming"
    """A call was claimed and its media link is open. Argument: the `ActiveCall`."""


class CallEvent(StrEnum):
    """Events of an `ActiveCall`.

    The failures carry one argument, a dict of `error_code` and `error_message`; the progress a
    `DialProgress`; the others none. A handler may leave the argument out.
    """

    CALL_ANSWERED = "call.answered"
    CALL_ANSWER_FAILED = "call.answer_failed"
    CALL_CONNECTED = "call.connected"
    CALL_CONNECT_FAILED = "call.connect_failed"
    CALL_PROGRESS = "call.progress"
    CALL_ERROR = "call.error"
    DTMF = "call.dtmf"
    """Somebody pressed a key. Argument: the `Digit`."""
    MARK_PLAYED = "mark.played"
    """Argument: the `Mark`."""
    MARK_CLEARED = "mark.cleared"
    """An interruption passed a mark before it was played. Argument: the `Mark`."""
    MEDIA_INTERRUPTED = "media.interrupted"
    """The media link was lost; the call goes on, and the link is opened again."""
    MEDIA_RESUMED = "media.resumed"
    """It is back, and both directions go on where they were. Argument: the `Resumption`."""
    CALL_TERMINATED = "call.terminated"
    """Exactly once for every call, whatever ended it."""


CALL_OFFERED = ClientEvent.CALL_OFFERED.value
INCOMING_CALL = ClientEvent.INCOMING_CALL.value
CALL_ANSWERED = CallEvent.CALL_ANSWERED.value
CALL_ANSWER_FAILED = CallEvent.CALL_ANSWER_FAILED.value
CALL_CONNECTED = CallEvent.CALL_CONNECTED.value
CALL_CONNECT_FAILED = CallEvent.CALL_CONNECT_FAILED.value
CALL_PROGRESS = CallEvent.CALL_PROGRESS.value
CALL_ERROR = CallEvent.CALL_ERROR.value
CALL_TERMINATED = CallEvent.CALL_TERMINATED.value
DTMF = CallEvent.DTMF.value
MARK_PLAYED = CallEvent.MARK_PLAYED.value
MARK_CLEARED = CallEvent.MARK_CLEARED.value
MEDIA_INTERRUPTED = CallEvent.MEDIA_INTERRUPTED.value
MEDIA_RESUMED = CallEvent.MEDIA_RESUMED.value
