"""Agents' legs together: what they send in a tick, and are sent, as a few operations on arrays.

Not here: one leg (`agent.py`), sockets (`api/agent_socket.py`), the arrays
(`media/playout_array.py`, `message_array.py`). Implements "Many agents at once" of
docs/explanation/flow-control.md.

Nothing here decides anything about a call. Legs whose audio comes in turn, in frames of a tick,
and is played without a stop are kept here, while what they are sent is read: that is how it is
while an agent talks. Whatever else happens to a leg, it goes on by itself, from where it is, in
the same tick.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from telcoflow_sdk.audio.format import AudioFormat
from telcoflow_sdk.protocol.codec import ProtocolViolation
from telcoflow_sdk.protocol.positions import ACKNOWLEDGEMENT, MORE, parse_acknowledgement
from telcoflow_server.legs.agent import UNHEARD_TICKS, AgentLeg
from telcoflow_server.legs.agent_parts import LegParts
from telcoflow_server.legs.message_array import POSITION_BYTES, audio_of, replies
from telcoflow_server.media.feed import FedFrame
from telcoflow_server.media.playout_array import MAX_HELD, Counted, PlayoutArray, Rows

ROWS = 1_024
"""Legs that may be together, more than a core can carry; memory is taken by those that are."""
LEAST_LEGS = 12
"""With fewer, an operation on an array costs more than it saves."""
ASKED_EVERY = 4
"""Ticks from one look to the next whether a leg that is alone may be with the others."""
SHORT_STAY = 50
"""A leg that has been with them for fewer ticks is asked half as often as before: to enter and to
leave costs what some ticks alone do, and some agents are never steady for long."""
MAX_WAIT = 500
"""Ticks; nobody is asked less often."""
MAX_MESSAGES = 4
"""Of one link in a tick; whoever sends more does so within the budget of its link."""

_ACKNOWLEDGES = bytes((ACKNOWLEDGEMENT,))
_PLAIN = (bytes((0, MORE)), bytes((0, 0)))  # channel and flags
_KEPT = 64  # frames sent and not acknowledged: with more a leg is alone


@dataclass(slots=True)
class _Visits:
    """When a leg is here; ticks.

    Attributes:
        wait: From one look to the next whether it may come.
        asked_at: The next one.
        came_at: When it came last.
    """

    wait: int
    asked_at: int
    came_at: int = 0


@dataclass(slots=True)
class _Turn:
    """Audio that came since the last tick, at most one message of each row."""

    rows: list[int] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)

    def withdraw(self, row: int) -> list[bytes]:
        """Return the message of a row, if there is one, and forget it."""
        if row not in self.rows:
            return []
        at = self.rows.index(row)
        del self.rows[at]
        return [self.messages.pop(at)]


class AgentArray:
    """All legs of a node's agents with audio of one rate, and those that are kept together.

    Every tick: `begin`, then `take` and `put` of each leg, then `finish`; when nothing more comes
    of the tick, `admit`. One thread; nothing waits.

    Args:
        audio_format: Of the legs.
    """

    def __init__(self, audio_format: AudioFormat) -> None:
        self._samples = audio_format.frame_samples
        self._message = audio_of(self._samples)
        self._message_bytes = self._message.itemsize
        self._legs: dict[AgentLeg, _Visits] = {}
        self._alone: dict[AgentLeg, _Visits] = {}  # those of them that are
        self._free = list(range(ROWS))  # a heap: low rows first, so that they share cache lines
        self._in: list[tuple[AgentLeg, LegParts] | None] = [None] * ROWS
        self._sends: list[Callable[[bytes], bool]] = [_sends_nothing] * ROWS  # of their links
        self._is_used = np.zeros(ROWS, np.bool_)
        self._playouts = PlayoutArray(ROWS, self._samples)
        self._framing = (b"", b"")
        self._replies: NDArray[np.void] = np.zeros(0, np.void)
        self._said = np.zeros((ROWS, self._samples), np.int16)
        self._hears = np.zeros((ROWS, self._samples), np.int16)
        self._next_offset = np.zeros(ROWS, np.int64)  # of the frame that is sent next
        self._sent = np.zeros(ROWS, np.int64)  # frames, since a row entered or was counted
        self._kept_from = np.zeros(ROWS, np.int64)  # offset: what is before has arrived
        self._kept = np.zeros((ROWS, _KEPT, self._samples), np.int16)
        self._unheard = np.zeros(ROWS, np.int64)
        self._turns = [_Turn() for _ in range(MAX_MESSAGES)]
        self._came = bytearray(ROWS)  # messages since the last tick
        self._taken: list[int] = []  # rows, in this tick
        self._put: list[int] = []
        self._ticks = 0

    @property
    def together(self) -> int:
        """How many legs are kept together now."""
        return ROWS - len(self._free)

    def add(self, leg: AgentLeg) -> None:
        """Keep a leg together with others whenever that can be. Idempotent."""
        if leg not in self._legs:
            # Not all at once.
            asked_at = self._ticks + 1 + len(self._legs) % ASKED_EVERY
            self._legs[leg] = self._alone[leg] = _Visits(ASKED_EVERY, asked_at)

    def remove(self, leg: AgentLeg) -> None:
        """A leg has come to its end. Idempotent."""
        leg.be_alone()
        self._legs.pop(leg, None)
        self._alone.pop(leg, None)

    # --- what comes ------------------------------------------------------------------------

    def receive(self, row: int, message: bytes) -> bool:
        """See `Together`."""
        came = self._came[row]
        if came == MAX_MESSAGES:
            return False
        if len(message) == self._message_bytes and message[:2] in _PLAIN:
            turn = self._turns[came]
            turn.rows.append(row)
            turn.messages.append(message)
        elif message[:1] == _ACKNOWLEDGES:
            try:
                acknowledgement = parse_acknowledgement(message)
            except ProtocolViolation:
                return False
            self._unheard[row] = 0
            # Not before what was sent from here, nor beyond it.
            known = max(int(self._kept_from[row]), acknowledgement.received)
            self._kept_from[row] = min(known, int(self._next_offset[row]))
            self._leg_in(row)[0].acknowledged(acknowledgement)
        else:
            return False
        self._came[row] = came + 1
        return True

    # --- a tick ----------------------------------------------------------------------------

    def begin(self) -> None:
        """Take what has come, and make the frames that legs say."""
        self._taken.clear()  # of a tick that failed before its end, as what is below
        self._put.clear()
        if not self.together:
            return
        for turn in self._turns:
            if turn.rows:
                self._receive_all(turn)
        self._came = bytearray(ROWS)
        rows = np.flatnonzero(self._is_used)
        is_due = self._playouts.are_due(rows) & (self._unheard[rows] + 1 < UNHEARD_TICKS)
        is_due &= self._next_offset[rows] - self._kept_from[rows] < _KEPT * self._samples
        if not is_due.all():
            self._part_all(rows[~is_due])
            rows = rows[is_due]
        self._said[rows] = self._playouts.next_frames(rows)

    def _receive_all(self, turn: _Turn) -> None:
        rows = np.array(turn.rows)
        is_taken = self._playouts.put(rows, np.frombuffer(b"".join(turn.messages), self._message))
        if is_taken.all():
            turn.rows.clear()
            turn.messages.clear()
            return
        untaken = np.flatnonzero(~is_taken).tolist()
        turn.rows = [turn.rows[at] for at in untaken]
        turn.messages = [turn.messages[at] for at in untaken]
        self._part_all(rows[untaken])

    def _is_taken(self, row: int, message: bytes) -> bool:
        messages = np.frombuffer(message, self._message)
        return bool(self._playouts.put(np.array([row]), messages).all())

    def _part_all(self, rows: Rows) -> None:
        for row in rows.tolist():
            leg, parts = self._leg_in(row)
            leg.be_alone()
            parts.link.catch_up()

    def take(self, row: int, out: NDArray[np.int16]) -> None:
        """See `Together`."""
        out[:] = self._said[row]
        self._taken.append(row)

    def put(self, row: int, frame: NDArray[np.int16]) -> None:
        """See `Together`."""
        self._hears[row] = frame
        self._put.append(row)

    def finish(self) -> None:
        """Send what legs hear, and their positions."""
        if not self.together:
            return
        # Who had no tick is in no call any more.
        if not len(self._taken) == len(self._put) == self.together:
            had_none = self._is_used.copy()
            had_none[self._taken] = False
            self._part_all(np.flatnonzero(had_none))
        if self._taken:
            self._playouts.play(np.array(self._taken))
            self._taken.clear()
        if self._put:
            self._send()

    def _send(self) -> None:
        rows = np.array(self._put)
        replies = self._replies[: len(rows)]
        frames = self._hears[rows]
        replies["audio"]["offset"] = self._next_offset[rows]
        replies["audio"]["pcm"] = frames
        self._playouts.positions(rows, replies["position"])
        data, size = replies.tobytes(), self._replies.itemsize
        begins, sends = range(0, len(data), size), self._sends
        refused = [
            index
            for index, (row, begin) in enumerate(zip(self._put, begins, strict=True))
            if not sends[row](data[begin : begin + size])
        ]
        if refused:
            self._put = [self._put[index] for index in refused]
            rows, frames = np.delete(rows, refused), np.delete(frames, refused, axis=0)
        else:
            self._put.clear()
        self._playouts.told(rows)
        self._kept[rows, self._next_offset[rows] // self._samples % _KEPT] = frames
        self._next_offset[rows] += self._samples
        self._sent[rows] += 1
        self._unheard[rows] += 1
        self._part_all(np.array(self._put, np.intp))

    # --- in and out ------------------------------------------------------------------------

    def admit(self) -> None:
        """See who may be together from the next tick on."""
        self._ticks += 1
        if not self._alone or len(self._legs) < LEAST_LEGS:
            return
        due = [leg for leg, visits in self._alone.items() if visits.asked_at <= self._ticks]
        for leg in due:
            visits = self._alone[leg]
            visits.asked_at = self._ticks + visits.wait
            self._enter(leg)

    def _leg_in(self, row: int) -> tuple[AgentLeg, LegParts]:
        one = self._in[row]
        assert one is not None, "a row is used by one leg until that leaves"
        return one

    def _enter(self, leg: AgentLeg) -> None:
        """Keep a leg here if nothing is the matter with it."""
        parts = leg.parts()
        if parts is None or not parts.feed.is_steady or not self._free:
            return
        if leg.unheard_ticks + 1 >= UNHEARD_TICKS:
            return
        if parts.playout.queued_samples > MAX_HELD * self._samples:
            return
        framing = parts.link.framing(self._message_bytes), parts.link.framing(POSITION_BYTES)
        if not len(self._replies):
            self._framing = framing
            self._replies = replies(ROWS, self._samples, *framing)
        window = parts.window.steady()
        if framing != self._framing or window is None:
            return
        playout = parts.playout.hand_over()
        if playout is None:
            return
        row = heapq.heappop(self._free)
        self._playouts.enter(row, playout, window)
        self._next_offset[row] = self._kept_from[row] = parts.feed.end
        self._sent[row] = 0
        self._unheard[row] = leg.unheard_ticks
        self._in[row] = leg, parts
        self._sends[row] = parts.link.send_framed
        self._is_used[row] = True
        self._alone.pop(leg).came_at = self._ticks
        leg.join(self, row)
        parts.link.join(self, row)

    def count(self, row: int) -> None:
        """See `Together`."""
        # What has come for the next tick is here already.
        for turn, message in zip(self._turns, self._settle(row), strict=False):
            turn.rows.append(row)
            turn.messages.append(message)
        self._count(row, self._playouts.count)

    def _settle(self, row: int) -> list[bytes]:
        """Take what has come for a row, as far as it can be; return the rest."""
        untaken = [message for turn in self._turns for message in turn.withdraw(row)]
        while untaken and self._is_taken(row, untaken[0]):
            del untaken[0]
        return untaken

    def _count(self, row: int, ask: Callable[[int], Counted]) -> None:
        if row in self._taken:
            self._playouts.play(np.array([row]))
            self._taken.remove(row)
        leg, parts = self._leg_in(row)
        counted = ask(row)
        parts.playout.catch_up(counted.played_on)
        parts.window.catch_up(counted.window, counted.received_bytes)
        leg.count_sent(int(self._sent[row]), int(self._unheard[row]))
        self._sent[row] = 0

    def part(self, row: int) -> None:
        """See `Together`."""
        self._leg_in(row)[0].be_alone()

    def leave(self, row: int) -> None:
        """See `Together`."""
        untaken = self._settle(row)
        self._count(row, self._playouts.leave)
        leg, parts = self._leg_in(row)
        parts.feed.catch_up(self._unarrived(row), int(self._next_offset[row]))
        self._came[row] = 0
        self._in[row] = None
        self._sends[row] = _sends_nothing
        self._is_used[row] = False
        heapq.heappush(self._free, row)
        visits = self._alone[leg] = self._legs[leg]
        is_short = self._ticks - visits.came_at < SHORT_STAY
        visits.wait = min(2 * visits.wait, MAX_WAIT) if is_short else ASKED_EVERY
        visits.asked_at = self._ticks + visits.wait
        parts.link.part(untaken)
        if row in self._put:
            self._put.remove(row)
            leg.put(int(self._next_offset[row]) // self._samples, self._hears[row])

    def _unarrived(self, row: int) -> list[FedFrame]:
        """Return the frames that were sent from here and may be asked for again."""
        samples, end = self._samples, int(self._next_offset[row])
        first = int(self._kept_from[row])
        return [
            FedFrame(
                0,
                offset,
                offset + samples,
                self._kept[row, offset // samples % _KEPT].astype("<i2", copy=False).tobytes(),
                False,
            )
            for offset in range(first - first % samples, end, samples)
        ]


def _sends_nothing(messages: bytes) -> bool:
    return False
