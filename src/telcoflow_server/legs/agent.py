"""The agent's leg: its playout towards the call, the call's sound towards its media link.

Not here: playout (`media/playout.py`), what is kept for the agent (`media/feed.py`), how both are
said (`dialects.py`), the socket (`api/agent_socket.py`), commands (`call/`).
Implements docs/explanation/flow-control.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telcoflow_sdk.audio.format import TICK_MS, AudioFormat
from telcoflow_sdk.protocol.codes import CloseCode, ErrorCode
from telcoflow_sdk.protocol.messages import Place
from telcoflow_sdk.protocol.positions import Acknowledgement
from telcoflow_server.call.ports import MediaLink
from telcoflow_server.legs.agent_parts import JointLink, LegParts
from telcoflow_server.legs.agent_state import AgentAudio, AgentLegStatistics
from telcoflow_server.legs.dialects import MediaDialect, PositionDialect, RequestDialect
from telcoflow_server.legs.together import JointLeg
from telcoflow_server.media.feed import Feed
from telcoflow_server.media.lead import LeadRange
from telcoflow_server.media.places import MarkName
from telcoflow_server.media.playout import Playout
from telcoflow_server.media.routing import Audience

MAX_UNSENT_MS = 250
"""Beyond this the agent is behind; more in the transport would only make it hear older sound."""
UNHEARD_TICKS = 760 // TICK_MS
"""A client acknowledges twice a second: if nothing came for so long, its link may be lost, which is
known later only. Until then nothing that it may ask for again is dropped."""
STALLED_TICKS = 5_000 // TICK_MS
"""An agent that reads nothing for 5 s is taken for gone."""

_MIXED_CHANNEL = 0
_PCM = np.dtype("<i2")


class AgentLeg(JointLeg):
    """An agent as a party to a call; a `FrameSource` and a `FrameSink`.

    Attach it to its row when the call is answered: what it is put from then on goes to the
    agent. One thread.

    Args:
        audio_format: What the agent chose in its `setup`.
        switched: Told, before a frame is mixed, that it and what follows is for others.
        within: The range of its lead.

    Attributes:
        audio_format: Of its audio, both ways.
        playout: Plays what comes from the agent. To be read only, like the others; what goes on
            elsewhere while the leg is `together` is not in it yet.
        seen_by_client: The last text message that the client acknowledged (v2).
        unread_ticks: For how long the agent has not read; after `STALLED_TICKS` it is stalled.
        unheard_ticks: For how long it has acknowledged nothing (v2).
    """

    def __init__(
        self,
        audio_format: AudioFormat,
        switched: Callable[[Audience], None],
        within: LeadRange | None = None,
    ) -> None:
        super().__init__()
        self.audio_format = audio_format
        self._switched = switched
        self.playout = Playout(audio_format, within)
        self._dialect: MediaDialect = RequestDialect(self.playout, audio_format)
        self._positions: PositionDialect | None = None
        self._feed = Feed(0)
        self._link: MediaLink | None = None
        self._max_unsent_bytes = audio_format.ms_to_bytes(MAX_UNSENT_MS)
        self.unread_ticks = 0
        self.unheard_ticks = 0
        self._frames_sent = 0
        self.seen_by_client = 0
        self._loop_lag_ms = 0

    # --- the link --------------------------------------------------------------------------

    def link_requesting(self, link: MediaLink) -> None:
        """Speak protocol v1 over `link`, the only one there will be."""
        self._link = link

    def link_positioned(self, link: MediaLink, kept_ms: int, received: list[int]) -> list[int]:
        """Speak protocol v2 over `link`, and send again what has not arrived over an earlier one.

        Args:
            link: Replaces the one before.
            kept_ms: How much sound is kept for an agent whose link was lost.
            received: Up to where the agent has the audio of each channel.

        Returns:
            Where the audio of these channels goes on.
        """
        self.be_alone()
        if self._positions is None:
            self._positions = PositionDialect(self.playout, self.audio_format, self.acknowledged)
            self._dialect = self._positions
            self._feed = Feed(kept_ms)
            self._link = link
            return received
        self._positions.relink()
        self._link = link
        self.unread_ticks = 0
        return self._feed.relink(received)

    def unlink(self) -> None:
        """The link is lost: play out what is here, keep what is said."""
        self.be_alone()
        self._link = None
        self.unread_ticks = 0
        self._feed.unlink()

    def acknowledged(self, acknowledgement: Acknowledgement) -> None:
        """Note what has arrived at the client."""
        self.unheard_ticks = 0
        self.seen_by_client = acknowledgement.seen
        self._feed.acknowledge(acknowledgement.received)
        self._loop_lag_ms = max(self._loop_lag_ms, acknowledgement.loop_lag_ms)

    # --- with others -----------------------------------------------------------------------

    def parts(self) -> LegParts | None:
        """Return what others may go on with for this leg; None while something is the matter.

        Between two ticks. What only its own playout, window and feed know, they tell.
        """
        link, positions = self._link, self._positions
        if positions is None or self.unread_ticks or not isinstance(link, JointLink):
            return None
        return LegParts(link, self.playout, positions.window, self._feed)

    def count_sent(self, frames: int, unheard_ticks: int) -> None:
        """Count frames that were sent elsewhere."""
        self._frames_sent += frames
        self.unheard_ticks = unheard_ticks

    # --- from the agent --------------------------------------------------------------------

    def receive(self, message: bytes) -> ErrorCode | CloseCode | None:
        """Take one binary message; return what is wrong with it, or with the link after it."""
        self.be_alone()
        return self._dialect.receive(message)

    def clear(self, place: Place | None) -> int | None:
        """Drop the agent's audio not yet played, at once; resume playback.

        Returns:
            The bytes dropped; None: `place` does not begin the next generation.
        """
        self.be_alone()
        return self._dialect.clear(place)

    def switch(self, audience: Audience, place: Place | None) -> bool:
        """Let what is behind `place` be heard by others; return whether there is such a place.

        On v1 there is no place: what arrives from now on is meant.
        """
        self.be_alone()
        offset = self._dialect.locate(place)
        if offset is None:
            return False
        self.playout.switch(audience, offset)
        return True

    def switch_at_end(self, audience: Audience) -> None:
        """Let what arrives from now on be heard by others."""
        self.be_alone()
        self.playout.switch(audience, self.playout.received)

    def mark(self, name: MarkName, place: Place | None) -> bool:
        """Report when `place` was played; return whether there is such a place."""
        self.be_alone()
        offset = self._dialect.locate(place)
        if offset is None:
            return False
        self.playout.mark(name, offset)
        return True

    def pause(self) -> None:
        """Play nothing until `resume` or `clear`."""
        self.be_alone()
        self.playout.pause()

    def resume(self) -> None:
        """Go on where `pause` stopped."""
        self.playout.resume()

    def drain(self, place: Place | None) -> bool:
        """Play up to `place` and no further; return whether there is such a place.

        A playback that is paused goes on: nobody would hear the end otherwise.
        """
        self.be_alone()
        if not self._dialect.end(place):
            return False
        self.playout.resume()
        return True

    def flush_credit(self, seen: int = 0) -> None:
        """Tell the agent what it may send now; call it after each tick.

        Args:
            seen: The last text message of the agent's that arrived (v2).
        """
        if self.together is None and self._link is not None:
            self._dialect.send_credit(self._link, seen)

    # --- what can be told ------------------------------------------------------------------

    @property
    def generation(self) -> int:
        """How many clears there were."""
        return self.playout.generation

    @property
    def played(self) -> int:
        """Samples of the generation that were played."""
        self._count()
        return self.playout.played

    @property
    def received(self) -> int:
        """Samples of the generation that arrived."""
        self._count()
        return self.playout.received

    @property
    def has_room_for_places(self) -> bool:
        """Whether another mark or switch can be kept."""
        return self.playout.has_room_for_places

    @property
    def has_switched(self) -> bool:
        """Whether the place of the last `switch` has been reached."""
        return self.playout.has_switched

    @property
    def is_drained(self) -> bool:
        """Whether a drain was asked for, and everything before its place was played or cleared.

        Without a link nothing more comes: then what is here is everything.
        """
        return self.playout.is_finished or (self._link is None and self._is_empty_at_end)

    @property
    def _is_empty_at_end(self) -> bool:
        return self.playout.end is not None and self.playout.queued_samples == 0

    @property
    def is_paused(self) -> bool:
        """Whether playback is paused."""
        return self.playout.is_paused

    @property
    def queued_ms(self) -> float:
        """The agent's audio received and not yet played."""
        self._count()
        return self.playout.queued_ms

    @property
    def heard_ms(self) -> float:
        """How much was heard of the utterance in progress, or of the one last cleared."""
        self._count()
        return self.playout.heard_ms

    @property
    def audio(self) -> AgentAudio:
        """Where its audio is now."""
        self._count()
        playout = self.playout
        queued_ms, lead_ms, gaps = playout.queued_ms, playout.lead.lead_ms, playout.gaps
        in_flight_ms = max(0.0, lead_ms - queued_ms)
        return AgentAudio(queued_ms, in_flight_ms, playout.heard_ms, lead_ms, gaps.count, gaps.last)

    def statistics(self) -> AgentLegStatistics:
        """Return the leg's counters."""
        self._count()
        playout = self.playout.statistics()
        return AgentLegStatistics(
            self._frames_sent,
            playout.frames,
            self._feed.dropped_frames,
            self._loop_lag_ms,
            playout,
            self._dialect.statistics(),
        )

    # --- the tick --------------------------------------------------------------------------

    def take(self, tick: int, out: NDArray[np.int16]) -> bool:
        """Play one frame of the agent's; see `Playout.take`."""
        if self.together is not None:
            together, row = self.together
            together.take(row, out)
            return True
        playout = self.playout
        audience = playout.audience
        is_sounding = playout.take(tick, out)
        if playout.audience is not audience:
            self._switched(playout.audience)
        return is_sounding

    def put(self, tick: int, frame: NDArray[np.int16]) -> None:
        """Send one frame to the agent, unless it is behind: then keep the newest for it."""
        if self.together is not None:
            together, row = self.together
            together.put(row, frame)
            return
        self.unheard_ticks += 1
        if self.unheard_ticks >= UNHEARD_TICKS and self._positions is not None:
            self._feed.unlink()
        is_read = self._send(_MIXED_CHANNEL, tick, frame)
        # Who catches up after an outage reads, though frames wait for it.
        if self._feed.waiting and self._link and not (is_read and self._feed.is_catching_up):
            self.unread_ticks += 1
        else:
            self.unread_ticks = 0

    def ear(self, channel: int) -> ChannelEar:
        """Return a sink that sends what it is put on a channel of its own."""
        self._feed.channels += 1
        return ChannelEar(self._send, channel)

    def _send(self, channel: int, tick: int, frame: NDArray[np.int16]) -> bool:
        """Queue a frame and send what the link takes; return whether it takes anything."""
        feed, link = self._feed, self._link
        feed.put(channel, tick * len(frame), frame.astype(_PCM, copy=False).tobytes())
        is_read = False
        while link is not None and link.unsent_bytes() <= self._max_unsent_bytes:
            is_read = True
            fed = feed.next()
            if fed is None:
                break
            link.send_binary(self._dialect.build(fed))
            self._frames_sent += 1
            if not (feed.waiting or feed.is_catching_up):
                break  # as it mostly is: that was all, and the feed knows
        if feed.waiting:
            feed.trim()
        return is_read


@dataclass(frozen=True, slots=True)
class ChannelEar:
    """One more channel to the agent: what one party says, apart from the mix."""

    send: Callable[[int, int, NDArray[np.int16]], object]
    channel: int

    def put(self, tick: int, frame: NDArray[np.int16]) -> None:
        """Send one frame; it shares the fate of those on the other channels."""
        self.send(self.channel, tick, frame)
