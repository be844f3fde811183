"""The smallest agent: says back at once whatever it hears.

Start `telcoflow sandbox`, then this, then call it: `telcoflow call --play hello.wav`.
"""

import asyncio
import contextlib
import os

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, TelcoflowClient, TelcoflowClientConfig

# The address is in TELCOFLOW_BASE_URL; without it, the sandbox on this machine.
config = TelcoflowClientConfig.sandbox(
    api_key=os.environ.get("TELCOFLOW_API_KEY", "sandbox"),
    connector_uuid=os.environ.get("TELCOFLOW_CONNECTOR_UUID", "sandbox"),
)
client = TelcoflowClient(config)


@client.on(events.INCOMING_CALL)
async def echo(call: ActiveCall) -> None:
    await call.answer()
    async for chunk in call.audio_stream():  # ends when the call does
        await call.send_audio(chunk)


async def main() -> None:
    async with client:
        await client.run_forever()


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main())
