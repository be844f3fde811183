"""Agents' legs that are kept together: each does to the byte what it would do alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telcoflow_sdk.protocol.codec import ProtocolViolation
from telcoflow_sdk.protocol.positions import (
    MORE,
    Acknowledgement,
    build_acknowledgement,
    build_audio,
    build_position,
    parse_audio,
    parse_position,
)
from telcoflow_server.call.ports import CalleeProgress, LinkBroken, PressedDigit
from telcoflow_server.legs import agent_array
from telcoflow_server.legs.agent import UNHEARD_TICKS
from telcoflow_server.legs.agent_array import MAX_MESSAGES, AgentArray
from telcoflow_server.legs.agent_parts import TogetherAgents
from telcoflow_server.legs.message_array import audio_of, replies
from telcoflow_server.media.lead import STEADY_TICKS
from tests.support.exchange import MemoryPhone, Node
from tests.support.joint_link import JointPositionedLink
from tests.support.positions import FRAME, PositionedAgent, Scene, ruler
from tests.support.twin_agents import Twins, let_few_be_together

LONG = 60
"""Ticks."""


@pytest.fixture(autouse=True)
def _few_are_together(monkeypatch: pytest.MonkeyPatch) -> None:
    let_few_be_together(monkeypatch)


def talking(queued_ticks: int = 1_000) -> Twins:
    """Return twins whose agents talk, and go on for so long."""
    twins = Twins()
    twins.settle()
    twins.each(lambda scene: scene.say(FRAME * queued_ticks))
    twins.run(5)
    return twins


# --- the usual ---------------------------------------------------------------------------


def test_an_agent_that_talks_is_kept_with_others() -> None:
    twins = talking()
    before = twins.sent_together
    twins.run(200)

    assert twins.sent_together - before == 200


def test_messages_in_an_array_are_those_of_the_protocol() -> None:
    reply = replies(1, FRAME, b"<", b">>")
    reply["audio"]["offset"] = 960
    reply["audio"]["pcm"] = ruler(FRAME)
    for value, name in enumerate(("generation", "received", "played", "window", "seen", "heard")):
        reply["position"][name] = value + 1
    data = reply.tobytes()
    audio, position = data[1 : 1 + 16 + 2 * FRAME], data[1 + 16 + 2 * FRAME + 2 :]

    assert (data[:1], data[1 + 16 + 2 * FRAME :][:2]) == (b"<", b">>")
    assert build_audio(0, 0, 0, 0, 960, ruler(FRAME).tobytes()) == audio
    assert build_position(parse_position(position)) == position
    assert parse_position(position).window == 4
    message = build_audio(0, MORE, 7, 3, 480, ruler(FRAME).tobytes())
    assert parse_audio(message).offset == 480
    assert audio_of(FRAME).itemsize == len(message)


def test_an_agent_that_says_nothing_is_alone() -> None:
    twins = talking(queued_ticks=20)
    twins.run(LONG)

    assert not twins.is_together
    twins.settle()


def test_few_agents_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_array, "LEAST_LEGS", 2)
    scene = Scene(link=JointPositionedLink)
    scene.say(FRAME * 50)
    scene.run(50)
    agent = scene.call.seat.agent

    assert agent is not None
    assert agent.leg.together is None


@pytest.mark.parametrize("sample_rate_hz", [8_000, 16_000, 24_000])
def test_agents_of_each_rate_are_together(sample_rate_hz: int) -> None:
    node = Node(sample_rate_hz=sample_rate_hz)
    calls = [node.place(MemoryPhone(ruler(480 * 400))) for _ in range(3)]
    agents = []
    for call, session in zip(calls, node.client_link.take(), strict=True):
        node.tell(type="session.open", sessionId=session["sessionId"], reqId="r")
        agent = PositionedAgent(node.exchange, call, link=JointPositionedLink)
        agent.connect()
        agent.command("call.answer", placed=False)
        agents.append(agent)
    frame = sample_rate_hz // 50
    for tick in range(100):
        for agent in agents:
            agent.say(ruler(frame, frame * tick).tobytes())
            agent.send_audio(frame)
            agent.acknowledge()
        node.run(1)

    for call, agent in zip(calls, agents, strict=True):
        seated = call.seat.agent
        assert seated is not None
        assert seated.leg.together is not None
        assert seated.leg.statistics().playout.gap_count == 0
        assert agent.positions[-1].received == 100 * frame
        assert agent.received == [100 * frame]


def test_nothing_is_kept_of_a_call_that_is_over() -> None:
    twins = talking()
    scene = twins.other
    agent = scene.call.seat.agent
    assert agent is not None
    array, _ = agent.leg.together or (None, 0)
    assert isinstance(array, AgentArray)
    scene.caller.hang_up()
    scene.run(1)

    assert array.together == 0


# --- what ends it ------------------------------------------------------------------------

Happens = Callable[[Scene], object]


def _message(scene: Scene, **fields: int) -> bytes:
    """Return the frame that comes next, with something wrong with it."""
    agent = scene.agent
    its = {"channel": 0, "flags": MORE, "generation": agent.generation, "offset": agent._sent}
    its |= fields
    pcm = ruler(FRAME, its["offset"]).tobytes()
    return build_audio(its["channel"], its["flags"], 0, its["generation"], its["offset"], pcm)


EVENTS: dict[str, Happens] = {
    "an interruption": lambda scene: scene.agent.interrupt(),
    "a pause": lambda scene: scene.agent.command("agent.pause"),
    "a mark ahead": lambda scene: scene.agent.command("agent.mark", name="m"),
    "a mark that has passed": lambda scene: scene.agent.command("agent.mark", at=(0, 0), name="m"),
    "a mode": lambda scene: scene.agent.command("call.whisper"),
    "an unknown command": lambda scene: scene.agent.command("call.dance"),
    "text that is none": lambda scene: _nonsense(scene),
    "digits": lambda scene: scene.agent.command("call.send_dtmf", digits="12"),
    "a transfer": lambda scene: scene.agent.command("call.transfer", number="+1555"),
    "a connection": lambda scene: scene.agent.command("call.connect"),
    "the end": lambda scene: scene.agent.command("call.disconnect", at=(0, 0)),
    "an end to come": lambda scene: scene.agent.command("call.disconnect"),
    "a loss": lambda scene: scene.agent.lose(),
    "a goodbye": lambda scene: scene.agent.leave(),
    "another link": lambda scene: _connect(scene),
    "a stale link": lambda scene: _connect(scene, epoch=1),
    "a key": lambda scene: scene.caller.press_key(PressedDigit("5", 100.0)),
    "a hang-up": lambda scene: scene.caller.hang_up(),
    "an acknowledgement": lambda scene: scene.agent.acknowledge(loop_lag_ms=120),
    "one that is too long": lambda scene: scene.agent.send_binary(b"\xf1" + bytes(20)),
    "one of everything": lambda scene: scene.agent.send_binary(
        build_acknowledgement(Acknowledgement(0, 1 << 40, 0))
    ),
    "a hole": lambda scene: scene.agent.send_binary(
        _message(scene, offset=scene.agent._sent + FRAME)
    ),
    "a repetition": lambda scene: scene.agent.send_binary(_message(scene, offset=0)),
    "too much": lambda scene: _send(scene, 30),
    "what was overtaken": lambda scene: scene.agent.send_binary(
        _message(scene, generation=scene.agent.generation - 1)
        if scene.agent.generation
        else _message(scene, offset=0)
    ),
    "another channel": lambda scene: scene.agent.send_binary(_message(scene, channel=1)),
    "unknown flags": lambda scene: scene.agent.send_binary(_message(scene, flags=128)),
    "an empty message": lambda scene: scene.agent.send_binary(b""),
    "a part of a frame": lambda scene: scene.agent.send_audio(100),
    "silence": lambda scene: setattr(scene.agent, "acknowledges", False),
    "an unread link": lambda scene: setattr(scene.agent.link, "unsent", 2_000),
    "a stuck link": lambda scene: setattr(scene.agent.link, "unsent", 1 << 20),
    "a link that is read": lambda scene: setattr(scene.agent.link, "unsent", 0),
    "the end of an utterance": lambda scene: scene.agent._ends.add(scene.agent._sent + 700),
    "resumption": lambda scene: scene.agent.command("agent.resume"),
    "a closed session": lambda scene: _close_session(scene),
    "a second person": lambda scene: _second_person(scene),
    "a new rate": lambda scene: _retune(scene),
}


def _send(scene: Scene, frames: int) -> None:
    for _ in range(frames):
        scene.agent.send_audio(FRAME)


def _retune(scene: Scene) -> None:
    if not scene.call.is_over:
        scene.call.retune(scene.caller)


def _connect(scene: Scene, epoch: int | None = None) -> None:
    with suppress(LinkBroken):
        scene.agent.connect(epoch=epoch)


def _nonsense(scene: Scene) -> None:
    with suppress(ProtocolViolation):
        scene.agent.send_text(b"{")


MISPLACED = ("a hole", "a repetition", "too much", "what was overtaken")
"""Of audio in an array it is seen with the tick that it is out of its place, not before."""


def _close_session(scene: Scene) -> None:
    for line in list(scene.node.exchange._lines.values()):
        scene.node.exchange.end_session(line.session)


def _second_person(scene: Scene) -> None:
    scene.callee.progress = CalleeProgress.ANSWERED
    scene.agent.command("call.connect")


@pytest.mark.parametrize("name", EVENTS)
def test_what_happens_to_an_agent_comes_to_the_same(name: str) -> None:
    twins = talking()
    twins.each(EVENTS[name])
    for _ in range(LONG):
        twins.run(1)
    twins.each(EVENTS[name])
    for _ in range(LONG):
        twins.run(1)


@pytest.mark.parametrize(
    "name",
    ["a key", "an acknowledgement", "one of everything", "a mark that has passed", "a loss"],
)
def test_an_agent_comes_back(name: str) -> None:
    twins = talking()
    twins.each(EVENTS[name])
    twins.run(3)
    if name == "a loss":
        twins.agents(lambda agent: agent.connect())
    twins.run(5)

    assert twins.is_together


def test_a_key_does_not_part_an_agent_from_others() -> None:
    twins = talking()
    before = twins.sent_together
    twins.each(EVENTS["a key"])
    twins.run(10)

    assert twins.sent_together - before == 10
    assert [event["digit"] for event in twins.other.agent.events("call.dtmf")] == ["5"]


def test_a_lead_that_comes_down_is_that_of_the_agent_alone() -> None:
    twins = talking(queued_ticks=STEADY_TICKS + 100)
    for _ in range(STEADY_TICKS // 50 + 1):
        twins.run(50)

    assert twins.is_together
    assert twins.other.agent.positions[-1].window == 40 * 24


def test_who_acknowledges_nothing_is_alone_in_time() -> None:
    twins = talking()
    twins.each(EVENTS["silence"])
    twins.run(UNHEARD_TICKS)

    assert not twins.is_together
    twins.agents(lambda agent: agent.lose())
    twins.run(5)
    twins.agents(lambda agent: agent.connect())
    twins.run(5)
    assert not twins.other.agent.holes


def test_what_did_not_arrive_is_sent_again() -> None:
    """The frames of the array, too, though they were never in the feed."""
    twins = talking()
    twins.agents(lambda agent: agent.acknowledge())
    twins.run(10)
    for scene in (twins.alone, twins.other):
        scene.agent.link.is_lost = True  # and nobody has noticed yet
    twins.run(20)
    twins.agents(lambda agent: agent.connect())
    twins.run(10)

    assert not twins.other.agent.holes
    heard = twins.other.heard_by_agent()
    assert heard[-1] - heard[-FRAME * 35] == FRAME * 35 - 1


def test_what_was_under_way_when_a_link_broke_is_sent_again() -> None:
    """On a long way more is under way than fits between two acknowledgements."""
    twins = talking()
    twins.each(EVENTS["silence"])
    old = build_acknowledgement(Acknowledgement(0, 0, 0))
    for tick in range(60):
        if tick % 25 == 0:
            twins.agents(lambda agent: agent.send_binary(old))
        twins.run(1)
    assert twins.is_together
    for scene in (twins.alone, twins.other):  # the last second has not come
        scene.agent.received[0] -= 50 * FRAME
        del scene.agent.heard[0][-100 * FRAME :]
    twins.agents(lambda agent: agent.lose())
    twins.agents(lambda agent: agent.connect())
    twins.run(10)

    assert not twins.other.agent.holes


def test_who_acknowledges_only_what_is_long_past_is_alone_in_time() -> None:
    """More than is kept in an array may have to be sent again."""
    twins = talking()
    twins.each(EVENTS["silence"])
    old = build_acknowledgement(Acknowledgement(0, 0, 0))
    before = twins.sent_together
    for tick in range(100):
        if tick % 25 == 0:
            twins.agents(lambda agent: agent.send_binary(old))
        twins.run(1)
    together = twins.sent_together - before
    twins.agents(lambda agent: agent.lose())
    twins.run(5)
    twins.agents(lambda agent: agent.connect())
    twins.run(5)

    assert 90 < together < 100
    assert not twins.other.agent.holes


def test_what_has_come_counts_before_the_tick_that_takes_note_of_it() -> None:
    twins = talking()
    twins.each(lambda scene: _send(scene, 1))

    assert twins.is_together
    twins.compare()
    twins.run(1)


def test_several_messages_in_a_tick_are_taken_up_to_a_limit() -> None:
    twins = talking(queued_ticks=0)
    for burst in (2, 0, 3, 0, 1, MAX_MESSAGES + 1, 0, 0):
        for _ in range(burst):
            twins.each(lambda scene: scene.say(FRAME))
            twins.each(lambda scene: _send(scene, 1))
        twins.run(1)


def test_who_never_stays_is_asked_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that sends two frames at a time has to be alone for each of them."""
    monkeypatch.setattr(agent_array, "SHORT_STAY", 50)
    scene = Scene(link=JointPositionedLink)
    agent = scene.call.seat.agent
    assert agent is not None
    visits = [0, 0]

    def join(together: TogetherAgents, row: int) -> None:
        visits[scene.call.tick > 200] += 1
        JointPositionedLink.join(scene.agent.link, together, row)  # type: ignore[arg-type]

    monkeypatch.setattr(scene.agent.link, "join", join)
    for tick in range(400):
        scene.say(FRAME)
        if tick % 2:
            scene.agent.send_audio(2 * FRAME)
        scene.node.exchange.tick(0.0)
        scene.agent.acknowledge()

    assert visits[0] > visits[1]
    assert 2 <= sum(visits) <= 10
    assert agent.leg.statistics().playout.gap_count == 0


