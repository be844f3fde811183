"""Puts every caller through to whom they called, without answering first; then it leaves.

Whoever is not reached is told so, and the call is over.
"""

import asyncio
import os

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, TelcoflowClient, TelcoflowClientConfig
from telcoflow_sdk.exceptions import WSSCallClosedError, WSSCallCommandError
from tests.apps.streaming_model import Reply

SORRY = Reply(2_000, 1.0)

client = TelcoflowClient(
    TelcoflowClientConfig.sandbox(
        api_key=os.environ.get("WSS_API_KEY", "sandbox"),
        connector_uuid=os.environ.get("WSS_CONNECTOR_UUID", "sandbox"),
    )
)


@client.on(events.INCOMING_CALL)
async def on_incoming_call(call: ActiveCall) -> None:
    try:
        await call.connect(ring_time_seconds=5)
    except WSSCallCommandError as error:
        if error.error_code != "CALL_UNANSWERED":
            raise
        await call.answer()
        await call.send_audio(SORRY.pcm)
    except WSSCallClosedError:
        return  # the caller would not wait
    await call.close()


async def main() -> None:
    async with client:
        await client.run_forever()


if __name__ == "__main__":
    asyncio.run(main())
