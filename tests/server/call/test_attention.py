"""Calls that rest: nobody looks at them, and nothing that happens to them is late for it."""

from __future__ import annotations

from typing import Any

import pytest

from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_server.call.attention import REST_TICKS, Attention
from telcoflow_server.call.call import Call
from telcoflow_server.call.ports import PressedDigit
from tests.support import positions
from tests.support.exchange import JointMemoryPhone, MemoryPhone
from tests.support.joint_link import JointPositionedLink
from tests.support.twin_agents import let_few_be_together

TICKS = 3 * REST_TICKS


@pytest.fixture(autouse=True)
def _few_are_together(monkeypatch: pytest.MonkeyPatch) -> None:
    let_few_be_together(monkeypatch)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the ticks in which a call was looked at."""
    seen: list[int] = []
    advance = Call.advance

    def noting(call: Call) -> None:
        seen.append(call.tick)
        advance(call)

    monkeypatch.setattr(Call, "advance", noting)
    return seen


def talking(**scene: Any) -> positions.Scene:
    made = positions.Scene(link=JointPositionedLink, **scene)
    made.say(positions.FRAME * 1_000)
    made.run(10)
    return made


def test_a_call_that_rests_is_looked_at_once_a_second(looks: list[int]) -> None:
    scene = talking(phone=JointMemoryPhone)
    looks.clear()
    scene.run(TICKS)

    assert 2 <= len(looks) <= 4


def test_who_has_a_phone_that_must_be_asked_never_rests(looks: list[int]) -> None:
    scene = talking(phone=MemoryPhone)
    looks.clear()
    scene.run(TICKS)

    assert len(looks) == TICKS


def test_an_agent_that_says_nothing_keeps_its_call_awake(looks: list[int]) -> None:
    scene = positions.Scene(link=JointPositionedLink, phone=JointMemoryPhone)
    looks.clear()
    scene.run(TICKS)

    assert len(looks) == TICKS


def test_what_wakes_a_call_is_told_on_the_same_tick() -> None:
    scene = talking(phone=JointMemoryPhone)
    scene.run(7)
    scene.caller.press_key(PressedDigit("5", 100.0))
    scene.run(1)
    assert [event["digit"] for event in scene.agent.events("call.dtmf")] == ["5"]
    scene.run(7)
    scene.caller.hang_up()
    scene.run(1)
    assert scene.call.end_reason is EndReason.CALLER_HUNG_UP


def test_a_call_that_rests_ends_when_its_time_is_over() -> None:
    scene = positions.Scene(link=JointPositionedLink, phone=JointMemoryPhone, call_duration_s=4.0)
    scene.say(positions.FRAME * 1_000)
    scene.run(198 - scene.call.tick)
    agent = scene.call.seat.agent
    assert agent is not None
    assert agent.leg.together is not None, "or it has not rested"
    scene.run(1)
    assert not scene.call.is_over
    scene.run(1)

    assert scene.call.end_reason is EndReason.MAX_DURATION


def test_who_was_forgotten_may_be_told_once_more() -> None:
    attention = Attention()
    attention.wake("a")
    attention.rest("a")
    attention.wake("b")

    told = [attention.tick() for _ in range(REST_TICKS + 1)]
    attention.forget("a")
    attention.forget("a")

    assert all(calls == ["b"] for calls in told[: REST_TICKS - 1])
    assert told[-1] == ["b", "a"]
    assert attention.tick() == ["b"]
