"""The agent's leg: its playout towards the call, the call's sound towards its media link.

Not here: credit and playout (`media/playout.py`), the socket (`api/media.py`), commands (`call/`).
Implements docs/reference/wire.md §2 (audio) and §3.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telcoflow_sdk.audio.format import TICK_MS, AudioFormat
from telcoflow_sdk.protocol.codec import encode
from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_sdk.protocol.messages import BufferRequest, BufferRequestData
from telcoflow_server.call.ports import MediaLink
from telcoflow_server.media.playout import Playout, PlayoutStatistics
from telcoflow_server.media.routing import Audience

MAX_UNSENT_MS = 250
"""Beyond this the agent is behind; more in the transport would only make it hear older sound."""
WAITING_FRAMES = 12
"""Newest frames kept for an agent that is behind, 240 ms; older ones are dropped and counted."""
STALLED_TICKS = 5_000 // TICK_MS
"""An agent that reads nothing for 5 s is taken for gone."""

_MIXED_CHANNEL = 0
_MIN_MESSAGE_BYTES = 2  # the channel, and at least half a sample
_MIN_PIECE_BYTES = 2
"""`prefer_audio_frame_bytes` is a minimum: with the default the published client keeps back the
last 959 bytes of every utterance (wire.md §3)."""


@dataclass(frozen=True, slots=True)
class AgentLegStatistics:
    """What went to the agent and what came from it.

    Attributes:
        frames_to_agent: Messages of audio given to the link.
        frames_from_agent: Ticks that played the agent's audio.
        dropped_frames: Frames the agent never got because it did not read.
        playout: The other direction in detail.
    """

    frames_to_agent: int
    frames_from_agent: int
    dropped_frames: int
    playout: PlayoutStatistics


class AgentLeg:
    """An agent as a party to a call; a `FrameSource` and a `FrameSink`.

    Attach it to its row when the call is answered: what it is put from then on goes to the
    agent, and it starts asking for audio when `flush_credit` is first called. One thread.

    Args:
        link: The agent's media link.
        audio_format: What the agent chose in its `setup`.
        switched: Told, before a frame is mixed, that it and what follows is for others.
    """

    def __init__(
        self, link: MediaLink, audio_format: AudioFormat, switched: Callable[[Audience], None]
    ) -> None:
        self._link = link
        self._switched = switched
        self._playout = Playout(audio_format)
        self._max_unsent_bytes = audio_format.ms_to_bytes(MAX_UNSENT_MS)
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._channels = 1
        self._unread_ticks = 0
        self._frames_sent = 0
        self._dropped_frames = 0
        self._request = encode(
            BufferRequest(
                BufferRequestData(
                    requested_bytes=audio_format.frame_bytes,
                    prefer_audio_frame_bytes=_MIN_PIECE_BYTES,
                )
            )
        )

    def receive_audio(self, message: bytes) -> ErrorCode | None:
        """Take one binary message: the channel byte, then PCM of any length.

        Returns:
            None: queued.
            ErrorCode.MALFORMED_AUDIO: shorter than two bytes; ignored.
            ErrorCode.INVALID_CHANNEL: not channel 0, the only one that takes audio; ignored.
            ErrorCode.AUDIO_OVERRUN: far more than was asked for; the excess was discarded.
        """
        if len(message) < _MIN_MESSAGE_BYTES:
            return ErrorCode.MALFORMED_AUDIO
        if message[0] != _MIXED_CHANNEL:
            return ErrorCode.INVALID_CHANNEL
        return self._playout.receive(memoryview(message)[1:])

    def clear(self) -> int:
        """Drop the agent's audio not yet played, at once; return the bytes dropped."""
        return self._playout.clear()

    def switch(self, audience: Audience) -> None:
        """Let what arrives from now on be heard by others; see `Playout.switch`."""
        self._playout.switch(audience)

    @property
    def has_switched(self) -> bool:
        """Whether everything received before the last `switch` has been played."""
        return self._playout.has_switched

    def flush_credit(self) -> None:
        """Request the audio now due, one frame per request; call it after each tick."""
        while self._playout.next_request():
            self._link.send_message(self._request)

    def drain(self) -> None:
        """Ask for no more audio and play out what is here."""
        self._playout.drain()

    @property
    def is_drained(self) -> bool:
        """Whether a drain was asked for and everything has been played."""
        return self._playout.is_drained

    @property
    def is_stalled(self) -> bool:
        """Whether the agent has not read for `STALLED_TICKS`."""
        return self._unread_ticks >= STALLED_TICKS

    @property
    def queued_ms(self) -> float:
        """The agent's audio received and not yet played."""
        return self._playout.queued_ms

    @property
    def heard_ms(self) -> float:
        """How much was played of the utterance in progress, or of the one last cleared."""
        return self._playout.heard_ms

    def statistics(self) -> AgentLegStatistics:
        """Return the leg's counters."""
        playout = self._playout.statistics()
        return AgentLegStatistics(self._frames_sent, playout.frames, self._dropped_frames, playout)

    def take(self, tick: int, out: NDArray[np.int16]) -> bool:
        """Play one frame of the agent's; see `Playout.take`."""
        audience = self._playout.audience
        is_sounding = self._playout.take(tick, out)
        if self._playout.audience is not audience:
            self._switched(self._playout.audience)
        return is_sounding

    def put(self, tick: int, frame: NDArray[np.int16]) -> None:
        """Send one frame to the agent, unless it is behind: then keep the newest for it."""
        self._send(_MIXED_CHANNEL, frame)
        self._unread_ticks = self._unread_ticks + 1 if self._waiting else 0

    def ear(self, channel: int) -> ChannelEar:
        """Return a sink that sends what it is put on a channel of its own."""
        self._channels += 1
        return ChannelEar(self._send, channel)

    def _send(self, channel: int, frame: NDArray[np.int16]) -> None:
        self._waiting.append((channel, frame.astype("<i2", copy=False).tobytes()))
        while self._waiting and self._link.unsent_bytes() <= self._max_unsent_bytes:
            self._link.send_audio(*self._waiting.popleft())
            self._frames_sent += 1
        if len(self._waiting) > WAITING_FRAMES * self._channels:
            self._waiting.popleft()
            self._dropped_frames += 1


@dataclass(frozen=True, slots=True)
class ChannelEar:
    """One more channel to the agent: what one party says, apart from the mix."""

    send: Callable[[int, NDArray[np.int16]], None]
    channel: int

    def put(self, tick: int, frame: NDArray[np.int16]) -> None:
        """Send one frame; it shares the fate of those on the other channels."""
        self.send(self.channel, frame)
