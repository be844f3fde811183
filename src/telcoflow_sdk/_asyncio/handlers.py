"""The application's event handlers: registering them, and calling them in tasks of their own.

Not here: which events there are (`events.py`). Implements "Events" of docs/reference/sdk.md.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

from telcoflow_sdk._asyncio.tasks import OwnedTasks
from telcoflow_sdk.events import CallEvent
from telcoflow_sdk.playback import Digit, Mark
from telcoflow_sdk.protocol.media_events import (
    Answered,
    Connected,
    DigitPressed,
    ErrorReported,
    LinkInterrupted,
    LinkResumed,
    MarkReached,
    MediaOutput,
    Progressed,
)

_logger = logging.getLogger("telcoflow_sdk")

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


class CallHandlers:
    """Who wants to hear of one call's events.

    Args:
        call_id: For logs.
        tasks: Holds the tasks that run them.
    """

    __slots__ = ("_call_id", "_handlers", "_tasks")

    def __init__(self, call_id: str, tasks: OwnedTasks) -> None:
        self._call_id = call_id
        self._tasks = tasks
        self._handlers: dict[CallEvent, list[Handler]] | None = None  # most calls have none

    def add(self, event: CallEvent, handler: Handler) -> None:
        """Call `handler` whenever `event` is fired."""
        if self._handlers is None:
            self._handlers = {}
        self._handlers.setdefault(event, []).append(handler)

    def fire(self, event: CallEvent, *arguments: object) -> None:
        """Call the handlers of `event`, each in a task of its own."""
        for handler in (self._handlers or {}).get(event, ()):
            self.start(event, handler, *arguments)

    def report(self, event: MediaOutput) -> None:
        """Fire what happened to the call, as far as applications are told of it."""
        match event:
            case Answered():
                self.fire(CallEvent.CALL_ANSWERED)
            case Connected():
                self.fire(CallEvent.CALL_CONNECTED)
            case Progressed():
                self.fire(CallEvent.CALL_PROGRESS, event.progress)
            case ErrorReported():
                self.fire(
                    CallEvent.CALL_ERROR, error_details(event.error_code, event.error_message)
                )
            case MarkReached():
                kind = CallEvent.MARK_CLEARED if event.at_ms is None else CallEvent.MARK_PLAYED
                self.fire(kind, Mark(event.name, event.at_ms))
            case DigitPressed():
                digit = Digit(event.digit, event.duration_ms, event.at_ms, event.channel)
                self.fire(CallEvent.DTMF, digit)
            case LinkInterrupted():
                self.fire(CallEvent.MEDIA_INTERRUPTED)
            case LinkResumed():
                self.fire(CallEvent.MEDIA_RESUMED, event.resumption)
            case _:
                pass

    def start(self, event: CallEvent, handler: Handler, *arguments: object) -> None:
        """Call one handler in a task of its own; what it does not take is left out."""
        if not takes_arguments(handler, len(arguments)):
            arguments = ()
        work = self._run(event, handler, arguments)
        self._tasks.spawn(work, f"telcoflow {event} {self._call_id}")

    async def _run(self, event: CallEvent, handler: Handler, arguments: tuple[object, ...]) -> None:
        try:
            await invoke(handler, *arguments)
        except Exception:
            _logger.exception("call %s: the handler of %s failed", self._call_id, event)


def error_details(error_code: str, error_message: str) -> dict[str, str]:
    """Return the argument of events that tell of an error."""
    return {"error_code": error_code, "error_message": error_message}
