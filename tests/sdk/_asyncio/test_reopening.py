from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest

from telcoflow_sdk import WSSMediaError
from telcoflow_sdk._asyncio.reopening import (
    REOPEN_POLICY,
    REOPEN_TIMEOUT_S,
    SERVER_SILENCE_S,
    MediaAddress,
    MediaOpener,
    Reopening,
    SilenceWatch,
)
from telcoflow_sdk._asyncio.tasks import OwnedTasks
from telcoflow_sdk.protocol.link import Link, LinkError, LinkEvents, LinkRefused, LinkUntrusted
from telcoflow_sdk.protocol.positions import SUBPROTOCOL
from telcoflow_sdk.testing import run_virtual
from telcoflow_server.testing.virtual import VirtualLoop
from tests.support.wire import Wire

ADDRESS = MediaAddress("ws://a-server/media", "the-token", "1.2.3", None)
JITTER = 1 + REOPEN_POLICY.jitter


class Owner:
    """Hears of the links."""

    def __init__(self) -> None:
        self.link: Link | None = None

    def link_opened(self, link: Link) -> None:
        self.link = link

    def text_received(self, data: bytes) -> None:
        raise AssertionError

    def binary_received(self, data: bytes) -> None:
        raise AssertionError

    def link_lost(self, code: int | None, reason: str) -> None:
        raise AssertionError


class Server:
    """Fails as told, and then opens links.

    Attributes:
        outcomes: Of the attempts, in order: an error, or how long one hangs.
    """

    def __init__(self, *outcomes: Exception | float) -> None:
        self.outcomes = list(outcomes)
        self.attempts_s: list[float] = []
        self.headers: list[Mapping[str, str]] = []
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.servers["a-server"] = self
        self._loop = loop

    async def open_link(self, path: str, events: LinkEvents, headers: Mapping[str, str]) -> Link:
        self.attempts_s.append(self._loop.time())
        self.headers.append(headers)
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, Exception):
            raise outcome
        if outcome is not None:
            await asyncio.sleep(outcome)
        wire = Wire()
        events.link_opened(wire)
        return wire


def no_secret() -> None:
    return None


def test_the_first_link_is_opened_with_the_token_and_offers_v2() -> None:
    async def main() -> None:
        server = Server()
        await MediaOpener(ADDRESS, Owner()).open()

        assert server.headers == [
            {
                "Authorization": "Bearer the-token",
                "Sec-WebSocket-Protocol": SUBPROTOCOL,
                "x-sdk-version": "1.2.3",
            }
        ]

    run_virtual(main())


def test_a_first_link_that_fails_is_tried_three_times() -> None:
    async def main() -> None:
        server = Server(LinkError("no"), LinkError("no"))
        await MediaOpener(ADDRESS, Owner()).open()
        opened = len(server.attempts_s)
        server.outcomes = [LinkError("no")] * 3
        with pytest.raises(WSSMediaError):
            await MediaOpener(ADDRESS, Owner()).open()

        assert (opened, len(server.attempts_s)) == (3, 6)

    run_virtual(main())


@pytest.mark.parametrize("error", [LinkRefused(401, "UNAUTHORIZED"), LinkUntrusted("who?")])
def test_a_first_link_that_is_refused_is_not_tried_again(error: Exception) -> None:
    async def main() -> None:
        server = Server(error)
        with pytest.raises(WSSMediaError):
            await MediaOpener(ADDRESS, Owner()).open()

        assert len(server.attempts_s) == 1

    run_virtual(main())


def test_another_link_is_opened_with_the_secret_of_the_moment() -> None:
    async def main() -> None:
        server = Server(LinkError("no"))
        owner = Owner()
        secrets = iter(["one", "two"])
        error = await MediaOpener(ADDRESS, owner).reopen(
            lambda: next(secrets), lambda: owner.link is None
        )

        assert error is None
        assert [one["Authorization"] for one in server.headers] == ["Bearer one", "Bearer two"]

    run_virtual(main())


def test_attempts_come_at_once_then_later_and_later() -> None:
    async def main() -> list[float]:
        owner = Owner()
        server = Server(*[LinkError("no")] * 9)
        await MediaOpener(ADDRESS, owner).reopen(no_secret, lambda: owner.link is None)
        return server.attempts_s

    attempts_s = run_virtual(main())
    pauses_s = [after - before for before, after in pairwise(attempts_s)]

    assert attempts_s[0] == 0
    expected_s = REOPEN_POLICY.initial_s
    for pause_s in pauses_s:
        assert expected_s <= pause_s <= expected_s * JITTER
        expected_s = min(REOPEN_POLICY.cap_s, expected_s * REOPEN_POLICY.factor)
    assert expected_s == REOPEN_POLICY.cap_s


def test_an_attempt_that_hangs_is_given_up() -> None:
    async def main() -> list[float]:
        owner = Owner()
        server = Server(60.0)
        await MediaOpener(ADDRESS, owner).reopen(no_secret, lambda: owner.link is None)
        return server.attempts_s

    first_s, second_s = run_virtual(main())

    assert REOPEN_TIMEOUT_S <= second_s - first_s <= REOPEN_TIMEOUT_S + 0.1 * JITTER


