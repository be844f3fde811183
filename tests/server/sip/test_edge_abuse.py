"""What nobody should send: garbage, floods, the oversized, the half-finished. And keep-alives."""

from __future__ import annotations

import logging
import random

import pytest

from telcoflow_server.sip.accounts import EdgeSettings
from telcoflow_server.sip.events import EdgeStatistics, IncomingCall
from tests.server.sip.conftest import Stage, Start, until
from tests.support.sip_phone import OFFER, SipPhone

pytestmark = pytest.mark.slow


async def counted(stage: Stage, **counts: int) -> EdgeStatistics:
    """Return the statistics once they have reached certain counts."""
    edge = stage.edge.edge
    await until(
        lambda: all(getattr(edge.statistics(), name) >= count for name, count in counts.items())
    )
    return edge.statistics()


async def is_answered(phone: SipPhone) -> bool:
    phone.call().send("OPTIONS")
    return (await phone.response("OPTIONS")).status == 200


@pytest.mark.parametrize("line_ends", [b"\r\n\r\n", b"\r\n", b"\0", b"\r\n\r\n\0\0\0\0"])
async def test_keep_alives_are_ignored_and_counted(open_stage: Stage, line_ends: bytes) -> None:
    phone = await open_stage.phone()

    phone.send(line_ends)

    assert await phone.hears_nothing()
    assert (await counted(open_stage, keep_alives=1)).garbage == 0


async def test_garbage_is_ignored_and_counted_and_nothing_is_logged(
    open_stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    phone = await open_stage.phone()
    chance = random.Random(1)
    garbage = [
        b"\0" * 50,
        b"INVITE\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xff" * 80,
        b"SIP/2.0\r\n\r\n" + b" " * 40,
        b"OPTIONS sip:x@y SIP/2.0\r\nno colon here at all\r\n\r\n",
        chance.randbytes(1200),
        chance.randbytes(60_000),
    ]

    for datagram in garbage:
        phone.send(datagram)

    assert await phone.hears_nothing()
    assert await is_answered(phone)
    now = await counted(open_stage, garbage=len(garbage) - 1, keep_alives=1)
    assert now.garbage + now.keep_alives == len(garbage)
    assert [one for one in caplog.records if one.name.startswith("telcoflow")] == []


async def test_damaged_messages_harm_nobody(open_stage: Stage) -> None:
    phone = await open_stage.phone()
    chance = random.Random(7)
    whole = phone.call().text("INVITE", body=OFFER).encode()

    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(damaged))
            damaged[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        phone.send(bytes(damaged))

    other = await open_stage.phone("other")
    assert await is_answered(other)
    assert open_stage.edge.edge.restarts == 0


async def test_response_to_nothing_is_ignored(open_stage: Stage) -> None:
    phone = await open_stage.phone()
    call = phone.call()
    call.text("INVITE")
    lines = call.text("INVITE", is_new=False).partition("\r\n")[2]

    phone.send(f"SIP/2.0 200 OK\r\n{lines}")

    assert await phone.hears_nothing()
    assert await is_answered(phone)


async def test_oversized_message_is_read_whole(open_stage: Stage) -> None:
    phone = await open_stage.phone()
    phone.call().invite(headers=tuple((f"X-{n}", "x" * 300) for n in range(150)))

    incoming = await open_stage.edge.hears(IncomingCall)

    assert incoming.sdp is not None


async def test_message_with_too_many_headers_is_garbage(open_stage: Stage) -> None:
    phone = await open_stage.phone()

    phone.call().invite(headers=tuple((f"X-{n}", "x") for n in range(500)))

    assert await phone.hears_nothing()
    await counted(open_stage, garbage=1)


async def test_flood_of_calls_is_503_and_others_still_get_through(start: Start) -> None:
    stage = await start(
        EdgeSettings(port=0, unauthenticated_calls=True, invites_per_second=1, retry_after_s=7)
    )
    phone = await stage.phone()
    for _ in range(10):
        phone.call().invite()

    refused = [await phone.response() for _ in range(5)]

    assert {one.status for one in refused} == {503}
    assert {one.header("retry-after") for one in refused} == {"7"}
    assert stage.edge.count(IncomingCall) <= 6
    assert (await counted(stage, calls_refused_busy=5)).calls_refused_busy >= 5


async def test_flood_of_messages_is_not_answered(start: Start) -> None:
    stage = await start(EdgeSettings(port=0, messages_per_second=2))
    phone = await stage.phone()
    for _ in range(30):
        phone.call().send("OPTIONS")

    now = await counted(stage, messages_dropped=15)

    assert now.requests + now.messages_dropped == 30


async def test_more_calls_than_allowed_are_503(start: Start) -> None:
    stage = await start(EdgeSettings(port=0, unauthenticated_calls=True, max_dialogs=1))
    phone = await stage.phone()
    phone.call().invite()
    await stage.edge.hears(IncomingCall)

    phone.call().invite()

    assert (await phone.response()).status == 503


async def test_phone_that_never_acknowledges_hears_the_refusal_again(open_stage: Stage) -> None:
    phone = await open_stage.phone()
    phone.send(phone.call().text("INVITE", body="<x/>", content_type="text/xml"))

    first, second = await phone.response(), await phone.response()

    assert (first.status, second.status) == (415, 415)
    assert first.to_tag == second.to_tag
