"""The SDK's protocol engines, each with a far end that a test writes.

Not here: sockets (`agent.py`).
"""

from __future__ import annotations

import json
from itertools import count
from typing import Any

from telcoflow_sdk.audio.format import AudioFormat
from telcoflow_sdk.audio.outbox import Outbox
from telcoflow_sdk.audio.positioned import PositionedOutbox
from telcoflow_sdk.protocol.commands import CommandName
from telcoflow_sdk.protocol.control import ControlEngine, ControlOutput
from telcoflow_sdk.protocol.media import MediaEngine
from telcoflow_sdk.protocol.media_events import CommandSettled, MediaOutput
from telcoflow_sdk.protocol.positions import AudioMessage, Position, build_position, parse_audio
from telcoflow_sdk.protocol.resuming import ResumingLink

RATE_HZ = 24_000
RING_TIME_S = 30


def ring_time_s(name: CommandName) -> int | None:
    return RING_TIME_S if name is CommandName.CONNECT else None


class MediaDialogue:
    """One call: an engine with its far end written by the test."""

    def __init__(
        self,
        *,
        answered: bool = False,
        connected: bool = False,
        channels: int = 1,
        ring_time_s: int | None = None,
    ) -> None:
        numbers = count(1)
        self.outbox = Outbox(AudioFormat(RATE_HZ), 100_000)
        self.engine = MediaEngine(
            self.outbox,
            lambda: f"command-{next(numbers)}",
            channels=channels,
            ring_time_s=ring_time_s,
        )
        self.now = 100.0
        if answered:
            self.succeeds(self.sends(CommandName.ANSWER))
            self.events()
        if connected:
            self.connects()

    def connects(self) -> None:
        self.succeeds(self.sends(CommandName.CONNECT))
        self.events()

    def sends(self, name: CommandName) -> str:
        command_id = self.engine.send_command(name, self.now, ring_time_s=ring_time_s(name))
        self.engine.release_command(self.now)
        (message,) = self.said()
        data = message["data"]
        assert (message["type"], data["command"]) == ("command", name)
        assert data["command_id"] == command_id
        return command_id

    def pump(self) -> list[bytes | dict[str, Any]]:
        """Return what leaves now, as the link sends it: audio without channel, or a command."""
        sent: list[bytes | dict[str, Any]] = []
        while True:
            while (message := self.outbox.next_message()) is not None:
                sent.append(message[1:])
            if not self.engine.release_command(self.now):
                return sent
            sent += [message["data"] for message in self.said()]

    def hears(self, kind: str, **data: Any) -> None:
        self.engine.receive_message(json.dumps({"type": kind, "data": data}).encode(), self.now)

    def succeeds(self, command_id: str, **fields: Any) -> None:
        self.hears("command_response", command_id=command_id, success=True, **fields)

    def fails(self, command_id: str, code: str | None) -> None:
        fields = {"error_code": code, "error_message": "told so"}
        self.hears("command_response", command_id=command_id, success=False, **fields)

    def said(self) -> list[dict[str, Any]]:
        return [json.loads(message) for message in self.engine.take_messages()]

    def events(self) -> list[MediaOutput]:
        return self.engine.take_events()

    def settled(self) -> CommandSettled:
        """Return the next event, which must be the outcome of a command."""
        event = self.events()[0]
        assert isinstance(event, CommandSettled)
        return event

    def passes(self, seconds: float) -> None:
        self.now += seconds
        self.engine.expire(self.now)


class PositionedDialogue(MediaDialogue):
    """The same on protocol v2: the test has welcomed the engine over its first link."""

    def __init__(self, *, channels: int = 1, ring_time_s: int | None = None) -> None:
        super().__init__(channels=channels, ring_time_s=ring_time_s)
        self.positioned = PositionedOutbox(self.outbox.intake)
        self.resuming = ResumingLink(self.positioned, channels, RATE_HZ)
        self.channels = channels
        self._told = 0
        self._epoch = 0
        self.engine.agree_on_v2(self.resuming)
        self.opens()
        self.welcomes()

    def opens(self) -> dict[str, Any]:
        """Open a link; return the `hello`."""
        self._epoch += 1
        self.engine.link_opened()
        (hello,) = self.said()
        assert hello["type"] == "hello"
        data: dict[str, Any] = hello["data"]
        return data

    def welcomes(self, **fields: Any) -> list[dict[str, Any]]:
        """Welcome it; return what it says then."""
        data = {
            "epoch": self._epoch,
            "seen": 0,
            "generation": 0,
            "received": 0,
            "continues": [0] * self.channels,
            "secret": f"secret-{self._epoch}",
            "grace_ms": 10_000,
        }
        MediaDialogue.hears(self, "welcome", **(data | fields))
        return self.said()

    def hears(self, kind: str, **data: Any) -> None:
        self._told += 1
        message = {"type": kind, "seq": self._told, "data": data}
        self.engine.receive_message(json.dumps(message).encode(), self.now)

    def has(
        self,
        received: int,
        *,
        played: int = 0,
        generation: int = 0,
        window: int = 4_800,
        seen: int = 0,
    ) -> None:
        """The server says how far it is."""
        message = build_position(Position(generation, received, played, window, 0, seen, False))
        assert self.engine.receive_binary(message, self.now, 0.0) is None

    def sends_audio(self) -> list[AudioMessage]:
        """Return the audio that leaves now."""
        taken = []
        while (message := self.positioned.next_message(self.now)) is not None:
            taken.append(parse_audio(message))
        return taken


class ControlDialogue:
    """An engine with its far end written by the test."""

    def __init__(self, *, accepting: bool = True) -> None:
        numbers = count(1)
        self.engine = ControlEngine(16_000, "mixed", lambda: f"request-{next(numbers)}")
        self.now = 100.0
        if accepting:
            self.engine.accept_calls(self.now)

    def open(self) -> list[dict[str, Any]]:
        self.engine.link_opened(self.now)
        return self.said()

    def set_up(self) -> None:
        self.open()
        self.hears("setup.done", smWsId="sm-1")
        self.events()

    def hears(self, kind: str, **fields: Any) -> None:
        self.engine.receive_message(json.dumps({"type": kind, **fields}).encode(), self.now)

    def said(self) -> list[dict[str, Any]]:
        return [json.loads(message) for message in self.engine.take_messages()]

    def events(self) -> list[ControlOutput]:
        return self.engine.take_events()

    def passes(self, seconds: float) -> None:
        self.now += seconds
        self.engine.expire(self.now)

    def call_in(self, session_id: str = "s1", **fields: str | None) -> None:
        message: dict[str, str | None] = {
            "callId": "c1",
            "url": "ws://host/media",
            "token": "t",
            "from": "",
            "to": "1",
        }
        self.hears("call.in", sessionId=session_id, **(message | fields))

    def deliver(self, session_id: str = "s1") -> None:
        self.hears("session.notify", sessionId=session_id)
        (claim,) = self.said()
        self.hears("response", reqId=claim["reqId"], ok=True)
        assert self.said() == [{"type": "session.ready", "sessionId": session_id}]
        self.call_in(session_id)
