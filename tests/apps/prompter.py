"""Helps the person who is called: listens to both, and whispers a hint after each turn."""

import asyncio
import os

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, CallState, TelcoflowClient, TelcoflowClientConfig
from telcoflow_sdk.exceptions import BufferClosedError, WSSCallError
from tests.apps.streaming_model import Reply, StreamingModel

HINTS = [Reply(2_000, 0.5), Reply(3_000, 0.5), Reply(4_000, 0.5)]

config = TelcoflowClientConfig.sandbox(
    api_key=os.environ.get("WSS_API_KEY", "sandbox"),
    connector_uuid=os.environ.get("WSS_CONNECTOR_UUID", "sandbox"),
    sample_rate=24000,
)


async def listen(call: ActiveCall, session: StreamingModel) -> None:
    async for chunk in call.audio_stream():
        await session.send(chunk)
    await session.close()


async def prompt(call: ActiveCall, session: StreamingModel) -> None:
    hint = b""
    async for event in session.receive():
        hint += event.audio
        if not event.is_turn_complete:
            continue
        try:
            await call.whisper()
            await call.send_audio(hint)
            while call.get_send_audio_buffer_size() > 0:
                await asyncio.sleep(0.05)
                if call.state != CallState.CONNECTED:
                    return
            await call.spy()
        except (WSSCallError, BufferClosedError):
            return
        hint = b""


async def on_incoming_call(call: ActiveCall) -> None:
    async with StreamingModel(HINTS) as session:
        try:
            await call.answer()
            await call.connect()
            await call.spy()
        except WSSCallError:
            await call.disconnect()
            return
        await asyncio.gather(listen(call, session), prompt(call, session))


async def main() -> None:
    async with TelcoflowClient(config) as client:
        client.on(events.INCOMING_CALL)(on_incoming_call)
        await client.run_forever()


if __name__ == "__main__":
    asyncio.run(main())
