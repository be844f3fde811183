"""Records a message until a pause, reads it back, and hangs up after one more word of the caller's.

It breaks out of `audio_stream()` and sends; then it listens again.
"""

import asyncio
import os

import numpy as np

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, TelcoflowClient, TelcoflowClientConfig
from telcoflow_sdk.exceptions import BufferClosedError
from tests.apps.streaming_model import LOUD, RATE_HZ, Reply

BEEP, THANKS = Reply(2_000, 0.5), Reply(3_000, 0.5)
PAUSE_S = 0.6


async def record(call: ActiveCall) -> bytes:
    message, quiet_s = bytearray(), 0.0
    async for chunk in call.audio_stream():
        samples = np.frombuffer(chunk, np.int16)
        is_loud = np.abs(samples.astype(np.int32)).max(initial=0) >= LOUD
        quiet_s = 0.0 if is_loud else quiet_s + samples.size / RATE_HZ
        if is_loud:
            message += chunk
        if message and quiet_s >= PAUSE_S:
            break
    return bytes(message)


async def take_message(call: ActiveCall) -> None:
    await call.answer()
    await call.send_audio(BEEP.pcm)
    message = await record(call)
    try:
        await call.send_audio(message)
        await call.send_audio(THANKS.pcm)
    except BufferClosedError:
        return
    await record(call)
    await call.disconnect()


async def main() -> None:
    config = TelcoflowClientConfig.sandbox(
        api_key=os.environ.get("WSS_API_KEY", "sandbox"),
        connector_uuid=os.environ.get("WSS_CONNECTOR_UUID", "sandbox"),
    )
    async with TelcoflowClient(config) as client:
        client.on(events.INCOMING_CALL)(take_message)
        await client.run_forever()


if __name__ == "__main__":
    asyncio.run(main())
