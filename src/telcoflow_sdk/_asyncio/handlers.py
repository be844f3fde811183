"""The application's event handlers: registering them, and calling them in tasks of their own.

Not here: which events there are (`events.py`). Implements "Events" of docs/reference/sdk.md.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

Handler = Callable[..., Any]
HandlerT = TypeVar("HandlerT", bound=Handler)
EventT = TypeVar("EventT", bound=StrEnum)


def parse_event(kinds: type[EventT], event: str) -> EventT:
    """Return the event that a constant or an enum member names.

    Raises:
        ValueError: there is no such event; names those that exist.
    """
    try:
        return kinds(event)
    except ValueError:
        known = ", ".join(kinds)
        raise ValueError(f"no event {event!r}; there are {known}") from None


async def invoke(handler: Handler, *arguments: object) -> None:
    """Call a handler, and await what it returns if that can be awaited.

    Asking the result and not the function also covers bound methods, partials and objects
    with an async `__call__`.
    """
    result = handler(*arguments)
    if inspect.isawaitable(result):
        await result


def takes_arguments(handler: Handler, count: int) -> bool:
    """Return whether `handler` can be called with `count` arguments; True when it is unknown."""
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True
