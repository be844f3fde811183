"""A client of protocol v2 that does just what the test tells it, over a link in virtual time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

import telcoflow_sdk.events as events
from telcoflow_sdk import OfferedCall, TelcoflowClient, TelcoflowClientConfig
from telcoflow_sdk.protocol.handoff import parse_handed_call
from telcoflow_sdk.protocol.link import Link
from telcoflow_sdk.protocol.positions import (
    POSITION,
    SUBPROTOCOL,
    Acknowledgement,
    AudioMessage,
    Position,
    build_acknowledgement,
    build_audio,
    parse_audio,
    parse_position,
)
from telcoflow_sdk.testing import LivePhone, Sandbox
from telcoflow_server.testing.virtual import VirtualLoop
from tests.positions.ruler import Samples

TURN_S = 0.001
"""Long enough for what was sent to arrive and be answered; much shorter than a tick."""


class RawLink:
    """One media link.

    Attributes:
        heard: Text messages that have come.
        positions: And positions.
        audio: And audio.
        lost: Code and reason of its end, once it has ended.
        seq: The number of the last text message sent.
    """

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.positions: list[Position] = []
        self.audio: list[AudioMessage] = []
        self.lost: tuple[int | None, str] | None = None
        self.seq = 0
        self._link: Link | None = None

    @classmethod
    async def open(cls, url: str, bearer: str, subprotocol: str = SUBPROTOCOL) -> Self:
        """Open a link. Raises `LinkRefused`."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        raw = cls()
        headers = {"Authorization": f"Bearer {bearer}", "Sec-WebSocket-Protocol": subprotocol}
        await loop.open_link(url, raw, headers)
        return raw

    # --- what it is told ---

    def link_opened(self, link: Link) -> None:
        self._link = link

    def text_received(self, data: bytes) -> None:
        self.heard.append(json.loads(data))

    def binary_received(self, data: bytes) -> None:
        if data[0] == POSITION:
            self.positions.append(parse_position(data))
        else:
            self.audio.append(parse_audio(data))

    def link_lost(self, code: int | None, reason: str) -> None:
        self.lost = code, reason

    # --- what it says ---

    @property
    def link(self) -> Link:
        assert self._link is not None, "it was opened"
        return self._link

    def say(self, **message: Any) -> None:
        """Send JSON as it stands."""
        self.link.send_text(json.dumps(message).encode())

    async def hello(self, epoch: int = 1, *, seen: int = 0, received: Sequence[int] = (0,)) -> Any:
        """Say hello; return the data of the welcome, or None."""
        data = {"epoch": epoch, "seen": seen, "received": list(received)}
        self.say(type="hello", data=data)
        await asyncio.sleep(TURN_S)
        return next((one["data"] for one in self.heard if one["type"] == "welcome"), None)

    async def command(
        self,
        command: str,
        place: tuple[int, int] | None = None,
        /,
        *,
        seq: int | None = None,
        **data: Any,
    ) -> Any:
        """Send a command; return the data of its response, or None."""
        self.seq = self.seq + 1 if seq is None else seq
        command_id = f"k{self.seq}"
        content: dict[str, Any] = {
            "command_id": command_id,
            "command": command,
            "timeout_ms": 10_000,
        }
        if place is not None:
            content["position"] = {"generation": place[0], "offset": place[1]}
        if data:
            content["data"] = data
        self.say(type="command", seq=self.seq, data=content)
        await asyncio.sleep(TURN_S)
        return self.response(command_id)

    def response(self, command_id: str) -> Any:
        """Return the data of a command's response, or None."""
        responses = (one["data"] for one in self.heard if one["type"] == "command_response")
        return next((one for one in responses if one["command_id"] == command_id), None)

    def events(self) -> list[dict[str, Any]]:
        """Return the data of all call events."""
        return [one["data"] for one in self.heard if one["type"] == "call_event"]

    def send(
        self, samples: Samples, *, generation: int = 0, offset: int = 0, flags: int = 0
    ) -> None:
        """Send audio."""
        message = build_audio(0, flags, 0, generation, offset, samples.tobytes())
        self.link.send_binary(message)

    def acknowledge(self, *, seen: int = 0, received: int = 0) -> None:
        """Say what has arrived."""
        self.link.send_binary(build_acknowledgement(Acknowledgement(seen, received, 0)))

    async def keep_alive(self) -> None:
        """Acknowledge twice a second, until cancelled."""
        while True:
            await asyncio.sleep(0.5)
            received = self.audio[-1].offset if self.audio else 0
            seen = max((one.get("seq", 0) for one in self.heard), default=0)
            self.acknowledge(seen=seen, received=received)


class RawCall:
    """A call whose media link is in the test's hand.

    Attributes:
        phone: The caller's.
        url: Of its media links.
        token: Opens the first one.
    """

    def __init__(self, phone: LivePhone, url: str, token: str) -> None:
        self.phone = phone
        self.url = url
        self.token = token

    async def open(self, bearer: str | None = None) -> RawLink:
        """Open a media link; with the token unless another secret is given."""
        return await RawLink.open(self.url, bearer or self.token)

    async def answered(self) -> tuple[RawLink, str]:
        """Open the first link, greet and answer; return it, and the secret of the next one."""
        link = await self.open()
        welcome = await link.hello()
        assert (await link.command("call.answer"))["success"]
        return link, welcome["secret"]


@asynccontextmanager
async def taking_calls(sandbox: Sandbox) -> AsyncIterator[asyncio.Queue[tuple[str, str]]]:
    """Claim every call, and give its media address and token to the test."""
    given: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    async with TelcoflowClient(TelcoflowClientConfig.sandbox(**sandbox.credentials)) as client:

        @client.on(events.CALL_OFFERED)
        def give(offer: OfferedCall) -> None:
            call = parse_handed_call(offer.to_json()).call
            given.put_nowait((call.url, call.token))

        yield given


@asynccontextmanager
async def raw_call(sandbox: Sandbox) -> AsyncIterator[RawCall]:
    """Have a call whose media link is in the test's hand."""
    async with taking_calls(sandbox) as given:
        phone = await sandbox.dial()
        url, token = await given.get()
        yield RawCall(phone, url, token)
