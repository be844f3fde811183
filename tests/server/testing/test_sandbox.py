"""The same tests of the kit in virtual time and over sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import telcoflow_sdk.events as events
from telcoflow_sdk import (
    ActiveCall,
    CallState,
    TelcoflowClient,
    TelcoflowClientConfig,
    WSSAuthenticationError,
    WSSCallCommandError,
    WSSConnectionError,
)
from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_server.testing.fixtures import virtual_time
from telcoflow_server.testing.line import PhoneState
from telcoflow_server.testing.sandbox import Sandbox
from telcoflow_server.testing.virtual import run_virtual
from tests.support.server import noise, wav_bytes

Run = Callable[[Coroutine[Any, Any, None]], None]
Handler = Callable[[ActiveCall], Awaitable[None]]

SPEECH = noise(12_000)
TIMES = [run_virtual, pytest.param(asyncio.run, marks=pytest.mark.slow)]


@pytest.fixture(params=TIMES, ids=["virtual", "sockets"])
def run(request: pytest.FixtureRequest) -> Run:
    chosen: Run = request.param
    return chosen


async def echo(call: ActiveCall) -> None:
    await call.answer()
    async for chunk in call.audio_stream():
        await call.send_audio(chunk)


@asynccontextmanager
async def serving(sandbox: Sandbox, handler: Handler) -> AsyncIterator[TelcoflowClient]:
    config = TelcoflowClientConfig.sandbox(**sandbox.credentials)
    async with TelcoflowClient(config) as client:
        client.on(events.INCOMING_CALL)(handler)
        yield client


def test_what_the_phone_says_comes_back_from_an_echo(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "hello.wav"
    file.write_bytes(wav_bytes(SPEECH))

    async def main() -> None:
        async with Sandbox() as sandbox, serving(sandbox, echo):
            phone = await sandbox.dial()
            await phone.answered()
            saying = asyncio.create_task(phone.say(file))
            heard = await phone.listen_until_quiet(0.2)
            await saying
            assert phone.state is PhoneState.TALKING
            before = phone.report
            reason = await phone.hang_up()

        assert heard.samples[heard.samples != 0].tolist() == SPEECH.tolist()
        assert (phone.state, reason) == (PhoneState.ENDED, EndReason.CALLER_HUNG_UP)
        assert phone.end_reason is reason
        assert before is None
        assert phone.report is not None
        assert phone.report.end_reason is reason
        if run is run_virtual:  # in real time, a machine that is busy leaves gaps
            assert phone.report.gaps == ()

    run(main())


def test_agent_sees_who_calls_whom_and_may_reject(run: Run) -> None:
    numbers: list[tuple[str | None, str | None]] = []

    async def reject(call: ActiveCall) -> None:
        numbers.append((call.caller_number, call.callee_number))
        await call.close()

    async def main() -> None:
        async with Sandbox() as sandbox, serving(sandbox, reject):
            phone = await sandbox.dial(caller="", callee="+15550123")
            with pytest.raises(RuntimeError, match="before it was answered: agent_rejected"):
                await phone.answered()

    run(main())

    assert numbers == [(None, "+15550123")]


def test_a_callee_answers_and_all_three_hear_each_other(run: Run) -> None:
    async def connect(call: ActiveCall) -> None:
        await call.connect()
        await call.send_audio(noise(2_400, seed=3).tobytes())
        await call.close()

    async def main() -> None:
        async with Sandbox() as sandbox:
            callee = sandbox.callee("+15550123", after_s=0.1)
            assert callee.state is PhoneState.IDLE
            async with serving(sandbox, connect):
                caller = await sandbox.dial(callee="+15550123")
                await callee.rings()
                await callee.answered()
                agent = await callee.listen_until_quiet(0.2)
                await callee.say(SPEECH[:2_400])
                await caller.say(SPEECH[2_400:4_800])
                await callee.listen(0.1)
                reason = await callee.hang_up()
                assert await caller.ended() is reason

        assert agent.samples[agent.samples != 0].tolist() == noise(2_400, seed=3).tolist()
        assert _holds(caller.heard.pcm, SPEECH[:2_400].tobytes())
        assert _holds(callee.heard.pcm, SPEECH[2_400:4_800].tobytes())
        assert reason is EndReason.CALLEE_HUNG_UP

    run(main())


def _holds(whole: bytes, part: bytes) -> bool:
    return part in whole


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ("busy", "CALL_BUSY"),
        ("decline", "CALL_DECLINED"),
        ("no-answer", "CALL_UNANSWERED"),
        (None, "CALLEE_UNREACHABLE"),
    ],
)
def test_a_callee_that_does_not_answer_fails_as_it_was_told(answers: str | None, code: str) -> None:
    codes: list[str] = []

    async def connect(call: ActiveCall) -> None:
        await call.answer()
        with pytest.raises(WSSCallCommandError) as refused:
            await call.connect(5)
        codes.append(refused.value.error_code)
        assert call.state is CallState.ANSWERED

    async def main() -> None:
        async with Sandbox() as sandbox, serving(sandbox, connect):
            if answers is not None:
                sandbox.callee(answers=answers)
            phone = await sandbox.dial()
            await phone.answered()
            await phone.listen(7)

    run_virtual(main())

    assert codes == [code]


@virtual_time
async def test_a_test_may_pick_up_or_decline_before_the_callee_does(sandbox: Sandbox) -> None:
    outcomes: list[str] = []

    async def connect(call: ActiveCall) -> None:
        for _ in range(2):
            try:
                await call.connect()
            except WSSCallCommandError as error:
                outcomes.append(error.error_code)
        outcomes.append(call.state)

    callee = sandbox.callee(answers="no-answer")
    async with serving(sandbox, connect):
        await sandbox.dial()
        await callee.rings()
        assert await callee.hang_up() is EndReason.CALLEE_UNANSWERED
        await callee.rings()
        callee.pick_up()
        await callee.answered()
        await callee.hang_up()

    assert outcomes == ["CALL_DECLINED", "CONNECTED"]


@virtual_time
async def test_who_speaks_after_the_end_has_spoken(sandbox: Sandbox) -> None:
    async with serving(sandbox, echo):
        phone = await sandbox.dial()
        await phone.answered()
        await phone.hang_up()

        async with asyncio.timeout(1):
            await phone.say(SPEECH)


@virtual_time
async def test_a_phone_in_a_call_is_busy_to_others(sandbox: Sandbox) -> None:
    sandbox.callee("+15550123")
    async with serving(sandbox, echo) as client:
        first = await client.call("+15550123")
        await first.answer()
        second = await client.call("+15550123")

        with pytest.raises(WSSCallCommandError) as refused:
            await second.answer()

    assert refused.value.error_code == "CALL_BUSY"


def test_an_agent_calls_a_phone(run: Run) -> None:
    async def main() -> None:
        async with Sandbox() as sandbox:
            phone = sandbox.callee("+15550123", after_s=0.1)
            async with serving(sandbox, echo) as client:
                call = await client.call("+15550123")
                await call.answer()
                await call.send_audio(SPEECH.tobytes())
                heard = await phone.listen_until_quiet(0.2)
                await call.disconnect()

        assert heard.samples[heard.samples != 0].tolist() == SPEECH.tolist()
        assert phone.end_reason is EndReason.AGENT_DISCONNECTED

    run(main())


def test_a_call_that_nobody_takes_rings_out(run: Run) -> None:
    async def main() -> None:
        async with Sandbox(ring_timeout_s=0.2) as sandbox:
            phone = await sandbox.dial()

            assert await phone.ended() is EndReason.NO_AGENT

    run(main())


def test_wrong_credentials_are_refused(run: Run) -> None:
    async def main() -> None:
        async with Sandbox() as sandbox:
            credentials = sandbox.credentials
            credentials["api_key"] = "wrong"
            client = TelcoflowClient(TelcoflowClientConfig.sandbox(**credentials))
            with pytest.raises(WSSAuthenticationError):
                await client.connect()

    run(main())


def test_an_agent_outlives_the_sandbox(run: Run) -> None:
    async def main() -> None:
        async with Sandbox() as sandbox:
            credentials = sandbox.credentials
            client = TelcoflowClient(TelcoflowClientConfig.sandbox(**credentials))
            client.on(events.INCOMING_CALL)(echo)
            await client.connect()
            phone = await sandbox.dial()
            await phone.answered()

        assert phone.end_reason is EndReason.SERVER_SHUTDOWN
        await client.disconnect()
        with pytest.raises(WSSConnectionError):
            await client.connect()

    run(main())


@virtual_time
async def test_an_agent_that_was_told_nothing_finds_the_sandbox() -> None:
    async with Sandbox() as sandbox:
        config = TelcoflowClientConfig.sandbox(api_key="sandbox", connector_uuid="sandbox")
        async with TelcoflowClient(config) as client:
            client.on(events.INCOMING_CALL)(echo)
            phone = await sandbox.dial()
            await phone.answered()


@virtual_time
async def test_two_sandboxes_are_two_networks() -> None:
    async with Sandbox() as one, Sandbox() as other, serving(one, echo):
        answered, unheard = await one.dial(), await other.dial()
        await answered.answered()

        with pytest.raises(TimeoutError, match="waited 5 s to be answered; it is RINGING"):
            await unheard.answered(5)


@virtual_time
async def test_a_link_can_be_cut_and_comes_back(sandbox: Sandbox) -> None:
    async with serving(sandbox, echo):
        phone = await sandbox.dial()
        await phone.answered()
        control, media = sandbox.links

        control.cut()
        await phone.listen(2)
        media.cut()
        await phone.listen(2)
        await phone.say(noise(24_000))

        assert phone.state is PhoneState.TALKING
        assert len(sandbox.links) == 2
        assert not {control, media} & set(sandbox.links)
        assert not phone.heard.is_silent
        again = await sandbox.dial()
        await again.answered()


def test_a_call_gives_the_same_bytes_again_whoever_competes_for_it() -> None:
    async def main() -> tuple[bytes, bytes, list[int]]:
        takers: list[int] = []

        async def take(number: int, call: ActiveCall) -> None:
            takers.append(number)
            await call.answer()
            connecting = asyncio.create_task(call.connect())
            async for chunk in call.audio_stream():
                await call.send_audio(chunk)
            await connecting

        async with Sandbox() as sandbox, AsyncExitStack() as clients:
            callee = sandbox.callee()
            for number in range(5):
                config = TelcoflowClientConfig.sandbox(**sandbox.credentials, sample_rate=8_000)
                client = await clients.enter_async_context(TelcoflowClient(config))
                client.on(events.INCOMING_CALL)(partial(take, number))
            phone = await sandbox.dial()
            await phone.answered()
            await asyncio.gather(phone.say(noise(48_000)), callee.say(noise(24_000, seed=2)))
            sandbox.links[0].cut()
            await phone.listen(30)
        return phone.heard.pcm, callee.heard.pcm, takers

    first, again = (run_virtual(main()) for _ in range(2))

    assert first == again
    assert first[2] == [0], "who came first is asked first"


async def test_over_sockets_links_cannot_be_touched_but_led_elsewhere(sandbox: Sandbox) -> None:
    async with serving(sandbox, echo):
        assert sandbox.links == ()
        assert sandbox.media_port > 0


def test_a_sandbox_that_does_not_run_says_so() -> None:
    with pytest.raises(RuntimeError, match="async with Sandbox"):
        asyncio.run(Sandbox().dial())


def test_an_unknown_behaviour_is_refused() -> None:
    with pytest.raises(ValueError, match="maybe"):
        Sandbox().callee(answers="maybe")
