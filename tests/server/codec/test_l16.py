"""Samples as they are."""

from __future__ import annotations

import numpy as np
import pytest

from telcoflow_server.codec.l16 import L16
from telcoflow_server.codec.stream import CodecError


def test_most_significant_byte_comes_first() -> None:
    """RFC 3551 §4.5.11."""
    samples = np.array([1, -2, 0x1234], dtype=np.int16)

    assert L16.encode(samples).hex(" ") == "00 01 ff fe 12 34"


def test_every_sample_survives_a_round_trip() -> None:
    samples = np.arange(-32_768, 32_768).astype(np.int16)

    again = L16.decode(L16.encode(samples))

    assert again.dtype == np.int16
    assert (again == samples).all()


def test_nothing_is_no_samples() -> None:
    assert L16.decode(b"").shape == (0,)


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(CodecError, match="half"):
        L16.decode(b"\x00\x01\x02")
