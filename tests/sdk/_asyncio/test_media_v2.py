"""The media link on protocol v2, over links in memory: what passes between the rim's parts."""

from __future__ import annotations

import asyncio
import sys
import threading
from itertools import pairwise
from typing import Any

import pytest

from telcoflow_sdk import BufferClosedError, WSSCallCommandTimeoutError
from telcoflow_sdk._asyncio.loop_lag import loop_lag
from telcoflow_sdk._asyncio.reopening import REOPEN_POLICY
from telcoflow_sdk.protocol.codes import CloseCode
from telcoflow_sdk.protocol.commands import CommandName
from telcoflow_sdk.protocol.media_events import EndCause, Ended
from telcoflow_sdk.protocol.positions import (
    ACKNOWLEDGEMENT,
    SUBPROTOCOL,
    AudioMessage,
    build_audio,
    parse_audio,
)
from telcoflow_sdk.protocol.sequence import MAX_KEPT
from telcoflow_sdk.testing import run_virtual
from tests.support.positioned_agent import Agent
from tests.support.wire import Wire


def kinds(wire: Wire) -> list[str]:
    """What was sent, by its kind, but for acknowledgements."""
    return [
        message["type"] if isinstance(message, dict) else "audio"
        for message in wire.sent
        if isinstance(message, dict) or message[0] != ACKNOWLEDGEMENT
    ]


def audio_of(wire: Wire) -> list[AudioMessage]:
    binary = [one for one in wire.sent if isinstance(one, bytes) and one[0] != ACKNOWLEDGEMENT]
    return [parse_audio(one) for one in binary]


def test_nothing_is_sent_before_the_welcome() -> None:
    async def main() -> None:
        agent = await Agent().open(welcome=False)
        agent.has(0)
        agent.media.audio.write(bytes(960))
        answering = asyncio.ensure_future(agent.media.command(CommandName.ANSWER))
        await asyncio.sleep(0.1)
        before = kinds(agent.wire)
        agent.welcome()

        assert before == ["hello"]
        assert kinds(agent.wire) == ["hello", "command", "audio"]
        await agent.end()
        await asyncio.gather(answering, return_exceptions=True)

    run_virtual(main())


@pytest.mark.slow
def test_an_interruption_leaves_before_what_another_thread_says_meanwhile() -> None:
    """It was sent by the clear, in a generation that had not begun: the server closed the link."""
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    async def main() -> list[dict[str, Any] | bytes]:
        agent = await Agent().open()
        stop = threading.Event()

        def talk() -> None:
            while not stop.is_set():
                try:
                    agent.media.audio.outbox.write(bytes(2))
                except BufferClosedError:
                    return

        thread = threading.Thread(target=talk)
        thread.start()
        commands = []
        for _ in range(1_000):
            agent.media.audio.clear()
            commands.append(agent.media.command(CommandName.INTERRUPT))
            asyncio.ensure_future(commands[-1])  # noqa: RUF006
            await asyncio.sleep(0)
        stop.set()
        thread.join()
        sent = agent.wire.sent
        await agent.end()
        await asyncio.sleep(0)
        return sent

    try:
        sent = run_virtual(main())
    finally:
        sys.setswitchinterval(interval_s)
    begun = 0
    for message in sent:
        if isinstance(message, bytes):
            assert message[0] == ACKNOWLEDGEMENT or parse_audio(message).generation <= begun
        elif message["type"] == "command":
            begun = message["data"]["position"]["generation"]
    assert begun > 0


def test_a_lost_link_is_replaced_at_once_with_the_secret_of_its_welcome() -> None:
    async def main() -> None:
        agent = await Agent().open()
        agent.lose()
        assert agent.media.is_open  # it comes back

        await asyncio.sleep(0.01)

        assert agent.server.bearers == ["Bearer the-token", "Bearer secret-1"]
        assert kinds(agent.wire) == ["hello"]
        await agent.end()

    run_virtual(main())


def test_a_link_that_is_lost_without_a_welcome_is_replaced_later_and_later() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        agent = await Agent().open()
        opened_s: list[float] = []
        while agent.media.is_open and len(opened_s) < 8:
            agent.server.opened.clear()
            agent.lose()
            await agent.server.opened.wait()
            opened_s.append(loop.time())
        await agent.end()
        return opened_s

    opened_s = run_virtual(main())
    pauses_s = [after - before for before, after in pairwise(opened_s)]

    assert opened_s[0] < 0.02
    longest_s = REOPEN_POLICY.cap_s * (1 + REOPEN_POLICY.jitter)
    assert pauses_s[0] < 0.2
    assert all(0.1 <= pause_s <= longest_s for pause_s in pauses_s)
    assert pauses_s[-1] > 5 * pauses_s[0]


def test_after_a_resume_the_next_loss_is_answered_at_once_again() -> None:
    async def main() -> None:
        agent = await Agent().open()
        for number in range(2, 6):
            agent.lose()
            await asyncio.sleep(0.01)
            assert len(agent.server.wires) == number
            agent.welcome()
        await agent.end()

    run_virtual(main())


def test_a_welcome_that_never_comes_is_a_silent_server_and_then_the_end_of_the_call() -> None:
    async def main() -> None:
        agent = await Agent().open()
        agent.lose()
        await asyncio.sleep(5)
        aborted = agent.server.wires[1].is_aborted
        agent.lose()  # as the socket says then
        await asyncio.sleep(6)

        assert aborted
        assert agent.events[-1] == Ended(EndCause.LINK_LOST)
        assert not agent.media.is_open or agent.wire.closed_with is CloseCode.NORMAL
        await agent.end()

    run_virtual(main())


