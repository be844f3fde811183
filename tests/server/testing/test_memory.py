from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from telcoflow_sdk._asyncio import link as agents_rim
from telcoflow_sdk.protocol.codes import CloseCode
from telcoflow_server.api import agent_socket as servers_link
from telcoflow_server.api import media as servers_rim
from telcoflow_server.testing.fixtures import virtual_time
from telcoflow_server.testing.memory import (
    AGENT_CLOSE_TIMEOUT_S,
    KEEPALIVE_S,
    KERNEL_BYTES,
    SERVER_CLOSE_TIMEOUT_S,
    LinkEnd,
    MemoryLink,
)


class Ear:
    """Keeps what an end hears, and when."""

    def __init__(self, end: LinkEnd) -> None:
        self.end = end
        self.heard: list[tuple[str, bytes]] = []
        self.times_s: list[float] = []
        self.lost: tuple[int | None, str] | None = None
        self.lost_s: float | None = None
        self.on_text: Callable[[], None] = lambda: None
        end.attach(self)

    def text_received(self, data: bytes) -> None:
        self._hear("text", data)
        self.on_text()

    def binary_received(self, data: bytes) -> None:
        self._hear("binary", data)

    def link_lost(self, code: int | None, reason: str) -> None:
        assert self.lost is None, "lost once"
        self.lost, self.lost_s = (code, reason), asyncio.get_running_loop().time()

    def _hear(self, kind: str, data: bytes) -> None:
        self.heard.append((kind, data))
        self.times_s.append(asyncio.get_running_loop().time())


class Both:
    """A link with an ear at each end."""

    def __init__(self) -> None:
        self.link = MemoryLink(asyncio.get_running_loop(), "/")
        self.agent, self.server = Ear(self.link.agent), Ear(self.link.server)


def test_patience_is_that_of_links_over_sockets() -> None:
    assert agents_rim.PING_IDLE_S + agents_rim.PING_REPLY_S == KEEPALIVE_S
    assert 2 * servers_rim.PING_AFTER_S == KEEPALIVE_S
    assert agents_rim.CLOSE_TIMEOUT_S == AGENT_CLOSE_TIMEOUT_S
    assert servers_link.CLOSE_TIMEOUT_S == SERVER_CLOSE_TIMEOUT_S


@virtual_time
async def test_messages_arrive_in_order_and_at_once() -> None:
    both = Both()

    both.agent.end.send_text(b"{}")
    both.agent.end.send_binary(b"\0ab")
    both.server.end.send_text(b"down")
    assert both.server.heard == [], "not within the call that sends them"
    await asyncio.sleep(0)

    assert both.server.heard == [("text", b"{}"), ("binary", b"\0ab")]
    assert both.agent.heard == [("text", b"down")]
    assert both.server.times_s == [0.0, 0.0]


@virtual_time
async def test_a_close_arrives_behind_what_was_sent_and_ends_both() -> None:
    both = Both()

    both.server.end.send_text(b"last")
    both.server.end.close(CloseCode.DRAINING, "we stop")
    both.server.end.send_text(b"too late")
    await both.server.end.wait_closed()

    assert both.agent.heard == [("text", b"last")]
    assert both.agent.lost == (CloseCode.DRAINING, "we stop")
    assert both.server.lost == (CloseCode.DRAINING, "we stop")
    await both.agent.end.wait_closed()


@virtual_time
async def test_a_close_without_an_answer_cuts_the_link() -> None:
    both = Both()
    both.link.up.hold()

    both.agent.end.close()
    await both.agent.end.wait_closed()

    assert both.agent.lost == (None, "")
    assert both.agent.lost_s == AGENT_CLOSE_TIMEOUT_S
    assert both.server.lost is None, "it has heard nothing"
    both.link.up.release()
    await both.server.end.wait_closed()
    assert both.server.lost == (CloseCode.NORMAL, "")


@virtual_time
async def test_an_end_that_goes_or_vanishes_is_noticed_when_the_way_says_so() -> None:
    gone, vanished, cut = Both(), Both(), Both()

    gone.agent.end.abort()
    gone.agent.end.abort()
    vanished.agent.end.vanish()
    cut.link.cut()
    await asyncio.sleep(0)

    assert gone.server.lost == (None, "")
    assert vanished.server.lost is None
    assert cut.server.lost == cut.agent.lost == (None, "")


@virtual_time
async def test_what_is_held_arrives_late_and_in_order() -> None:
    both = Both()
    both.link.down.hold()
    both.link.down.hold()

    for number in range(3):
        both.server.end.send_text(b"%d" % number)
    await asyncio.sleep(KEEPALIVE_S - 1)
    assert both.agent.heard == []
    both.link.down.release()
    await asyncio.sleep(KEEPALIVE_S)

    assert [data for _, data in both.agent.heard] == [b"0", b"1", b"2"]
    assert both.agent.lost is None, "it was not silent for long enough"


@virtual_time
async def test_holding_stops_in_the_middle_of_a_delivery() -> None:
    both = Both()
    both.agent.on_text = both.link.down.hold

    both.server.end.send_text(b"1")
    both.server.end.send_text(b"2")
    await asyncio.sleep(1)

    assert len(both.agent.heard) == 1


@virtual_time
async def test_an_end_that_hears_nothing_takes_the_link_for_lost() -> None:
    both = Both()

    both.link.up.hold()
    await both.server.end.wait_closed()

    assert both.server.lost_s == KEEPALIVE_S
    await asyncio.sleep(0)
    assert both.agent.lost == (None, ""), "the other direction still works"


@virtual_time
async def test_a_slow_pipe_takes_time_for_every_byte() -> None:
    both = Both()
    both.link.down.rate_bytes_per_s = 1_000

    both.server.end.send_binary(bytes(500))
    both.server.end.send_binary(bytes(250))
    await asyncio.sleep(0.6)
    both.link.down.rate_bytes_per_s = None
    both.server.end.send_binary(b"fast")
    await asyncio.sleep(1)

    assert both.agent.times_s == pytest.approx([0.5, 0.75, 0.75])


@virtual_time
async def test_unsent_is_what_the_kernels_do_not_hold() -> None:
    both = Both()
    both.link.down.hold()

    both.server.end.send_binary(bytes(KERNEL_BYTES))
    assert both.server.end.unsent_bytes == 0
    both.server.end.send_binary(bytes(1_000))
    assert both.server.end.unsent_bytes == 1_000
    both.link.down.release()
    await asyncio.sleep(0)

    assert both.server.end.unsent_bytes == 0


@virtual_time
async def test_nothing_is_said_to_an_end_that_is_gone() -> None:
    both = Both()
    both.agent.on_text = both.link.agent.abort

    both.server.end.send_text(b"1")
    both.server.end.send_text(b"2")
    await asyncio.sleep(1)

    assert both.agent.heard == [("text", b"1")]
    assert both.server.lost == (None, "")
