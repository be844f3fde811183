"""Every way a call can end: the agent notices at once, once, and nothing of the call is left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

import telcoflow_sdk.events as events
from telcoflow_sdk import (
    ActiveCall,
    BufferClosedError,
    CallState,
    TelcoflowClient,
    TelcoflowClientConfig,
    WSSCallClosedError,
)
from telcoflow_sdk.testing import LiveCallee, LivePhone, Sandbox
from telcoflow_server.app import CONTROL_PATH
from telcoflow_server.call.exchange import Exchange
from tests.support.bad_servers import RefusingServer, in_place_of
from tests.support.traces import run_without_a_trace

NOTICED_S = 0.1

RING_TIMEOUT_S = 5.0

PENDING, ANSWERED, CONNECTED = CallState.PENDING, CallState.ANSWERED, CallState.CONNECTED


class OfTheApplicationError(Exception):
    """What a handler fails with."""


@dataclass
class InCall:
    """A call that has come to a state, and everybody in it."""

    sandbox: Sandbox
    client: TelcoflowClient
    phone: LivePhone
    callee: LiveCallee
    call: ActiveCall
    fails: asyncio.Event
    terminated_s: list[float] = field(default_factory=list)

    @property
    def exchange(self) -> Exchange:
        return self.sandbox.exchange


async def hang_up(now: InCall) -> None:
    await now.phone.hang_up()


async def callee_hangs_up(now: InCall) -> None:
    await now.callee.hang_up()


async def close(now: InCall) -> None:
    await now.call.close()


async def disconnect(now: InCall) -> None:
    await now.call.disconnect()


async def handler_fails(now: InCall) -> None:
    now.fails.set()


async def media_link_is_lost_for_good(now: InCall) -> None:
    with in_place_of(now.sandbox.base_url, RefusingServer()):
        for link in now.sandbox.links:
            if link.path != CONTROL_PATH:
                link.cut()
        await asyncio.sleep(0.05)  # in virtual time: until another one was refused


async def rung_out(now: InCall) -> None:
    await asyncio.sleep(RING_TIMEOUT_S)


async def server_stops(now: InCall) -> None:
    now.exchange.shut_down()


async def client_leaves(now: InCall) -> None:
    await now.client.disconnect()


WAYS: list[tuple[CallState, Callable[[InCall], Awaitable[None]]]] = [
    *(
        (state, way)
        for state in (PENDING, ANSWERED, CONNECTED)
        for way in (
            hang_up,
            close,
            disconnect,
            handler_fails,
            media_link_is_lost_for_good,
            server_stops,
            client_leaves,
        )
    ),
    (PENDING, rung_out),
    (CONNECTED, callee_hangs_up),
]


@pytest.mark.parametrize(("state", "way"), WAYS, ids=[f"{s}-{w.__name__}" for s, w in WAYS])
def test_the_agent_notices_the_end_at_once_and_once(
    state: CallState, way: Callable[[InCall], Awaitable[None]]
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with Sandbox(ring_timeout_s=RING_TIMEOUT_S) as sandbox:
            client = TelcoflowClient(TelcoflowClientConfig.sandbox(**sandbox.credentials))
            taken: asyncio.Queue[ActiveCall] = asyncio.Queue()
            fails = asyncio.Event()

            @client.on(events.INCOMING_CALL)
            async def on_call(call: ActiveCall) -> None:
                taken.put_nowait(call)
                await fails.wait()
                raise OfTheApplicationError

            async with client:
                callee = sandbox.callee(after_s=0.1)
                phone = await sandbox.dial()
                call = await taken.get()
                now = InCall(sandbox, client, phone, callee, call, fails)
                call.on(events.CALL_TERMINATED)(lambda: now.terminated_s.append(loop.time()))
                if state is not PENDING:
                    await call.answer()
                if state is CONNECTED:
                    await call.connect()
                reading = asyncio.ensure_future(drain_stream(call))
                await asyncio.sleep(0.1)
                assert call.state is state

                began_s = loop.time()
                await way(now)
                await asyncio.wait_for(reading, NOTICED_S)
                await asyncio.sleep(0.05)

                rang_s = RING_TIMEOUT_S if way is rung_out else 0.0
                assert now.terminated_s[0] - began_s < rang_s + NOTICED_S
                await assert_over(now)
                fails.set()

    run_without_a_trace(main())


async def drain_stream(call: ActiveCall) -> None:
    async for _ in call.audio_stream():
        pass


async def assert_over(now: InCall) -> None:
    """Check all that an application can see of a call that is over."""
    call = now.call
    assert call.state is CallState.DISCONNECTED
    assert now.client.get_call(call.call_id) is None
    assert [link for link in now.sandbox.links if link.path != CONTROL_PATH] == []
    await drain_stream(call)  # ends at once
    with pytest.raises(BufferClosedError):
        await call.send_audio(bytes(960))
    for command in (call.answer, call.connect, call.whisper, call.barge, call.spy):
        with pytest.raises(WSSCallClosedError):
            await command()
    assert await call.clear_send_audio_buffer() == 0
    await call.close()
    await call.disconnect()
    assert len(now.terminated_s) == 1
