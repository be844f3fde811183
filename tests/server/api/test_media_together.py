"""Media links whose agents are kept together, over real sockets: what comes in whatever shape.

Not here: what comes to the legs (`tests/server/legs/test_agent_array.py`), v2 itself
(`test_media_v2.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection

from telcoflow_sdk.protocol.codes import CloseCode
from telcoflow_sdk.protocol.positions import (
    MORE,
    POSITION,
    Acknowledgement,
    Position,
    build_acknowledgement,
    build_audio,
    parse_audio,
    parse_position,
)
from telcoflow_server.api.agent_socket import AgentSocket
from telcoflow_server.app import Server
from telcoflow_server.call.call import Call
from tests.server.api.test_control import closed_with
from tests.server.api.test_media_v2 import command, greet, link
from tests.support.server import Caller, RawClient, noise
from tests.support.twin_agents import let_few_be_together

FRAME = 480


@pytest.fixture(autouse=True)
def _few_are_together(monkeypatch: pytest.MonkeyPatch) -> None:
    let_few_be_together(monkeypatch)


class Talking:
    """An agent that says something on every tick, over a socket.

    Attributes:
        position: The last one that came.
        heard: Samples that came, without a hole.
        sends: Sends a frame; something else may be put in its place.
    """

    def __init__(self, socket: ClientConnection, call: Call) -> None:
        self.socket = socket
        self.position = Position(0, 0, 0, 0, 0, 0, False)
        self.heard = 0
        self.sends: Callable[[bytes], Any] = socket.send
        self._call = call
        self._sent = 0

    @property
    def is_together(self) -> bool:
        """Whether its leg is in an array."""
        agent = self._call.seat.agent
        return agent is not None and agent.leg.together is not None

    async def talk(self, until: Callable[[], bool]) -> None:
        """Answer credit, and take what comes, until something holds."""
        async with asyncio.timeout(10):
            while not until():
                message = await self.socket.recv()
                if isinstance(message, str):
                    continue
                if message[0] == POSITION:
                    await self._answer(parse_position(message))
                else:
                    audio = parse_audio(message)
                    assert audio.offset == self.heard or not self.heard, "there is a hole"
                    self.heard = audio.offset + len(audio.pcm) // 2

    async def _answer(self, position: Position) -> None:
        assert position.played >= self.position.played, "it goes back"
        self.position = position
        while self._sent + FRAME <= position.played + position.window:
            await self.sends(build_audio(0, MORE, 0, 0, self._sent, bytes(2 * FRAME)))
            self._sent += FRAME
        if position.played % (25 * FRAME) == 0:
            await self.socket.send(build_acknowledgement(Acknowledgement(0, self.heard, 0)))


@pytest.fixture
async def call_in(server: Server, http: aiohttp.ClientSession) -> AsyncIterator[dict[str, Any]]:
    async with RawClient.joined(server) as client:
        await Caller(server, http).dial(noise(48_000))
        yield await client.take_call()


@asynccontextmanager
async def talking(server: Server, call_in: dict[str, Any]) -> AsyncIterator[Talking]:
    """Return an agent that talks, and is kept in an array."""
    (call,) = server.exchange.calls
    async with link(call_in["url"], call_in["token"]) as socket:
        await greet(socket, 1)
        assert (await command(socket, 1, "call.answer"))["data"]["success"]
        agent = Talking(socket, call)
        await agent.talk(lambda: agent.is_together)
        yield agent


def _gaps(server: Server) -> int:
    (call,) = server.exchange.calls
    return call.seat.audio.gap_count


async def test_an_agent_talks_on_without_a_gap(server: Server, call_in: dict[str, Any]) -> None:
    async with talking(server, call_in) as agent:
        end = agent.position.played + 50 * FRAME
        await agent.talk(lambda: agent.position.played >= end)

        assert agent.is_together
        assert _gaps(server) == 0
        assert agent.heard >= end


@pytest.mark.parametrize("shape", ["in pieces", "behind a ping", "behind text"])
async def test_what_comes_in_another_shape_loses_nothing(
    server: Server, call_in: dict[str, Any], shape: str
) -> None:
    async with talking(server, call_in) as agent:

        async def send(message: bytes) -> None:
            agent.sends = agent.socket.send
            if shape == "in pieces":
                await agent.socket.send([message[:100], message[100:]])
                return
            if shape == "behind a ping":
                await agent.socket.ping()
            else:
                await agent.socket.send('{"type": "command", "seq": 2, "data": 5}')
            await agent.socket.send(message)

        agent.sends = send
        end = agent.position.played + 20 * FRAME
        await agent.talk(lambda: agent.position.played >= end and agent.is_together)

        assert _gaps(server) == 0


async def test_what_has_no_place_closes_the_link(server: Server, call_in: dict[str, Any]) -> None:
    async with talking(server, call_in) as agent:
        await agent.socket.send(build_audio(0, MORE, 0, 0, 1 << 30, bytes(2 * FRAME)))

        assert await closed_with(agent.socket) == CloseCode.BAD_POSITION


async def test_a_flood_is_one_also_there(server: Server, call_in: dict[str, Any]) -> None:
    """Of acknowledgements, which the array takes: a few in a tick, the others are counted."""
    async with talking(server, call_in) as agent:
        flood = build_acknowledgement(Acknowledgement(0, 0, 0))
        for _ in range(5_000):
            await agent.socket.send(flood)

        assert await closed_with(agent.socket) == CloseCode.FLOOD


async def test_what_came_just_before_the_link_broke_is_not_lost(
    server: Server, call_in: dict[str, Any]
) -> None:
    async with talking(server, call_in) as agent:
        (call,) = server.exchange.calls
        seated, held = call.seat.agent, list[bytes]()
        assert seated is not None

        async def hold(message: bytes) -> None:
            held.append(message)

        agent.sends = hold
        await agent.talk(lambda: bool(held))
        await agent.socket.send(held[0])
        agent.socket.transport.write_eof()  # an abort could take back what was sent
        await agent.socket.wait_closed()
        async with asyncio.timeout(5):
            while seated.link is not None:  # noqa: ASYNC110 (the server notices)
                await asyncio.sleep(0)

    assert seated.leg.together is None
    assert seated.leg.received == parse_audio(held[0]).offset + FRAME


class Broken:
    """A transport that nothing can be written to."""

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes) -> None:
        raise RuntimeError("broken")


async def test_a_link_that_cannot_be_written_to_troubles_nobody_else(
    server: Server, call_in: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with talking(server, call_in) as agent:
        own = _link(server)
        whole, own._raw = own._raw, Broken()  # type: ignore[assignment]
        async with asyncio.timeout(5):
            while agent.is_together:  # noqa: ASYNC110 (it comes with the ticks)
                await asyncio.sleep(0.005)
        own._raw = whole

    assert "a media link cannot be written to" in caplog.text


async def test_a_fault_of_ours_closes_the_one_link_that_it_concerns(
    server: Server,
    call_in: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(message: bytes) -> None:
        raise RuntimeError("a bug")

    async with talking(server, call_in) as agent:
        monkeypatch.setattr(_link(server).reception, "binary", fail)
        await agent.socket.send(build_audio(0, MORE, 0, 0, 1 << 30, bytes(2 * FRAME)))

        assert await closed_with(agent.socket) == CloseCode.INTERNAL_ERROR
    assert "a media link failed" in caplog.text


def _link(server: Server) -> AgentSocket:
    (call,) = server.exchange.calls
    assert call.seat.agent is not None
    link = call.seat.agent.link
    assert isinstance(link, AgentSocket)
    return link
