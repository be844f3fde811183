"""An agent in memory that speaks media protocol v2, over one link after another.

It keeps what it said until it was seen, sends within its credit, and puts together what it hears.
"""

from __future__ import annotations

from itertools import count
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from telcoflow_sdk.protocol.codec import ProtocolViolation
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
from telcoflow_server.call.ports import CalleeProgress, LinkBroken
from telcoflow_server.call.reception import Reception
from tests.support.exchange import SINCE_TICK_MS, MemoryCallee, MemoryDialer, MemoryPhone, Node

FRAME = 480
GRACE_MS = 2_000
GRACE_TICKS = GRACE_MS // 20

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

    def has_taken(self, message: bytes | None) -> bool:
        """Return whether a binary message was taken at once; None: something else comes."""
        return False


class PositionedAgent:
    """An agent of a call; `connect` puts it on the line, and back on it.

    Args:
        exchange: Where the call is.
        call: Which.
        channels: How many it hears.
        link: Makes its links.
    """

    def __init__(
        self,
        exchange: Exchange,
        call: Call,
        *,
        channels: int = 1,
        link: type[PositionedLink] = PositionedLink,
    ) -> None:
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
        self._new_link = link
        self.link = link(self)
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
        link = self._new_link(self)
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
        self.link.has_taken(None)
        self.link.is_lost = True
        self.reception.lost(None)

    def leave(self, code: CloseCode = CloseCode.NORMAL) -> None:
        """Say goodbye."""
        self.link.has_taken(None)
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
        if not self.link.is_lost:
            self.link.has_taken(None)
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
        if not self.link.has_taken(message):
            self.receive(message)

    def receive(self, message: bytes) -> None:
        """Let a binary message arrive at its call, if it still can."""
        if self.link.closed_with is not None:
            return
        try:
            self.reception.binary(message)
        except LinkBroken as broken:
            self._broken(broken)
        except ProtocolViolation:
            return  # the rim counts it

    def _broken(self, broken: LinkBroken) -> None:
        self.link.close(broken.code, str(broken))
        self.reception.lost(broken.code)

    def command(
        self,
        command: str,
        /,
        *,
        at: tuple[int, int] | None = None,
        placed: bool = True,
        **arguments: Any,
    ) -> str:
        """Send a command, at the end of what was written unless told; return its id."""
        command_id = f"cmd-{next(self._ids)}"
        data: dict[str, Any] = {"command_id": command_id, "command": command}
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
        self._texts.acknowledge(position.seen)

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


def ruler(samples: int, first: int = 0) -> NDArray[np.int16]:
    """Return samples that say where they are, none of them 0."""
    return (np.arange(first, first + samples) % 30_000 + 1).astype("<i2")


class Scene:
    """A caller who counts, an agent of v2 on the line, and a callee who may be rung.

    Attributes:
        link: Makes the links of agents where nothing else is said.
        phone: And the phones of callers.
    """

    link: type[PositionedLink] = PositionedLink
    phone: type[MemoryPhone] = MemoryPhone

    def __init__(
        self,
        *,
        audio_mode: str = "mixed",
        is_answered: bool = True,
        link: type[PositionedLink] | None = None,
        phone: type[MemoryPhone] | None = None,
        **node: Any,
    ) -> None:
        self.callee = MemoryCallee()
        self.node = Node(
            dialer=MemoryDialer(self.callee),
            audio_mode=audio_mode,
            media_grace_s=GRACE_MS / 1000,
            **node,
        )
        self.caller = (phone or type(self).phone)(ruler(30_000 * 20))
        self.call = self.node.place(self.caller)
        (notification,) = self.node.client_link.take()
        self.node.tell(type="session.open", sessionId=notification["sessionId"], reqId="r")
        channels = 3 if audio_mode == "isolated" else 1
        self.agent = PositionedAgent(
            self.node.exchange, self.call, channels=channels, link=link or type(self).link
        )
        self.node.agents.append(self.agent)
        self.agent.connect()
        self.run(1)
        if is_answered:
            self.agent.command("call.answer", placed=False)
            self.run(2)

    def run(self, ticks: int) -> None:
        self.node.run(ticks)

    def say(self, samples: int, *, end: bool = False) -> None:
        """Write the next samples of the generation."""
        self.agent.say(ruler(samples, self.agent.written).tobytes(), end=end)

    def connected(self) -> None:
        """Bring the callee in."""
        self.callee.progress = CalleeProgress.ANSWERED
        command = self.agent.command("call.connect")
        self.run(3)
        assert self.result(command)["success"]

    def result(self, command: str) -> dict[str, Any]:
        response = self.agent.response(command)
        assert response is not None, "no response"
        return response

    def refusal(self, command: str) -> str:
        """Return the code with which a command was refused."""
        response = self.result(command)
        assert not response["success"]
        code: str = response["error_code"]
        return code

    @property
    def heard(self) -> list[int]:
        """What the caller heard of the agent, silence left out."""
        heard: list[int] = self.caller.heard[self.caller.heard != 0].tolist()
        return heard

    def heard_by_agent(self, channel: int = 0) -> list[int]:
        sound = np.frombuffer(bytes(self.agent.heard[channel]), "<i2")
        heard: list[int] = sound[sound != 0].tolist()
        return heard
