from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from telcoflow_sdk._asyncio.handlers import takes_arguments


def none() -> None: ...
def one(details: dict[str, str]) -> None: ...
def some(*details: object) -> None: ...


@pytest.mark.parametrize(
    ("handler", "takes_one"),
    [(none, False), (one, True), (some, True), (partial(one, {}), False), (max, True)],
)
def test_handler_is_given_what_it_takes(handler: Callable[..., Any], takes_one: bool) -> None:
    # `max` has no signature that can be read: then it is given everything.
    assert takes_arguments(handler, 1) is takes_one


def test_what_is_no_function_is_given_everything() -> None:
    assert takes_arguments(5, 1)  # type: ignore[arg-type]  # calling it will say what is wrong
