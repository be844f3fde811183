"""Comfort noise: what a far end that sends nothing says its background sounds like.

Not here: when it is to be heard (`jitter.py`). We never send it.
Implements RFC 3389, of which the level is always used and the spectrum where there is one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_OVERLOAD = 32_768.0
"""What 0 dBov is in 16-bit samples: a square wave of this amplitude (RFC 3389 §3.1)."""
_MAX_ORDER = 20
"""More coefficients are ignored, as §3.2 allows; a model of speech band noise has 10 or fewer."""
_RESPONSE_SAMPLES = 128
"""Length the synthesis filter's response is cut to, 16 ms at 8 kHz; the level is made good."""


class ComfortNoise:
    """Noise of a described level and colour, without an end.

    Silent until the first description.

    Args:
        generator: Where the randomness comes from.
    """

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator
        self._payload = b""
        self._response = np.zeros(1)

    def describe(self, payload: bytes) -> None:
        """Follow a comfort noise payload. The same one again changes nothing.

        Args:
            payload: RFC 3389 §3: a byte of level in -dBov, then reflection coefficients, if any.
                An empty one is taken for silence.
        """
        if payload != self._payload:
            self._payload = payload
            self._response = _response(payload)

    def make(self, length_samples: int) -> NDArray[np.int16]:
        """Return the next samples: int16, shape (n,)."""
        taps = self._response.size
        white = self._generator.standard_normal(length_samples + taps - 1)
        noise = np.convolve(white, self._response, "valid")
        return np.clip(np.rint(noise), -32768, 32767).astype(np.int16)


def _response(payload: bytes) -> NDArray[np.float64]:
    """Return the impulse response whose output, from white noise of power 1, is as described."""
    if not payload:
        return np.zeros(1)
    level = _OVERLOAD * 10 ** (-(payload[0] & 0x7F) / 20)
    response = lattice_response(reflection_coefficients(payload[1 : 1 + _MAX_ORDER]))
    return np.asarray(response * (level / np.sqrt(response @ response)), dtype=np.float64)


def reflection_coefficients(coded: bytes) -> list[float]:
    """Return the coefficients, between -1 and 1 (RFC 3389 §3.2). 255 is no code; taken for 254."""
    return [258 * (min(byte, 254) - 127) / 32_768 for byte in coded]


def lattice_response(coefficients: list[float]) -> NDArray[np.float64]:
    """Return the impulse response of the all-pole lattice of these reflection coefficients.

    Stable for any that are between -1 and 1, which is why they are what is sent.

    Source: Markel and Gray, Linear Prediction of Speech §5.3; sign as in RFC 3389, whose
    coefficients have A(z) = 1 + k1 z^-1 for order one.
    """
    order = len(coefficients)
    if not order:
        return np.ones(1)
    backward = [0.0] * (order + 1)  # of the sample before
    response = np.zeros(_RESPONSE_SAMPLES)
    for at in range(_RESPONSE_SAMPLES):
        forward = 1.0 if at == 0 else 0.0
        for stage in range(order, 0, -1):
            forward -= coefficients[stage - 1] * backward[stage - 1]
            backward[stage] = backward[stage - 1] + coefficients[stage - 1] * forward
        backward[0] = forward
        response[at] = forward
    return response
