"""The published client, unmodified, in calls that the test holds: every rate, every way to hang up,
hand-off, a link that blips, what is refused, and as many calls as it can take.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_sdk.testing import LiveCallee, LivePhone, Sandbox
from tests.support.faults import FaultProxy
from tests.support.server import noise

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-published" / "bin" / "python"
PROGRAM = Path(__file__).with_name("published_switchboard.py")

pytestmark = [pytest.mark.stranger, pytest.mark.slow]

RATES_HZ = (8_000, 16_000, 24_000)

ECHO, HESITATE, TALK, BRING_IN, SAY_GOODBYE, PUT_THROUGH, REJECT, GIVE_AWAY = (
    f"+1555010{digit}" for digit in range(8)
)
"""Who calls: the last digit is what the switchboard does."""

PUBLISHED_LIMIT = 33
"""After as many calls it hears nothing any more: three events each, and its bus holds a hundred."""


class Switchboard:
    """The published client in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.was_killed = False
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout

    @classmethod
    @asynccontextmanager
    async def running(cls, *arguments: object) -> AsyncIterator[Switchboard]:
        assert PYTHON.exists(), "run `make setup`: it installs the published client for this test"
        process = await asyncio.create_subprocess_exec(
            PYTHON,
            PROGRAM,
            *map(str, arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # it logs its own trouble
        )
        switchboard = cls(process)
        try:
            yield switchboard
            if not switchboard.was_killed:
                switchboard._stdin.close()
                assert await process.wait() == 0
        finally:
            await switchboard.kill()

    async def kill(self) -> None:
        self.was_killed = True
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        self._stdin.close()
        await self._process.wait()

    async def say(self, line: str) -> None:
        self._stdin.write(line.encode() + b"\n")
        await self._stdin.drain()

    async def hear(self) -> dict[str, Any]:
        line = await self._stdout.readline()
        assert line, "the client died"
        fields: dict[str, Any] = json.loads(line)
        return fields

    async def told_of(self, remote: str) -> dict[str, Any]:
        """Return what it tells of the call of this number."""
        while (told := await self.hear()).get("remote") != remote:
            pass
        return told


@asynccontextmanager
async def switchboard(
    sandbox: Sandbox, *, rate_hz: int = 24_000, base_url: str | None = None
) -> AsyncIterator[Switchboard]:
    """Run the client until the end of the block."""
    keys = sandbox.credentials
    who = (keys["api_key"], keys["connector_uuid"])
    async with Switchboard.running(base_url or sandbox.base_url, *who, rate_hz) as running:
        assert await running.hear() == {"joined": True}
        yield running


async def echoes(sandbox: Sandbox, agent: Switchboard) -> bool:
    """Return whether the client takes another call and says back what it hears."""
    said = noise(4800)
    phone = await sandbox.dial(caller=ECHO)
    await phone.answered(3)
    await phone.say(said)
    await phone.listen(0.3)
    await phone.hang_up()
    told = await agent.told_of(ECHO)
    heard = phone.heard.samples
    return bool(told["terminated"]) and np.array_equal(heard[heard != 0], said)


async def sessions(agent: Switchboard) -> list[list[str]]:
    """Return channel, state and number of the sessions that the client is told of."""
    await agent.say("list")
    listed: list[list[str]] = (await agent.hear())["sessions"]
    return listed


@pytest.mark.parametrize("rate_hz", RATES_HZ)
async def test_it_echoes_at_every_rate(rate_hz: int) -> None:
    tone_hz = 1000
    time_s = np.arange(24_000) / 24_000
    said = (8000 * np.sin(2 * np.pi * tone_hz * time_s)).astype(np.int16)
    async with Sandbox() as sandbox, switchboard(sandbox, rate_hz=rate_hz) as agent:
        phone = await sandbox.dial(caller=ECHO)
        await phone.answered()
        await phone.say(said)
        await phone.listen(0.3)
        await phone.hang_up()
        told = await agent.told_of(ECHO)

    heard = phone.heard
    assert told["answered"] is told["terminated"] is True
    assert told["closed_reason"] == "CALL_TERMINATED"
    assert 0.98 <= heard.sounding_s <= 1.06
    spectrum = np.abs(np.fft.rfft(heard.samples.astype(float)))
    loudest_hz = float(np.argmax(spectrum)) * 24_000 / heard.samples.size
    assert abs(loudest_hz - tone_hz) < 5


# --- the caller hangs up first -------------------------------------------------------------------


async def at_once(phone: LivePhone, callee: LiveCallee) -> None:
    pass


async def while_it_rings(phone: LivePhone, callee: LiveCallee) -> None:
    await asyncio.sleep(0.15)


async def while_it_talks(phone: LivePhone, callee: LiveCallee) -> None:
    await phone.answered()
    await phone.listen(0.3)


async def while_the_callee_is_rung(phone: LivePhone, callee: LiveCallee) -> None:
    await callee.rings()
    await phone.listen(0.2)


async def while_connected(phone: LivePhone, callee: LiveCallee) -> None:
    await callee.answered()
    await phone.listen(0.2)


Stage = Callable[[LivePhone, LiveCallee], Awaitable[None]]
STAGES: list[tuple[str, str, Stage]] = [
    (ECHO, "answer", at_once),
    (HESITATE, "answer", while_it_rings),
    (ECHO, "answer", while_it_talks),
    (TALK, "answer", while_it_talks),
    (BRING_IN, "no-answer", while_the_callee_is_rung),
    (BRING_IN, "answer", while_connected),
    (SAY_GOODBYE, "answer", while_it_talks),
    (PUT_THROUGH, "no-answer", while_the_callee_is_rung),
]


async def test_the_caller_may_hang_up_at_every_stage() -> None:
    async with Sandbox() as sandbox, switchboard(sandbox) as agent:
        for number, answers, stage in STAGES:
            callee = sandbox.callee(answers=answers, after_s=0.1)
            phone = await sandbox.dial(caller=number)
            await stage(phone, callee)
            assert await phone.hang_up() is EndReason.CALLER_HUNG_UP
            if stage is not at_once:  # whether it came to know of that call is chance
                told = await agent.told_of(number)
                assert told["closed_reason"] == "CALL_TERMINATED", (number, stage)
                assert told["terminated"] or stage is while_it_rings, (number, stage)
        assert await echoes(sandbox, agent)
        assert await sessions(agent) == []


# --- the agent hangs up, connects, calls ---------------------------------------------------------


async def test_it_says_goodbye_rejects_and_puts_through() -> None:
    async with Sandbox() as sandbox, switchboard(sandbox) as agent:
        phone = await sandbox.dial(caller=SAY_GOODBYE)
        assert await phone.ended() is EndReason.AGENT_CLOSED
        assert np.count_nonzero(phone.heard.samples) == 48_000, "the goodbye was heard to its end"
        assert (await agent.told_of(SAY_GOODBYE))["closed"] is True

        phone = await sandbox.dial(caller=REJECT)
        assert await phone.ended() is EndReason.AGENT_REJECTED
        assert (await agent.told_of(REJECT))["disconnected"] is True

        callee = sandbox.callee(after_s=0.1)
        phone = await sandbox.dial(caller=PUT_THROUGH)
        told = await agent.told_of(PUT_THROUGH)
        done = {name for name in told if told[name] is True}
        assert done == {"connected", "whisper", "spy", "barge", "closed", "terminated"}
        said = noise(4800)
        await phone.say(said)
        heard = callee.heard.samples
        assert np.array_equal(heard[heard != 0], said), "the two go on without it"
        assert await callee.hang_up() is EndReason.CALLEE_HUNG_UP


@pytest.mark.parametrize(
    ("behaviour", "code", "reason"),
    [
        ("answer", None, EndReason.AGENT_DISCONNECTED),
        ("busy", "CALL_BUSY", EndReason.CALLEE_BUSY),
        ("decline", "CALL_DECLINED", EndReason.CALLEE_DECLINED),
    ],
)
async def test_it_calls_somebody(behaviour: str, code: str | None, reason: EndReason) -> None:
    number = "+15550142"
    async with Sandbox() as sandbox, switchboard(sandbox) as agent:
        phone = sandbox.callee(number, answers=behaviour, after_s=0.3)
        await agent.say(f"call {number}")
        told = await agent.told_of(number)
        if code is None:
            assert await phone.ended() is reason
            assert np.count_nonzero(phone.heard.samples) == 24_000

    assert told["answers"] == [code]
    assert told["terminated"] is True


@pytest.mark.long
async def test_it_may_ask_again_when_nobody_has_answered_for_ten_seconds() -> None:
    number = "+15550142"
    async with Sandbox() as sandbox, switchboard(sandbox) as agent:
        sandbox.callee(number, after_s=11.0)
        await agent.say(f"call {number}")
        told = await agent.told_of(number)

    assert told["answers"] == ["TIMEOUT", None]
    assert told["disconnected"] is True


async def test_it_lists_the_calls_there_are() -> None:
    async with Sandbox() as sandbox, switchboard(sandbox) as agent:
        phone = await sandbox.dial(caller=ECHO)
        await phone.answered()
        assert await sessions(agent) == [["TELCO", "OPEN", ECHO]]
        await phone.hang_up()
        await agent.told_of(ECHO)
        assert await sessions(agent) == []


async def test_it_gives_a_call_to_another_process() -> None:
    said = noise(4800)
    async with Sandbox() as sandbox, switchboard(sandbox) as giver:
        phone = await sandbox.dial(caller=GIVE_AWAY)
        text = (await giver.hear())["given"]
        async with Switchboard.running("take", 24_000) as taker:
            await taker.say(text)
            await phone.answered()
            await phone.say(said)
            await phone.listen(0.3)
            await phone.hang_up()
            taken = await taker.hear()
        given = await giver.told_of(GIVE_AWAY)

    heard = phone.heard.samples
    assert taken == {"from": GIVE_AWAY, "answered": True, "terminated": True}
    assert given["closed_reason"] == "CALL_TERMINATED"
    assert np.array_equal(heard[heard != 0], said)


async def test_it_hears_of_a_call_that_waits_when_it_comes() -> None:
    async with Sandbox() as sandbox:
        phone = await sandbox.dial(caller=ECHO)
        async with switchboard(sandbox) as agent:
            await phone.answered(3)
            await phone.hang_up()
            assert (await agent.told_of(ECHO))["terminated"] is True


# --- links, refusals, limits ---------------------------------------------------------------------


async def test_its_control_link_may_come_back_during_a_call() -> None:
    said = noise(48_000)
    async with FaultProxy() as control, Sandbox() as sandbox:
        port = urlsplit(sandbox.base_url).port
        assert port is not None
        control.lead_to(port)
        async with switchboard(sandbox, base_url=control.url) as agent:
            phone = await sandbox.dial(caller=ECHO)
            await phone.answered()
            talking = asyncio.create_task(phone.say(said))
            await phone.listen(0.3)
            control.cut()
            control.heal()
            await talking
            await phone.listen(0.3)
            another = await sandbox.dial(caller=HESITATE)
            await another.answered()
            await another.hang_up()
            first = await agent.told_of(HESITATE)
            await phone.hang_up()
            told = await agent.told_of(ECHO)

    heard = phone.heard.samples
    assert np.array_equal(heard[heard != 0], said), "the call did not notice, and was taken once"
    assert (first["terminated"], told["terminated"]) == (True, True)
    assert told["closed_reason"] == "FORCE_CLOSE", "its own word for a session it gave up"


async def test_messaging_is_refused_and_changes_nothing() -> None:
    async with Sandbox() as sandbox, switchboard(sandbox) as agent:
        await agent.say("message +15550142")
        assert await agent.hear() == {"raised": "WSSChannelNotConfigured"}
        await agent.say("flow")
        assert await agent.hear() == {"raised": "WSSInvalidRequest"}
        await agent.say("call nobody")
        assert await agent.hear() == {"raised": "WSSInvalidRequest"}
        assert await echoes(sandbox, agent)


async def test_it_takes_as_many_calls_as_it_can_and_another_one_goes_on() -> None:
    taken = 0
    async with Sandbox() as sandbox, switchboard(sandbox) as deaf:
        with contextlib.suppress(TimeoutError):
            while taken < 3 * PUBLISHED_LIMIT:
                phone = await sandbox.dial(caller=ECHO)
                await phone.answered(3)
                await phone.hang_up()
                taken += 1
        async with switchboard(sandbox) as another:
            # It holds a call that it never heard of; with its end that rings elsewhere.
            await deaf.kill()
            await phone.answered(3)
            await phone.hang_up()
            await another.told_of(ECHO)
            assert await echoes(sandbox, another)
            assert await sessions(another) == []

    assert taken == PUBLISHED_LIMIT
