"""A class for each call, with its methods as handlers of the call's events."""

import asyncio
import os
from typing import Any

from telcoflow_sdk import ActiveCall, TelcoflowClient, TelcoflowClientConfig
from telcoflow_sdk.events import CallEvent, ClientEvent
from telcoflow_sdk.exceptions import BufferClosedError, WSSCallError
from tests.apps.streaming_model import Reply

WELCOME, SORRY = Reply(2_000, 1.0), Reply(3_000, 1.0)


class Receptionist:
    """One call: welcomes, puts through, and apologises if nobody comes."""

    def __init__(self, call: ActiveCall) -> None:
        self.call = call
        self.heard_bytes = 0
        self.finished = asyncio.Event()
        call.register_event_handler(CallEvent.CALL_ANSWERED, self.on_answered)
        call.register_event_handler(CallEvent.CALL_CONNECTED, self.on_connected)
        call.register_event_handler(CallEvent.CALL_CONNECT_FAILED, self.on_connect_failed)
        call.register_event_handler(CallEvent.CALL_ANSWER_FAILED, self.on_failed)
        call.register_event_handler(CallEvent.CALL_ERROR, self.on_failed)
        call.register_event_handler("call.terminated", self.on_terminated)

    async def run(self) -> None:
        listening = asyncio.create_task(self.listen())
        await self.call.answer()
        await self.finished.wait()
        await listening

    async def listen(self) -> None:
        async for chunk in self.call.audio_stream():
            self.heard_bytes += len(chunk)

    async def on_answered(self) -> None:
        try:
            await self.call.send_audio(WELCOME.pcm)
            await self.call.connect(ring_time_seconds=3)
        except (WSSCallError, BufferClosedError):
            pass  # told to the other handlers

    async def on_connected(self) -> None:
        await self.call.barge()

    async def on_connect_failed(self, details: dict[str, Any]) -> None:
        if details["error_code"] == "CALL_UNANSWERED":
            await self.call.send_audio(SORRY.pcm)
            await self.call.close()

    async def on_failed(self, details: dict[str, Any]) -> None:
        await self.call.disconnect()

    async def on_terminated(self) -> None:
        self.finished.set()


async def main() -> None:
    config = TelcoflowClientConfig.sandbox(
        api_key=os.environ.get("WSS_API_KEY", "sandbox"),
        connector_uuid=os.environ.get("WSS_CONNECTOR_UUID", "sandbox"),
    )
    client = TelcoflowClient(config)
    await client.connect()
    try:

        @client.on(ClientEvent.INCOMING_CALL)
        async def on_incoming_call(call: ActiveCall) -> None:
            await Receptionist(call).run()

        await client.run_forever()
    finally:
        await client.disconnect()


if __name__ == "__main__":
    asyncio.run(main())
