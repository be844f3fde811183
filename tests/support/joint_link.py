"""A link in memory whose agent may be kept together with others, as over a socket.

Not here: the agent (`positions.py`), the socket (`telcoflow_server/api/agent_socket.py`).
"""

from __future__ import annotations

from telcoflow_server.legs.agent_parts import TogetherAgents
from tests.support.positions import PositionedAgent, PositionedLink


class JointPositionedLink(PositionedLink):
    """A `JointLink` to one agent.

    Attributes:
        sent_together: Messages of audio and position that were sent so.
    """

    def __init__(self, agent: PositionedAgent) -> None:
        super().__init__(agent)
        self.sent_together = 0
        self._together: tuple[TogetherAgents, int] | None = None
        self._untaken: list[bytes] = []

    def framing(self, size_bytes: int) -> bytes:
        return size_bytes.to_bytes(3, "big")

    def send_framed(self, messages: bytes) -> bool:
        if self.unsent:
            return False
        self.sent_together += 1
        while messages:
            end = 3 + int.from_bytes(messages[:3], "big")
            self.send_binary(messages[3:end])
            messages = messages[end:]
        return True

    def join(self, together: TogetherAgents, row: int) -> None:
        assert self._together is None, "it joins once"
        self._together = together, row

    def part(self, untaken: list[bytes]) -> None:
        assert self._together is not None, "it has joined"
        self._together = None
        self._untaken += untaken

    def catch_up(self) -> None:
        untaken, self._untaken = self._untaken, []
        for message in untaken:
            self._agent.receive(message)

    def has_taken(self, message: bytes | None) -> bool:
        if self._together is not None:
            together, row = self._together
            if message is not None and together.receive(row, message):
                return True
            together.part(row)
        self.catch_up()
        return False
