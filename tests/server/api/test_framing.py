from __future__ import annotations

import pytest

from telcoflow_server.api.framing import BINARY, TEXT, unmasked


@pytest.mark.parametrize(
    ("opcode", "size", "header"),
    [
        (TEXT, 0, b"\x81\x00"),
        (TEXT, 125, b"\x81\x7d"),
        (BINARY, 126, b"\x82\x7e\x00\x7e"),
        (BINARY, 961, b"\x82\x7e\x03\xc1"),
        (BINARY, 65_535, b"\x82\x7e\xff\xff"),
    ],
)
def test_header_says_kind_and_length_as_rfc_6455_has_it(
    opcode: int, size: int, header: bytes
) -> None:
    payload = bytes(size)

    assert unmasked(opcode, payload) == header + payload
