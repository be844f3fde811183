"""Digits and transfers, between an agent and the phones of a sandbox, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

import telcoflow_sdk.events as events
from telcoflow_sdk import (
    ActiveCall,
    CallState,
    Digit,
    TelcoflowClient,
    TelcoflowClientConfig,
    WSSCallCommandError,
)
from telcoflow_sdk.testing import Sandbox, running, virtual_time

SPEECH = b"\x10\x10" * 24_000  # a second


async def serve(sandbox: Sandbox, on_call: Callable[[ActiveCall], Awaitable[None]]) -> None:
    config = TelcoflowClientConfig.sandbox(**sandbox.credentials)
    async with TelcoflowClient(config) as client:
        client.on(events.INCOMING_CALL)(on_call)
        await client.run_forever()


@virtual_time
async def test_keys_that_are_pressed_are_told_in_order_and_by_whom(sandbox: Sandbox) -> None:
    callee = sandbox.callee()
    digits: list[Digit] = []

    async def on_call(call: ActiveCall) -> None:
        call.on(events.DTMF)(digits.append)
        await call.connect()
        async for _ in call.audio_stream():
            pass

    async with running(serve(sandbox, on_call)):
        phone = await sandbox.dial()
        await phone.answered()
        phone.press("12#")
        await phone.listen(0.1)
        callee.press("9")
        await phone.listen(0.1)
        await phone.hang_up()

    assert [(one.digit, one.channel) for one in digits] == [("1", 1), ("2", 1), ("#", 1), ("9", 2)]
    assert all(one.duration_ms > 0 for one in digits)
    assert digits[0].at_ms <= digits[-1].at_ms
    assert "9" not in repr(digits[-1]).split("duration")[0]


@virtual_time
async def test_digits_are_sent_behind_the_audio_before_them_to_who_hears_the_agent(
    sandbox: Sandbox,
) -> None:
    callee = sandbox.callee()

    async def on_call(call: ActiveCall) -> None:
        await call.connect()
        await call.send_audio(SPEECH)
        await call.send_dtmf("12#")
        await call.whisper()
        await call.send_audio(SPEECH)
        await call.send_dtmf("99")
        async for _ in call.audio_stream():
            pass

    async with running(serve(sandbox, on_call)):
        phone = await sandbox.dial()
        await phone.answered()
        await phone.listen(0.9)
        before = phone.digits_heard, callee.digits_heard
        await phone.listen(0.3)
        between = phone.digits_heard, callee.digits_heard
        await phone.listen(1.2)
        after = phone.digits_heard, callee.digits_heard
        await phone.hang_up()

    assert before == ("", "")
    assert between == ("12#", "12#")
    assert after == ("12#", "12#99")


@virtual_time
async def test_digits_that_an_interruption_passes_are_not_sent(sandbox: Sandbox) -> None:
    async def on_call(call: ActiveCall) -> None:
        await call.answer()
        await call.send_audio(SPEECH)
        await call.send_dtmf("1")
        await call.interrupt()
        await call.send_dtmf("2")
        async for _ in call.audio_stream():
            pass

    async with running(serve(sandbox, on_call)):
        phone = await sandbox.dial()
        await phone.answered()
        await phone.listen(1.5)
        await phone.hang_up()

    assert phone.digits_heard == "2"


@virtual_time
async def test_a_transfer_ends_the_call_when_what_was_said_before_was_heard(
    sandbox: Sandbox,
) -> None:
    ended: list[CallState] = []

    async def on_call(call: ActiveCall) -> None:
        await call.answer()
        await call.send_audio(SPEECH)
        await call.transfer("+15550777")
        ended.append(call.state)

    async with running(serve(sandbox, on_call)):
        phone = await sandbox.dial()
        reason = await phone.ended()
        await asyncio.sleep(0.1)

    assert reason == "transferred"
    assert phone.transferred_to == "+15550777"
    assert ended == [CallState.DISCONNECTED]
    assert phone.heard.samples[phone.heard.samples != 0].tobytes() == SPEECH


@virtual_time
@pytest.mark.parametrize("digits", ["", "12x", "1" * 65, "é"])
async def test_digits_that_no_phone_has_are_refused_here(sandbox: Sandbox, digits: str) -> None:
    errors: list[Exception] = []

    async def on_call(call: ActiveCall) -> None:
        await call.answer()
        try:
            await call.send_dtmf(digits)
        except ValueError as error:
            errors.append(error)
        await call.close()

    async with running(serve(sandbox, on_call)):
        phone = await sandbox.dial()
        await phone.ended()

    assert len(errors) == 1
    assert not digits or digits not in str(errors[0])


@virtual_time
async def test_nobody_is_sent_digits_or_elsewhere_before_the_answer(sandbox: Sandbox) -> None:
    codes: list[str] = []

    async def on_call(call: ActiveCall) -> None:
        for command in (call.send_dtmf("1"), call.transfer("+1")):
            try:
                await command
            except WSSCallCommandError as error:
                codes.append(error.error_code)
        await call.close()

    async with running(serve(sandbox, on_call)):
        phone = await sandbox.dial()
        await phone.ended()

    assert codes == ["INVALID_STATE", "INVALID_STATE"]
