"""A call through all its moments, in virtual time, during which something goes wrong.

Sound is a staircase: each 20 ms one step, 480 equal samples that no other step has. So whatever a
party hears tells where it comes from, and that nothing was said twice or in a loop.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

import numpy as np
from numpy.typing import NDArray

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, TelcoflowClient, TelcoflowClientConfig, WSSCallError
from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_sdk.testing import LiveCallee, LivePhone, PhoneState, Sandbox
from telcoflow_server.app import CONTROL_PATH
from tests.support.faults import Fault, MemoryLine, begin

Samples = NDArray[np.int16]

STEP_SAMPLES = 480
LOWEST = 9_000
"""Steps are louder than ringback at its loudest, which is 3 200."""


class Moment(StrEnum):
    RINGING = "ringing"
    ANSWERING = "answering"
    AGENT_TALKING = "agent talking"
    CALLER_TALKING = "caller talking"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    CLOSING = "closing"


class Which(StrEnum):
    CONTROL = "control"
    MEDIA = "media"


ANSWER_S, CALLER_S, CONNECT_S, CLOSE_S = 1.0, 4.0, 6.5, 9.0
BEGINS_S = {
    Moment.RINGING: 0.5,
    Moment.ANSWERING: ANSWER_S - 0.001,
    Moment.AGENT_TALKING: 2.0,
    Moment.CALLER_TALKING: 5.0,
    Moment.CONNECTING: 7.0,
    Moment.CONNECTED: 8.5,
    Moment.CLOSING: 9.5,
}
"""Seconds from the beginning of the call, when all goes well."""

LAST_WORDS_S = 31.0
"""By now a link that died at any moment was noticed, and is there again or not waited for."""


def steps(first: int, duration_s: float) -> Samples:
    """Return a staircase that begins with step `first`."""
    numbers = np.arange(first, first + round(duration_s * 50), dtype=np.int16)
    return np.repeat(LOWEST + 1 + numbers, STEP_SAMPLES).astype(np.int16)


GREETING, REMARK = steps(0, 2.0), steps(200, 3.0)
QUESTION, LAST_WORDS = -steps(1000, 2.0), -steps(2000, 0.5)
AGENT_SAYS = np.concatenate((GREETING, REMARK))


def said_by(samples: Samples, whole: Samples) -> Samples:
    """Return what was heard of one who goes up (positive) or down (negative)."""
    return samples[samples >= LOWEST] if whole[0] > 0 else samples[samples <= -LOWEST]


def assert_no_loop(heard: Samples, said: Samples) -> None:
    """Nothing is heard that was not said, nothing twice, and all of it in order."""
    parts = said_by(heard, said)
    assert np.isin(parts, said).all(), "heard what nobody said"
    assert (np.diff(np.abs(parts)) >= 0).all(), "heard in another order"
    _, counts = np.unique(parts, return_counts=True)
    assert counts.size == 0 or counts.max() <= STEP_SAMPLES, "heard twice"


@dataclass(slots=True)
class Faulty:
    """What came of it.

    Attributes:
        agent_heard: Everything that came out of `audio_stream`.
        errors: What the agent's handler was told by exceptions.
        outages: How often the agent was told that its media link was lost, and that it is back.
        reason: Why the call ended.
        ended_s: When, seconds from its beginning.
        has_asked: Whether the caller got to say the question.
        was_connected: Whether caller and callee talked.
        is_well_again: Whether the same client took another call afterwards.
        left: The tasks that were still there at the very end.
    """

    caller: LivePhone
    callee: LiveCallee
    agent_heard: bytearray = field(default_factory=bytearray)
    errors: list[str] = field(default_factory=list)
    outages: Counter[str] = field(default_factory=Counter)
    reason: EndReason | None = None
    ended_s: float = 0.0
    has_asked: bool = False
    was_connected: bool = False
    is_well_again: bool = False
    left: list[str] = field(default_factory=list)


async def run(which: Which, fault: Fault, moment: Moment) -> Faulty:
    """Let `fault` befall the links of one kind at a moment of a call."""
    loop = asyncio.get_running_loop()
    async with Sandbox() as sandbox:
        callee = sandbox.callee(after_s=1.0)
        client = TelcoflowClient(TelcoflowClientConfig.sandbox(**sandbox.credentials))
        heard = bytearray()
        errors: list[str] = []
        outages: Counter[str] = Counter()

        @client.on(events.INCOMING_CALL)
        async def agent(call: ActiveCall) -> None:
            for kind in (events.MEDIA_INTERRUPTED, events.MEDIA_RESUMED):
                call.register_event_handler(kind, partial(_count, outages, kind))
            await _agent(call, heard, errors)

        async with client:
            began_s = loop.time()
            outcome = Faulty(await sandbox.dial(), callee, heard, errors, outages)
            healing: list[Callable[[], None]] = []

            def go_wrong() -> None:
                is_control = which is Which.CONTROL
                links = [one for one in sandbox.links if (one.path == CONTROL_PATH) is is_control]
                line = MemoryLine(links)
                begin(fault, line)
                healing.append(line.heal)

            loop.call_at(began_s + BEGINS_S[moment], go_wrong)
            await _caller(outcome, began_s)
            for heal in healing:
                heal()
            outcome.is_well_again = await _is_well(sandbox)
    outcome.left = [
        task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()
    ]
    return outcome


def _count(outages: Counter[str], kind: str, *_: object) -> None:
    outages[kind] += 1


async def _agent(call: ActiveCall, heard: bytearray, errors: list[str]) -> None:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    listening = asyncio.create_task(_listen(call, heard))
    try:
        await asyncio.sleep(ANSWER_S)
        await call.answer()
        await call.send_audio(GREETING.tobytes())
        await asyncio.sleep(began_s + CONNECT_S - loop.time())
        await call.connect(5)
        await call.send_audio(REMARK.tobytes())
        await asyncio.sleep(began_s + CLOSE_S - loop.time())
        await call.close()
    except WSSCallError as error:
        errors.append(type(error).__name__)
        raise
    finally:
        await listening


async def _listen(call: ActiveCall, heard: bytearray) -> None:
    async for chunk in call.audio_stream():
        heard += chunk


async def _caller(outcome: Faulty, began_s: float) -> None:
    loop = asyncio.get_running_loop()
    caller = outcome.caller

    async def at(moment_s: float) -> bool:
        """Wait for a moment; return whether the call is still there."""
        await asyncio.sleep(max(0.0, began_s + moment_s - loop.time()))
        return caller.state is PhoneState.TALKING

    ending = asyncio.create_task(_end(outcome, began_s))
    if await at(CALLER_S):
        outcome.has_asked = True
        await caller.say(QUESTION)
    if await at(LAST_WORDS_S):
        outcome.was_connected = outcome.callee.state is PhoneState.TALKING
        await caller.say(LAST_WORDS)
        await caller.listen(0.1)
    if caller.state is not PhoneState.ENDED:
        await caller.hang_up()
    await ending


async def _end(outcome: Faulty, began_s: float) -> None:
    outcome.reason = await outcome.caller.ended(120.0)
    outcome.ended_s = asyncio.get_running_loop().time() - began_s


async def _is_well(sandbox: Sandbox) -> bool:
    """Return whether another call is answered within the time a link may take to come back."""
    phone = await sandbox.dial()
    await phone.answered(40.0)
    heard = await phone.listen(1.0)
    await phone.hang_up()
    return bool(said_by(heard.samples, GREETING).size)
