"""A client connected to a scripted server, and a call between the two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, ReconnectPolicy, TelcoflowClient, TelcoflowClientConfig
from tests.support.scripted_server import Peer, ScriptedServer

API_KEY = "a-secret-key"
CONNECTOR = "connector-1"

QUICK = ReconnectPolicy(initial_s=0.01, factor=1.0, cap_s=0.01)


def config(server: ScriptedServer, **more: Any) -> TelcoflowClientConfig:
    """Return a configuration for this server; reconnects come quickly."""
    arguments: dict[str, Any] = {
        "api_key": API_KEY,
        "connector_uuid": CONNECTOR,
        "base_url": server.url,
        "reconnect": QUICK,
    }
    return TelcoflowClientConfig.sandbox(**(arguments | more))


@asynccontextmanager
async def connected(
    server: ScriptedServer, **more: Any
) -> AsyncIterator[tuple[TelcoflowClient, Peer]]:
    """Connect a client; give it and the server's end of its control link."""
    async with TelcoflowClient(config(server, **more)) as client:
        yield client, await server.controls.get()


@dataclass(frozen=True, slots=True)
class Session:
    """Both ends of one call."""

    server: ScriptedServer
    client: TelcoflowClient
    control: Peer
    media: Peer
    call: ActiveCall

    async def answer(self) -> None:
        """Let the agent answer."""
        answering = asyncio.ensure_future(self.call.answer())
        self.media.respond(await self.media.expect_command("call.answer"))
        await answering

    async def connect(self) -> None:
        """Let the agent bring in the callee, who answers."""
        connecting = asyncio.ensure_future(self.call.connect())
        self.media.respond(await self.media.expect_command("call.connect"))
        await connecting

    async def end(self) -> None:
        """Let the caller hang up, and wait until the client knows."""
        terminated = asyncio.Event()
        self.call.on(events.CALL_TERMINATED)(terminated.set)
        self.media.call_event("call.terminated")
        await terminated.wait()


def happenings(call: ActiveCall, event: str) -> asyncio.Queue[tuple[Any, ...]]:
    """Return a queue of the arguments that handlers of this event get."""
    seen: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()

    @call.on(event)
    def happened(*arguments: Any) -> None:
        seen.put_nowait(arguments)

    return seen


@asynccontextmanager
async def in_call(
    *, answered: bool = True, with_callee: bool = False, **more: Any
) -> AsyncIterator[Session]:
    """Start a server and a client, and put a call through."""
    incoming: asyncio.Queue[ActiveCall] = asyncio.Queue()
    async with ScriptedServer() as server, connected(server, **more) as (client, control):
        client.on(events.INCOMING_CALL)(incoming.put_nowait)
        media = await server.deliver(control)
        session = Session(server, client, control, media, await incoming.get())
        if answered:
            await session.answer()
        if with_callee:
            await session.connect()
        try:
            yield session
        finally:
            # The client hangs up on leaving, and would wait for a server that says nothing.
            media.drop()
            await media.closed
