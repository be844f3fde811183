"""How long an Opus payload lasts, without decoding it.

Not here: encoding and decoding (`av.py`). Implements RFC 6716 §3.1 and §3.2.
"""

from __future__ import annotations

CLOCK_RATE_HZ = 48_000
"""Of the RTP timestamp, whatever the sample rate (RFC 7587 §4.1)."""

MAX_UNITS = 120 * CLOCK_RATE_HZ // 1000
"""No packet is longer than 120 ms (RFC 6716 §3.2, R5)."""

_SILK_UNITS = (480, 960, 1920, 2880)
_HYBRID_UNITS = (480, 960)
_CELT_UNITS = (120, 240, 480, 960)
_FIRST_HYBRID, _FIRST_CELT = 12, 16
_ONE_FRAME, _ANY_COUNT = 0, 3
_COUNT = 0x3F


def frame_units(config: int) -> int:
    """Return the length of a frame by configuration number, 0 to 31 (RFC 6716 Table 2)."""
    if config < _FIRST_HYBRID:
        return _SILK_UNITS[config % 4]
    if config < _FIRST_CELT:
        return _HYBRID_UNITS[config % 2]
    return _CELT_UNITS[config % 4]


def payload_units(payload: bytes) -> int:
    """Return how much audio a payload holds, in units of the clock rate; 0 for an invalid one."""
    if not payload:
        return 0
    code = payload[0] & 3
    if code == _ANY_COUNT:
        frames = payload[1] & _COUNT if len(payload) > 1 else 0
    else:
        frames = 1 if code == _ONE_FRAME else 2
    units = frames * frame_units(payload[0] >> 3)
    return units if units <= MAX_UNITS else 0
