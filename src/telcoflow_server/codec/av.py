"""G.722 and Opus through PyAV, which brings FFmpeg and libopus.

The only module that imports `av`; importing it fails where that is not installed. Not here: what
can be offered (`table.py`). Implements RFC 3551 §4.5.2 and RFC 7587.
"""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from numpy.typing import NDArray

from telcoflow_sdk.audio.format import TICK_MS
from telcoflow_server.codec import opus
from telcoflow_server.codec.stream import CodecError

G722_SAMPLE_RATE_HZ = 16_000
OPUS_SAMPLE_RATE_HZ = 24_000
"""The rate of the mix: libopus encodes it as it is. It decodes through FFmpeg at 48 kHz only, so
decoded audio is halved here."""

_DECODED_OPUS_RATE_HZ = 48_000

_OPUS_BITS_PER_S = 32_000
"""What RFC 7587 §3.1.1 recommends for full-band speech is 28 to 40 kbit/s. It is a mean over
time: a dense voice takes a third more while it speaks."""

_OPUS_OPTIONS = {
    # "voip" would filter out what lies below a speaker's pitch, for microphones in noisy rooms.
    # What is sent here is a mix of clean voices and music, and is to arrive as it is.
    "application": "audio",
    "frame_duration": str(TICK_MS),
    # Expecting loss, it lets payloads depend less on those before them.
    "packet_loss": "5",
    # From 7 on it analyses the sound first and then prefers its speech mode: three times the
    # time for 1 dB less noise.
    "compression_level": "5",
}


class _AvEncoder:
    """One stream through an FFmpeg encoder that gives a payload for each frame of a tick."""

    def __init__(self, context: AudioCodecContext, sample_rate_hz: int) -> None:
        context.sample_rate = sample_rate_hz
        context.layout = "mono"
        context.format = "s16"
        context.time_base = Fraction(1, sample_rate_hz)
        context.open()
        self._context = context
        self._frame_samples = sample_rate_hz * TICK_MS // 1000
        self._encoded_samples = 0

    def encode(self, samples: NDArray[np.int16]) -> bytes:
        """Return the payload for one frame.

        Raises:
            ValueError: it is not one tick long.
        """
        if samples.shape != (self._frame_samples,):
            raise ValueError(f"a frame has {self._frame_samples} samples, not {samples.shape}")
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples[np.newaxis]), format="s16", layout="mono"
        )
        frame.sample_rate = self._context.sample_rate
        frame.pts = self._encoded_samples
        self._encoded_samples += self._frame_samples
        return b"".join(bytes(packet) for packet in self._context.encode(frame))


class G722Encoder(_AvEncoder):
    """One stream of G.722 at 64 kbit/s; frames of 320 samples at 16 kHz."""

    def __init__(self) -> None:
        super().__init__(AudioCodecContext.create("g722", "w"), G722_SAMPLE_RATE_HZ)


class OpusEncoder(_AvEncoder):
    """One stream of Opus, mono; frames of 480 samples at 24 kHz."""

    def __init__(self) -> None:
        context = AudioCodecContext.create("libopus", "w")
        context.bit_rate = _OPUS_BITS_PER_S
        context.options = _OPUS_OPTIONS
        super().__init__(context, OPUS_SAMPLE_RATE_HZ)


class _AvDecoder:
    """One stream through an FFmpeg decoder of signed 16-bit mono."""

    def __init__(self, context: AudioCodecContext, sample_rate_hz: int) -> None:
        context.sample_rate = sample_rate_hz
        context.layout = "mono"
        self._context = context

    def _frames(self, payload: bytes) -> list[av.AudioFrame]:
        # To FFmpeg an empty packet is the end of the stream, after which it decodes no more.
        if not payload:
            raise CodecError("empty payload")
        try:
            return self._context.decode(av.Packet(payload))
        except av.FFmpegError as error:
            raise CodecError(f"not decodable: {type(error).__name__}") from None


class G722Decoder(_AvDecoder):
    """One stream of G.722; two samples at 16 kHz for each byte."""

    def __init__(self) -> None:
        super().__init__(AudioCodecContext.create("g722", "r"), G722_SAMPLE_RATE_HZ)

    def decode(self, payload: bytes) -> NDArray[np.int16]:
        """Return the samples of one payload; raises CodecError when it is empty."""
        return _joined(self._frames(payload))


class OpusDecoder(_AvDecoder):
    """One stream of Opus, mono or stereo, down to mono at 24 kHz.

    FFmpeg gives no access to libopus's own concealment and to the copies in the next payload:
    what is lost is concealed like any other codec's.
    """

    def __init__(self) -> None:
        super().__init__(AudioCodecContext.create("libopus", "r"), _DECODED_OPUS_RATE_HZ)
        self._halving = av.AudioResampler(format="s16", layout="mono", rate=OPUS_SAMPLE_RATE_HZ)
        self._owed_samples = 0

    def decode(self, payload: bytes) -> NDArray[np.int16]:
        """Return the samples of one payload, half as many as it holds at 48 kHz.

        The first one begins with the 16 samples of silence by which the halving filter is late.

        Raises:
            CodecError: it is no Opus.
        """
        if not opus.payload_units(payload):
            raise CodecError("no Opus payload")
        frames = self._frames(payload)
        wanted = sum(frame.samples for frame in frames) * OPUS_SAMPLE_RATE_HZ
        halved = []
        for frame in frames:
            frame.pts = None
            halved += self._halving.resample(frame)
        samples = _joined(halved)
        missing = wanted // _DECODED_OPUS_RATE_HZ - samples.size
        if missing:
            samples = np.concatenate([np.zeros(missing, dtype=np.int16), samples])
        return samples


def _joined(frames: list[av.AudioFrame]) -> NDArray[np.int16]:
    return np.concatenate([frame.to_ndarray()[0] for frame in frames], dtype=np.int16)
