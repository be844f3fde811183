"""An agent that brings two people together, listens, and whispers a hint when the caller pauses.

Only the callee hears it. A tone stands for your text-to-speech.
"""

import asyncio
import contextlib
import math
import os

import webrtcvad

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, TelcoflowClient, TelcoflowClientConfig

RATE_HZ = 16_000  # the detector knows 8, 16, 32 and 48 kHz
FRAME_BYTES = RATE_HZ // 50 * 2  # it judges 20 ms at a time
BEGIN_FRAMES, PAUSE_FRAMES = 3, 30  # 60 ms of voice: a turn begins; 600 ms without: it is over
TONE = [round(6000 * math.sin(2 * math.pi * 600 * n / RATE_HZ)) for n in range(RATE_HZ // 2)]
HINT = b"".join(sample.to_bytes(2, "little", signed=True) for sample in TONE)

config = TelcoflowClientConfig.sandbox(
    api_key=os.environ.get("TELCOFLOW_API_KEY", "sandbox"),
    connector_uuid=os.environ.get("TELCOFLOW_CONNECTOR_UUID", "sandbox"),
    sample_rate=RATE_HZ,
    audio_mode="isolated",  # the caller's voice comes on a channel of its own, too
)
client = TelcoflowClient(config)


@client.on(events.INCOMING_CALL)
async def coach(call: ActiveCall) -> None:
    await call.connect()  # the caller hears it ring until the callee answers
    await call.spy()
    detector, pending, is_talking, voiced, quiet = webrtcvad.Vad(3), b"", False, 0, 0
    async for chunk in call.audio_stream(channel=1):  # what the caller says
        pending += chunk
        while len(pending) >= FRAME_BYTES:
            frame, pending = pending[:FRAME_BYTES], pending[FRAME_BYTES:]
            is_voice = detector.is_speech(frame, RATE_HZ)
            voiced, quiet = (voiced + 1, 0) if is_voice else (0, quiet + 1)
            if voiced == BEGIN_FRAMES:
                is_talking = True
            elif is_talking and quiet == PAUSE_FRAMES:
                is_talking = False
                await call.whisper()
                await call.send_audio(HINT)
                await call.spy()  # a mode is for what follows it: the hint is still a whisper


async def main() -> None:
    async with client:
        await client.run_forever()


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main())
