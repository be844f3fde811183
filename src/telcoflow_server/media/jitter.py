"""The jitter buffer of one leg: packets in as the network brings them, one tick of audio time out.

Not here: how deep it must be (`delay.py`), decoding, concealing and comfort noise (`hearing.py`
puts them together), the RTP header and what RTCP reports (`rtp/`).
Implements docs/explanation/jitter-buffer.md.

Places and lengths are integers in units of the RTP clock, and end `_units`. The playout head is
the place of the next unit to be played. A tick takes exactly one tick of units, whatever the
length of the packets, so what is decoded once may be played over several ticks.
"""

from __future__ import annotations

from telcoflow_server.media.delay import MAX_DEPTH_MS
from telcoflow_server.media.jitter_state import JitterState
from telcoflow_server.media.pieces import (
    JitterStatistics,
    Lost,
    P,
    Packet,
    Piece,
    Silence,
)
from telcoflow_server.media.timeline import Arrival
from telcoflow_server.media.waiting import Audio, Pause, covers, insert

MAX_HELD_PACKETS = 128
"""As much in packets of 2.5 ms; more are not sent to be played."""
STOPPED_MS = 200
"""With nothing there for so long, the far end has paused without saying so: what is still under
way cannot be that late, and what is concealed has faded to nothing."""


