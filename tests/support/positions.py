"""An agent in memory that speaks media protocol v2, over one link after another.

It keeps what it said until it was seen, sends within its credit, and puts together what it hears.
"""

from __future__ import annotations

from itertools import count
from typing import Any

import msgspec

from telcoflow_sdk.protocol.codes import CloseCode
from telcoflow_sdk.protocol.positions import (
    END,
    MORE,
    Acknowledgement,
    AudioMessage,
    Position,
    build_acknowledgement,
    build_audio,
    parse_audio,
    parse_position,
)
from telcoflow_sdk.protocol.sequence import SeenMessages, SentMessages
from telcoflow_server.call.call import Call
from telcoflow_server.call.exchange import Exchange
from telcoflow_server.call.ports import LinkBroken
from telcoflow_server.call.reception import Reception
from tests.support.exchange import SINCE_TICK_MS

POSITION_BYTE = 240

ACKNOWLEDGED_EVERY = 25
"""Ticks."""


class PositionedLink:
    """A `MediaLink` of protocol v2 to one agent; what is sent when it `is_lost` never arrives."""

    def __init__(self, agent: PositionedAgent) -> None:
        self.is_lost = False
        self.unsent = 0
        self.closed_with: CloseCode | None = None
        self._agent = agent

    def send_text(self, message: bytes) -> None:
        if not self.is_lost and self.closed_with is None:
            self._agent.hear_text(message)

    def send_binary(self, message: bytes) -> None:
        if self.is_lost or self.closed_with is not None:
            return
        if message[0] == POSITION_BYTE:
            self._agent.hear_position(parse_position(message))
        else:
            self._agent.hear_audio(parse_audio(message))

    def unsent_bytes(self) -> int:
        return self.unsent

    def close(self, code: CloseCode, reason: str) -> None:
        self.closed_with = self.closed_with or code


