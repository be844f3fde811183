"""The same call twice: its agent's leg is by itself in one, and kept in an array in the other.

Whatever happens to both must come to the same. Virtual time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from telcoflow_server.legs import agent_array
from tests.support.exchange import JointMemoryPhone
from tests.support.joint_link import JointPositionedLink
from tests.support.positions import PositionedAgent, PositionedLink, Scene


def let_few_be_together(patch: pytest.MonkeyPatch) -> None:
    """Let an agent be kept in an array also where it is the only one, and at once."""
    patch.setattr(agent_array, "LEAST_LEGS", 1)
    patch.setattr(agent_array, "ASKED_EVERY", 1)
    patch.setattr(agent_array, "SHORT_STAY", 0)


class Twins:
    """Two calls to which the same happens.

    Args:
        scene: What both are made with.

    Attributes:
        alone: The one whose agent is by itself.
        other: Its twin, which also rests when nothing happens to it.
    """

    def __init__(self, **scene: Any) -> None:
        self.alone = Scene(link=PositionedLink, **scene)
        self.other = Scene(link=JointPositionedLink, phone=JointMemoryPhone, **scene)
        self._ticks = 0

    @property
    def is_together(self) -> bool:
        """Whether the other's leg is in an array now."""
        seat = self.other.call.seat
        return seat.agent is not None and seat.agent.leg.together is not None

    @property
    def sent_together(self) -> int:
        """How many messages came from an array over the link in use."""
        link = self.other.agent.link
        assert isinstance(link, JointPositionedLink), "it was made so"
        return link.sent_together

    def each(self, does: Callable[[Scene], object]) -> None:
        """Do something to both."""
        for scene in (self.alone, self.other):
            does(scene)

    def agents(self, do: Callable[[PositionedAgent], object]) -> None:
        """Have both agents do something."""
        self.each(lambda scene: do(scene.agent))

    def run(self, ticks: int) -> None:
        """Let time pass for both, and compare."""
        self._ticks += ticks
        self.each(lambda scene: scene.run(ticks))
        self.compare()

    def settle(self) -> None:
        """Have the agents talk until the one of the array is in it."""
        for _ in range(100):
            self.each(lambda scene: scene.say(480 * 4))
            self.run(1)
            if self.is_together:
                return
        raise AssertionError("it never was")

    def compare(self) -> None:
        """See that everything both have come to is the same."""
        alone, other = (_told(scene) for scene in (self.alone, self.other))
        if self.other.call.is_over and len(other["positions"]) > len(alone["positions"]):
            # Of the tick that ends a call the array tells the position, before it has ended.
            other["positions"].pop()
        for name, value in alone.items():
            assert other[name] == value, f"{name} after {self._ticks} ticks"
        alone_heard, other_heard = (
            np.concatenate(scene.caller._heard[-50:]) for scene in (self.alone, self.other)
        )
        same = np.array_equal(alone_heard, other_heard)
        assert same, f"the caller hears another thing after {self._ticks} ticks"


def _told(scene: Scene) -> dict[str, Any]:
    """Return what can be known of a scene."""
    agent, call = scene.agent, scene.call
    seated = call.seat.agent
    return {
        "log": agent.log,
        "welcomes": [one | {"secret": ""} for one in agent.welcomes],
        "positions": list(agent.positions),
        "heard by the agent": [bytes(channel[-48_000:]) for channel in agent.heard],
        "received": agent.received,
        "holes": agent.holes,
        "discontinuities": agent.discontinuities,
        "closed": agent.link.closed_with,
        "state": call.state,
        "end": call.end_reason,
        "audio": call.seat.audio,
        "leg": seated and seated.leg.statistics(),
        "refusals": seated and dict(seated.refusals),
    }
