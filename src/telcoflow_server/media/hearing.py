"""What one far end sounds like: its packets in, one frame a tick out, whatever the network did.

Not here: codecs (passed in as a function), sockets and the RTP header.
Implements docs/explanation/jitter-buffer.md: jitter buffer, decoder, concealment and comfort noise
put together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic

import numpy as np
from numpy.typing import NDArray

from telcoflow_server.media.comfort_noise import ComfortNoise
from telcoflow_server.media.conceal import Concealer, Samples
from telcoflow_server.media.jitter import JitterBuffer
from telcoflow_server.media.pieces import Lost, P, Packet, Piece, Silence
from telcoflow_server.media.steady import SteadyBuffer

QUIET_BELOW_SPEECH = 1e-3
"""A frame with less than this part of the recent loudest frame's power, 30 dB, is silent: it may
be background noise, but nobody speaks."""
QUIET_POWER = (32_768 * 10 ** (-60 / 20)) ** 2
"""Less than -60 dBov is silent whatever was before."""
QUIET_TICKS = 3
"""So many frames in a row, 60 ms, make a silence; the closure of a plosive is no place to cut."""
LOUDEST_KEPT_PER_TICK = 0.997
"""The loudest frame is forgotten by half in 4.6 s."""


class Hearing(Generic[P]):
    """One leg's ear. One thread; never waits.

    Args:
        clock_rate_hz: Of the RTP timestamps.
        sample_rate_hz: Of the frames and of what `decode` returns, a multiple of the former or
            a divisor of it.
        decode: From a payload to its samples, int16, shape (n,). Called once for each payload
            that is played, in order. Where samples are missing they are concealed, so of a
            payload that cannot be read it returns none.
        generator: Randomness for comfort noise.

    Attributes:
        buffer: Where packets are put.

    Raises:
        ValueError: a rate that `JitterBuffer` or `Concealer` refuses.
    """

    def __init__(
        self,
        *,
        clock_rate_hz: int,
        sample_rate_hz: int,
        decode: Callable[[P], Samples],
        generator: np.random.Generator,
    ) -> None:
        self.buffer: JitterBuffer[P] = JitterBuffer(clock_rate_hz)
        self._clock_rate_hz = clock_rate_hz
        self._sample_rate_hz = sample_rate_hz
        self._decode = decode
        self._concealer = Concealer(sample_rate_hz)
        self._noise = ComfortNoise(generator)
        self._decoded: Samples = np.zeros(0, dtype=np.int16)  # the last payload
        self._loudest = 0.0
        self._quiet_ticks = 0

    def take(self, now_s: float, out: NDArray[np.int16]) -> bool:
        """Fill `out` with the frame of the tick at `now_s`.

        Args:
            now_s: See `JitterBuffer.take`.
            out: int16, shape (samples of a tick,).

        Returns:
            True: `out` is filled. False: nothing to be heard, and `out` is zeros.

        Raises:
            ValueError: `now_s` is before the previous call's.
        """
        buffer = self.buffer
        parts = self._decode_all(buffer.take(now_s))
        if buffer.wants_silence and self._is_quiet(parts):
            instead = buffer.shorten()
            if instead is not None:
                parts = self._decode_all(instead)
        piece, samples = parts[0]
        if samples.size == out.size and len(parts) == 1 and isinstance(piece, Packet):
            out[:] = self._concealer.play(samples)  # nearly always
            return True
        is_heard = False
        units = at = 0
        for piece, samples in parts:
            units += piece.length_units
            end = self._to_samples(units)
            is_heard |= self._sound(piece, samples, out[at:end])
            at = end
        return is_heard

    def steady(self) -> SteadyBuffer | None:
        """See `JitterBuffer.steady`: nothing is being concealed, either."""
        return None if self._concealer.is_concealing else self.buffer.steady()

    def catch_up(self, now: SteadyBuffer, came: int, played: int, last: list[P]) -> None:
        """See `JitterBuffer.catch_up`.

        Args:
            last: The last payloads played, `HISTORY_S` of them or all since `steady`, in order.
        """
        self.buffer.catch_up(now, came, played)
        for payload in last:
            self._concealer.play(self._decode(payload))

    def _decode_all(self, pieces: tuple[Piece[P], ...]) -> list[tuple[Piece[P], Samples]]:
        """Return each piece with its samples, or of a loss those that follow it, if known."""
        parts: list[tuple[Piece[P], Samples]] = []
        for piece in pieces:
            if not isinstance(piece, Packet):
                parts.append((piece, self._following(piece)))
                continue
            if piece.is_new:
                self._decoded = self._decode(piece.payload)
            samples, offset = self._decoded, piece.offset_units
            # As `_to_samples`: nearly always all of the packet, for which nothing need be cut.
            end = (offset + piece.length_units) * self._sample_rate_hz // self._clock_rate_hz
            if offset or samples.size > end:
                samples = samples[self._to_samples(offset) : end]
            parts.append((piece, samples))
        return parts

    def _following(self, piece: Lost[P] | Silence) -> Samples:
        """Return what is known to follow a piece that is not there."""
        if isinstance(piece, Silence) or piece.following is None:
            return _NOTHING
        if piece.is_new:
            self._decoded = self._decode(piece.following)
        return self._decoded

    def _to_samples(self, units: int) -> int:
        return units * self._sample_rate_hz // self._clock_rate_hz

    def _sound(self, piece: Piece[P], samples: Samples, out: NDArray[np.int16]) -> bool:
        """Fill `out` with what one piece sounds like; return whether it can be heard."""
        if isinstance(piece, Silence):
            if piece.comfort is None:
                out[:] = 0
            else:
                self._noise.describe(piece.comfort)
                out[:] = self._noise.make(out.size)
            out[:] = self._concealer.play(out)  # what was concealed fades into it
            return bool(out.any())
        if isinstance(piece, Lost):
            out[:] = self._concealer.conceal(out.size, samples if samples.size else None)
            return True
        there = min(samples.size, out.size)
        if there:
            out[:there] = self._concealer.play(samples[:there])
        if there < out.size:
            out[there:] = self._concealer.conceal(out.size - there)
        return True

    def _is_quiet(self, parts: list[tuple[Piece[P], Samples]]) -> bool:
        """Whether nobody has spoken for long enough, up to and with these parts.

        Asked, and the loudest frame followed, only while it matters to the buffer.
        """
        power = 0.0
        for piece, samples in parts:
            if isinstance(piece, Lost):
                self._quiet_ticks = 0
                return False
            if samples.size:
                wide = samples.astype(np.float32)
                power = max(power, float(wide.dot(wide)) / samples.size)  # half the time of `@`
        self._loudest = max(power, self._loudest * LOUDEST_KEPT_PER_TICK)
        if power >= max(QUIET_POWER, self._loudest * QUIET_BELOW_SPEECH):
            self._quiet_ticks = 0
            return False
        self._quiet_ticks += 1
        return self._quiet_ticks >= QUIET_TICKS


_NOTHING: Samples = np.zeros(0, dtype=np.int16)
