"""A node with real SIP and RTP, and agents in memory: its tick runs in real time.

Not here: the phones around it (`sip_phone.py`, `rtp_phone.py`), media links over sockets.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from telcoflow_server.call.call import Call
from telcoflow_server.call.ports import Callee, DialRequest
from telcoflow_server.codec.table import PCMA, PCMU, Codec
from telcoflow_server.sip.accounts import EdgeSettings
from telcoflow_server.telephony.routes import Routes
from telcoflow_server.telephony.service import Telephony
from telcoflow_server.ticker import Ticker
from telcoflow_server.udp import PortPool, PortRange
from tests.support.exchange import Node
from tests.support.positions import PositionedAgent, PositionedLink
from tests.support.rtp_phone import RtpPhone, rtp_phone
from tests.support.sip_phone import PATIENCE_S, Message, PhoneCall, SipPhone


class _Way:
    """Reaches phones by the telephony of an office that is only made afterwards."""

    telephony: Telephony

    def dial(self, request: DialRequest) -> Callee | None:
        return self.telephony.dial(request)


class Office:
    """A node that phones can call, and whose agents can call them.

    Args:
        settings: Of SIP; the port is any.
        codecs: What is spoken, best first.
        trunk: Whom calls leave by that go to no registered phone.
        ports: Where RTP is received; None: any of the host that SIP listens on.
    """

    def __init__(
        self,
        settings: EdgeSettings,
        codecs: tuple[Codec, ...],
        trunk: str = "",
        ports: PortRange | None = None,
        **node: Any,
    ) -> None:
        way = _Way()
        self.node = Node(dialer=way, **node)
        self.routes = Routes(
            connectors={},
            default_connector="c1",
            trunks={},
            default_trunk=trunk,
            codecs={"": codecs},
        )
        self.host = settings.host
        self.pool = PortPool(ports or PortRange(self.host, 0, 0))
        self.telephony = way.telephony = Telephony(
            self.node.exchange, settings, self.routes, self.pool, self.host
        )
        self.ahead_s = 0.0
        """By how much its time is ahead; only to be made more."""
        self.link: type[PositionedLink] = PositionedLink
        """Over which agents come."""
        self._ticker = Ticker(self._tick)
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        """Open everything."""
        await self.telephony.start()
        self._ticker.start()

    async def stop(self) -> None:
        """Close everything, and see that nothing is left."""
        await self._stack.aclose()
        await asyncio.sleep(0)  # transports close their sockets in the turn after
        self._ticker.stop()
        self.node.exchange.shut_down()
        await self.telephony.stop()
        assert self.telephony.dialogs == 0
        assert self.pool.used == 0

    def _tick(self, lateness_s: float) -> None:
        self.telephony.before_tick(self._ticker.due_s + self.ahead_s)
        self.node.run(1)
        self.telephony.after_tick()

    # --- who is there ----------------------------------------------------------------------

    def closes(self, close: Callable[[], None]) -> None:
        """Close something of the test's with it."""
        self._stack.callback(close)

    async def phone(self, user: str = "alice") -> SipPhone:
        """Return a phone's signalling."""
        phone = await SipPhone.open(self.telephony.edge.address, user, self.host)
        self._stack.callback(phone.close)
        return phone

    async def sound(self, codec: Codec = PCMU) -> RtpPhone:
        """Return a phone's audio."""
        return await self._stack.enter_async_context(rtp_phone(codec, self.host))

    async def until(self, holds: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
        """Return when something holds."""
        async with asyncio.timeout(patience_s):
            while not holds():  # noqa: ASYNC110 (it comes with the ticks)
                await asyncio.sleep(0.005)

    async def incoming(self, *, answers: bool = True) -> tuple[Call, PositionedAgent]:
        """Return the call that comes next, with an agent on the line."""
        seen = set(self.node.exchange.calls)
        await self.until(lambda: bool(set(self.node.exchange.calls) - seen))
        (call,) = set(self.node.exchange.calls) - seen
        return call, self.agent(call, answers=answers)

    def agent(self, call: Call, *, answers: bool = True) -> PositionedAgent:
        """Put an agent on the line of a call."""
        self.node.client_link.take()
        agent = PositionedAgent(self.node.exchange, call, link=self.link)
        self.node.agents.append(agent)
        agent.connect()
        if answers:
            agent.command("call.answer", placed=False)
        return agent

    async def answered_call(
        self, codec: Codec = PCMU, **offer: Any
    ) -> tuple[Talking, Call, PositionedAgent]:
        """Return a phone that has called, and the agent that has answered."""
        phone, sound = await self.phone(), await self.sound(codec)
        dialog = phone.call()
        dialog.invite(sound.offer(**offer))
        call, agent = await self.incoming()
        response = await phone.response(above=199)
        assert response.status == 200, response.status
        dialog.ack(response)
        sound.obey(response.body)
        return Talking(phone, sound, dialog, response), call, agent

    async def result(self, agent: PositionedAgent, command: str) -> dict[str, Any]:
        """Return what a command came to."""
        await self.until(lambda: agent.response(command) is not None)
        response = agent.response(command)
        assert response is not None
        return response

    async def free(self) -> None:
        """Return when no call, dialog and port is in use."""
        await self.until(
            lambda: self.node.exchange.call_count + self.telephony.dialogs + self.pool.used == 0
        )


class Talking:
    """A phone in a call: its signalling, audio and dialog, and the answer it had."""

    def __init__(
        self, phone: SipPhone, sound: RtpPhone, dialog: PhoneCall, answer: Message
    ) -> None:
        self.phone = phone
        self.sound = sound
        self.dialog = dialog
        self.answer = answer

    def hang_up(self) -> None:
        """Say BYE."""
        self.dialog.send("BYE")


OPEN = EdgeSettings(port=0, unauthenticated_calls=True)
G711 = (PCMU, PCMA)


def descriptors() -> int:
    """Return how many files and sockets this process has open."""
    return len(os.listdir("/proc/self/fd"))