def test_a_silent_server_is_cut_off_and_one_that_speaks_is_not() -> None:
    async def main() -> None:
        agent = await Agent().open()
        for _ in range(10):
            await asyncio.sleep(1)
            agent.has(0)
        heard = agent.wire.is_aborted
        await asyncio.sleep(4.1)

        assert not heard
        assert agent.wire.is_aborted
        await agent.end()

    run_virtual(main())


def test_a_server_that_speaks_an_older_protocol_on_a_resume_ends_the_call() -> None:
    """It was sent a hello that it could not know."""

    async def main() -> None:
        agent = await Agent().open()
        agent.server.subprotocol = None
        agent.lose()
        await asyncio.sleep(0.01)

        assert agent.wire.sent == []
        assert agent.wire.closed_with is CloseCode.NORMAL
        assert agent.events[-1] == Ended(EndCause.LINK_LOST)
        await agent.end()
        assert sum(isinstance(event, Ended) for event in agent.events) == 1

    run_virtual(main())


@pytest.mark.parametrize("code", [1000, 1011, 4400, 4421])
def test_a_link_that_the_server_closes_ends_the_call(code: int) -> None:
    async def main() -> None:
        agent = await Agent().open()
        agent.lose(code)
        await asyncio.sleep(0.1)

        assert agent.events == [Ended(EndCause.LINK_LOST)]
        assert len(agent.server.wires) == 1
        await agent.end()

    run_virtual(main())


def test_a_link_that_was_closed_because_we_read_too_slowly_is_replaced() -> None:
    async def main() -> None:
        agent = await Agent().open()
        agent.lose(CloseCode.SLOW_READER)
        await asyncio.sleep(0.1)

        assert len(agent.server.wires) == 2
        await agent.end()

    run_virtual(main())


def test_a_broken_rule_closes_the_link_with_its_code_and_ends_the_call() -> None:
    """What became of the call was up to the server's answer to the close."""

    async def main() -> None:
        agent = await Agent().open()
        agent.media.text_received(b'{"type":"call_event","seq":7,"data":{"event":"call.error"}}')

        assert agent.wire.closed_with is CloseCode.BAD_SEQUENCE
        assert agent.events == [Ended(EndCause.LINK_LOST)]
        agent.lose()
        await asyncio.sleep(1)
        assert len(agent.server.wires) == 1
        await agent.end()

    run_virtual(main())


def test_the_loop_is_measured_as_long_as_there_are_calls() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        first, second = await Agent().open(), await Agent().open()
        lag = loop_lag(loop)
        await first.end()
        watched = lag.is_watched
        await second.end()

        assert watched
        assert not lag.is_watched

    run_virtual(main())


def test_a_link_that_opens_after_the_end_is_closed_and_measures_nothing() -> None:
    """The loop was measured for good, by a call that was over."""

    async def main() -> None:
        agent = Agent()
        agent.media.end(EndCause.LINK_LOST)
        wire = Wire()
        wire.subprotocol = SUBPROTOCOL
        agent.media.link_opened(wire)

        assert wire.sent == []
        assert wire.closed_with is CloseCode.NORMAL
        assert not loop_lag(asyncio.get_running_loop()).is_watched

    run_virtual(main())


def test_what_a_refused_hang_up_has_dropped_is_not_taken_for_played() -> None:
    async def main() -> None:
        agent = await Agent().open()
        agent.has(0, window=480)
        agent.media.audio.write(bytes(1920))
        playing = asyncio.ensure_future(agent.media.audio.played())
        await asyncio.sleep(0)

        assert agent.media.audio.drop_unsent() == 960
        assert await playing is False
        await agent.end()

    run_virtual(main())


@pytest.mark.slow
def test_a_server_that_confirms_nothing_keeps_the_generation_that_it_knows() -> None:
    """The next audio named one that it had never heard of, and it closed the link."""

    async def main() -> None:
        agent = await Agent().open()
        for _ in range(MAX_KEPT):
            agent.media.post(CommandName.PAUSE)
        agent.media.audio.write(bytes(960))

        agent.media.audio.clear()
        with pytest.raises(WSSCallCommandTimeoutError):
            await agent.media.command(CommandName.INTERRUPT)
        agent.media.audio.write(bytes(960))

        assert audio_of(agent.wire)[-1].generation == 0
        await agent.end()

    run_virtual(main())


def test_a_call_that_ends_during_an_outage_opens_no_link() -> None:
    async def main() -> None:
        agent = await Agent().open()
        agent.lose()
        agent.media.end(EndCause.SESSION_CLOSED)
        await asyncio.sleep(1)

        assert len(agent.server.wires) == 1
        assert not agent.media.is_open
        await agent.end()

    run_virtual(main())


def test_audio_that_waits_during_an_outage_leaves_after_it() -> None:
    async def main() -> None:
        agent = await Agent().open()
        agent.lose()
        agent.media.audio.write(bytes(960))
        agent.media.audio.clear()
        interrupting = asyncio.ensure_future(agent.media.command(CommandName.INTERRUPT))
        await asyncio.sleep(0.01)
        agent.media.audio.write(bytes(2))
        agent.welcome()

        assert kinds(agent.wire) == ["hello", "command", "audio"]
        sent = [(one.generation, one.offset, one.pcm) for one in audio_of(agent.wire)]
        assert sent == [(1, 0, bytes(2))]
        await agent.end()
        await asyncio.gather(interrupting, return_exceptions=True)

    run_virtual(main())


def test_audio_is_delivered_in_its_place() -> None:
    async def main() -> None:
        agent = await Agent().open()
        stream = agent.media.stream(0)
        agent.media.binary_received(build_audio(0, 0, 0, 0, 24_000, bytes(960)))

        assert await anext(stream) == bytes(960)
        assert stream.position_ms == 1000
        assert agent.media.statistics().received_bytes == 960
        await agent.end()

    run_virtual(main())
