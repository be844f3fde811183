"""Says back what it hears; a service with signal handlers of its own around `run_forever()`."""

import asyncio
import os
import signal
import sys

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, TelcoflowClient, TelcoflowClientConfig
from telcoflow_sdk.exceptions import WSSError


async def echo(call: ActiveCall) -> None:
    await call.answer()
    try:
        async for chunk in call.audio_stream():
            await call.send_audio(chunk)
    except WSSError as error:
        sys.stderr.write(f"{call.call_id}: {error}\n")
    finally:
        await call.close()


async def main() -> None:
    config = TelcoflowClientConfig.sandbox(
        api_key=os.environ.get("WSS_API_KEY", "sandbox"),
        connector_uuid=os.environ.get("WSS_CONNECTOR_UUID", "sandbox"),
    )
    async with TelcoflowClient(config) as client:
        client.on(events.INCOMING_CALL)(echo)
        await client.run_forever()


async def serve() -> None:
    loop = asyncio.get_running_loop()
    running = asyncio.create_task(main())
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        sys.stdout.write("shut down\n")


if __name__ == "__main__":
    asyncio.run(serve())
