"""The echo agent of the comparison, on the published client 1.0.0, run by its own interpreter.

Arguments: base URL, event loop.

One of its session managers stops hearing of calls after its 100th event, at three events a call:
so there are as many managers in the process as the calls need.
"""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack

from telcoflow import (
    Call,
    CallAudioConfig,
    SessionManager,
    SessionManagerConfig,
    SessionNotification,
)

from benchmarks import lines

MANAGERS = 40


async def main(base_url: str) -> None:
    """Echo every call until the input ends."""
    async with AsyncExitStack() as stack:
        for _ in range(MANAGERS):
            await stack.enter_async_context(_manager(base_url))
        await lines.serve({})


def _manager(base_url: str) -> SessionManager:
    config = SessionManagerConfig.create(
        api_key="bench",
        connector_uuid="bench",
        base_url=base_url,
        call_audio=CallAudioConfig(sample_rate=24_000),
    )
    manager = SessionManager(config)

    async def claim(notification: SessionNotification) -> None:
        session = await manager.open_session(notification.session_id)

        async def echo(call: Call) -> None:
            await call.answer()
            async for chunk in call.audio_stream():
                await call.send_audio(chunk)

        session.on_incoming_call(echo)
        await session.ready()

    manager.on_session_notification(claim)
    return manager


if __name__ == "__main__":
    lines.run(main(sys.argv[1]), sys.argv[2])
