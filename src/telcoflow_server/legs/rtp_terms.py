"""What an RTP leg is told before it begins: what was agreed on, and random numbers.

Not here: agreeing (`sip/negotiation.py`), the leg (`rtp.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from telcoflow_sdk.audio.format import TICK_MS
from telcoflow_server.codec.table import Codec

Address = tuple[str, int]
"""Numeric host and port."""

Send = Callable[[bytes, Address], None]
"""Sends a datagram; never waits, never raises."""

MAX_ENCODED_FRAMES = 3
"""Frames of 20 ms that one packet of ours may hold: 60 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RtpTerms:
    """What signalling has agreed on for one leg.

    Attributes:
        codec: Both ways.
        pt: Its payload type.
        digits_pt: Of telephone-event; None: not understood.
        digits_clock_hz: Its clock rate.
        noise_pt: Of comfort noise the far end may send; None: none.
        remote: Where its SDP wants media; None: nowhere.
        remote_rtcp: Likewise.
        peer_host: Numeric host that signals.
        is_peer_trusted: Whether that host is known, see `Latch`.
        sends: Whether we may send.
        receives: Whether something is to come.
        ptime_ms: Of our packets: a multiple of 20 up to 60; others are rounded to one.
    """

    codec: Codec
    pt: int
    digits_pt: int | None
    digits_clock_hz: int
    noise_pt: int | None
    remote: Address | None
    remote_rtcp: Address | None
    peer_host: str
    is_peer_trusted: bool
    sends: bool
    receives: bool
    ptime_ms: int

    @property
    def frames_per_packet(self) -> int:
        """How many frames a packet of ours holds: an Opus payload is one, L16 would be too long."""
        if self.codec.static_pt is None:
            return 1
        return max(1, min(self.ptime_ms // TICK_MS, MAX_ENCODED_FRAMES))

    @property
    def clock_rates_hz(self) -> dict[int, int]:
        """The clock rate of each payload type that may come."""
        rates = {self.pt: self.codec.clock_rate_hz}
        if self.digits_pt is not None:
            rates[self.digits_pt] = self.digits_clock_hz
        if self.noise_pt is not None:
            rates[self.noise_pt] = self.codec.clock_rate_hz
        return rates


@dataclass(frozen=True, slots=True)
class RtpSeed:
    """The random numbers a leg begins with (RFC 3550 §5.1, §8)."""

    ssrc: int
    seq: int
    ts: int
    cname: str
    generator: np.random.Generator
