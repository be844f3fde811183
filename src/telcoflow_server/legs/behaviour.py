"""What a simulated phone does that is called, by name.

Not here: the phone (`simulated.py`); the command line offers these names without loading it.
Implements "Simulated phones" of docs/reference/rest.md.
"""

from __future__ import annotations

from enum import StrEnum


class Behaviour(StrEnum):
    """What comes of ringing."""

    ANSWER = "answer"
    BUSY = "busy"
    DECLINE = "decline"
    NO_ANSWER = "no-answer"
