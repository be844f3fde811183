"""A voice agent on a speech-to-speech model: three loops for each call, gathered.

One streams the caller to the model, one plays what the model says, one waits until the model calls
the tool that ends the call; two seconds after the goodbye it does.
"""

import asyncio
import logging
import os

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, TelcoflowClient, TelcoflowClientConfig
from telcoflow_sdk.exceptions import BufferClosedError, WSSError
from tests.apps.streaming_model import Reply, StreamingModel

logger = logging.getLogger(__name__)

HELLO, ANSWER = Reply(2_000, 1.5), Reply(3_000, 2.0)
GOODBYE = Reply(4_000, 1.0, tool_call="end_call")


async def handle_call(call: ActiveCall) -> None:
    end_requested = asyncio.Event()
    call_over = asyncio.Event()

    @call.on(events.CALL_TERMINATED)
    async def on_terminated() -> None:
        logger.info("call %s terminated", call.call_id)
        call_over.set()
        end_requested.set()

    async with StreamingModel([HELLO, ANSWER, GOODBYE], greeting=True) as session:

        async def stream_to_model() -> None:
            async for chunk in call.audio_stream():
                await session.send(chunk)
            await session.close()

        async def receive_from_model() -> None:
            async for event in session.receive():
                if event.is_interrupted:
                    await call.clear_send_audio_buffer()
                if event.audio and not call_over.is_set():
                    try:
                        await call.send_audio(event.audio)
                    except BufferClosedError:
                        return
                if event.tool_call == "end_call":
                    end_requested.set()

        async def wait_for_tool_call() -> None:
            await end_requested.wait()
            if call_over.is_set():
                return
            await asyncio.sleep(2)  # let the goodbye be heard
            try:
                await call.disconnect()
            except WSSError as error:
                logger.warning("disconnect: %s", error)

        await call.answer()
        await asyncio.gather(stream_to_model(), receive_from_model(), wait_for_tool_call())


async def main() -> None:
    config = TelcoflowClientConfig.sandbox(
        api_key=os.environ.get("WSS_API_KEY", "sandbox"),
        connector_uuid=os.environ.get("WSS_CONNECTOR_UUID", "sandbox"),
        sample_rate=24000,
    )
    async with TelcoflowClient(config) as client:

        @client.on(events.INCOMING_CALL)
        async def on_incoming_call(call: ActiveCall) -> None:
            await handle_call(call)

        await client.run_forever()


if __name__ == "__main__":
    asyncio.run(main())
