"""An agent on the published client, `telcoflow` 1.0.0, run by its own interpreter.

Nothing of ours is imported. Arguments: base URL, API key, connector, what to do in each call.
Prints one JSON object per call.
"""

from __future__ import annotations

import asyncio
import json
import sys

from telcoflow import (
    Call,
    CallAudioConfig,
    SessionManager,
    SessionManagerConfig,
    SessionNotification,
)

SPEECH = b"".join((1000 + n % 20_000).to_bytes(2, "little") for n in range(24_000))
"""One second at 24 kHz whose samples are never zero."""

GOODBYE = SPEECH[:1460]
"""A tail of 500 bytes behind one frame: what this client keeps back from a careless server."""


async def echo(call: Call, told: dict[str, object]) -> None:
    """Say back what is heard until the caller hangs up."""
    async for chunk in call.audio_stream():
        await call.send_audio(chunk)
    told["ended"] = True


async def interrupt(call: Call, told: dict[str, object]) -> None:
    """Talk for seconds, be interrupted, say something short, close."""
    for _ in range(5):
        await call.send_audio(SPEECH)
    await asyncio.sleep(0.5)
    told["cleared_bytes"] = await call.clear_send_audio_buffer()
    await call.send_audio(GOODBYE)
    await asyncio.sleep(0.3)
    told["left_bytes"] = await call.get_send_audio_buffer_size()
    told["closed"] = bool(await call.close())


async def disconnect(call: Call, told: dict[str, object]) -> None:
    """End the call for everybody."""
    told["disconnected"] = bool(await call.disconnect())


async def main(base_url: str, api_key: str, connector_uuid: str, tasks: list[str]) -> None:
    """Take as many calls as there are tasks, one after the other."""
    config = SessionManagerConfig.create(
        api_key=api_key,
        connector_uuid=connector_uuid,
        base_url=base_url,
        call_audio=CallAudioConfig(sample_rate=24_000),
    )
    left = iter(tasks)
    done: asyncio.Queue[dict[str, object]] = asyncio.Queue()
    async with SessionManager(config) as manager:

        @manager.on_session_notification
        async def claim(notification: SessionNotification) -> None:
            session = await manager.open_session(notification.session_id)
            told: dict[str, object] = {}

            finished = asyncio.Event()

            @session.on_incoming_call
            async def take(call: Call) -> None:
                told["from"], told["to"] = call.caller_number, call.callee_number
                terminated = asyncio.Event()
                call.on_terminated(terminated.set)
                told["answered"] = bool(await call.answer())
                await globals()[next(left)](call, told)
                await asyncio.wait_for(terminated.wait(), 5)
                told["terminated"] = True
                finished.set()

            @session.on_closed
            async def closed(reason: str) -> None:
                await finished.wait()
                told["closed_reason"] = str(reason)
                await done.put(told)

            await session.ready()

        tell("joined")
        for _ in tasks:
            tell(json.dumps(await done.get()))


def tell(line: str) -> None:
    """Say something to the test."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]))
