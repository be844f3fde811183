from __future__ import annotations

import pytest

import telcoflow_sdk.exceptions as exceptions
from telcoflow_sdk.exceptions import WSSCallError, WSSError

TREE = {
    "WSSConnectionError": WSSError,
    "WSSAuthenticationError": WSSError,
    "WSSMediaError": WSSError,
    "BufferFullError": WSSError,
    "BufferClosedError": WSSError,
    "WSSCallError": WSSError,
    "WSSCallClosedError": WSSCallError,
    "WSSCallCommandError": WSSCallError,
    "WSSCallCommandTimeoutError": WSSCallError,
}


@pytest.mark.parametrize(("name", "parent"), TREE.items())
def test_tree_is_the_documented_one(name: str, parent: type[Exception]) -> None:
    assert getattr(exceptions, name).__bases__ == (parent,)
