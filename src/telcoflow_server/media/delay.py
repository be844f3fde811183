"""How late packets come, and so how deep a jitter buffer must be.

Not here: the packets (`jitter.py`), the jitter that RTCP reports (RFC 3550 §6.4.1), which is a
mean and says nothing of the few late packets a depth is chosen for.
Implements "How deep" of docs/explanation/jitter-buffer.md.

A packet's transit is its arrival less its timestamp, both in units of the RTP clock. Its zero is
arbitrary; only what a transit exceeds the fastest one by means something: the relative delay.
"""

from __future__ import annotations

from telcoflow_sdk.audio.format import TICK_MS
from telcoflow_server.media.steady import SteadyDelay

MIN_DEPTH_MS = 40
"""One packet, and another that is in time but out of order."""
MAX_DEPTH_MS = 200
"""More than half of what a mouth-to-ear delay may be before people talk over each other
(ITU-T G.114: 400 ms)."""
START_DEPTH_MS = 60
"""Before anything is measured: what an ordinary wireless network needs."""
MEASURED_PACKETS = 50
"""From so many on, one second, the measurement is believed when it asks for less than the start."""
LATE_PERCENT = 2
"""The depth grows when more packets exceed the measured delay; the packet on top takes most."""
LATE_PERCENT_AFTER_FALL = 1
"""It falls when no more than these would: a network that stalls every few seconds keeps what it
needs, and is not followed up and down."""

BIN_MS = 2
"""How finely delays are told apart."""
BINS = MAX_DEPTH_MS // BIN_MS + 1
"""The last one: everything beyond."""
WEIGHT = 64
"""Of a new packet: halving integers then loses nothing that matters."""
_HALF_LIFE_PACKETS = 500
"""Ten seconds: what a burst asked for is forgotten in half a minute."""
_WINDOW_PACKETS = 200
"""The fastest packet is looked for in the last 4 to 8 s. A clock that is wrong by 200 ppm moves
1.6 ms in that time, less than a bin."""


class RelativeDelay:
    """The distribution of one stream's relative delay, recent packets counting most.

    Args:
        clock_rate_hz: Of the RTP timestamps, a multiple of 1000.

    Attributes:
        fastest_units: The least transit of late; None before the first packet. To be read only.
    """

    def __init__(self, clock_rate_hz: int) -> None:
        self._units_per_ms = clock_rate_hz // 1000
        self._bin_units = self._units_per_ms * BIN_MS
        self._least = MIN_DEPTH_MS * self._units_per_ms
        self._most = MAX_DEPTH_MS * self._units_per_ms
        self._bins = [0] * BINS
        self._total = 0
        self._edge = 0  # the bin of the wanted percentile
        self._beyond = 0  # weight of the bins after it
        self._packets = 0
        self.fastest_units: int | None = None  # in this window and the one before
        self._window_fastest: int | None = None
        self._window_packets = 0

    def add(self, transit_units: int) -> bool:
        """Count a packet's transit, and move the percentile's edge to where it now is.

        Late ones too: the depth is for them.

        Returns:
            Whether `depth_units` says something else now.
        """
        edge = self._edge
        fastest, window_fastest = self.fastest_units, self._window_fastest
        if window_fastest is None or transit_units < window_fastest:
            self._window_fastest = window_fastest = transit_units
        if fastest is None or transit_units < fastest:
            self.fastest_units = fastest = transit_units
        self._window_packets += 1
        if self._window_packets == _WINDOW_PACKETS:
            self._lower((window_fastest - fastest) // self._bin_units)
            self.fastest_units = fastest = window_fastest
            self._window_fastest = None
            self._window_packets = 0
        at = (transit_units - fastest) // self._bin_units
        if at >= BINS:
            at = BINS - 1
        self._bins[at] += WEIGHT
        self._total += WEIGHT
        if at > self._edge:
            self._beyond += WEIGHT
        self._packets += 1
        if self._packets % _HALF_LIFE_PACKETS == 0:
            self._halve()
        while self._beyond * 100 > self._total * LATE_PERCENT:
            self._edge += 1
            self._beyond -= self._bins[self._edge]
        few = self._total * LATE_PERCENT_AFTER_FALL // 100
        while self._edge and self._beyond + self._bins[self._edge] <= few:
            self._beyond += self._bins[self._edge]
            self._edge -= 1
        return self._edge != edge or self._packets == MEASURED_PACKETS

    def restart(self, transit_units: int | None = None) -> None:
        """Forget the fastest transit; the distribution stays, for the network is the same.

        Args:
            transit_units: What to take for the fastest one; None: the next packet's.
        """
        self.fastest_units = transit_units
        self._window_fastest = transit_units
        self._window_packets = 0

    def depth_units(self, packet_units: int) -> int:
        """Return how long after the fastest transit a packet should be played.

        The late percentile plus one packet, at least a tick: a packet may begin anywhere in the
        tick that it is needed for.

        Args:
            packet_units: Length of the stream's packets.
        """
        one_packet = max(packet_units, TICK_MS * self._units_per_ms)
        wanted = (self._edge + 1) * self._bin_units + one_packet
        if self._packets < MEASURED_PACKETS:
            wanted = max(wanted, START_DEPTH_MS * self._units_per_ms)
        return min(max(wanted, self._least), self._most)

    def steady(self) -> SteadyDelay | None:
        """Return what there is to go on from elsewhere; None while the start depth may apply."""
        if self.fastest_units is None or self._packets < MEASURED_PACKETS:
            return None
        of_window = _WINDOW_PACKETS - self._window_packets
        of_half_life = _HALF_LIFE_PACKETS - self._packets % _HALF_LIFE_PACKETS
        return SteadyDelay(
            self.fastest_units,
            self._window_fastest,
            min(of_window, of_half_life) - 1,
            self._bins.copy(),
            self._total,
            self._edge,
            self._beyond,
        )

    def catch_up(self, now: SteadyDelay, packets: int) -> None:
        """Go on from what elsewhere became of `steady`, so many packets later."""
        self.fastest_units = now.fastest_units
        self._window_fastest = now.window_fastest_units
        self._window_packets += packets
        self._packets += packets
        self._bins = now.bins
        self._total = now.total
        self._beyond = now.beyond

    def _lower(self, bins: int) -> None:
        """Count all delays as less by so many bins: the fastest packet has become slower.

        Without this, a longer route would look like jitter for half a minute.
        """
        if bins:
            kept = self._bins[bins:]
            self._bins = [sum(self._bins[: bins + 1]), *kept[1:], *([0] * bins)][:BINS]
            self._edge = max(self._edge - bins, 0)
            self._beyond = sum(self._bins[self._edge + 1 :])

    def _halve(self) -> None:
        """Let what was counted so far count half."""
        self._bins = bins = [weight // 2 for weight in self._bins]
        self._total = sum(bins)
        self._beyond = sum(bins[self._edge + 1 :])
