"""One line of `telcoflow doctor`.

Not here: what is examined (`machine.py`, `installation.py`).
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Verdict(StrEnum):
    """How it stands."""

    OK = "ok"
    WARNING = "warning"  # works, but not as well as it could
    MISSING = "missing"  # is not there, and does not work without
    BROKEN = "broken"  # is there, and does not work


class Finding(Struct, frozen=True):
    """What was found of one thing; `remedy` is what to do about it, "" where nothing is to do."""

    what: str
    verdict: Verdict
    text: str
    remedy: str = ""


BAD = frozenset({Verdict.MISSING, Verdict.BROKEN})
"""Verdicts with which a server does not work."""


def ok(what: str, text: str) -> Finding:
    """Return that all is well."""
    return Finding(what, Verdict.OK, text)
