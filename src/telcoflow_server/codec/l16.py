"""L16: samples as they are, most significant byte first.

Implements RFC 3551 §4.5.11, mono.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from telcoflow_server.codec.stream import CodecError

BYTES_PER_SAMPLE = 2


class LinearPcm:
    """Both directions of any stream: there is no state."""

    def encode(self, samples: NDArray[np.int16]) -> bytes:
        """Return the payload of one frame of any length."""
        return samples.astype(">i2").tobytes()

    def decode(self, payload: bytes) -> NDArray[np.int16]:
        """Return the samples of one payload.

        Raises:
            CodecError: half a sample at its end.
        """
        if len(payload) % BYTES_PER_SAMPLE:
            raise CodecError("half a sample")
        return np.frombuffer(payload, dtype=">i2").astype(np.int16)


L16 = LinearPcm()
