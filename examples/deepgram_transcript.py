"""Connects two people and prints what each says: `pip install "telcoflow-sdk[deepgram]"`.

The key is in DEEPGRAM_API_KEY. Times are seconds from the moment the call was placed. If the
transcript fails, the two go on talking.
"""

import asyncio
import contextlib
import os
import sys
from typing import Any

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, TelcoflowClient, TelcoflowClientConfig, WSSCallCommandError
from telcoflow_sdk.bridge import Bridge, ModelError

try:
    from deepgram import AsyncDeepgramClient, DeepgramClientEnvironment
    from websockets.exceptions import ConnectionClosed
except ImportError:
    sys.exit('the library is missing: pip install "telcoflow-sdk[deepgram]"')
if not os.environ.get("DEEPGRAM_API_KEY"):
    sys.exit("DEEPGRAM_API_KEY is not set: make a key in Deepgram's console and export it")

RATE_HZ = 24_000
LEGS = {1: "caller", 2: "callee"}  # channels
OPTIONS: Any = {
    "model": os.environ.get("DEEPGRAM_MODEL", "nova-3"),
    "encoding": "linear16",
    "sample_rate": RATE_HZ,
    "smart_format": "true",
}

url = os.environ.get("DEEPGRAM_URL", "wss://api.deepgram.com")  # or where you host it
environment = DeepgramClientEnvironment(base=url, production=url, agent=url, agent_rest=url)
deepgram = AsyncDeepgramClient(environment=environment)
config = TelcoflowClientConfig.sandbox(
    api_key=os.environ.get("TELCOFLOW_API_KEY", "sandbox"),
    connector_uuid=os.environ.get("TELCOFLOW_CONNECTOR_UUID", "sandbox"),
    sample_rate=RATE_HZ,
    audio_mode="isolated",
)
client = TelcoflowClient(config)


@client.on(events.INCOMING_CALL)
async def listen(call: ActiveCall) -> None:
    try:
        await call.connect()
    except WSSCallCommandError as refusal:
        print(f"{call.call_id}: {refusal.error_code}", flush=True)
        await call.close()
        return
    await call.spy()
    bridge = Bridge(call, settings="DEEPGRAM_API_KEY and DEEPGRAM_MODEL")
    await bridge.run(transcribe, linger_s=5.0)  # the last words come after the hang-up


async def transcribe(bridge: Bridge) -> None:
    async with asyncio.TaskGroup() as group:
        for channel in LEGS:
            group.create_task(Leg(bridge, channel).transcribe())


class Leg:
    """One of the two people."""

    def __init__(self, bridge: Bridge, channel: int) -> None:
        self.bridge, self.channel = bridge, channel
        self.stream = bridge.stream(channel)
        self.service: Any = None
        self.begins_s: float | None = None  # what was sent over this connection
        self.is_over = False

    async def transcribe(self) -> None:
        while not self.is_over:
            self.begins_s, has_worked = None, False
            with contextlib.suppress(ConnectionClosed):
                async with deepgram.listen.v1.connect(**OPTIONS) as self.service:
                    listening = self.bridge.listening(
                        self.hear, channel=self.channel, finish=self.finish
                    )
                    async with listening:
                        async for message in self.service:
                            has_worked = True
                            self.show(message)
            if not has_worked:
                raise ModelError("Deepgram closes the connection: check DEEPGRAM_MODEL")

    async def hear(self, pcm: bytes) -> None:
        if self.begins_s is None:
            self.begins_s = (self.stream.position_ms or 0.0) / 1000
        else:  # its clock is the audio: what is missing counts, too
            pcm = bytes(2 * round(self.stream.gap_ms * RATE_HZ / 1000)) + pcm
        await self.service.send_media(pcm)

    async def finish(self) -> None:
        self.is_over = True
        await self.service.send_close_stream()

    def show(self, message: Any) -> None:
        if message.type == "Results" and message.is_final:
            text, start_s = message.channel.alternatives[0].transcript, message.start
            if text:
                at_s = (self.begins_s or 0.0) + start_s
                print(f"{at_s:7.2f} {LEGS[self.channel]}: {text}", flush=True)


async def main() -> None:
    async with client:
        await client.run_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
