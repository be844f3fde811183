"""A switchboard on the published client, `telcoflow` 1.0.0, run by its own interpreter.

Nothing of ours is imported. Arguments: base URL, API key, connector, sample rate. What it does with
a call is up to the last digit of the caller's number; what it does besides comes on stdin, a
command a line; it leaves when stdin ends. It answers with one JSON object a line.
Or: `take RATE`, with a call that another process gave away on stdin.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable

from telcoflow import (
    Call,
    CallAudioConfig,
    CallFlowBuilder,
    ChannelType,
    InboundCallMode,
    Session,
    SessionManager,
    SessionManagerConfig,
    SessionNotification,
)

Told = dict[str, object]
Task = Callable[[Call, Told], Awaitable[None]]

SPEECH = (3000).to_bytes(2, "little") * 24_000
"""A second at 24 kHz."""


async def echo(call: Call, told: Told) -> None:
    """Say back what is heard."""
    told["answered"] = bool(await call.answer())
    async for chunk in call.audio_stream():
        await call.send_audio(chunk)


async def hesitate(call: Call, told: Told) -> None:
    """Let it ring for a moment."""
    await asyncio.sleep(0.3)
    await echo(call, told)


async def talk(call: Call, told: Told) -> None:
    """Queue seconds of speech, and listen."""
    await call.answer()
    for _ in range(5):
        await call.send_audio(SPEECH)
    async for _ in call.audio_stream():
        pass


async def say(call: Call, speech: bytes) -> None:
    """Say something, and wait until the server has it all: this client's `close` does not."""
    for start in range(0, len(speech), len(SPEECH)):
        await call.send_audio(speech[start : start + len(SPEECH)])
    while await call.get_send_audio_buffer_size():  # noqa: ASYNC110  # it tells no other way
        await asyncio.sleep(0.02)


async def bring_in(call: Call, told: Told) -> None:
    """Answer, ring the callee, listen."""
    await call.answer()
    result = await call.connect(ring_time_seconds=5)
    told["connected"], told["code"] = bool(result), result.error_code
    async for _ in call.audio_stream():
        pass


async def say_goodbye(call: Call, told: Told) -> None:
    """Answer, say goodbye for two seconds, close."""
    await call.answer()
    await say(call, SPEECH * 2)
    told["closed"] = bool(await call.close())


async def put_through(call: Call, told: Told) -> None:
    """Connect without answering, go through the modes, leave the two alone."""
    told["connected"] = bool(await call.connect(ring_time_seconds=5))
    for mode in ("whisper", "spy", "barge"):
        told[mode] = bool(await getattr(call, mode)())
    told["closed"] = bool(await call.close())


async def reject(call: Call, told: Told) -> None:
    """Disconnect the ringing call."""
    told["disconnected"] = bool(await call.disconnect())


async def give_away(call: Call, told: Told) -> None:
    """Tell what another process needs to take the call."""
    tell({"given": call.to_json()})


TASKS: tuple[Task, ...] = (
    echo, hesitate, talk, bring_in, say_goodbye, put_through, reject, give_away,
)  # fmt: skip


async def attend(session: Session, task: Task) -> None:
    """Take the session's call, and tell of it when both are over."""
    told: Told = {"remote": session.remote_address, "terminated": False}
    over = asyncio.Event()

    @session.on_closed
    async def closed(reason: str) -> None:
        told["closed_reason"] = str(reason)
        over.set()

    @session.on_incoming_call
    async def take(call: Call) -> None:
        call.on_terminated(lambda: told.update(terminated=True))
        try:
            await task(call, told)
        except Exception as error:
            told["raised"] = type(error).__name__
        await over.wait()
        tell(told)

    await session.ready()


async def answer_outbound(call: Call, told: Told) -> None:
    """Wait until the person called answers, as often as it takes; say something, hang up."""
    told["answers"] = answers = []
    while True:
        result = await call.answer()
        answers.append(result.error_code)
        if result.error_code != "TIMEOUT":
            break
    if result:
        await say(call, SPEECH)
        told["disconnected"] = bool(await call.disconnect())


async def carry_out(manager: SessionManager, command: str) -> Told:
    """Do what stdin says."""
    name, _, argument = command.partition(" ")
    try:
        if name == "list":
            listed = await manager.list_sessions(ChannelType.TELCO)
            return {"sessions": [[str(s.channel), str(s.state), s.remote_address] for s in listed]}
        if name == "message":
            await manager.create_session(ChannelType.WA, argument)
        elif name == "flow":
            flow = CallFlowBuilder().inbound_call(InboundCallMode.ALL).inbound_message(True)
            await manager.setup_call_flow(flow.build())
        elif name == "call":
            session = await manager.create_session(ChannelType.TELCO, argument)
            await attend(session, answer_outbound)
    except Exception as error:
        return {"raised": type(error).__name__}
    return {"done": name}


async def main(base_url: str, api_key: str, connector_uuid: str, rate: int) -> None:
    """Take calls and commands until stdin ends."""
    config = SessionManagerConfig.create(
        api_key, connector_uuid, base_url=base_url, call_audio=CallAudioConfig(sample_rate=rate)
    )
    async with SessionManager(config) as manager:

        @manager.on_session_notification
        async def claim(notification: SessionNotification) -> None:
            task = TASKS[int(notification.remote_address[-1])]
            await attend(await manager.open_session(notification.session_id), task)

        tell({"joined": True})
        while command := await asyncio.to_thread(sys.stdin.readline):
            tell(await carry_out(manager, command.strip()))


async def take_over(text: str, rate: int) -> None:
    """Take a call that another process gave away; echo."""
    told: Told = {"terminated": False}
    call = Call.from_json(text, CallAudioConfig(sample_rate=rate))
    call.on_terminated(lambda: told.update(terminated=True))
    told["from"] = call.caller_number
    await echo(call, told)
    tell(told)


def tell(told: Told) -> None:
    """Say something to the test."""
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if sys.argv[1] == "take":
    asyncio.run(take_over(sys.stdin.readline(), int(sys.argv[2])))
else:
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
