"""Audio that comes with its place on the call's time axis: overlap trimmed, gaps noticed.

Not here: what is done with it (`_asyncio/streams.py`).
Implements "Positions" of docs/reference/wire-v2.md, to the agent.
"""

from __future__ import annotations

import msgspec

from telcoflow_sdk.audio.format import BYTES_PER_SAMPLE
from telcoflow_sdk.protocol.positions import parse_audio


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """Audio that is new.

    Attributes:
        channel: On which.
        offset: Of its first sample, on the call's time axis.
        pcm: Whole samples.
    """

    channel: int
    offset: int
    pcm: bytes


class Arrivals:
    """How far the audio of each channel has arrived.

    Args:
        channels: How many there are.

    Attributes:
        ends: Up to where the audio of each channel has arrived, samples of the call's axis; to
            be read only.
    """

    def __init__(self, channels: int) -> None:
        self.ends = [0] * channels

    def take(self, message: bytes) -> Arrival | None:
        """Take an audio message.

        Returns:
            What is new in it; None: nothing, or its channel was not asked for.

        Raises:
            ProtocolViolation: it cannot be read.
        """
        audio = parse_audio(message)
        channel, offset, pcm, ends = audio.channel, audio.offset, audio.pcm, self.ends
        if channel >= len(ends):
            return None
        end = offset + len(pcm) // BYTES_PER_SAMPLE
        known = ends[channel] - offset
        if known > 0:
            if end <= ends[channel]:
                return None
            pcm = pcm[known * BYTES_PER_SAMPLE :]
            offset = ends[channel]
        ends[channel] = end
        return Arrival(channel, offset, pcm)
