"""An agent on the published client, `telcoflow` 1.0.0, run by its own interpreter.

Nothing of ours is imported. Arguments: base URL, API key, connector, what to do in each call; a
number is called, all other calls are waited for. Without an API key the connector is the files
of a certificate and its key, with a colon between. Prints one JSON object per call.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable

from telcoflow import (
    AudioMode,
    Call,
    CallAudioConfig,
    ChannelType,
    Session,
    SessionManager,
    SessionManagerConfig,
    SessionNotification,
)

SPEECH = b"".join((1000 + n % 20_000).to_bytes(2, "little") for n in range(24_000))
"""One second at 24 kHz whose samples are never zero."""

WORDS = {
    mode: (1000 * number).to_bytes(2, "little") * 4800
    for number, mode in enumerate(("barge", "whisper", "spy"), 1)
}
"""200 ms of one value for each mode, so that a sample tells for whom it was meant."""

GOODBYE = SPEECH[:1460]
"""A tail of 500 bytes behind one frame: what this client keeps back from a careless server."""


async def echo(call: Call, told: dict[str, object]) -> None:
    """Say back what is heard until the caller hangs up."""
    async for chunk in call.audio_stream():
        await call.send_audio(chunk)
    told["ended"] = True


async def interrupt(call: Call, told: dict[str, object]) -> None:
    """Talk for seconds, be interrupted, say something short, close."""
    for _ in range(5):
        await call.send_audio(SPEECH)
    await asyncio.sleep(0.5)
    told["cleared_bytes"] = await call.clear_send_audio_buffer()
    await call.send_audio(GOODBYE)
    await asyncio.sleep(0.3)
    told["left_bytes"] = await call.get_send_audio_buffer_size()
    told["closed"] = bool(await call.close())


async def disconnect(call: Call, told: dict[str, object]) -> None:
    """End the call for everybody."""
    told["disconnected"] = bool(await call.disconnect())


async def conference(call: Call, told: dict[str, object]) -> None:
    """Bring the callee in, say something in each mode, end the call."""
    told["connected"] = bool(await call.connect(ring_time_seconds=5))
    for mode in ("whisper", "barge", "spy"):
        told[mode] = bool(await getattr(call, mode)())
        await call.send_audio(WORDS[mode])
        await asyncio.sleep(0.5)  # this client does not keep a mode in its place: 200 ms to play
    told["disconnected"] = bool(await call.disconnect())


async def nobody_there(call: Call, told: dict[str, object]) -> None:
    """Try to bring the callee in, go on talking, hang up."""
    result = await call.connect(ring_time_seconds=1)
    told["connected"], told["code"] = bool(result), result.error_code
    await call.send_audio(GOODBYE)
    await asyncio.sleep(0.3)
    told["closed"] = bool(await call.close())


async def listen(call: Call, told: dict[str, object]) -> None:
    """Bring the callee in and tell the values heard on each channel."""
    told["connected"] = bool(await call.connect(ring_time_seconds=5))
    heard: list[set[int]] = [set(), set(), set()]

    async def hear(channel: int) -> None:
        async for chunk in call.audio_stream(channel):
            heard[channel].update(memoryview(chunk).cast("h"))

    await asyncio.gather(*(hear(channel) for channel in range(3)))
    told["heard"] = [sorted(values) for values in heard]


def audio_of(tasks: list[str]) -> CallAudioConfig:
    """Return the audio that the tasks need."""
    mode = AudioMode.ISOLATED if "listen" in tasks else AudioMode.MIXED
    return CallAudioConfig(sample_rate=24_000, audio_mode=mode)


async def main(base_url: str, api_key: str, connector_uuid: str, tasks: list[str]) -> None:
    """Take as many calls as there are tasks, one after the other."""
    certificate = dict(zip(("cert_path", "key_path"), connector_uuid.split(":"), strict=False))
    keys = {"api_key": api_key, "connector_uuid": connector_uuid}
    config = SessionManagerConfig.create(
        **(keys if api_key else certificate),
        base_url=base_url,
        call_audio=audio_of(tasks),
    )
    left = iter(tasks)
    done: asyncio.Queue[dict[str, object]] = asyncio.Queue()
    async with SessionManager(config) as manager:

        @manager.on_session_notification
        async def claim(notification: SessionNotification) -> None:
            session = await manager.open_session(notification.session_id)
            await attend(session, globals()[next(left)])

        async def attend(
            session: Session, task: Callable[[Call, dict[str, object]], Awaitable[None]]
        ) -> None:
            told: dict[str, object] = {"remote": session.remote_address}
            finished = asyncio.Event()

            @session.on_incoming_call
            async def take(call: Call) -> None:
                told["from"], told["to"] = call.caller_number, call.callee_number
                terminated = asyncio.Event()
                call.on_terminated(terminated.set)
                told["answered"] = bool(await call.answer())
                await task(call, told)
                await asyncio.wait_for(terminated.wait(), 5)
                told["terminated"] = True
                finished.set()

            @session.on_closed
            async def closed(reason: str) -> None:
                await finished.wait()
                told["closed_reason"] = str(reason)
                await done.put(told)

            await session.ready()

        tell("joined")
        for task in tasks:
            if task.startswith("+"):
                await attend(await manager.create_session(ChannelType.TELCO, task), echo)
            tell(json.dumps(await done.get()))


def tell(line: str) -> None:
    """Say something to the test."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]))
