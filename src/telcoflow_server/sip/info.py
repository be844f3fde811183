"""Digits in INFO requests, for phones that send no telephone-event.

Not here: digits in RTP. There is no standard for these; two shapes are common.
"""

from __future__ import annotations

import re

from telcoflow_server.sip.message import Body

RELAY_TYPE = "application/dtmf-relay"
PLAIN_TYPE = "application/dtmf"

DEFAULT_DURATION_MS = 160
MAX_DURATION_MS = 10_000
"""Longer than anybody holds a key; what says more is cut."""

_NUMBERED = {"10": "*", "11": "#"}
_SIGNAL = re.compile(r"^\s*signal\s*=\s*([0-9A-D*#]{1,2})\s*$", re.ASCII | re.I | re.M)
_DURATION = re.compile(r"^\s*duration\s*=\s*(\d{1,9})\s*$", re.ASCII | re.I | re.M)
_DIGIT = re.compile(r"[0-9A-D*#]", re.ASCII | re.I)


def parse_digit(body: Body) -> tuple[str, int] | None:
    """Return digit and duration in ms of an INFO's body; None: it is about something else."""
    if body.kind == RELAY_TYPE:
        signal = _SIGNAL.search(body.text)
        if signal is None:
            return None
        digit = _NUMBERED.get(signal[1], signal[1].upper())
        duration = _DURATION.search(body.text)
        duration_ms = int(duration[1]) if duration is not None else DEFAULT_DURATION_MS
    elif body.kind == PLAIN_TYPE:
        text = body.text.strip()
        digit = _NUMBERED.get(text, text.upper())
        duration_ms = DEFAULT_DURATION_MS
    else:
        return None
    if _DIGIT.fullmatch(digit) is None:
        return None
    return digit, min(duration_ms, MAX_DURATION_MS)


def build_digit(digit: str, duration_ms: int) -> Body:
    """Return the body that sends a digit."""
    return Body(f"Signal={digit}\r\nDuration={duration_ms}\r\n", RELAY_TYPE)
