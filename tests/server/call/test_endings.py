"""Every ending: each of caller, callee, agent and server ends the call at every stage.

Generated from stages x enders, in virtual time. Whatever the combination: everybody is told once
and in order, every command that was in flight is answered, and nothing of the call is left.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from telcoflow_sdk.protocol.codes import CloseCode, EndReason
from telcoflow_sdk.protocol.states import CallState
from telcoflow_server.call.exchange import NewCall
from telcoflow_server.call.ports import CalleeProgress
from telcoflow_server.call.recordings import Recordings
from telcoflow_server.media.routing import Slot
from tests.server.call.test_exchange import Tape
from tests.support.exchange import MemoryAgent, MemoryCallee, MemoryDialer, MemoryPhone, Node

FRAME = 480


class Stage:
    """A call brought to a stage of its life, with everything that must be gone at its end."""

    def __init__(self) -> None:
        self.caller, self.callee = MemoryPhone(), MemoryCallee()
        self.dialer = MemoryDialer(self.callee)
        self.node = Node(dialer=self.dialer, audio_mode="isolated", sample_rate_hz=8_000)
        self.tapes = [Tape() for _ in range(4)]
        self.recordings = Recordings(self.tapes[0], dict(zip(Slot, self.tapes[1:], strict=True)))
        self.agent: MemoryAgent | None = None
        self.commands: list[str] = []

    def placed(self) -> None:
        self.call = self.node.place(self.caller, recordings=self.recordings)
        self.node.run(2)

    def claimed(self) -> None:
        self.placed()
        notification = self.node.client_link.take()[0]
        self.node.tell(type="session.open", sessionId=notification["sessionId"], reqId="r")
        self.node.client_link.take()

    def attached(self) -> None:
        self.claimed()
        self.agent = self.node.agent(self.call)

    def answered(self) -> None:
        self.attached()
        self.command("call.answer")
        assert self.agent is not None
        self.agent.say(np.ones(160 * 100, np.int16).tobytes())
        self.node.run(5)

    def ringing_callee(self) -> None:
        self.answered()
        self.command("call.connect")
        self.node.run(10)
        assert self.dialer.requests

    def waiting_to_ring(self) -> None:
        self.answered()
        self.command("call.connect")

    def ringing_callee_unanswered(self) -> None:
        self.attached()
        self.command("call.connect")
        self.node.run(3)

    def connected(self) -> None:
        self.ringing_callee()
        self.callee.progress = CalleeProgress.ANSWERED
        self.node.run(2)
        assert self.call.state is CallState.CONNECTED

    def whispering(self) -> None:
        self.connected()
        self.command("agent.whisper")
        self.node.run(5)

    def changing_mode(self) -> None:
        self.connected()
        self.command("agent.spy")

    def closing(self) -> None:
        self.answered()
        self.command("call.close")

    def closing_connected(self) -> None:
        self.connected()
        self.command("call.close")

    def handed_over(self) -> None:
        self.connected()
        self.command("call.close")
        self.node.run(10)
        assert self.agent is not None
        assert self.agent.link.closed_with is CloseCode.NORMAL

    def outbound_ringing(self) -> None:
        session = self.node.exchange.place_outbound(
            NewCall("c1", "", "+1", 0), 60, recordings=self.recordings
        )
        self.node.tell(type="session.open", sessionId=session.session_id, reqId="r")
        self.node.client_link.take()
        call = self.node.exchange.find(session.call_id)
        assert call is not None
        self.call = call
        self.agent = self.node.agent(self.call)
        self.command("call.answer")
        self.node.run(3)

    def outbound_answered(self) -> None:
        self.outbound_ringing()
        self.callee.progress = CalleeProgress.ANSWERED
        self.node.run(2)

    def command(self, name: str) -> None:
        assert self.agent is not None
        self.commands.append(self.agent.command(name))


STAGES = [name for name in vars(Stage) if not name.startswith("_") and name != "command"]
OUTBOUND = ("outbound_ringing", "outbound_answered")
WITHOUT_AGENT = ("placed", "claimed")


def caller_hangs_up(stage: Stage) -> None:
    (stage.callee if stage.call.identity.is_outbound else stage.caller).has_hung_up = True


def callee_hangs_up(stage: Stage) -> None:
    stage.callee.has_hung_up = True
    stage.callee.progress = CalleeProgress.DECLINED


def agent_closes(stage: Stage) -> None:
    stage.command("call.close")


def agent_disconnects(stage: Stage) -> None:
    stage.command("call.disconnect")


def agent_is_lost(stage: Stage) -> None:
    assert stage.agent is not None
    stage.agent.lose()


def server_stops(stage: Stage) -> None:
    stage.node.exchange.shut_down()


def rest_closes_the_session(stage: Stage) -> None:
    (session,) = stage.node.exchange.board.sessions("c1")
    found = stage.node.exchange.board.find(session.id, "c1")
    assert found is not None
    stage.node.exchange.end_session(found)


def a_leg_fails(stage: Stage) -> None:
    stage.call.leg_failed(Slot.CALLER, RuntimeError("broken"))


Ender = Callable[[Stage], None]

ENDERS: dict[Ender, tuple[str, ...]] = {
    # who: the stages in which there is no such thing
    caller_hangs_up: ("outbound_ringing",),
    callee_hangs_up: tuple(
        name
        for name in STAGES
        if name not in ("connected", "whispering", "changing_mode", "handed_over")
    ),
    agent_closes: (*WITHOUT_AGENT, "handed_over"),
    agent_disconnects: (*WITHOUT_AGENT, "handed_over"),
    agent_is_lost: (*WITHOUT_AGENT, "handed_over"),
    server_stops: (),
    rest_closes_the_session: ("handed_over",),
    a_leg_fails: (),
}

LEAVE_THE_PEOPLE = {
    (agent_closes, stage)
    for stage in ("connected", "whispering", "changing_mode", "closing_connected")
} | {
    (agent_is_lost, stage)
    for stage in ("connected", "whispering", "changing_mode", "closing_connected")
}


@pytest.mark.parametrize(
    ("ender", "name"),
    [
        pytest.param(ender, name, id=f"{ender.__name__} {name}")
        for ender, impossible in ENDERS.items()
        for name in STAGES
        if name not in impossible
    ],
)
def test_whoever_ends_the_call_at_whatever_stage_nothing_is_left(ender: Ender, name: str) -> None:
    stage = Stage()
    getattr(stage, name)()

    ender(stage)
    stage.node.run(120)

    if (ender, name) in LEAVE_THE_PEOPLE:
        assert stage.call.state is CallState.CONNECTED
        stage.caller.has_hung_up = True
        stage.node.run(1)
    assert stage.call.is_over
    everybody_was_told(stage, is_agent_there=ender is not agent_is_lost)
    nothing_is_left(stage)


def everybody_was_told(stage: Stage, *, is_agent_there: bool) -> None:
    if not stage.call.identity.is_outbound:
        assert stage.caller.end is not None
    if stage.dialer.requests:
        assert stage.callee.end is not None
    closed = [m for m in stage.node.client_link.take() if m["type"] == "session.closed"]
    assert len(closed) <= 1
    if stage.agent is None or not is_agent_there:
        return
    log = stage.agent.link.log
    terminated = [
        number
        for number, entry in enumerate(log)
        if isinstance(entry, dict) and entry["data"].get("event") == "call.terminated"
    ]
    assert len(terminated) == 1, "told once"
    assert isinstance(log[-1], tuple), "the link is closed, and nothing is sent after"
    assert terminated == [len(log) - 2], "right before the close"
    for command in stage.commands:
        assert stage.agent.response(command) is not None, "every command in flight was answered"


def nothing_is_left(stage: Stage) -> None:
    exchange = stage.node.exchange
    assert exchange.call_count == 0
    assert exchange.board.sessions("c1") == []
    assert exchange.plane_statistics().rows == 0
    assert exchange.plane_statistics().legs == 0
    assert all(tape.is_closed for tape in stage.tapes)
    lengths = {len(tape.frames) for tape in stage.tapes}
    assert len(lengths) == 1, "all recordings are of one length"
    report = stage.call.report(exchange.lateness(stage.call))
    assert lengths == {report.duration_ms // 20}
    assert report.end_reason is not None
    assert report.states[-1].name == CallState.DISCONNECTED


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("placed", EndReason.NO_AGENT),
        ("claimed", EndReason.NO_ANSWER),
        ("attached", EndReason.NO_ANSWER),
        ("answered", EndReason.MAX_DURATION),
        ("whispering", EndReason.MAX_DURATION),
        ("handed_over", EndReason.MAX_DURATION),
        ("outbound_ringing", EndReason.CALLEE_UNANSWERED),
        ("outbound_answered", EndReason.MAX_DURATION),
    ],
)
def test_a_call_in_which_nothing_happens_ends_by_itself(name: str, reason: EndReason) -> None:
    stage = Stage()
    stage.node = Node(
        dialer=stage.dialer, audio_mode="isolated", sample_rate_hz=8_000, call_duration_s=80
    )
    getattr(stage, name)()

    stage.node.run(4100)

    assert stage.call.end_reason is reason
    everybody_was_told(stage, is_agent_there=True)
    nothing_is_left(stage)
