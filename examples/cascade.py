"""A voice agent of three parts: speech to text, a language model, text to speech.

Each is one method; put yours in place of the three at the end, which need no account: `pip install
"telcoflow-sdk[examples]"`. They notice speech but understand nothing, and talk in tones.
"""

import asyncio
import contextlib
import math
import os
from collections.abc import AsyncIterator
from typing import Protocol

import webrtcvad

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, TelcoflowClient, TelcoflowClientConfig
from telcoflow_sdk.bridge import Bridge, Cut

RATE_HZ = 16_000


class SpeechToText(Protocol):
    """Yields None when the caller begins to speak, then what they said."""

    def transcribe(self, audio: AsyncIterator[bytes]) -> AsyncIterator[str | None]: ...


class LanguageModel(Protocol):
    """Yields sentences, and None to hang up; the history is of who said what, as it was heard."""

    def answer(self, history: list[tuple[str, str]]) -> AsyncIterator[str | None]: ...


class TextToSpeech(Protocol):
    """Yields PCM at RATE_HZ."""

    def speak(self, sentence: str) -> AsyncIterator[bytes]: ...


config = TelcoflowClientConfig.sandbox(
    api_key=os.environ.get("TELCOFLOW_API_KEY", "sandbox"),
    connector_uuid=os.environ.get("TELCOFLOW_CONNECTOR_UUID", "sandbox"),
    sample_rate=RATE_HZ,
)
client = TelcoflowClient(config)


@client.on(events.INCOMING_CALL)
async def talk(call: ActiveCall) -> None:
    await call.answer()
    bridge = Bridge(call, settings="the three", apology=os.environ.get("APOLOGY_WAV"))
    await bridge.run(Conversation(bridge).run)


class Conversation:
    """One call's."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        self.history: list[tuple[str, str]] = []
        self.audio: asyncio.Queue[bytes] = asyncio.Queue(50)  # a part that hangs is given up
        self.turn = 0

    async def run(self, bridge: Bridge) -> None:
        listening = bridge.listening(self.audio.put, truncate=self.truncate)
        async with listening, asyncio.TaskGroup() as group:
            answering = group.create_task(self.answer())  # the greeting
            async for said in stt.transcribe(self.hear()):
                answering.cancel()
                await bridge.interrupt(self.turn)
                if said is not None:
                    self.turn += 1
                    self.history.append(("caller", said))
                    answering = group.create_task(self.answer())

    async def hear(self) -> AsyncIterator[bytes]:
        while True:
            yield await self.audio.get()

    async def answer(self) -> None:
        async for sentence in llm.answer(self.history):
            if sentence is None:
                await self.bridge.call.close()  # what was said is heard before
                return
            part = len(self.history)
            async for pcm in tts.speak(sentence):
                if part == len(self.history):
                    self.history.append(("agent", sentence))
                await self.bridge.say(pcm, turn=self.turn, part=part)
        self.bridge.end_turn()

    async def truncate(self, cut: Cut) -> None:  # the model remembers what was heard
        words = self.history[cut.part][1].split()
        heard = words[: round(len(words) * cut.heard_ms / cut.said_ms)]
        self.history[cut.part] = "agent", " ".join(heard)


class Detector:
    """Speech to text without the text."""

    async def transcribe(self, audio: AsyncIterator[bytes]) -> AsyncIterator[str | None]:
        detector, pending, voiced, quiet = webrtcvad.Vad(3), b"", 0, 0
        frame_bytes = RATE_HZ // 50 * 2  # it judges 20 ms at a time
        async for chunk in audio:
            pending += chunk
            while len(pending) >= frame_bytes:
                frame, pending = pending[:frame_bytes], pending[frame_bytes:]
                if detector.is_speech(frame, RATE_HZ):
                    voiced, quiet = voiced + 1, 0
                    if voiced == 3:
                        yield None
                elif (quiet := quiet + 1) == 30:  # 600 ms without a voice
                    if voiced >= 3:
                        yield f"{voiced / 50:.1f} seconds of speech"
                    voiced = 0


class Script:
    """A language model that has little to say."""

    async def answer(self, history: list[tuple[str, str]]) -> AsyncIterator[str | None]:
        said = [text for who, text in history if who == "caller"]
        yield f"I heard {said[-1]}." if said else "Hello, who is calling?"
        if len(said) > 2:
            yield "Goodbye!"
            yield None


class Tones:
    """Text to speech that sings: a tone for each word."""

    async def speak(self, sentence: str) -> AsyncIterator[bytes]:
        for word in sentence.split():
            step = 2 * math.pi * (300 + 50 * len(word)) / RATE_HZ
            tone = (round(6000 * math.sin(step * n)) for n in range(RATE_HZ // 5))
            yield b"".join(sample.to_bytes(2, "little", signed=True) for sample in tone)


stt: SpeechToText = Detector()
llm: LanguageModel = Script()
tts: TextToSpeech = Tones()


async def main() -> None:
    async with client:
        await client.run_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
