"""How long Opus payloads are, by their first octets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_server.codec.opus import MAX_UNITS, frame_units, payload_units


def test_frames_are_as_long_as_the_table_says() -> None:
    """RFC 6716 Table 2, in units of 48 kHz."""
    silk = [480, 960, 1920, 2880]
    hybrid = [480, 960]
    celt = [120, 240, 480, 960]

    assert [frame_units(config) for config in range(32)] == 3 * silk + 2 * hybrid + 4 * celt


@pytest.mark.parametrize(
    ("payload", "ms"),
    [
        ("f8 00", 20),  # one frame of CELT
        ("08 00", 20),  # one of SILK
        ("18 00", 60),
        ("f0 00", 10),
        ("f9 00", 40),  # two of one size
        ("fa 00", 40),  # two of two sizes
        ("fb 03", 60),  # three
        ("fb 83", 60),  # three of variable size
        ("1b 02", 120),
    ],
)
def test_payload_is_as_long_as_its_frames(payload: str, ms: int) -> None:
    """RFC 6716 §3.1, §3.2."""
    assert payload_units(bytes.fromhex(payload)) == ms * 48


@pytest.mark.parametrize(
    ("payload", "what"),
    [("", "empty"), ("fb", "no count"), ("fb 00", "no frame"), ("1b 03", "180 ms")],
)
def test_invalid_payload_has_no_length(payload: str, what: str) -> None:
    assert payload_units(bytes.fromhex(payload)) == 0, what


@given(st.binary(max_size=20))
def test_any_bytes_have_a_length_in_bounds(payload: bytes) -> None:
    assert 0 <= payload_units(payload) <= MAX_UNITS
