"""Binary messages of media protocol v2 as rows of arrays, all of one size.

Not here: one message (`telcoflow_sdk/protocol/positions.py`), what they do (`agent_array.py`).
Implements "Binary messages" of docs/reference/wire-v2.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from telcoflow_sdk.protocol.positions import POSITION

_POSITION = np.dtype(
    [
        ("kind", "u1"),
        ("flags", "u1"),
        ("reserved", "<u2"),
        ("generation", "<u4"),
        ("received", "<u8"),
        ("played", "<u8"),
        ("window", "<u4"),
        ("seen", "<u4"),
        ("heard", "<u8"),
    ]
)

POSITION_BYTES = _POSITION.itemsize


def audio_of(frame_samples: int) -> np.dtype[np.void]:
    """Return an audio message that holds a frame."""
    return np.dtype(
        [
            ("channel", "u1"),
            ("flags", "u1"),
            ("delay_ms", "<u2"),
            ("generation", "<u4"),
            ("offset", "<u8"),
            ("pcm", "<i2", (frame_samples,)),
        ]
    )


def replies(
    rows: int, frame_samples: int, before_audio: bytes, before_position: bytes
) -> NDArray[np.void]:
    """Return what clients are sent on a tick: `audio`, a frame, and `position`, of their own.

    Everything is 0 but what never changes.

    Args:
        rows: How many, at most.
        frame_samples: Of the rate.
        before_audio: What the link puts before the first message.
        before_position: And before the second.
    """
    reply = np.dtype(
        [
            ("before_audio", "u1", (len(before_audio),)),
            ("audio", audio_of(frame_samples)),
            ("before_position", "u1", (len(before_position),)),
            ("position", _POSITION),
        ]
    )
    made = np.zeros(rows, reply)
    made["before_audio"] = np.frombuffer(before_audio, np.uint8)
    made["before_position"] = np.frombuffer(before_position, np.uint8)
    made["position"]["kind"] = POSITION
    return made
