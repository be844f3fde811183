"""A voice agent with OpenAI's Realtime API: `pip install "telcoflow-sdk[openai]"`.

The key is in OPENAI_API_KEY. APOLOGY_WAV may name a file that callers hear when the service fails.
"""

import asyncio
import base64
import contextlib
import datetime
import os
import sys
from typing import Any

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, TelcoflowClient, TelcoflowClientConfig
from telcoflow_sdk.bridge import Bridge, Cut, ModelError

try:
    from openai import AsyncOpenAI
except ImportError:
    sys.exit('the library is missing: pip install "telcoflow-sdk[openai]"')
if not os.environ.get("OPENAI_API_KEY"):
    sys.exit("OPENAI_API_KEY is not set: make a key in OpenAI's console and export it")

MODEL = os.environ.get("OPENAI_REALTIME_MODEL", "gpt-realtime-2.1")
PCM = {"type": "audio/pcm", "rate": 24_000}  # the only rate it knows, and the call's
SESSION: Any = {
    "type": "realtime",
    "instructions": "You answer the phone. Be brief. Greet the caller. When they have said "
    "goodbye, say goodbye, too, and call hang_up.",
    "output_modalities": ["audio"],
    "audio": {
        "input": {"format": PCM, "turn_detection": {"type": "server_vad"}},
        "output": {"format": PCM, "voice": "marin"},
    },
    "tools": [
        {"type": "function", "name": name, "parameters": {"type": "object", "properties": {}}}
        for name in ("get_time", "hang_up")
    ],
}
TOOLS = {"get_time": lambda: datetime.datetime.now().isoformat(timespec="minutes")}

realtime = AsyncOpenAI().realtime  # loads for half a second: here, and not in a call
config = TelcoflowClientConfig.sandbox(
    api_key=os.environ.get("TELCOFLOW_API_KEY", "sandbox"),
    connector_uuid=os.environ.get("TELCOFLOW_CONNECTOR_UUID", "sandbox"),
    sample_rate=24_000,
)
client = TelcoflowClient(config)


@client.on(events.INCOMING_CALL)
async def talk(call: ActiveCall) -> None:
    await call.answer()
    settings = "OPENAI_API_KEY and OPENAI_REALTIME_MODEL"
    bridge = Bridge(call, settings=settings, apology=os.environ.get("APOLOGY_WAV"))
    await bridge.run(converse)


async def converse(bridge: Bridge) -> None:
    # A service that hangs does not keep the caller from the apology.
    options: Any = {"close_timeout": 1}
    async with realtime.connect(model=MODEL, websocket_connection_options=options) as service:

        async def hear(pcm: bytes) -> None:
            await service.input_audio_buffer.append(audio=base64.b64encode(pcm).decode())

        async def truncate(cut: Cut) -> None:  # let the model forget what was not heard
            item, index = cut.part
            await service.conversation.item.truncate(
                item_id=item, content_index=index, audio_end_ms=int(cut.heard_ms)
            )

        await service.session.update(session=SESSION)
        await service.response.create()  # the greeting
        response, is_refusal = None, True
        async with bridge.listening(hear, truncate=truncate):
            async for event in service:
                match event.type:
                    case "session.updated":
                        is_refusal = False
                    case "response.created":
                        response = event.response.id
                    case "response.output_audio.delta":
                        pcm = base64.b64decode(event.delta, validate=True)
                        part = (event.item_id, event.content_index)
                        await bridge.say(pcm, turn=event.response_id, part=part)
                    case "response.output_text.delta":
                        raise ModelError("OpenAI writes: output_modalities must be audio")
                    case "input_audio_buffer.speech_started":  # the service cancels its response
                        await bridge.interrupt(response)
                    case "response.done":
                        response = None
                        bridge.end_turn()
                        if await has_said_goodbye(event.response, service):
                            return
                    case "error" if is_refusal:
                        raise ModelError(f"OpenAI refuses MODEL or SESSION: {event.error.code}")
                    case "error":
                        print(f"{bridge.call.call_id}: {event.error.code}", flush=True)
    raise ModelError("OpenAI has ended the session: it takes an hour at most")


async def has_said_goodbye(response: Any, service: Any) -> bool:
    if response.status == "failed":
        raise ModelError(f"OpenAI cannot answer: {response.status_details.error.code}")
    calls = [item for item in response.output or () if item.type == "function_call"]
    if response.status != "completed" or not calls:
        return False
    for call in calls:
        if call.name == "hang_up":
            return True
        output = {"type": "function_call_output", "call_id": call.call_id}
        await service.conversation.item.create(item={**output, "output": TOOLS[call.name]()})
    await service.response.create()
    return False


async def main() -> None:
    async with client:
        await client.run_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