class JitterBuffer(JitterState[P]):
    """One leg's packets between the network and the tick.

    The head advances by one tick per take, whether or not audio was there, so delay cannot creep;
    what it does besides is counted: grow, shorten, restart.

    Bounded by `MAX_HELD_MS` and `MAX_HELD_PACKETS`: the oldest is discarded. One thread.

    Args:
        clock_rate_hz: Of the RTP timestamps: 8000 for G.711 and for G.722, 48000 for Opus.

    Attributes:
        wants_silence: Whether the depth is off its target: then call `shorten` if it is silent.

    Raises:
        ValueError: the clock rate is no positive multiple of 1000.
    """

    def put(
        self, seq: int, timestamp: int, arrival_s: float, payload: P, length_units: int
    ) -> None:
        """Take a packet with audio. Never raises: whatever is wrong with it is counted.

        The marker bit is not asked for: a pause shows in numbers that follow each other under
        timestamps that do not, also with a sender that never sets it or always does.

        Args:
            seq: Extended sequence number (RFC 3550 A.1).
            timestamp: As in the header, 32 bits; wraps are followed here.
            arrival_s: Monotonic time, the clock of `take`.
            payload: Opaque; returned by `take`.
            length_units: Of its audio, at least 1: timestamp units, by what the codec says
                of the payload (for G.711 and G.722 its bytes).
        """
        line, delay, numbers = self._line, self._delay, self._numbers
        arrival = round(arrival_s * self._rate_hz)
        place = line.place(timestamp, arrival, delay.fastest_units)
        if place is None:
            self._meet_stray(Arrival(seq, timestamp, arrival_s, payload, length_units))
            return
        if line.stray is not None:
            line.forget_stray()
        self._counts.received += 1
        if not numbers.note(seq):
            self._counts.duplicate += 1
            return
        if delay.add(arrival - place) or length_units != self._packet_length:
            self._packet_length = length_units
            self._target = delay.depth_units(length_units)
        line.newest_place = place
        if self._is_playing and place < self._played_until:
            self._counts.late += 1
            return
        if seq != numbers.highest and (not self._is_playing or place >= self._head):
            self._counts.reordered += 1
        # Not `Audio(...)`: that is a function in Python, and this is for every packet.
        new = tuple.__new__(Audio, (place, place + length_units, seq, payload))
        held = self._held
        if held and not (
            held[-1].place <= place <= held[0].place + self._max_held
            and len(held) < MAX_HELD_PACKETS
        ):
            self._hold(new)
        else:  # nearly always: at the end, where there is room
            held.append(new)

    def pause(self, seq: int, timestamp: int, arrival_s: float, comfort: bytes) -> None:
        """Take a comfort noise packet: from its timestamp on, what does not come is not missing.

        Args:
            seq: As in `put`.
            timestamp: As in `put`.
            arrival_s: As in `put`.
            comfort: The payload (RFC 3389), returned with the silence.
        """
        arrival = round(arrival_s * self._rate_hz)
        place = self._line.place(timestamp, arrival, self._delay.fastest_units)
        if place is None:
            self._counts.discarded += 1
            return
        if not self._numbers.note(seq):
            self._counts.duplicate += 1
            return
        if self._line.newest_place is None:  # the stream begins with a pause
            self._comfort = comfort
            return
        if not self._is_playing or place >= self._played_until:
            self._hold(Pause(place, place, seq, comfort))

    def pass_over(self, seq: int) -> None:
        """Note that a number belongs to no audio (DTMF, RFC 4733): it is not missing."""
        self._numbers.pass_over(seq)

    def take(self, now_s: float) -> tuple[Piece[P], ...]:
        """Return what must be played for the tick at `now_s`: one tick of units in all.

        Called once per tick; never waits. Usually one piece; more where packets and ticks do
        not begin together (packets of 10 or 30 ms), or a packet's end is missing.

        Args:
            now_s: Time the tick is due, seconds, not when it came to run: then a late
                tick does not look like a deep buffer. Must not decrease. What was to be played in
                ticks that were skipped is left out.

        Returns:
            Pieces, in order:
            Packet: audio that is due.
            Lost: it has not arrived, or the depth grows; conceal it.
            Silence: the buffer is filling, or the far end has paused.

        Raises:
            ValueError: `now_s` is before the previous call's.
        """
        now = round(now_s * self._rate_hz)
        if now < self._now:
            raise ValueError(f"time of the tick went back by {self._now - now} units")
        skipped = now - self._now - self._tick if self._is_playing else 0
        self._now = now
        if not self._is_playing and not (self._held and self._start()):
            return (Silence(self._tick, self._comfort),)
        was_silent, self._is_silent = self._is_silent, False
        fastest = self._delay.fastest_units
        assert fastest is not None  # as in `_depth`
        excess = now - fastest - self._head - self._target
        if skipped >= self._tick <= excess:
            # Played late, a stall would become a delay that stays as long as nobody pauses. And
            # nothing is concealed: to do that for all legs at once would be the next stall.
            head = self._head
            self._cut(min(skipped, excess))
            excess -= self._head - head
        if 0 <= excess < self._tick and self._played_until >= self._head:
            self.wants_silence = False  # as deep as it should be, and nothing to go back to
        elif self._holds_back(excess, was_silent=was_silent):
            return (self._instead(self._tick, self._head),)
        return self._advance()

    def shorten(self) -> tuple[Piece[P], ...] | None:
        """Tell that what the last `take` returned is silent; ask what to play instead.

        To be called after decoding, if it `wants_silence`. So exactly what was found silent is
        left out, never the beginning of a word, and a decoder with a memory has seen it all.

        Returns:
            None: play it. Otherwise the depth is above its target: the pieces of the tick after,
            as from `take`, to be played instead.
        """
        self._is_silent = True
        is_deep = self._is_playing and self._depth() >= self._target
        if not is_deep or not (self._is_paused or covers(self._held, self._head)):
            return None
        self._counts.shortened_units += self._tick
        return self._advance()

    def restart(self) -> None:
        """Begin a new time line: another SSRC, or another codec. What is held is discarded.

        The depth stays what the network asked for; all counters go on.
        """
        self._line.restart()
        self._counts.discarded += len(self._held) - self._is_under_way
        self._counts.restarts += 1
        self._begin()
        self._delay.restart()

    def statistics(self) -> JitterStatistics:
        """Return all counters; they only grow, but for `lost` when a packet is late instead."""
        depth = self._depth() + self._tick if self._is_playing else 0  # at the tick to come
        return self._counts.statistics(
            depth, self._target, self._line.discarded, self._units_per_ms
        )

    def _meet_stray(self, stray: Arrival[P]) -> None:
        """Begin a new time line with a packet that is elsewhere, if the one before agrees."""
        before = self._line.meet_stray(stray)
        if before is not None:
            self.restart()
            self.put(*before)
            self.put(*stray)

    def _hold(self, new: Audio[P] | Pause) -> None:
        """Put a packet in its place among those that wait, and make room for it."""
        held = self._held
        insert(held, new)
        while held[-1].place - held[0].place > self._max_held or len(held) > MAX_HELD_PACKETS:
            self._discard_first()

    def _discard_first(self) -> None:
        """Give up the oldest packet for want of room; a pause begins."""
        if isinstance(self._held[0], Pause):
            return self._leave_behind()
        self._counts.discarded += not self._is_under_way
        self._counts.missing += self._numbers.play(self._pop().seq)

    def _depth(self) -> int:
        """Return how long ago the head's audio could have arrived."""
        fastest = self._delay.fastest_units
        assert fastest is not None  # only a packet with audio starts the head
        return self._now - fastest - self._head

    def _start(self) -> bool:
        """Set the head to the first packet, once that has waited for the depth."""
        self._head = self._played_until = self._held[0].place
        self._is_playing = self._depth() >= self._target
        return self._is_playing

    def _holds_back(self, excess: int, *, was_silent: bool) -> bool:
        """Bring the depth nearer to its target; return whether the head stays for this tick."""
        if self._target + excess > self._max_held:
            self._cut(excess)
            return True  # what is concealed joins the two sides of the cut
        shortfall = -excess - self._step_back(excess)
        self.wants_silence = shortfall > 0 or shortfall <= -self._tick
        if shortfall <= 0 or (shortfall <= self._tick and not was_silent):
            return False
        # Two ticks at a time at most, a loss included: short repetitions are heard less than long
        # ones. What is missing anyway becomes the growth, if it comes, by a step back.
        if self._run >= 2 or not (self._is_paused or covers(self._held, self._head)):
            return False
        self._counts.grown_units += self._tick
        return True

    def _step_back(self, excess: int) -> int:
        """Go back to late audio that still continues what was played last; return how far.

        Where the depth has to grow, this grows it by what was concealed already, and nothing is
        lost. Where nothing else is there to be played, it ends the gap. Otherwise the packet is
        one of the few that the depth leaves out, and time goes on without it.
        """
        if not self._held or isinstance(self._held[0], Pause):
            return 0
        start = max(self._held[0].place, self._played_until)
        back = self._head - start
        if back <= 0 or (excess >= 0 and covers(self._held, self._head)):
            return 0
        self._head = start
        self._counts.grown_units += back
        if self._target + excess + back > MAX_DEPTH_MS * self._units_per_ms:
            # Not a late packet but a later stream, such as one that stopped and went on with its
            # timestamps: its time is counted from here.
            self._delay.restart(self._now - start - self._target)
            return -excess
        return back

    def _cut(self, excess: int) -> None:
        """Move the head forward over the oldest audio, by whole ticks."""
        self._head += excess - excess % self._tick
        self._played_until = self._head
        while self._held and self._held[0].end <= self._head:
            self._discard_first()

    def _advance(self) -> tuple[Piece[P], ...]:
        """Return what the next tick is made of, and move the head past it."""
        held = self._held
        until = self._head + self._tick
        pieces: list[Piece[P]] = []
        while (head := self._head) < until:
            while held and held[0].end <= head:
                self._leave_behind()
            first = held[0] if held else None
            if first is None or first.place > head:
                piece = self._absent(first, until - head)
                pieces.append(piece)
                self._head += piece.length_units
                continue
            assert isinstance(first, Audio)  # a pause has no length, so the head is never in one
            is_new = not self._is_known
            if not self._is_under_way:
                self._counts.missing += self._numbers.play(first.seq)
            end = first.end
            if end > until:
                end = until
                self._is_under_way = self._is_known = True
            else:
                self._is_under_way = self._is_known = False
                del held[0]
            self._head = self._played_until = end
            self._is_paused = False
            self._comfort = None
            self._run = self._run_units = 0
            fields = first.payload, head - first.place, end - head, is_new
            pieces.append(tuple.__new__(Packet, fields))  # why not by name: see `put`
        return tuple(pieces)

    def _absent(self, first: Audio[P] | Pause | None, wanted: int) -> Piece[P]:
        """Return what is heard up to the first packet held, at most `wanted`."""
        if first is not None:
            return self._before(first, min(wanted, first.place - self._head))
        if self._run_units >= STOPPED_MS * self._units_per_ms:
            self._is_paused = True
        return self._instead(wanted, self._head + wanted)

    def _pop(self) -> Audio[P] | Pause:
        self._is_under_way = self._is_known = False
        return self._held.pop(0)

    def _leave_behind(self) -> None:
        """Begin the pause that the head has come to, or give up a packet that it has passed."""
        first = self._pop()
        if isinstance(first, Audio):
            self._counts.late += 1
            return
        self._counts.missing += self._numbers.play(first.seq)
        self._is_paused = True
        self._comfort = first.comfort

    def _before(self, first: Audio[P] | Pause, wanted: int) -> Piece[P]:
        """Return what is to be heard before a packet that is not due yet.

        Of the time up to it, as much is lost as numbers are missing; the rest was never sent.
        """
        missing = self._numbers.missing_before(first.seq)
        lost = self._played_until + missing * self._packet_length - self._head
        if self._is_paused or lost <= 0:
            return self._silence(wanted)
        length = min(wanted, lost)
        return self._lost(length, self._head + length)

    def _instead(self, length: int, until: int) -> Piece[P]:
        """Return what is heard while nothing is there; `until` is where the head is after it."""
        return self._silence(length) if self._is_paused else self._lost(length, until)

    def _lost(self, length: int, until: int) -> Lost[P]:
        self._run += 1
        self._run_units += length
        self._counts.concealed_units += length
        first = self._held[0] if self._held else None
        if not isinstance(first, Audio) or first.place != until:
            return Lost(length, self._run)
        is_new = not self._is_known
        self._is_known = True
        # What was lost before it stays lost: the decoder has gone past it.
        self._played_until = until
        return Lost(length, self._run, first.payload, is_new)

    def _silence(self, length: int) -> Silence:
        self._run = self._run_units = 0
        return Silence(length, self._comfort)
