"""An agent that plays WAV files, one after the other, tells what was heard, and hangs up.

`python examples/announce.py FILE...`: mono, 16-bit, all of 8, 16 or 24 kHz.
"""

import asyncio
import contextlib
import os
import sys
import wave
from collections.abc import AsyncIterator
from pathlib import Path

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, Mark, TelcoflowClient, TelcoflowClientConfig

files = [Path(name) for name in sys.argv[1:]]
with contextlib.ExitStack() as opened:
    formats = {opened.enter_context(wave.open(str(file))).getparams()[:3] for file in files}
if len(formats) != 1 or not formats <= {(1, 2, rate_hz) for rate_hz in (8_000, 16_000, 24_000)}:
    sys.exit("usage: announce.py FILE...: mono, 16-bit, all of 8, 16 or 24 kHz")
_, _, rate_hz = formats.pop()

config = TelcoflowClientConfig.sandbox(
    api_key=os.environ.get("TELCOFLOW_API_KEY", "sandbox"),
    connector_uuid=os.environ.get("TELCOFLOW_CONNECTOR_UUID", "sandbox"),
    sample_rate=rate_hz,
)
client = TelcoflowClient(config)


@client.on(events.INCOMING_CALL)
async def announce(call: ActiveCall) -> None:
    @call.on(events.MARK_PLAYED)
    def heard(mark: Mark) -> None:
        print(f"{call.call_id}: {mark.name} heard at {mark.at_ms} ms", flush=True)

    await call.answer()
    await call.play(pieces(call))  # read only as it is needed; returns when all was played
    await call.close()


async def pieces(call: ActiveCall) -> AsyncIterator[bytes]:
    for file in files:
        with wave.open(str(file)) as wav:
            while piece := wav.readframes(rate_hz // 10):
                yield piece
        await call.mark(file.name)  # behind the last sample of this file


async def main() -> None:
    async with client:
        await client.run_forever()


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main())
