"""An edge with its process, whose events a test waits for, and phones around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TypeVar

import pytest

from telcoflow_server.sip.accounts import EdgeSettings, Extension, Private, Trunk
from telcoflow_server.sip.commands import Accept, Command
from telcoflow_server.sip.digest import Algorithm, ha1
from telcoflow_server.sip.edge import SipEdge
from telcoflow_server.sip.events import Established, Event, IncomingCall, Listening
from tests.support.sip_phone import ANSWER, PATIENCE_S, QUIET_S, Message, PhoneCall, SipPhone

E = TypeVar("E")

REALM = "telcoflow"
NUMBER = "+49301000"


def extension(user: str, password: str = "secret", *, sha256: bool = False) -> Extension:
    """Return an extension with a password."""
    if sha256:
        return Extension(
            user=user, ha1_sha256=Private(ha1(Algorithm.SHA_256, user, REALM, password))
        )
    return Extension(user=user, ha1_md5=Private(ha1(Algorithm.MD5, user, REALM, password)))


async def until(holds: Callable[[], bool]) -> None:
    """Return when something holds that no event tells of."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 (another process counts, and only now and then)
            await asyncio.sleep(0.01)


class EdgeInHand:
    """An edge, and what it says."""

    def __init__(self, settings: EdgeSettings) -> None:
        self.said: list[Event] = []
        self._new: asyncio.Queue[Event] = asyncio.Queue()
        self.edge = SipEdge(settings, self._hear)

    def _hear(self, event: Event) -> None:
        self.said.append(event)
        self._new.put_nowait(event)

    def send(self, command: Command) -> None:
        """Tell it something."""
        self.edge.send(command)

    async def hears(self, kind: type[E]) -> E:
        """Return the next event of a kind; others before it are passed over."""
        async with asyncio.timeout(PATIENCE_S):
            while not isinstance(event := await self._new.get(), kind):
                pass
        return event

    async def says_nothing(self) -> bool:
        """Whether nothing is said for a while."""
        try:
            async with asyncio.timeout(QUIET_S):
                await self._new.get()
        except TimeoutError:
            return True
        return False

    def count(self, kind: type[Event]) -> int:
        """Return how many events of a kind there were."""
        return sum(isinstance(event, kind) for event in self.said)


class Stage:
    """An edge and the phones of a test; all are gone when it ends."""

    def __init__(self, edge: EdgeInHand, stack: AsyncExitStack) -> None:
        self.edge = edge
        self._stack = stack

    async def phone(self, user: str = "alice", host: str = "127.0.0.1") -> SipPhone:
        """Return a new phone."""
        phone = await SipPhone.open(self.edge.edge.address, user, host)
        self._stack.callback(phone.close)
        return phone

    async def answered_call(
        self, phone: SipPhone, answer: str = ANSWER
    ) -> tuple[PhoneCall, IncomingCall, Message]:
        """Return a call of a phone's that has been answered and acknowledged."""
        call = phone.call()
        call.invite()
        incoming = await self.edge.hears(IncomingCall)
        self.edge.send(Accept(dialog=incoming.dialog, sdp=Private(answer)))
        response = await phone.response()
        call.ack(response)
        await self.edge.hears(Established)
        return call, incoming, response


Start = Callable[[EdgeSettings], Awaitable[Stage]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start an edge with settings of a test's own; the port is any."""
    async with AsyncExitStack() as stack:

        async def begin(settings: EdgeSettings) -> Stage:
            edge = EdgeInHand(settings)
            await edge.edge.start()
            stack.push_async_callback(edge.edge.stop)
            await edge.hears(Listening)
            return Stage(edge, stack)

        yield begin


@pytest.fixture
async def open_stage(start: Start) -> Stage:
    """An edge that anybody may call."""
    return await start(EdgeSettings(port=0, unauthenticated_calls=True))


@pytest.fixture
async def guarded_stage(start: Start) -> Stage:
    """An edge with two extensions, alice with MD5 and bob with SHA-256, and one number."""
    extensions = (extension("alice"), extension("bob", sha256=True))
    return await start(EdgeSettings(port=0, extensions=extensions, numbers=(NUMBER,)))


def trunk_of(phone: SipPhone | None = None, **more: object) -> Trunk:
    """Return a trunk whose requests come from 127.0.0.1, at a phone's port or nowhere."""
    port = 9 if phone is None else phone.port
    usual = {"host": "127.0.0.1", "sources": ("127.0.0.0/8",), "keep_alive_s": 0}
    return Trunk(name="carrier", port=port, **{**usual, **more})  # type: ignore[arg-type]
