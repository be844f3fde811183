"""The moments between a message of the server's and the turn of the task that waits for it."""

from __future__ import annotations

import asyncio
import json
from itertools import count
from typing import Any

import pytest

from telcoflow_sdk._asyncio.control import ControlConnection
from telcoflow_sdk.protocol.control import ControlEngine
from tests.support.wire import Wire


class Dialogue:
    """A control connection that places a call, message by message."""

    def __init__(self) -> None:
        numbers = count(1)
        engine = ControlEngine(24_000, "mixed", lambda: f"request-{next(numbers)}")
        self.offered: list[object] = []
        self.connection = ControlConnection("ws://host", {}, None, engine, self.offered.append)
        self.wire = Wire()
        self.connection.link_opened(self.wire)
        self.connection.accept_calls()
        self.hears("setup.done", smWsId="sm-1")
        self.placing = asyncio.ensure_future(self.connection.create_session("1", 45))

    def hears(self, kind: str, **fields: Any) -> None:
        self.connection.text_received(json.dumps({"type": kind, **fields}).encode())

    def is_ready(self) -> None:
        self.hears("response", reqId="request-1", ok=True, content={"sessionId": "s1"})
        self.hears("response", reqId="request-2", ok=True)
        assert self.wire.sent[-1] == {"type": "session.ready", "sessionId": "s1"}

    def is_delivered(self) -> None:
        self.hears("call.in", sessionId="s1", callId="c1", url="ws://host/c1", token="t")

    def is_forgotten(self) -> bool:
        """Return whether a notification of the session is news."""
        self.wire.sent.clear()
        self.hears("session.notify", sessionId="s1")
        (message,) = self.wire.sent or ({},)
        return message == {"type": "session.open", "sessionId": "s1", "reqId": "request-3"}


async def test_call_delivered_to_a_task_that_was_cancelled_meanwhile_is_forgotten() -> None:
    dialogue = Dialogue()
    await asyncio.sleep(0)
    dialogue.is_ready()
    dialogue.placing.cancel()

    dialogue.is_delivered()

    with pytest.raises(asyncio.CancelledError):
        await dialogue.placing
    assert dialogue.is_forgotten()
    assert dialogue.offered == []


async def test_call_delivered_to_a_task_that_is_cancelled_before_its_turn_is_forgotten() -> None:
    dialogue = Dialogue()
    await asyncio.sleep(0)
    dialogue.is_ready()
    dialogue.is_delivered()

    dialogue.placing.cancel()

    with pytest.raises(asyncio.CancelledError):
        await dialogue.placing
    assert dialogue.is_forgotten()


async def test_failure_told_to_a_task_that_was_cancelled_meanwhile_is_no_loose_error() -> None:
    dialogue = Dialogue()
    await asyncio.sleep(0)
    dialogue.placing.cancel()

    dialogue.connection.link_lost(None, "")

    with pytest.raises(asyncio.CancelledError):
        await dialogue.placing


async def test_failure_told_to_a_task_that_is_cancelled_before_its_turn_is_no_loose_error() -> None:
    dialogue = Dialogue()
    await asyncio.sleep(0)
    dialogue.connection.link_lost(None, "")

    dialogue.placing.cancel()

    with pytest.raises(asyncio.CancelledError):
        await dialogue.placing
