"""The agents' legs of a node: those of each sample rate are kept together.

Not here: how (`agent_array.py`).
"""

from __future__ import annotations

from telcoflow_server.legs.agent import AgentLeg
from telcoflow_server.legs.agent_array import AgentArray


class AgentArrays:
    """All legs of a node's agents, those of each sample rate together; see `AgentArray`."""

    def __init__(self) -> None:
        self._by_rate: dict[int, AgentArray] = {}

    def add(self, leg: AgentLeg) -> None:
        """Keep a leg together with others whenever that can be. Idempotent."""
        rate_hz = leg.audio_format.sample_rate_hz
        if rate_hz not in self._by_rate:
            self._by_rate[rate_hz] = AgentArray(leg.audio_format)
        self._by_rate[rate_hz].add(leg)

    def remove(self, leg: AgentLeg) -> None:
        """A leg has come to its end. Idempotent."""
        agents = self._by_rate.get(leg.audio_format.sample_rate_hz)
        if agents is not None:
            agents.remove(leg)

    def begin(self) -> None:
        """A tick begins."""
        for agents in self._by_rate.values():
            agents.begin()

    def finish(self) -> None:
        """All legs have taken and put."""
        for agents in self._by_rate.values():
            agents.finish()

    def admit(self) -> None:
        """Nothing more comes of the tick."""
        for agents in self._by_rate.values():
            agents.admit()
