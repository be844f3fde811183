"""An agent that listens, waits for a pause, says back what it heard, and stops when talked over.

It prints how much of an answer was heard: what a model would have to be told.
"""

import asyncio
import contextlib
import os

import webrtcvad

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, TelcoflowClient, TelcoflowClientConfig

RATE_HZ = 16_000  # the detector knows 8, 16, 32 and 48 kHz
FRAME_BYTES = RATE_HZ // 50 * 2  # it judges 20 ms at a time
BEGIN_FRAMES, PAUSE_FRAMES = 3, 30  # 60 ms of voice: a turn begins; 600 ms without: it is over
LEAD_IN_BYTES = 10 * FRAME_BYTES  # 200 ms kept from before the voice was noticed

config = TelcoflowClientConfig.sandbox(
    api_key=os.environ.get("TELCOFLOW_API_KEY", "sandbox"),
    connector_uuid=os.environ.get("TELCOFLOW_CONNECTOR_UUID", "sandbox"),
    sample_rate=RATE_HZ,
)
client = TelcoflowClient(config)


@client.on(events.INCOMING_CALL)
async def parrot(call: ActiveCall) -> None:
    await call.answer()
    detector, heard, pending = webrtcvad.Vad(3), bytearray(), b""
    is_talking, voiced, quiet = False, 0, 0
    async for chunk in call.audio_stream():
        pending += chunk
        while len(pending) >= FRAME_BYTES:
            frame, pending = pending[:FRAME_BYTES], pending[FRAME_BYTES:]
            heard += frame
            is_voice = detector.is_speech(frame, RATE_HZ)
            voiced, quiet = (voiced + 1, 0) if is_voice else (0, quiet + 1)
            if not is_talking and voiced == BEGIN_FRAMES:
                is_talking = True
                interruption = await call.interrupt()  # talked over? then not a word more
                if interruption.dropped_ms:
                    print(f"{call.call_id}: heard {interruption.heard_ms} ms of it", flush=True)
            elif is_talking and quiet == PAUSE_FRAMES:
                is_talking = False
                await call.send_audio(bytes(heard[: -PAUSE_FRAMES * FRAME_BYTES]))
                call.end_utterance()  # what is heard of the next one counts from 0 again
            if not is_talking:
                del heard[:-LEAD_IN_BYTES]


async def main() -> None:
    async with client:
        await client.run_forever()


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main())
