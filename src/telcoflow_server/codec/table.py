"""The codecs a phone may be spoken to with: what SDP calls them, their rates, how to make them.

Not here: which of them a trunk allows (settings), offers and answers (`sip/`).
Implements RFC 3551 §6 (static payload types) and RFC 7587 §7.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from telcoflow_sdk.audio.format import TICK_MS
from telcoflow_server.codec import g711, l16, opus
from telcoflow_server.codec.stream import Decoder, Encoder

MAX_PAYLOAD_MS = 200
"""The longest packet that a receiver is to accept (RFC 3551 §4.2). A datagram could hold 8 s."""


@dataclass(frozen=True, slots=True)
class Codec:
    """One codec.

    Attributes:
        encoding: Name in rtpmap, to be compared without case.
        clock_rate_hz: Of the RTP timestamp, and in rtpmap.
        sample_rate_hz: Of the samples encoded and decoded; for G.722 and Opus not the clock rate.
        static_pt: Payload type that needs no rtpmap; None: dynamic, 96 to 127.
        encoder: Makes the sending half of one stream.
        decoder: Makes the receiving half of one stream.
        count_units: Tells how much audio a payload holds, in units of the clock rate, 0 for one
            that cannot be decoded; see `payload_units`.
        channels: In rtpmap; of Opus always 2 (RFC 7587 §7), though our audio is mono.
        fmtp: Parameters for our own SDP; None for no such line.
        ptime_ms: How long the packets are that we send.
    """

    encoding: str
    clock_rate_hz: int
    sample_rate_hz: int
    static_pt: int | None
    encoder: Callable[[], Encoder] = field(repr=False)
    decoder: Callable[[], Decoder] = field(repr=False)
    count_units: Callable[[bytes], int] = field(repr=False)
    channels: int = 1
    fmtp: str | None = None
    ptime_ms: int = TICK_MS

    def payload_units(self, payload: bytes) -> int:
        """Return how much audio a payload holds, in units of the clock rate.

        0 for one that must not be played: it is empty, malformed, or longer than
        `MAX_PAYLOAD_MS`.
        """
        units = self.count_units(payload)
        return units if units * 1000 <= MAX_PAYLOAD_MS * self.clock_rate_hz else 0


def _linear_pcm(rate_hz: int) -> Codec:
    return Codec(
        "L16",
        rate_hz,
        rate_hz,
        None,  # the static 10 and 11 are for 44.1 kHz
        encoder=lambda: l16.L16,
        decoder=lambda: l16.L16,
        count_units=lambda payload: len(payload) // l16.BYTES_PER_SAMPLE,
    )


PCMU = Codec("PCMU", 8_000, 8_000, 0, lambda: g711.MU_LAW, lambda: g711.MU_LAW, len)
PCMA = Codec("PCMA", 8_000, 8_000, 8, lambda: g711.A_LAW, lambda: g711.A_LAW, len)
L16_CODECS = tuple(_linear_pcm(rate_hz) for rate_hz in (24_000, 16_000, 8_000))


@cache
def offered() -> tuple[Codec, ...]:
    """Return the codecs that work on this installation, the best first.

    Opus and G.722 are among them where PyAV is installed. The first call loads it, which takes
    a while: make it at the start, not in a call.
    """
    return (*_av_codecs(), PCMU, PCMA, *L16_CODECS)


def find(encoding: str, clock_rate_hz: int, channels: int = 1) -> Codec | None:
    """Return the codec that an rtpmap names, or None when this installation has no such.

    Args:
        encoding: In any case.
        clock_rate_hz: As rtpmap has it.
        channels: As rtpmap has it; 1 when it says nothing.
    """
    wanted = encoding.lower(), clock_rate_hz, channels
    return next(
        (
            codec
            for codec in offered()
            if (codec.encoding.lower(), codec.clock_rate_hz, codec.channels) == wanted
        ),
        None,
    )


def find_static(pt: int) -> Codec | None:
    """Return the codec of a payload type without an rtpmap, or None."""
    return next((codec for codec in offered() if codec.static_pt == pt), None)


def _av_codecs() -> tuple[Codec, ...]:
    try:
        from telcoflow_server.codec import av
    except ImportError:  # an installation without PyAV is a normal one
        return ()
    return (
        Codec(
            "opus",
            opus.CLOCK_RATE_HZ,
            av.OPUS_SAMPLE_RATE_HZ,
            None,
            av.OpusEncoder,
            av.OpusDecoder,
            opus.payload_units,
            channels=2,
            # More than 12 kHz would be thrown away here, and is not sent either.
            fmtp=(
                f"maxplaybackrate={av.OPUS_SAMPLE_RATE_HZ};"
                f"sprop-maxcapturerate={av.OPUS_SAMPLE_RATE_HZ}"
            ),
        ),
        Codec("G722", 8_000, av.G722_SAMPLE_RATE_HZ, 9, av.G722Encoder, av.G722Decoder, len),
    )
