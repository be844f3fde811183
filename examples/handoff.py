"""An agent that greets the caller, puts them through to whom they called, and leaves the two alone.

If nobody comes to the phone it says goodbye instead. Tones stand for your text-to-speech.
"""

import asyncio
import contextlib
import math
import os

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, TelcoflowClient, TelcoflowClientConfig, WSSCallCommandError

RATE_HZ = 24_000

config = TelcoflowClientConfig.sandbox(
    api_key=os.environ.get("TELCOFLOW_API_KEY", "sandbox"),
    connector_uuid=os.environ.get("TELCOFLOW_CONNECTOR_UUID", "sandbox"),
    sample_rate=RATE_HZ,
)
client = TelcoflowClient(config)


@client.on(events.INCOMING_CALL)
async def put_through(call: ActiveCall) -> None:
    await call.answer()
    await call.send_audio(tone(600))  # "one moment, please": it is heard, and then it rings
    try:
        await call.connect(ring_time_seconds=30)
    except WSSCallCommandError as refusal:  # busy, declined, unanswered: the call goes on
        print(f"{call.call_id}: {refusal.error_code}", flush=True)
        await call.send_audio(tone(300))  # "nobody is there, goodbye"
    await call.close()  # connected: only we leave, the two go on; else it ends the call


def tone(hz: int, seconds: float = 0.5) -> bytes:
    step = 2 * math.pi * hz / RATE_HZ
    samples = (round(6000 * math.sin(step * n)) for n in range(round(seconds * RATE_HZ)))
    return b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples)


async def main() -> None:
    async with client:
        await client.run_forever()


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main())
