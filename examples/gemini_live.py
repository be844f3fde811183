"""A voice agent with Google's Gemini Live API: `pip install "telcoflow-sdk[gemini]"`.

The key is in GEMINI_API_KEY. APOLOGY_WAV may name a file that callers hear when the service fails.
"""

import asyncio
import contextlib
import datetime
import os
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, TelcoflowClient, TelcoflowClientConfig
from telcoflow_sdk.bridge import Bridge

try:
    from google import genai
    from google.genai.errors import APIError
    from websockets.exceptions import ConnectionClosed
except ImportError:
    sys.exit('the library is missing: pip install "telcoflow-sdk[gemini]"')
if not os.environ.get("GEMINI_API_KEY"):
    sys.exit("GEMINI_API_KEY is not set: make a key in Google AI Studio and export it")

MODEL = os.environ.get("GEMINI_LIVE_MODEL", "gemini-3.1-flash-live-preview")
MIME_TYPE = "audio/pcm;rate=24000"  # what the model speaks; it hears any rate
TOOLS: dict[str, Callable[[], str]] = {
    "get_time": lambda: datetime.datetime.now().isoformat(timespec="minutes"),
    "hang_up": lambda: "ok",
}
CONFIG: Any = {
    "response_modalities": ["AUDIO"],
    "system_instruction": "You answer the phone. Be brief. Greet the caller. When they have said "
    "goodbye, call hang_up and say goodbye, too.",
    "tools": [{"function_declarations": [{"name": name, "description": name} for name in TOOLS]}],
    # Without these a session ends after 15 minutes, and a connection after 10.
    "context_window_compression": {"sliding_window": {}},
}

# A service that hangs does not keep the caller from the apology.
options: Any = {"async_client_args": {"close_timeout": 1}}
gemini = genai.Client(api_key=os.environ["GEMINI_API_KEY"], http_options=options)
config = TelcoflowClientConfig.sandbox(
    api_key=os.environ.get("TELCOFLOW_API_KEY", "sandbox"),
    connector_uuid=os.environ.get("TELCOFLOW_CONNECTOR_UUID", "sandbox"),
    sample_rate=24_000,
)
client = TelcoflowClient(config)


@client.on(events.INCOMING_CALL)
async def talk(call: ActiveCall) -> None:
    await call.answer()
    settings = "GEMINI_API_KEY and GEMINI_LIVE_MODEL"
    bridge = Bridge(call, settings=settings, apology=os.environ.get("APOLOGY_WAV"))
    await bridge.run(Conversation().run)


class Conversation:
    """One call's, over as many connections as it takes."""

    turn = 0  # the model's
    in_turn = False
    is_goodbye = False
    handle: str | None = None  # with which another connection goes on

    async def run(self, bridge: Bridge) -> None:
        greeting: str | None = "The caller is there: greet them."
        while not self.is_goodbye:
            resumption, self.handle = {"session_resumption": {"handle": self.handle}}, None
            try:
                connecting = gemini.aio.live.connect(model=MODEL, config=CONFIG | resumption)
                async with connecting as session:
                    if greeting is not None:
                        await session.send_realtime_input(text=greeting)
                        greeting = None
                    await self.talk(bridge, session)
            except (APIError, ConnectionClosed):
                if self.handle is None:  # there is nothing to go on with
                    raise
            self.turn, self.in_turn = self.turn + 1, False

    async def talk(self, bridge: Bridge, session: Any) -> None:
        async def hear(pcm: bytes) -> None:
            await session.send_realtime_input(audio={"data": pcm, "mime_type": MIME_TYPE})

        is_leaving = False
        async with bridge.listening(hear):
            async for message in messages(session):
                is_leaving |= message.go_away is not None
                if (update := message.session_resumption_update) and update.resumable:
                    self.handle = update.new_handle
                if message.tool_call:
                    await self.use_tools(session, message.tool_call.function_calls)
                if message.server_content:
                    await self.speak(bridge, message.server_content)
                if (is_leaving or self.is_goodbye) and not self.in_turn:
                    return

    async def speak(self, bridge: Bridge, content: Any) -> None:
        if content.interrupted:
            await bridge.interrupt(self.turn)
            self.is_goodbye = False
        for part in (content.model_turn and content.model_turn.parts) or ():
            if blob := part.inline_data:
                await bridge.say(blob.data, turn=self.turn, mime_type=blob.mime_type)
                self.in_turn = True
        if content.turn_complete:
            bridge.end_turn()
            self.turn, self.in_turn = self.turn + 1, False

    async def use_tools(self, session: Any, calls: Any) -> None:
        self.in_turn = True
        self.is_goodbye |= any(call.name == "hang_up" for call in calls)
        answers = [
            {"id": call.id, "name": call.name, "response": {"result": TOOLS[call.name]()}}
            for call in calls
        ]
        await session.send_tool_response(function_responses=answers)


async def messages(session: Any) -> AsyncIterator[Any]:
    while True:
        async for message in session.receive():  # ends with each turn of the model's
            yield message


async def main() -> None:
    async with client:
        await client.run_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
