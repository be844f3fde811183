"""RTP legs together: what all phones send in a tick, and are sent, as a few operations on arrays.

Not here: one leg (`rtp.py`), sockets (`udp.py`), the arrays (`rtp/packet_array.py`,
`media/jitter_array.py`). Implements "Many legs at once" of docs/explanation/phones.md.

Nothing here decides anything about a stream. Legs whose packets come in turn, in time and in
packets of 20 ms of G.711 are kept here, and that is what nearly all do nearly always; whatever
else happens to a leg, it goes on by itself, from where it is, in the same tick.
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from telcoflow_server.codec.g711 import A_LAW, MU_LAW
from telcoflow_server.legs.rtp import RtpLeg
from telcoflow_server.legs.rtp_parts import Datagrams, LegParts
from telcoflow_server.legs.rtp_terms import Address, Send
from telcoflow_server.media.jitter_array import JitterArray
from telcoflow_server.rtp.packet_array import PACKET, PACKET_UNITS, ReceiverArray, Rows, SenderArray

ROWS = 1_024
"""Legs that may be together, more than a core can carry; memory is taken by those that are."""
LEAST_LEGS = 12
"""With fewer, an operation on an array costs more than it saves."""
ASKED_EVERY = 4
"""Ticks from one look to the next whether a leg that is alone may be with the others."""

_LAWS = (MU_LAW, A_LAW)


class RtpArray:
    """All RTP legs of a node, and those of them that are kept together.

    Every tick: `receive` what has come, `begin`, then `take` and `put` of each leg, then `finish`.
    One thread; nothing waits.
    """

    def __init__(self) -> None:
        self._legs: dict[int, RtpLeg] = {}  # by port
        self._alone: dict[int, RtpLeg] = {}  # of them
        self._free = list(range(ROWS))  # a heap: low rows first, so that they share cache lines
        self._in: list[tuple[int, RtpLeg, LegParts] | None] = [None] * ROWS
        self._rows: dict[int, int] = {}  # by port
        self._sources: list[Address | None] = [None] * ROWS
        self._ways: list[tuple[Send, Address]] = [(_send_nothing, ("", 0))] * ROWS
        self._is_used = np.zeros(ROWS, np.bool_)
        self._laws = np.zeros(ROWS, np.uint8)
        self._receivers = ReceiverArray(ROWS)
        self._buffers = JitterArray(ROWS)
        self._senders = SenderArray(ROWS)
        self._said = np.zeros((ROWS, PACKET_UNITS), np.int16)
        self._hears = np.zeros((ROWS, PACKET_UNITS), np.int16)
        self._taken: list[int] = []  # rows, in this tick
        self._put: list[int] = []
        self._now_s = 0.0
        self._ticks = 0

    @property
    def together(self) -> int:
        """How many legs are kept together now."""
        return ROWS - len(self._free)

    def add(self, port: int, leg: RtpLeg) -> None:
        """Take what comes on a port for a leg."""
        self._legs[port] = self._alone[port] = leg

    def remove(self, port: int) -> None:
        """A port is no leg's any more. Idempotent."""
        leg = self._legs.pop(port, None)
        if leg is not None:
            leg.be_alone()
            self._alone.pop(port, None)

    # --- a tick ----------------------------------------------------------------------------

    def receive(self, datagrams: Datagrams) -> None:
        """Give what came on each port to its leg. Never raises: see `RtpLeg.receive`."""
        rows: list[int] = []
        picked: list[int] = []
        rows_by_port, sources, arrived_s = self._rows, self._sources, datagrams.arrived_s
        for at, (port, data, source) in enumerate(
            zip(datagrams.ports, datagrams.data, datagrams.sources, strict=True)
        ):
            row = rows_by_port.get(port)
            if row is not None and len(data) == PACKET.itemsize and source == sources[row]:
                rows.append(row)
                picked.append(at)
                continue
            leg = self._legs.get(port)
            if leg is not None:  # else nothing is agreed on yet
                leg.receive(data, source, float(arrived_s[at]))
        if rows:
            self._receive_together(np.array(rows), picked, datagrams)

    def _receive_together(self, rows: Rows, picked: list[int], datagrams: Datagrams) -> None:
        data = datagrams.data
        packets = np.frombuffer(b"".join([data[at] for at in picked]), PACKET)
        arrived_s = datagrams.arrived_s[picked]
        is_next = self._receivers.are_next(rows, packets)
        is_taken = self._buffers.put(rows, is_next, arrived_s, packets["payload"])
        if is_taken.all():
            self._receivers.receive(rows, arrived_s)
            return
        self._receivers.receive(rows[is_taken], arrived_s[is_taken])
        for index in np.flatnonzero(~is_taken):
            at = picked[index]
            leg = self._legs[datagrams.ports[at]]
            leg.receive(data[at], datagrams.sources[at], float(datagrams.arrived_s[at]))

    def begin(self, now_s: float) -> None:
        """Make the frames of the tick at `now_s` that legs say."""
        self._now_s = now_s
        self._taken.clear()  # of a tick that failed before its end, as what is below
        self._put.clear()
        rows = np.flatnonzero(self._is_used)
        if not rows.size:
            return
        is_due = self._buffers.are_due(rows, now_s)
        if not is_due.all():
            for row in rows[~is_due].tolist():
                self._leg_in(row)[1].be_alone()
            rows = rows[is_due]
        payloads = self._buffers.next_payloads(rows)
        laws = self._laws[rows]
        for number, law in enumerate(_LAWS):
            its = laws == number
            if its.all():
                self._said[rows] = law.decode_array(payloads)
                break
            self._said[rows[its]] = law.decode_array(payloads[its])

    def take(self, row: int, out: NDArray[np.int16]) -> None:
        """See `Together`."""
        out[:] = self._said[row]
        self._taken.append(row)

    def put(self, row: int, frame: NDArray[np.int16]) -> None:
        """See `Together`."""
        self._hears[row] = frame
        self._put.append(row)

    def finish(self) -> None:
        """Send what legs hear, and see who may be together from the next tick on."""
        if self._taken:
            self._buffers.play(np.array(self._taken), self._now_s)
            self._taken.clear()
        if self._put:
            self._send(self._put)
            self._put.clear()
        self._ticks += 1
        if len(self._legs) >= LEAST_LEGS and self._alone and self._free:
            # Ports are even. Some at each tick: after a report on all legs, all are alone.
            asked = [port for port in self._alone if (port // 2 + self._ticks) % ASKED_EVERY == 0]
            for port in asked:
                self._enter(port, self._alone[port])

    def _send(self, sent: list[int]) -> None:
        rows = np.array(sent)
        frames, laws = self._hears[rows], self._laws[rows]
        codes = MU_LAW.encode_array(frames)
        its = laws != 0
        if its.any():
            codes[its] = A_LAW.encode_array(frames[its])
        data = self._senders.send(rows, codes, self._now_s)
        size = PACKET.itemsize
        for begin, row in zip(range(0, len(data), size), sent, strict=True):
            send, destination = self._ways[row]
            send(data[begin : begin + size], destination)

    # --- in and out ------------------------------------------------------------------------

    def _leg_in(self, row: int) -> tuple[int, RtpLeg, LegParts]:
        one = self._in[row]
        assert one is not None, "a row is used by one leg until that leaves"
        return one

    def _enter(self, port: int, leg: RtpLeg) -> None:
        """Keep a leg here if nothing is the matter with it."""
        parts = leg.parts()
        if parts is None:
            return
        buffer, receiver = parts.hearing.steady(), parts.receiver.steady()
        sender = parts.sender.steady()
        if buffer is None or receiver is None or sender is None or receiver.pt != parts.pt:
            return
        row = heapq.heappop(self._free)
        self._buffers.enter(row, buffer)
        self._receivers.enter(row, receiver)
        self._senders.enter(row, parts.pt, parts.sender.ssrc, *sender)
        self._laws[row] = _LAWS.index(parts.law)
        self._sources[row] = parts.source
        self._ways[row] = parts.send, parts.destination
        self._rows[port] = row
        self._in[row] = port, leg, parts
        self._is_used[row] = True
        del self._alone[port]
        leg.join(self, row)

    def count(self, row: int) -> None:
        """See `Together`; for the leg."""
        if row in self._taken:
            self._buffers.play(np.array([row]), self._now_s)
            self._taken.remove(row)
        if row in self._put:
            self._send([row])
            self._put.remove(row)
        parts = self._leg_in(row)[2]
        came, arrived_s = self._receivers.count(row, parts.receiver)
        if came:
            parts.latch.note_admitted(came)
            parts.deadline.note_media(arrived_s)
        self._buffers.count(row, parts.hearing.buffer)
        self._senders.count(row, parts.sender)

    def leave(self, row: int) -> None:
        """See `Together`; for the leg."""
        self.count(row)
        port, leg, parts = self._leg_in(row)
        counted = self._buffers.leave(row)
        parts.hearing.catch_up(counted.now, counted.came, counted.played, counted.last)
        self._in[row] = self._sources[row] = None
        self._ways[row] = _send_nothing, ("", 0)
        del self._rows[port]
        self._is_used[row] = False
        heapq.heappush(self._free, row)
        self._alone[port] = leg


def _send_nothing(data: bytes, destination: Address) -> None:
    """Stand where nobody is."""
