"""What a run of PCM bytes means: rate, samples, milliseconds, frames.

Not here: reading WAV files (`wav.py`), holding audio (`buffer.py`).
Implements the audio section of the wire protocol: signed 16-bit little-endian, mono.
"""

from __future__ import annotations

from dataclasses import dataclass

TICK_MS = 20
"""One tick, and so one frame, of every call."""

BYTES_PER_SAMPLE = 2

SAMPLE_RATES_HZ = (8_000, 16_000, 24_000)
"""The sample rates an agent may ask for."""

DEFAULT_SAMPLE_RATE_HZ = 24_000

BytesLike = bytes | bytearray | memoryview
"""What is taken where audio is given; at run time anything with a buffer, such as an array."""


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """The rate of one stream of signed 16-bit little-endian mono PCM.

    Args:
        sample_rate_hz: One of `SAMPLE_RATES_HZ`.

    Raises:
        ValueError: any other rate.
    """

    sample_rate_hz: int = DEFAULT_SAMPLE_RATE_HZ

    def __post_init__(self) -> None:
        if self.sample_rate_hz not in SAMPLE_RATES_HZ:
            raise ValueError(
                f"sample rate must be one of {SAMPLE_RATES_HZ} Hz, not {self.sample_rate_hz!r}"
            )

    @property
    def frame_samples(self) -> int:
        """Samples in one tick."""
        return self.sample_rate_hz * TICK_MS // 1000

    @property
    def frame_bytes(self) -> int:
        """Bytes in one tick."""
        return self.frame_samples * BYTES_PER_SAMPLE

    @property
    def bytes_per_second(self) -> int:
        """Bytes in one second."""
        return self.sample_rate_hz * BYTES_PER_SAMPLE

    def bytes_to_ms(self, count_bytes: int) -> float:
        """Return how long `count_bytes` of audio last, in milliseconds."""
        return count_bytes * 1000 / self.bytes_per_second

    def ms_to_bytes(self, duration_ms: float) -> int:
        """Return the whole samples that fit into `duration_ms`, as an even number of bytes."""
        return int(duration_ms * self.sample_rate_hz / 1000) * BYTES_PER_SAMPLE


CHANNELS = {"mixed": 1, "isolated": 3}
"""How many channels the server sends in each audio mode: everybody but the agent, and when
isolated also the caller and the callee."""


@dataclass(frozen=True, slots=True)
class CallAudio:
    """What audio a call carries and holds.

    Attributes:
        audio_format: Of both directions, and of every channel.
        channels: How many arrive, one of the values of `CHANNELS`.
        buffer_bytes: Capacity of the outgoing buffer.
    """

    audio_format: AudioFormat
    channels: int
    buffer_bytes: int