@pytest.mark.parametrize("error", [LinkRefused(404, "NO_CALL"), LinkUntrusted("who?")])
def test_a_refused_attempt_is_the_last(error: LinkError) -> None:
    async def main() -> None:
        server = Server(LinkError("no"), error)
        refusal = await MediaOpener(ADDRESS, Owner()).reopen(no_secret, lambda: True)

        assert refusal is error
        assert len(server.attempts_s) == 2

    run_virtual(main())


def test_nothing_is_opened_that_is_not_wanted_any_more() -> None:
    async def main() -> None:
        server = Server(LinkError("no"))
        wanted = [True, False]
        assert await MediaOpener(ADDRESS, Owner()).reopen(no_secret, lambda: False) is None
        none = len(server.attempts_s)
        await MediaOpener(ADDRESS, Owner()).reopen(no_secret, lambda: wanted.pop(0))
        one = len(server.attempts_s)
        opener = MediaOpener(ADDRESS, Owner())
        server.outcomes = [LinkError("no")]
        wanted = [True, True, False]
        await opener.reopen(no_secret, lambda: wanted.pop(0))

        assert (none, one, len(server.attempts_s)) == (0, 1, 2)

    run_virtual(main())


class Reopened:
    """A `Reopening` and what becomes of it."""

    def __init__(self, *outcomes: Exception | float) -> None:
        self.server = Server(*outcomes)
        self.owner = Owner()
        self.tasks = OwnedTasks()
        self.refused: list[LinkError] = []
        self.reopening = Reopening(
            MediaOpener(ADDRESS, self.owner),
            self.tasks,
            no_secret,
            lambda: self.owner.link is None,
            self.refused.append,
        )

    async def done(self) -> None:
        await self.tasks.finish(60, set())


def test_one_link_is_opened_however_often_the_loss_is_told() -> None:
    async def main() -> None:
        reopened = Reopened()
        for _ in range(3):
            reopened.reopening.start()
        running = reopened.reopening.is_running
        await reopened.done()

        assert running
        assert not reopened.reopening.is_running
        assert len(reopened.server.attempts_s) == 1

    run_virtual(main())


def test_an_attempt_waits_unless_the_link_before_it_was_in_use() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        waited_s = []
        reopened = Reopened()
        for is_in_use in (False, True, True):
            began_s = loop.time()
            reopened.owner.link = None
            reopened.reopening.start()
            await reopened.done()
            waited_s.append(loop.time() - began_s)
            if is_in_use:
                reopened.reopening.succeeded()
        return waited_s

    first_s, second_s, third_s = run_virtual(main())

    assert first_s == third_s == 0
    assert 0.1 <= second_s <= 0.1 * JITTER


def test_a_refusal_is_told() -> None:
    async def main() -> None:
        refusal = LinkRefused(401, "UNAUTHORIZED")
        reopened = Reopened(refusal)
        reopened.reopening.start()
        await reopened.done()

        assert reopened.refused == [refusal]

    run_virtual(main())


@pytest.mark.parametrize("after_s", [0.0, 0.01], ids=["before it begins", "in an attempt"])
def test_what_is_stopped_opens_nothing_and_runs_no_more(after_s: float) -> None:
    """A task that was cancelled before it began was taken for one that runs, for good."""

    async def main() -> None:
        reopened = Reopened(60.0)
        reopened.reopening.stop()
        reopened.reopening.start()
        if after_s:
            await asyncio.sleep(after_s)
        reopened.reopening.stop()
        reopened.reopening.stop()
        running = reopened.reopening.is_running
        await reopened.done()

        assert not running
        assert reopened.owner.link is None

    run_virtual(main())


class Watched:
    """A silence watch, and when it found the server silent."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.silent_s: list[float] = []
        self.watch = SilenceWatch(self.loop, lambda: self.silent_s.append(self.loop.time()))

    def hears(self) -> None:
        self.watch.heard_at = self.loop.time()


def test_a_silent_server_is_noticed_once() -> None:
    async def main() -> list[float]:
        watched = Watched()
        watched.watch.start()
        await asyncio.sleep(60)
        return watched.silent_s

    (silent_s,) = run_virtual(main())

    assert SERVER_SILENCE_S < silent_s <= SERVER_SILENCE_S + 1


def test_a_server_that_speaks_once_a_second_is_not_silent() -> None:
    async def main() -> None:
        watched = Watched()
        watched.watch.start()
        for _ in range(30):
            await asyncio.sleep(1)
            watched.hears()

        assert watched.silent_s == []
        watched.watch.stop()

    run_virtual(main())


def test_nothing_is_noticed_after_the_end_of_the_watch() -> None:
    async def main() -> None:
        watched = Watched()
        watched.watch.stop()
        watched.watch.start()
        watched.watch.start()
        await asyncio.sleep(2)
        watched.watch.stop()
        await asyncio.sleep(60)

        assert watched.silent_s == []

    run_virtual(main())


def test_a_watch_that_was_blocked_itself_waits_for_what_has_come_meanwhile() -> None:
    class Blocked(VirtualLoop):
        blocked_s = 0.0

        def time(self) -> float:
            return super().time() + self.blocked_s

    async def main() -> None:
        watched = Watched()
        loop: Any = watched.loop
        watched.watch.start()
        await asyncio.sleep(0.5)
        loop.blocked_s = 10.0
        await asyncio.sleep(2)

        assert watched.silent_s == []
        watched.watch.stop()

    with asyncio.Runner(loop_factory=Blocked) as runner:
        runner.run(main())
