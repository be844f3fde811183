"""Reads a story into a small buffer, and tries again while that is full.

The model is started before the call is answered, so that the story is ready when somebody listens.
"""

import asyncio
import contextlib
import os

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, TelcoflowClient, TelcoflowClientConfig
from telcoflow_sdk.exceptions import BufferClosedError, BufferFullError
from tests.apps.streaming_model import Reply, StreamingModel

STORY = Reply(2_000, 8.0)


async def send_all(call: ActiveCall, pcm: bytes) -> None:
    while True:
        try:
            await call.send_audio(pcm)
        except BufferFullError:
            await asyncio.sleep(0.05)
        else:
            return


async def narrate(call: ActiveCall) -> None:
    listening = asyncio.create_task(listen(call))
    try:
        async with StreamingModel([STORY], greeting=True) as session:
            await asyncio.sleep(0.5)
            await call.answer()
            with contextlib.suppress(BufferClosedError):
                async for event in session.receive():
                    if event.is_turn_complete:
                        break
                    await send_all(call, event.audio)
        await call.close()
    finally:
        await listening


async def listen(call: ActiveCall) -> None:
    async for _ in call.audio_stream():
        pass


async def main() -> None:
    config = TelcoflowClientConfig.sandbox(
        api_key=os.environ.get("WSS_API_KEY", "sandbox"),
        connector_uuid=os.environ.get("WSS_CONNECTOR_UUID", "sandbox"),
        sample_rate=24000,
        buffer_size=48_000,
    )
    async with TelcoflowClient(config) as client:
        client.on(events.INCOMING_CALL)(narrate)
        await client.run_forever()


if __name__ == "__main__":
    asyncio.run(main())
