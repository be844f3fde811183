"""Playing one agent's audio: samples in, one frame a tick to the call.

Not here: asking for the audio (`credit.py`), how much is kept ahead (`lead.py`), the messages and
the link (`legs/agent.py`), resampling (`resample.py`). Implements "Positions", "Utterances" and
"Gaps" of docs/reference/wire-v2.md, and docs/explanation/flow-control.md.

Time is the tick passed to `take`; what arrives between two takes belongs to the later one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from telcoflow_sdk.audio.format import BYTES_PER_SAMPLE, TICK_MS, AudioFormat
from telcoflow_sdk.protocol.commands import GapCause
from telcoflow_server.media.gaps import Gap, GapLog, cause_of
from telcoflow_server.media.heard import Heard
from telcoflow_server.media.lead import Lead, LeadRange
from telcoflow_server.media.places import MarkName, PassedMark, Places
from telcoflow_server.media.playout_state import Phase, PlayedOn, PlayoutStatistics, SteadyPlayout
from telcoflow_server.media.routing import Audience

UTTERANCE_PAUSE_TICKS = 250 // TICK_MS
"""Silence longer than this is a pause of the speaker's, not a gap in the link: gaps in the audio
of text-to-speech engines between sentences start at about 300 ms."""


_IDLE, _HOLDING, _PLAYING, _STARVED = Phase  # to look up a member takes ten times as long

_PCM = np.dtype("<i2")


class Playout:
    """The audio of one agent between its link and its call's row.

    Conserves samples: everything appended is played once, in order, unless a clear drops it, and
    that is counted. What may be appended is for `credit.py` to say. One thread; never waits.

    Args:
        audio_format: Of the audio and of the frames.
        within: The range of the lead.

    Attributes:
        audience: Of the frame last taken; see `switch`. To be read only, like the others.
        generation: How many clears there were.
        received: Samples of this generation that were appended.
        played: Those of them that were played.
        end: Where this generation ends, once that is known.
        is_paused: Whether `take` plays nothing for now.
        gaps: Silences inside its utterances.
        lead: How much is kept ahead.
        heard: How much of the utterance in progress, or of the last one, was audible.
        passed_marks: Those that `take_passed_marks` would return.
    """

    def __init__(self, audio_format: AudioFormat, within: LeadRange | None = None) -> None:
        self.audience = Audience.CALLER
        self.generation = 0
        self.received = 0
        self.played = 0
        self.is_paused = False
        self._format = audio_format
        self._frame_samples = audio_format.frame_samples
        self._queue = bytearray()  # whole samples, from `played` on
        self._places = Places()
        self.lead = Lead(within or LeadRange())
        self.gaps = GapLog()
        self.heard = Heard()
        self.passed_marks: list[PassedMark] = []
        self._is_audible = True  # to the audience
        self._phase = _IDLE
        self.end: int | None = None
        self._now = 0  # ticks in which playback was not paused: waiting is measured in these
        self._paused_ticks = 0
        self._arrival: tuple[bool | None, int] | None = None  # first one since the last take
        self._has_more: bool | None = None  # what the last arrival said
        self._starved_with_more: bool | None = None  # and what the last one before the silence said
        self._last_arrival = 0
        self._held_since = 0
        self._silent_since: int | None = None  # inside an utterance
        self._gap_cause = GapCause.UNKNOWN
        self._frames = 0
        self._played_before = 0  # in earlier generations
        self._cleared_samples = 0

    # --- what comes from the link ----------------------------------------------------------

    def append(
        self, pcm: bytes | memoryview, *, more: bool | None = None, delay_ms: int = 0
    ) -> None:
        """Queue whole samples behind what is queued.

        Args:
            pcm: Little-endian signed 16-bit mono, an even number of bytes, not 0.
            more: Whether the client has more behind it; None when the protocol does not tell.
            delay_ms: From the credit to this audio, at the client.
        """
        if self._phase is _IDLE and not self._queue:
            self.heard.begin()  # now, not with the next tick: a clear may come before that
        self._queue += pcm
        self.received += len(pcm) // BYTES_PER_SAMPLE
        self._has_more = more
        if self._arrival is None:
            self._arrival = (more, delay_ms)

    def clear(self) -> int:
        """Drop what is queued, end the utterance, begin the next generation; resume playback.

        Returns:
            The samples dropped.
        """
        dropped = len(self._queue) // BYTES_PER_SAMPLE
        self._queue.clear()
        self._cleared_samples += dropped
        self.passed_marks += [PassedMark(name, None) for name in self._places.clear()]
        self._played_before += self.played
        self.generation += 1
        self.received = self.played = 0
        self.is_paused = False
        self.end = None if self.end is None else 0
        self._arrival = None
        self.heard.clear()
        self._finish_utterance()
        return dropped

    def switch(self, audience: Audience, offset: int) -> None:
        """Play what is behind `offset` to others; what is before it keeps its audience.

        The audio before the switch ends with a part frame padded with silence, so that the
        audience changes between two frames. A clear drops audio, never a switch.
        """
        self._places.add_switch(offset, audience)

    def mark(self, name: MarkName, offset: int) -> None:
        """Report in `take_passed_marks` when `offset` was played, or cleared before."""
        self._places.add_mark(offset, name)

    def end_utterance(self) -> None:
        """End the utterance behind what was appended."""
        self.heard.expect_ends()
        self._has_more = False
        self._places.add_end(self.received)

    def end_at(self, offset: int) -> None:
        """Nothing comes behind `offset`, which may itself still be to come."""
        self.end = max(offset, self.received)
        dropped = self._places.drop_after(self.end)
        self.passed_marks += [PassedMark(name, None) for name in dropped]

    def expect_no_more(self) -> None:
        """Nothing comes any more: what is here is all."""
        self.end_at(self.received)

    def pause(self) -> None:
        """Play nothing until `resume` or `clear`; nothing is lost or repeated."""
        self.is_paused = True

    def resume(self) -> None:
        """Go on where `pause` stopped."""
        self.is_paused = False

    # --- the tick --------------------------------------------------------------------------

    def take(self, tick: int, out: NDArray[np.int16]) -> bool:
        """Play one frame.

        Args:
            tick: Number of this tick on the call's axis; must increase.
            out: int16, shape (frame samples,); filled when there is something to play.

        Returns:
            True: `out` is a frame, a part frame's end padded with silence.
            False: nothing to play, or not yet; `out` is as it was.
        """
        if self.is_paused:
            self._paused_ticks += 1
            return False
        self._now = tick - self._paused_ticks
        first = self._places.first
        if first is not None and first <= self.played:
            self._reach_places(tick * TICK_MS)
        if self._arrival is not None:
            self._last_arrival = self._now
            if self._phase is not _PLAYING:
                self._note_arrival(*self._arrival)
            self._arrival = None
        elif self._phase is _IDLE and self._queue:
            self._begin()  # behind the end of another utterance
        # How much can be played without a stop, and whether that is all there will be.
        stop = self._places.boundary
        if stop is not None and stop <= self.received:
            available, is_all = stop - self.played, True
        else:
            available = self.received - self.played
            is_all = self.end is not None and self.end <= self.received
        if self._phase is _HOLDING and self._is_filled(available, is_all):
            self._phase = _PLAYING
        if available >= self._frame_samples:
            available = self._frame_samples
            is_due = self._phase is _PLAYING
        else:
            is_due = available > 0 and (is_all or self._is_tail_due())
        if is_due:
            self._phase = _PLAYING
            self._play(tick, available, out)
            return True
        if self._phase is _PLAYING:
            self._phase = _STARVED
            self._silent_since = self._now
            self._starved_with_more = self._has_more
        return False

    def take_passed_marks(self) -> list[PassedMark]:
        """Return the marks that were reached or cleared since this was last asked, in order."""
        passed, self.passed_marks = self.passed_marks, []
        return passed

    # --- with others -----------------------------------------------------------------------

    def hand_over(self) -> SteadyPlayout | None:
        """Let others go on with what is queued, while every tick plays a frame; between two ticks.

        Returns:
            None: it is not so simple; nothing has changed. Else nothing more may be asked of it
            than the counters, after `catch_up`, until what is queued is given back.
        """
        knows = (self.end, self._silent_since, self._arrival, self._places.first)
        if any(what is not None for what in knows) or self.passed_marks or self.gaps.has_untold:
            return None
        part_bytes = len(self._queue) % self._format.frame_bytes
        if self._phase is not _PLAYING or self.is_paused or part_bytes:
            return None
        queued = bytes(self._queue)
        self._queue.clear()
        return SteadyPlayout(
            generation=self.generation,
            received=self.received,
            played=self.played,
            heard=self.heard.samples,
            is_audible=self._is_audible,
            sounds_left=self.lead.sounds_left,
            has_more=bool(self._has_more),
            queued=queued,
        )

    def catch_up(self, on: PlayedOn) -> None:
        """Count what went on elsewhere as if it had been here."""
        samples = on.sounded * self._frame_samples
        self._now += on.sounded
        self._frames += on.sounded
        self.lead.note_sounds(on.sounded)
        self.played += samples
        if self._is_audible:
            self.heard.samples += samples
        self.received = on.received
        self._has_more = on.has_more
        if on.arrived_ticks_ago is not None:
            self._last_arrival = self._now - on.arrived_ticks_ago
        self._arrival = on.arrival
        self._queue += on.queued

    # --- what can be told ------------------------------------------------------------------

    @property
    def queued_samples(self) -> int:
        """Appended and not yet played."""
        return self.received - self.played

    @property
    def has_room_for_places(self) -> bool:
        """Whether another mark or switch can be kept."""
        return not self._places.is_full

    @property
    def has_switched(self) -> bool:
        """Whether the last switch was reached."""
        return not self._places.has_switches

    @property
    def is_finished(self) -> bool:
        """Whether the end is known, and everything before it was played or cleared."""
        return self.end is not None and self.played >= self.end

    @property
    def queued_ms(self) -> float:
        """Audio appended and not yet played."""
        return self._format.bytes_to_ms(self.queued_samples * BYTES_PER_SAMPLE)

    @property
    def heard_ms(self) -> float:
        """How much was heard or, right after a clear, how much of what was cleared."""
        return self._format.bytes_to_ms(self.heard.up_to_clear * BYTES_PER_SAMPLE)

    def statistics(self) -> PlayoutStatistics:
        """Return all counters; they only grow, but for the first three."""
        return PlayoutStatistics(
            queued_ms=self.queued_ms,
            lead_ms=self.lead.lead_ms,
            prefill_ms=self.lead.prefill_ms,
            frames=self._frames,
            played_samples=self._played_before + self.played,
            cleared_samples=self._cleared_samples,
            gaps=self.gaps.listed,
            gap_count=self.gaps.count,
            gap_ms=self.gaps.total_ms,
            gap_causes=dict(self.gaps.by_cause),
        )

    # --- how it is done --------------------------------------------------------------------

    def _reach_places(self, now_ms: float) -> None:
        """Do what was to be done at the place that playing has come to."""
        if self._places.take_end(self.played):
            self._finish_utterance()
        audience = self._places.take_switch(self.played)
        if audience is not None:
            self.audience = audience
            self._is_audible = audience is not Audience.NOBODY
        for _, name in self._places.take_marks(self.played):
            self.passed_marks.append(PassedMark(name, now_ms))

    def _note_arrival(self, more: bool | None, delay_ms: int) -> None:
        """Begin an utterance, or go on with one that had run dry."""
        if self._phase is _STARVED and self._silent_since is not None:
            cause = cause_of(self._starved_with_more, delay_ms)
            is_pause = self._now - self._silent_since > UTTERANCE_PAUSE_TICKS
            is_fault = cause in (GapCause.CLIENT_LATE, GapCause.NETWORK_LATE)
            if is_fault or not is_pause:
                self._phase = _HOLDING
                self._held_since = self._now
                self._gap_cause = cause
                self.lead.note_gap(cause)
                return
            self._phase = _IDLE
        if self._phase is _IDLE:
            self._begin()

    def _begin(self) -> None:
        """Hold the first frame of an utterance, or of more of it after a pause."""
        self._phase = _HOLDING
        self._held_since = self._now
        self._silent_since = None
        self.heard.begin()

    def _finish_utterance(self) -> None:
        self._phase = _IDLE
        self._silent_since = None
        self.heard.finish()

    def _is_filled(self, available: int, is_all: bool) -> bool:
        """Whether a whole first frame is there, with enough behind it or enough time gone."""
        if is_all:
            return True  # nothing can be added
        behind = available - self._frame_samples
        if behind < 0:
            return False
        held_ms = (self._now - self._held_since) * TICK_MS
        # An utterance whose second frame came along with the first is not made in real time;
        # what is behind it comes as fast as it is asked for.
        is_first = self._silent_since is None
        is_burst = held_ms == 0 and is_first and behind >= self._frame_samples
        return is_burst or self.lead.is_filled(
            self._format.bytes_to_ms(behind * BYTES_PER_SAMPLE), held_ms
        )

    def _is_tail_due(self) -> bool:
        """Whether a part frame is an end: its rest could have come by now."""
        return self._now - self._last_arrival >= self.lead.tail_ticks

    def _play(self, tick: int, samples: int, out: NDArray[np.int16]) -> None:
        if self._silent_since is None:
            self.lead.note_sound()
        else:
            self._close_gap(tick, self._silent_since)
        size = samples * BYTES_PER_SAMPLE
        out[:samples] = np.frombuffer(self._queue[:size], _PCM)
        if samples < self._frame_samples:
            out[samples:] = 0
        del self._queue[:size]
        self.played += samples
        self._frames += 1
        if self._is_audible:
            self.heard.samples += samples
        first = self._places.first
        if first is not None and first <= self.played:
            self._pass_marks(tick, self.played - samples)

    def _close_gap(self, tick: int, silent_since: int) -> None:
        silent_ticks = self._now - silent_since
        self._silent_since = None
        gap = Gap((tick - silent_ticks) * TICK_MS, silent_ticks * TICK_MS, self._gap_cause)
        self.gaps.add(gap)

    def _pass_marks(self, tick: int, frame_offset: int) -> None:
        """Note the marks inside the frame that begins at an offset."""
        for offset, name in self._places.take_marks(self.played):
            into_ms = (offset - frame_offset) * 1000 / self._format.sample_rate_hz
            self.passed_marks.append(PassedMark(name, tick * TICK_MS + max(0.0, into_ms)))
