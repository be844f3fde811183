"""Every fault once over real sockets, on both links of an agent that is talking."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, TelcoflowClient, TelcoflowClientConfig
from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_sdk.testing import LivePhone, Sandbox
from tests.support.faults import Fault, FaultProxy, begin
from tests.support.faulty_call import assert_no_loop, said_by, steps

GREETING = steps(0, 1.5)
FAULT_S = 1.0
PATIENCE_S = 10.0
"""For what was said to be heard after all: an agent that was not told that its link is gone finds
that out after 3 s."""


@pytest.mark.slow
@pytest.mark.parametrize("fault", Fault)
async def test_the_caller_hears_all_of_it_unless_there_is_no_way_back(fault: Fault) -> None:
    async with FaultProxy() as control, FaultProxy() as media:
        async with Sandbox(media_url=media.url) as sandbox:
            control_port = urlsplit(sandbox.base_url).port
            assert control_port is not None
            control.lead_to(control_port)
            media.lead_to(sandbox.media_port)
            ports = control_port, sandbox.media_port

            phone = await call_with_fault(sandbox, fault, control, media)

        for port in ports:
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)

    assert_no_loop(phone.heard.samples, GREETING)
    if fault is not Fault.GONE:
        assert said_by(phone.heard.samples, GREETING).tolist() == GREETING.tolist()
    assert phone.end_reason is EndReason.CALLER_HUNG_UP, "no outage was too long"
    assert not phone.heard.sounding[-5:].any(), "the end is silent"


async def call_with_fault(
    sandbox: Sandbox, fault: Fault, control: FaultProxy, media: FaultProxy
) -> LivePhone:
    credentials = sandbox.credentials
    credentials["base_url"] = control.url
    client = TelcoflowClient(TelcoflowClientConfig.sandbox(**credentials))

    @client.on(events.INCOMING_CALL)
    async def greet(call: ActiveCall) -> None:
        await call.answer()
        await call.send_audio(GREETING.tobytes())
        async for _ in call.audio_stream():
            pass

    async with client:
        phone = await sandbox.dial()
        await phone.answered()
        await phone.listen(0.4)
        for line in (control, media):
            begin(fault, line)
        await phone.listen(FAULT_S)
        if fault is not Fault.GONE:
            heal(control, media)
            await heard_whole(phone)
        await phone.listen(0.2)
        await phone.hang_up()
        heal(control, media)
    return phone


async def heard_whole(phone: LivePhone) -> None:
    """Wait until the greeting was heard, or for as long as it may take."""
    async with asyncio.timeout(PATIENCE_S):
        while said_by(phone.heard.samples, GREETING).size < GREETING.size:
            await phone.listen(0.1)


def heal(*lines: FaultProxy) -> None:
    for line in lines:
        line.heal()
