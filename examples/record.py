"""An agent that listens: writes what each caller says to CALL_ID.wav.

`python examples/record.py [DIRECTORY]`; the directory is the current one unless you name another.
"""

import asyncio
import contextlib
import os
import sys
import wave
from pathlib import Path

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, TelcoflowClient, TelcoflowClientConfig

RATE_HZ = 24_000

directory = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
config = TelcoflowClientConfig.sandbox(
    api_key=os.environ.get("TELCOFLOW_API_KEY", "sandbox"),
    connector_uuid=os.environ.get("TELCOFLOW_CONNECTOR_UUID", "sandbox"),
    sample_rate=RATE_HZ,
)
client = TelcoflowClient(config)


@client.on(events.INCOMING_CALL)
async def record(call: ActiveCall) -> None:
    file = directory / f"{call.call_id}.wav"
    with wave.open(str(file), "wb") as recording:
        recording.setparams((1, 2, RATE_HZ, 0, "NONE", "not compressed"))
        await call.answer()
        async for chunk in call.audio_stream():  # raw PCM: 16-bit, little-endian, mono
            recording.writeframes(chunk)
        seconds = recording.tell() / RATE_HZ
    print(f"{file}: {seconds:.1f} s", flush=True)


async def main() -> None:
    async with client:
        await client.run_forever()


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main())
