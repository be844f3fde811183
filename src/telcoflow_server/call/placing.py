"""Calls that agents ask for: what may be asked.

Not here: making them (`exchange.py`), answering who asked (`session.py`).
Implements "Placing a call" of docs/reference/wire.md.
"""

from __future__ import annotations

import re

from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_sdk.protocol.commands import MAX_RING_TIME_S, MIN_RING_TIME_S
from telcoflow_sdk.protocol.messages import SessionCreate

VOICE_CHANNEL = "TELCO"

NUMBER = re.compile(r"\+?[0-9*#]{1,32}|sips?:[^\s@]{1,64}@[^\s@]{1,128}")
"""What can be dialled: E.164 and short numbers, and SIP addresses."""


class CallRefused(Exception):
    """A call that an agent wants to place and may not; `code` and the text go back to it."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def check_placing(request: SessionCreate) -> None:
    """Raise `CallRefused` unless such a call can be placed."""
    if request.channel != VOICE_CHANNEL:
        raise CallRefused(
            ErrorCode.CHANNEL_NOT_CONFIGURED, f"this server calls on {VOICE_CHANNEL} only"
        )
    if not NUMBER.fullmatch(request.remote_address):
        raise CallRefused(
            ErrorCode.INVALID_REQUEST,
            "remoteAddress is a number (digits, perhaps with a + before them) or a SIP address",
        )
    ring_s = request.data.ring_time_seconds
    if not MIN_RING_TIME_S <= ring_s <= MAX_RING_TIME_S:
        raise CallRefused(
            ErrorCode.INVALID_REQUEST,
            f"ringTimeSeconds must be {MIN_RING_TIME_S} to {MAX_RING_TIME_S}, not {ring_s}",
        )
