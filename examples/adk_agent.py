"""A voice agent with Google's Agent Development Kit: `pip install "telcoflow-sdk[adk]"`.

The key is in GOOGLE_API_KEY. APOLOGY_WAV may name a file that callers hear when the service fails.
"""

import asyncio
import contextlib
import datetime
import os
import sys
from typing import Any

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, TelcoflowClient, TelcoflowClientConfig
from telcoflow_sdk.bridge import Bridge, ModelError

try:
    from google.adk.agents import LiveRequestQueue, LlmAgent, RunConfig
    from google.adk.models import Gemini
    from google.adk.runners import InMemoryRunner
    from google.genai import types
except ImportError:
    sys.exit('the library is missing: pip install "telcoflow-sdk[adk]"')
if not os.environ.get("GOOGLE_API_KEY"):
    sys.exit("GOOGLE_API_KEY is not set: make a key in Google AI Studio and export it")

MODEL = os.environ.get("GEMINI_LIVE_MODEL", "gemini-3.1-flash-live-preview")


def get_time() -> str:
    """Tell date and time."""
    return datetime.datetime.now().isoformat(timespec="minutes")


def hang_up() -> str:
    """End the call."""
    return "ok"  # see `talk`


# A service that hangs does not keep the caller from the apology.
options: Any = {"async_client_args": {"close_timeout": 1}}
agent = LlmAgent(
    name="phone",
    model=Gemini(model=MODEL, client_kwargs={"http_options": options}),
    instruction="You answer the phone. Be brief. Greet the caller. When they have said goodbye, "
    "call hang_up and say goodbye, too.",
    tools=[get_time, hang_up],
)
RUN = RunConfig(
    response_modalities=[types.Modality.AUDIO],
    # With these the kit makes a lost connection anew, and a session may last.
    session_resumption=types.SessionResumptionConfig(),
    context_window_compression=types.ContextWindowCompressionConfig(
        sliding_window=types.SlidingWindow()
    ),
)
runner = InMemoryRunner(agent=agent, app_name="phone")
config = TelcoflowClientConfig.sandbox(
    api_key=os.environ.get("TELCOFLOW_API_KEY", "sandbox"),
    connector_uuid=os.environ.get("TELCOFLOW_CONNECTOR_UUID", "sandbox"),
    sample_rate=24_000,
)
client = TelcoflowClient(config)


@client.on(events.INCOMING_CALL)
async def answer(call: ActiveCall) -> None:
    await call.answer()
    settings = "GOOGLE_API_KEY and GEMINI_LIVE_MODEL"
    bridge = Bridge(call, settings=settings, apology=os.environ.get("APOLOGY_WAV"))
    await runner.session_service.create_session(**session_of(call))
    try:
        await bridge.run(talk)
    finally:
        await runner.session_service.delete_session(**session_of(call))


def session_of(call: ActiveCall) -> dict[str, Any]:
    user = call.caller_number or "unknown"
    return {"app_name": runner.app_name, "user_id": user, "session_id": call.call_id}


async def talk(bridge: Bridge) -> None:
    queue = LiveRequestQueue()

    async def hear(pcm: bytes) -> None:
        queue.send_realtime(types.Blob(data=pcm, mime_type="audio/pcm;rate=24000"))

    greeting = types.Part(text="The caller is there: greet them.")
    queue.send_content(types.Content(role="user", parts=[greeting]))
    turn, is_goodbye = 0, False
    session = session_of(bridge.call)
    running = runner.run_live(
        user_id=session["user_id"],
        session_id=session["session_id"],
        live_request_queue=queue,
        run_config=RUN,
    )
    async with bridge.listening(hear), contextlib.aclosing(running):
        async for event in running:
            if event.error_code:
                raise ModelError(f"Gemini cannot answer: {event.error_code}")
            if event.interrupted:
                await bridge.interrupt(turn)
                is_goodbye = False
            for part in (event.content and event.content.parts) or ():
                if blob := part.inline_data:
                    await bridge.say(blob.data or b"", turn=turn, mime_type=blob.mime_type)
            is_goodbye |= any(one.name == "hang_up" for one in event.get_function_calls())
            if event.turn_complete:
                bridge.end_turn()
                turn += 1
                if is_goodbye:
                    return
    raise ModelError("Gemini has ended the session")


async def main() -> None:
    async with client:
        await client.run_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
