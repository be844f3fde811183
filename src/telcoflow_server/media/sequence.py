"""Which sequence numbers of a stream have been seen, and how many are missing between two.

Not here: extending 16 bits (`rtp/`), when a packet is too late (`jitter.py`).
Implements the counts of docs/explanation/jitter-buffer.md.
"""

from __future__ import annotations

WINDOW = 256
"""Numbers remembered: five seconds of packets, many times what a jitter buffer holds."""
MAX_DROPOUT = 3_000
"""Numbers that may be lost in a row (RFC 3550 A.1: a minute of packets)."""
_MASK = (1 << WINDOW) - 1


class SequenceNumbers:
    """The extended sequence numbers of one time line, as bits behind the highest one.

    Attributes:
        highest: The number noted that is above all others, of late; None before the first. To be
            read only.
    """

    def __init__(self) -> None:
        self.highest: int | None = None
        self._seen = 0  # bit n: the highest less n
        self._passed = 0  # likewise: seen, and of no audio
        self._played: int | None = None

    def note(self, seq: int) -> bool:
        """Note that a number came; return whether for the first time."""
        highest = self.highest
        if highest is None or not -WINDOW < seq - highest <= MAX_DROPOUT:
            # The first one, or so far off that the sender has begun to count anew.
            self.highest = seq
            self._seen = 1
            self._passed = 0
            self._played = None
            return True
        ahead = seq - highest
        if ahead > 0:
            self.highest = seq
            kept = ahead if ahead < WINDOW else WINDOW
            self._seen = (self._seen << kept | 1) & _MASK
            if self._passed:
                self._passed = self._passed << kept & _MASK
            return True
        bit = 1 << -ahead
        is_new = not self._seen & bit
        self._seen |= bit
        return is_new

    def pass_over(self, seq: int) -> None:
        """Note that a number came and will not be played."""
        self.note(seq)
        assert self.highest is not None  # noted just now
        self._passed |= 1 << self.highest - seq

    def missing_before(self, seq: int) -> int:
        """Return how many numbers between the last played one and `seq` have no packet to play."""
        if self._played is None or self.highest is None:
            return 0
        between = seq - self._played - 1
        if between <= 0 or not self._passed:
            return max(between, 0)
        passed = self._passed >> max(self.highest - seq + 1, 0) & (1 << between) - 1
        return between - passed.bit_count()

    def play(self, seq: int) -> int:
        """Note that `seq` is being played; return `missing_before`."""
        played = self._played
        if played is not None and seq == played + 1:
            self._played = seq
            return 0
        missing = self.missing_before(seq)
        if played is None or seq > played:
            self._played = seq
        return missing

    @property
    def unplayed(self) -> int | None:
        """How far the highest number is above the last one played; None before one is."""
        if self.highest is None or self._played is None:
            return None
        return self.highest - self._played

    def catch_up(self, came: int, played: int) -> None:
        """Note that so many came, and so many were played, each the next one."""
        assert self.highest is not None  # as `unplayed` told
        assert self._played is not None
        kept = min(came, WINDOW)
        self.highest += came
        self._seen = (self._seen << kept | (1 << kept) - 1) & _MASK
        self._passed = self._passed << kept & _MASK
        self._played += played
