"""A jitter buffer between a sender and a tick, in virtual time, written and read as text.

A script has a word for each tick: the numbers of the packets that arrive 10 ms before it, with
commas between them, or `-` for none. What was heard has a word for each tick too: the number of
the packet, `x` for lost, `.` for silence, with a `+` between the pieces of one tick.

Every stream begins just before both wraps: of sequence numbers at 65535, of timestamps at 2^32.
"""

from __future__ import annotations

from telcoflow_server.media.jitter import JitterBuffer
from telcoflow_server.media.pieces import JitterStatistics, Lost, Packet, Piece

FIRST_SEQ = 65_533
FIRST_TIMESTAMP = 2**32 - 3 * 160
TICK_S = 0.02
TRANSIT_S = 0.01


class Line:
    """One leg. Packet n is due n packet lengths after packet 0."""

    def __init__(self, ptime_ms: int = 20, clock_rate_hz: int = 8_000) -> None:
        self.buffer: JitterBuffer[int] = JitterBuffer(clock_rate_hz)
        self.length = ptime_ms * clock_rate_hz // 1000
        self.tick = 20 * clock_rate_hz // 1000
        self.ticks = 0
        self.origin = 0  # number of the packet that scripts call 0
        self.pieces: list[tuple[Piece[int], ...]] = []
        self.places: list[int] = []
        """What was played: the place of each unit, from 0; -1 for lost, -2 for silence."""

    @property
    def now_s(self) -> float:
        """When the next tick is due."""
        return self.ticks * TICK_S

    @property
    def statistics(self) -> JitterStatistics:
        return self.buffer.statistics()

    @property
    def heard(self) -> str:
        return " ".join("+".join(map(self._word, tick)) for tick in self.pieces)

    def put(self, number: int, skipped: int = 0, before_s: float = TRANSIT_S) -> None:
        """Have a packet arrive shortly before the next tick.

        Args:
            number: Of the packet, which is also its payload.
            skipped: Units by which its timestamp is further than its number says.
            before_s: How long before the tick.
        """
        number += self.origin
        timestamp = FIRST_TIMESTAMP + number * self.length + skipped
        arrival_s = self.now_s - before_s
        self.buffer.put(FIRST_SEQ + number, timestamp % 2**32, arrival_s, number, self.length)

    def pause(self, number: int, comfort: bytes = b"\x28", skipped: int = 0) -> None:
        """Have a comfort noise packet arrive in place of packet `number`."""
        number += self.origin
        timestamp = FIRST_TIMESTAMP + number * self.length + skipped
        self.buffer.pause(FIRST_SEQ + number, timestamp % 2**32, self.now_s - TRANSIT_S, comfort)

    def play(self, script: str, skipped: int = 0) -> None:
        """Run a tick for each word, its packets put before it."""
        for word in script.split():
            for number in word.split(",") if word != "-" else ():
                self.put(int(number), skipped)
            self.run()

    def run(self, ticks: int = 1, is_silent: bool = False) -> None:
        """Run ticks; with `is_silent` what they return is told to be silent, and so left out."""
        for _ in range(ticks):
            pieces = self.buffer.take(self.now_s)
            self.ticks += 1
            if is_silent:
                pieces = self.buffer.shorten() or pieces
            self.pieces.append(pieces)
            assert sum(piece.length_units for piece in pieces) == self.tick
            for piece in pieces:
                self._play(piece)

    def settle(self, packets: int = 300) -> None:
        """Play a perfect stream for a while: its depth is 70 ms, more than the 40 it needs.

        Scripts and what is heard begin after it: packet 0 is the next one to be put, and three
        from before it, -3 to -1, are still to be played.
        """
        for number in range(packets):
            self.put(number)
            self.run()
        self.origin = packets
        self.forget()

    def forget(self) -> None:
        """Read only what is heard from here on."""
        self.pieces.clear()
        self.places.clear()

    def _play(self, piece: Piece[int]) -> None:
        if isinstance(piece, Packet):
            start = (piece.payload - self.origin) * self.length + piece.offset_units
            self.places += range(start, start + piece.length_units)
        else:
            self.places += [-1 if isinstance(piece, Lost) else -2] * piece.length_units

    def _word(self, piece: Piece[int]) -> str:
        if isinstance(piece, Packet):
            return str(piece.payload - self.origin)
        return "x" if isinstance(piece, Lost) else "."


def numbers(first: int, end: int) -> str:
    """Return the script in which these packets come one a tick."""
    return " ".join(map(str, range(first, end)))