class PositionedAgent:
    """An agent of a call; `connect` puts it on the line, and back on it."""

    def __init__(self, exchange: Exchange, call: Call, *, channels: int = 1) -> None:
        self.log: list[dict[str, Any]] = []
        """The text messages that arrived, each once."""
        self.welcomes: list[dict[str, Any]] = []
        self.positions: list[Position] = []
        self.heard = [bytearray() for _ in range(channels)]
        self.holes: list[tuple[int, int, int]] = []
        """Channel, and the samples between which audio is missing."""
        self.discontinuities = 0
        self.received = [0] * channels
        self.generation = 0
        self.epoch = 0
        self.acknowledges = True
        self.link = PositionedLink(self)
        self.reception: Reception
        self._exchange = exchange
        self._call = call
        self._ids = count(1)
        self._texts = SentMessages()
        self._seen = SeenMessages()
        self._written = bytearray()  # of this generation, from its beginning
        self._ends: set[int] = set()
        self._sent = 0  # samples
        self._ticks = 0

    # --- links -----------------------------------------------------------------------------

    def connect(self, *, epoch: int | None = None) -> PositionedLink:
        """Open a link and say hello over it; what was not seen is sent again."""
        self.epoch = self.epoch + 1 if epoch is None else epoch
        link = PositionedLink(self)
        reception = Reception(self._exchange, self._call, link, is_v2=True)
        reception.opened()
        self.link, self.reception = link, reception
        data = {"epoch": self.epoch, "seen": self._seen.last, "received": self.received}
        self.send_text(msgspec.json.encode({"type": "hello", "data": data}))
        if self.link.closed_with is None:
            self._go_on(self.welcomes[-1])
        return link

    def lose(self) -> None:
        """The link breaks."""
        self.link.is_lost = True
        self.reception.lost(None)

    def leave(self, code: CloseCode = CloseCode.NORMAL) -> None:
        """Say goodbye."""
        self.link.is_lost = True
        self.reception.lost(code)

    def _go_on(self, welcome: dict[str, Any]) -> None:
        self._texts.acknowledge(welcome["seen"])
        self._sent = welcome["received"] if welcome["generation"] == self.generation else 0
        for message in self._texts.unseen():
            self.send_text(message)

    # --- what it says ----------------------------------------------------------------------

    def send_text(self, message: bytes) -> None:
        """Send a text message as it is; a link that is broken by it is closed, as the rim does."""
        if self.link.is_lost or self.link.closed_with is not None:
            return
        try:
            self.reception.text(message, SINCE_TICK_MS)
        except LinkBroken as broken:
            self._broken(broken)

    def send_binary(self, message: bytes) -> None:
        """The same for a binary message."""
        if self.link.is_lost or self.link.closed_with is not None:
            return
        try:
            self.reception.binary(message)
        except LinkBroken as broken:
            self._broken(broken)

    def _broken(self, broken: LinkBroken) -> None:
        self.link.close(broken.code, str(broken))
        self.reception.lost(broken.code)

    def command(
        self, name: str, *, at: tuple[int, int] | None = None, placed: bool = True, **arguments: Any
    ) -> str:
        """Send a command, at the end of what was written unless told; return its id."""
        command_id = f"cmd-{next(self._ids)}"
        data: dict[str, Any] = {"command_id": command_id, "command": name}
        if placed:
            generation, offset = at or (self.generation, self.written)
            data["position"] = {"generation": generation, "offset": offset}
        if arguments:
            data["data"] = arguments
        self.send_text(self._texts.add(msgspec.json.encode({"type": "command", "data": data})))
        return command_id

    def interrupt(self) -> str:
        """Drop what was written and not played."""
        self.generation += 1
        self._written.clear()
        self._ends.clear()
        self._sent = 0
        return self.command("agent.interrupt")

    def say(self, pcm: bytes, *, end: bool = False) -> None:
        """Write audio; it leaves as credit allows."""
        self._written += pcm
        if end:
            self._ends.add(self.written)

    @property
    def written(self) -> int:
        """Samples of this generation."""
        return len(self._written) // 2

    def serve(self) -> None:
        """Send what credit allows, frame by frame, and acknowledge twice a second."""
        self._ticks += 1
        if self.acknowledges and self._ticks % ACKNOWLEDGED_EVERY == 0:
            self.acknowledge()
        position = self.positions[-1] if self.positions else None
        if position is None or position.generation > self.generation:
            return
        played = position.played if position.generation == self.generation else 0
        while True:
            room = min(played + position.window, self.written) - self._sent
            stops = [end - self._sent for end in self._ends if end > self._sent]
            samples = min(480, room, *stops)
            if samples <= 0 or self.link.is_lost or self.link.closed_with is not None:
                return
            self.send_audio(samples)

    def send_audio(self, samples: int) -> None:
        """Send so much of what was written, whatever the credit is."""
        at = self._sent
        self._sent += samples
        flags = (END if self._sent in self._ends else 0) | (
            MORE if self.written > self._sent else 0
        )
        pcm = bytes(self._written[2 * at : 2 * self._sent])
        self.send_binary(build_audio(0, flags, 0, self.generation, at, pcm))

    def acknowledge(self, loop_lag_ms: int = 0) -> None:
        """Tell what has arrived."""
        acknowledgement = Acknowledgement(self._seen.last, min(self.received), loop_lag_ms)
        self.send_binary(build_acknowledgement(acknowledgement))

    # --- what it hears ---------------------------------------------------------------------

    def hear_text(self, message: bytes) -> None:
        """From the link."""
        fields = msgspec.json.decode(message)
        if fields["type"] == "welcome":
            self.welcomes.append(fields["data"])
        elif self._seen.is_new(message):
            self.log.append(fields)

    def hear_position(self, position: Position) -> None:
        """From the link."""
        self.positions.append(position)

    def hear_audio(self, audio: AudioMessage) -> None:
        """From the link; what is here already is trimmed."""
        channel, at = audio.channel, self.received[audio.channel]
        self.discontinuities += bool(audio.flags)
        if audio.offset > at and at:
            self.holes.append((channel, at, audio.offset))
        known = max(0, at - audio.offset) if at else 0
        self.heard[channel] += audio.pcm[2 * known :]
        self.received[channel] = max(at, audio.offset + len(audio.pcm) // 2)

    def response(self, command_id: str) -> dict[str, Any] | None:
        """Return the response to a command, if it came."""
        for message in self.log:
            if message["data"].get("command_id") == command_id:
                data: dict[str, Any] = message["data"]
                return data
        return None

    def events(self, *names: str) -> list[dict[str, Any]]:
        """Return the call events of these names."""
        return [message["data"] for message in self.log if message["data"].get("event") in names]
