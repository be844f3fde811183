from __future__ import annotations

import pytest

from telcoflow_server.api.framing import BINARY, PONG, TEXT, Holding, flush_all, header


@pytest.mark.parametrize(
    ("opcode", "size", "expected"),
    [
        (TEXT, 0, b"\x81\x00"),
        (TEXT, 125, b"\x81\x7d"),
        (BINARY, 126, b"\x82\x7e\x00\x7e"),
        (BINARY, 961, b"\x82\x7e\x03\xc1"),
        (PONG, 5, b"\x8a\x05"),
        (BINARY, 65_535, b"\x82\x7e\xff\xff"),
    ],
)
def test_header_says_kind_and_length_as_rfc_6455_has_it(
    opcode: int, size: int, expected: bytes
) -> None:
    assert header(opcode, size) == expected


class Link:
    def __init__(self, left: list[Link], *, is_broken: bool = False) -> None:
        self._left = left
        self._is_broken = is_broken

    def flush(self) -> None:
        if self._is_broken:
            raise RuntimeError("of this link")
        self._left.append(self)


def test_what_is_due_leaves_once_in_order_and_a_broken_link_stops_no_other() -> None:
    left: list[Link] = []
    first, broken, last = Link(left), Link(left, is_broken=True), Link(left)
    due: list[Holding] = [first, broken, last]

    flush_all(due)
    flush_all(due)

    assert left == [first, last]
    assert due == []