# --- in the middle of a tick ---------------------------------------------------------------


@pytest.mark.parametrize("at", ["take", "put"])
@pytest.mark.parametrize("name", ["an interruption", "a loss", "another link", "a closed session"])
def test_what_happens_in_the_middle_of_a_tick_comes_to_the_same(name: str, at: str) -> None:
    twins = talking()
    for scene in (twins.alone, twins.other):
        _in_the_middle(scene, at, EVENTS[name])
    twins.each(lambda scene: scene.run(1))
    twins.run(LONG)


def _in_the_middle(scene: Scene, at: str, happens: Happens) -> None:
    """Let something happen when the caller's frame is taken, or put, once."""
    does = getattr(scene.caller, at)

    def once(*arguments: object) -> object:
        setattr(scene.caller, at, does)
        happens(scene)
        return does(*arguments)

    setattr(scene.caller, at, once)


# --- anything ------------------------------------------------------------------------------

SAYS: dict[str, Happens] = {
    "says a little": lambda scene: scene.say(700),
    "says much": lambda scene: scene.say(FRAME * 30),
}
FATAL = {
    *MISPLACED,
    "a closed session",
    "a goodbye",
    "a hang-up",
    "an end to come",
    "a stuck link",
    "a transfer",
    "another channel",
    "the end",
}
STEPS = {**EVENTS, **SAYS}


def scripts(steps: set[str]) -> st.SearchStrategy[list[str | int]]:
    """Return lists of what happens, and of ticks."""
    return st.lists(st.one_of(st.sampled_from(sorted(steps)), st.integers(1, 12)), max_size=30)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scripts(set(STEPS)))
def test_any_script_comes_to_the_same(script: list[str | int]) -> None:
    _play(script)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scripts(set(STEPS) - FATAL))
def test_any_script_that_ends_nothing_comes_to_the_same(script: list[str | int]) -> None:
    _play(script)


def _play(script: list[str | int]) -> None:
    twins = talking(queued_ticks=40)
    for step in script:
        if isinstance(step, int):
            twins.run(step)
            continue
        twins.each(STEPS[step])
        if step in MISPLACED:
            twins.run(1)
    twins.run(20)
