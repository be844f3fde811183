"""What every codec offers for one stream, in each direction.

Not here: which codecs there are (`table.py`).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class CodecError(Exception):
    """The far end sent a payload that the codec cannot read. Conceal it.

    The stream's state is as it was: the next payload may be read.
    """


class Encoder(Protocol):
    """Turns the frames of one stream into payloads; keeps the state between them."""

    def encode(self, samples: NDArray[np.int16]) -> bytes:
        """Return the payload for one frame.

        Args:
            samples: int16, shape (n,), mono, at the codec's sample rate.

        Raises:
            ValueError: the codec cannot encode a frame of this length.
        """
        ...


class Decoder(Protocol):
    """Turns the payloads of one stream into samples; keeps the state between them."""

    def decode(self, payload: bytes) -> NDArray[np.int16]:
        """Return the samples of one payload, as many as it holds.

        Args:
            payload: Of one packet, any ptime.

        Returns:
            int16, shape (n,), mono, at the codec's sample rate; read only where the codec says.

        Raises:
            CodecError: it is no such payload.
        """
        ...
