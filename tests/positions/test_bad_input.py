"""What a hostile client of protocol v2 may send, what it gets for it, and that nobody else notices.

Its memory is measured in `tests/end_to_end/test_offenders.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, OfferedCall
from telcoflow_sdk.protocol.codes import CloseCode, EndReason, ErrorCode
from telcoflow_sdk.protocol.handoff import parse_handed_call
from telcoflow_sdk.protocol.positions import END, MORE
from telcoflow_sdk.protocol.sequence import MAX_KEPT
from telcoflow_sdk.testing import Sandbox, run_virtual, virtual_time
from telcoflow_server.media.places import MAX_PLACES
from tests.positions.raw import RawCall, RawLink
from tests.positions.ruler import assert_heard_once, ruler
from tests.positions.stage import Ear, media_link, serving

OFFENDER = "+15550666"
HEADER_BYTES = 16

PAUSE = {"command_id": "p", "command": "agent.pause", "timeout_ms": 10_000}

Offence = Callable[[RawLink], Awaitable[object]]


@asynccontextmanager
async def offender(sandbox: Sandbox) -> AsyncIterator[RawCall]:
    """Have two calls; that of the one who keeps to the rules must not change by a sample."""
    given_away: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    ear, talked = Ear(), asyncio.Event()
    speech = ruler(0, 36_000)

    async def agent(call: ActiveCall) -> None:
        await call.answer()
        await call.send_audio(speech.tobytes())
        listening = asyncio.create_task(ear.listen(call.audio_stream()))
        assert await call.drain()
        assert call.statistics().outages == 0
        talked.set()
        await listening

    async with serving(sandbox, agent) as client:

        @client.on(events.CALL_OFFERED)
        def give(offer: OfferedCall) -> None:
            if offer.caller_number == OFFENDER:
                call = parse_handed_call(offer.to_json()).call
                given_away.put_nowait((call.url, call.token))

        bystander = await sandbox.dial()
        await bystander.answered()
        talking = asyncio.create_task(bystander.say(speech))
        phone = await sandbox.dial(caller=OFFENDER)
        url, token = await given_away.get()
        yield RawCall(phone, url, token)
        await talked.wait()
        await talking
        assert await bystander.hang_up() is EndReason.CALLER_HUNG_UP
        await ear.ended.wait()
    assert_heard_once(bystander.heard.samples, 0, speech.size)
    assert_heard_once(ear.timeline, 0, speech.size)


def binary(first: int, flags: int = 0, size: int = 960) -> Offence:
    async def send(link: RawLink) -> None:
        link.link.send_binary(bytes((first, flags)) + bytes(HEADER_BYTES - 2 + size))

    return send


def audio(generation: int = 0, offset: int = 0, samples: int = 480, flags: int = 0) -> Offence:
    async def send(link: RawLink) -> None:
        link.send(ruler(offset, samples), generation=generation, offset=offset, flags=flags)

    return send


async def goes_back(link: RawLink) -> None:
    link.send(ruler(0, 960))
    link.send(ruler(480, 480), offset=480)


async def begins_again(link: RawLink) -> None:
    link.send(ruler(0, 960))
    link.send(ruler(0, 960))


async def runs_over_bit_by_bit(link: RawLink) -> None:
    for number in range(100):
        link.send(ruler(480 * number, 480), offset=480 * number)


async def text(link: RawLink, message: bytes) -> None:
    link.link.send_text(message)


@pytest.mark.parametrize(
    ("offence", "code"),
    [
        pytest.param(audio(generation=1), CloseCode.BAD_POSITION, id="generation to come"),
        pytest.param(audio(generation=2**32 - 1), CloseCode.BAD_POSITION, id="last generation"),
        pytest.param(audio(offset=1), CloseCode.BAD_POSITION, id="hole"),
        pytest.param(audio(offset=2**63), CloseCode.BAD_POSITION, id="giant offset"),
        pytest.param(goes_back, CloseCode.BAD_POSITION, id="offset goes back"),
        pytest.param(begins_again, CloseCode.BAD_POSITION, id="the same again"),
        pytest.param(audio(samples=30_000), CloseCode.CREDIT_OVERRUN, id="overrun at once"),
        pytest.param(runs_over_bit_by_bit, CloseCode.CREDIT_OVERRUN, id="overrun bit by bit"),
        pytest.param(
            lambda link: link.command("agent.pause", seq=3), CloseCode.BAD_SEQUENCE, id="seq gap"
        ),
        pytest.param(
            lambda link: link.command("agent.pause", seq=2**31), CloseCode.BAD_SEQUENCE,
            id="giant seq gap",
        ),
    ],
)  # fmt: skip
@virtual_time
async def test_who_breaks_the_rules_loses_the_link_and_the_call(
    sandbox: Sandbox, offence: Offence, code: CloseCode
) -> None:
    async with offender(sandbox) as call:
        link, _ = await call.answered()

        await offence(link)
        reason = await call.phone.ended()

        assert link.lost is not None
        assert link.lost[0] == code
        assert reason is EndReason.AGENT_LOST
        assert np.isin(call.phone.heard.samples, [0, *ruler(0, 9_600)]).all()


@pytest.mark.parametrize(
    ("offence", "code"),
    [
        pytest.param(binary(0, size=-1), ErrorCode.MALFORMED_AUDIO, id="short header"),
        pytest.param(binary(0, size=1), ErrorCode.MALFORMED_AUDIO, id="half a sample"),
        pytest.param(binary(0, size=0), ErrorCode.MALFORMED_AUDIO, id="no audio and no end"),
        pytest.param(binary(0, flags=8), ErrorCode.MALFORMED_AUDIO, id="unknown flag"),
        pytest.param(binary(0, flags=255), ErrorCode.MALFORMED_AUDIO, id="all flags"),
        pytest.param(binary(1), ErrorCode.INVALID_CHANNEL, id="another channel"),
        pytest.param(binary(240, size=24), ErrorCode.INVALID_CHANNEL, id="a position"),
        pytest.param(binary(241), ErrorCode.MALFORMED_AUDIO, id="a long acknowledgement"),
        pytest.param(binary(255), ErrorCode.INVALID_CHANNEL, id="unknown first byte"),
        pytest.param(lambda link: text(link, b""), ErrorCode.MALFORMED_MESSAGE, id="empty text"),
        pytest.param(lambda link: text(link, b"[1]"), ErrorCode.MALFORMED_MESSAGE, id="a list"),
        pytest.param(lambda link: text(link, b"\xff"), ErrorCode.MALFORMED_MESSAGE, id="no UTF-8"),
        pytest.param(lambda link: link.hello(2), ErrorCode.MALFORMED_MESSAGE, id="hello twice"),
    ],
)
@virtual_time
async def test_what_cannot_be_read_is_told_and_ignored(
    sandbox: Sandbox, offence: Offence, code: ErrorCode
) -> None:
    async with offender(sandbox) as call:
        link, _ = await call.answered()
        link.send(ruler(0, 480), flags=MORE)

        await offence(link)
        await asyncio.sleep(0.001)
        link.send(ruler(480, 480), offset=480, flags=END)
        await asyncio.sleep(0.2)

        assert link.lost is None
        told = [(one["event"], one["error_code"]) for one in link.events()]
        assert told == [("call.error", code)]
        assert_heard_once(call.phone.heard.samples, 0, 960)
        assert await call.phone.hang_up() is EndReason.CALLER_HUNG_UP
        assert call.phone.report is not None
        assert call.phone.report.refusals == {code: 1}


@virtual_time
async def test_audio_of_a_generation_that_is_over_is_dropped(sandbox: Sandbox) -> None:
    async with offender(sandbox) as call:
        link, _ = await call.answered()
        link.send(ruler(0, 960))
        response = await link.command("agent.interrupt", (1, 0))
        link.send(ruler(0, 960))
        link.send(ruler(5_000, 960), offset=5_000)
        link.send(ruler(100, 480), generation=1)
        await asyncio.sleep(0.1)

        assert response["result"]["dropped_bytes"] == 1_920
        assert link.lost is None
        assert_heard_once(call.phone.heard.samples, 100, 480)


@virtual_time
async def test_an_interruption_takes_back_what_was_granted_before(sandbox: Sandbox) -> None:
    async with offender(sandbox) as call:
        link, _ = await call.answered()
        for number in range(100):
            link.send(ruler(480 * number, 480), offset=480 * number)
            await asyncio.sleep(0.02)
        assert (await link.command("agent.interrupt", (1, 0)))["success"]
        link.send(ruler(0, 9_600), generation=1)
        link.send(ruler(9_600, 480), generation=1, offset=9_600)
        await asyncio.sleep(0.001)

        assert link.lost is not None
        assert link.lost[0] == CloseCode.CREDIT_OVERRUN


@pytest.mark.parametrize("place", [(2, 0), (0, 0), (1, 1), (2**31, 0)])
@virtual_time
async def test_an_interruption_that_is_not_the_next_one_is_refused(
    sandbox: Sandbox, place: tuple[int, int]
) -> None:
    async with offender(sandbox) as call:
        link, _ = await call.answered()
        link.send(ruler(0, 480))

        response = await link.command("agent.interrupt", place)

        assert response["error_code"] == ErrorCode.INVALID_POSITION
        await asyncio.sleep(0.1)
        assert_heard_once(call.phone.heard.samples, 0, 480)


@virtual_time
async def test_a_thousand_marks_may_wait(sandbox: Sandbox) -> None:
    async with offender(sandbox) as call:
        link, _ = await call.answered()

        for number in range(MAX_PLACES + 20):
            link.acknowledge(seen=number)
            response = await link.command("agent.mark", (0, 10_000), name=f"m{number}")
            assert response["success"] is (number < MAX_PLACES)
        assert response["error_code"] == ErrorCode.TOO_MANY_MARKS
        assert (await link.command("agent.interrupt", (1, 0)))["success"]
        await asyncio.sleep(0.1)

        cleared = [one["name"] for one in link.events() if one["event"] == "mark.cleared"]
        assert cleared == [f"m{number}" for number in range(MAX_PLACES)]
        assert (await link.command("agent.mark", (1, 0), name="again"))["success"]


@virtual_time
async def test_who_acknowledges_nothing_is_let_go_before_too_much_is_kept(
    sandbox: Sandbox,
) -> None:
    async with offender(sandbox) as call:
        link, _ = await call.answered()

        for number in range(MAX_KEPT + 10):
            link.say(type="command", seq=number + 2, data=PAUSE)
        await asyncio.sleep(0.001)

        assert await call.phone.ended() is EndReason.AGENT_LOST
        await asyncio.sleep(0.1)
        assert link.lost is not None
        assert link.lost[0] == CloseCode.BAD_MESSAGES
        # The answer to `call.answer` was the first of them.
        responses = [one for one in link.heard if one["type"] == "command_response"]
        assert len(responses) == MAX_KEPT


@virtual_time
async def test_of_audio_that_is_not_acknowledged_no_more_is_kept_than_the_grace(
    sandbox: Sandbox,
) -> None:
    """The client talks, so that it is there, and says of nothing that it has arrived."""
    async with offender(sandbox) as call:
        link, secret = await call.answered()
        for number in range(50):
            await link.command("agent.pause" if number % 2 else "agent.resume")
            await asyncio.sleep(0.5)
        assert link.lost is None
        media_link(sandbox).cut()
        await asyncio.sleep(0.1)
        again = await call.open(secret)
        welcome = await again.hello(2)
        await asyncio.sleep(1.0)

        last = again.audio[-1].offset
        assert welcome["continues"] == [again.audio[0].offset]
        assert last - again.audio[0].offset == pytest.approx(11 * 24_000, abs=24 * 200)
        offsets = np.array([one.offset for one in again.audio])
        assert (np.diff(offsets) == 480).all()


@virtual_time
async def test_before_hello_nothing_is_taken(sandbox: Sandbox) -> None:
    async with offender(sandbox) as call:
        for message in (
            {"type": "command", "seq": 1, "data": {"command": "call.answer"}},
            {"type": "hello", "data": {"epoch": "one"}},
            {"type": "hello"},
            None,
        ):
            link = await call.open()
            if message is None:
                link.send(ruler(0, 480))
            else:
                link.say(**message)
            await asyncio.sleep(0.001)
            assert link.lost is not None
            assert link.lost[0] == CloseCode.BAD_MESSAGES
        first, _ = await call.answered()
        assert first.lost is None


received = st.lists(st.integers(-(2**64), 2**64), max_size=5)


@settings(deadline=None, max_examples=30, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    numbers=st.tuples(st.integers(-(2**64), 2**64), st.integers(-(2**64), 2**64)),
    received=received,
    messages=st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.builds(
                lambda head, tail: bytes(head) + tail,
                st.tuples(st.sampled_from([0, 1, 240, 241]), st.sampled_from([0, 1, 4, 5])),
                st.binary(min_size=14, max_size=40),
            ),
        ),
        max_size=5,
    ),
)
def test_whatever_a_client_says_the_server_goes_on(
    numbers: tuple[int, int], received: list[int], messages: list[bytes]
) -> None:
    async def main() -> None:
        async with Sandbox() as sandbox, offender(sandbox) as call:
            link = await call.open()
            await link.hello(numbers[0], seen=numbers[1], received=received)
            for message in messages:
                link.link.send_binary(message)
                link.link.send_text(message)
            await asyncio.sleep(0.1)
            if call.phone.end_reason is None:
                await call.phone.hang_up()
            assert call.phone.end_reason in (EndReason.CALLER_HUNG_UP, EndReason.AGENT_LOST)

    run_virtual(main())
