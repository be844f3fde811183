"""The two media protocols, as an agent's leg speaks them: audio, credit, places in the audio.

Not here: playing and queueing (`media/`), text messages (`call/agent.py`), the socket
(`api/agent_socket.py`). Implements docs/reference/wire.md §2 (audio) and §3, and "Binary messages"
of docs/reference/wire-v2.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from telcoflow_sdk.audio.format import AudioFormat
from telcoflow_sdk.protocol.codec import ProtocolViolation, encode
from telcoflow_sdk.protocol.codes import CloseCode, ErrorCode
from telcoflow_sdk.protocol.messages import BufferRequest, BufferRequestData, Place
from telcoflow_sdk.protocol.positions import (
    ACKNOWLEDGEMENT,
    DISCONTINUITY,
    Acknowledgement,
    build_audio,
    build_position,
    parse_acknowledgement,
    parse_audio,
)
from telcoflow_server.call.ports import MediaLink
from telcoflow_server.media.credit import CreditStatistics, Requests, Window
from telcoflow_server.media.feed import FedFrame
from telcoflow_server.media.playout import Playout

_MIXED_CHANNEL = 0
_MIN_MESSAGE_BYTES = 2  # the channel, and at least half a sample
_MIN_PIECE_BYTES = 2
"""`prefer_audio_frame_bytes` is a minimum: with the default the published client keeps back the
last 959 bytes of every utterance (wire.md §3)."""


class MediaDialect(Protocol):
    """How audio, credit and places are said to one agent."""

    def receive(self, message: bytes) -> ErrorCode | CloseCode | None:
        """Take one binary message; return what is wrong with it, or with the link after it."""

    def build(self, frame: FedFrame) -> bytes:
        """Return the binary message for a frame."""

    def send_credit(self, link: MediaLink, seen: int) -> None:
        """Tell the agent what may be sent now; `seen` is its last text message that arrived."""

    def locate(self, place: Place | None) -> int | None:
        """Return where a command belongs, as an offset in the playout; None: nowhere."""

    def clear(self, place: Place | None) -> int | None:
        """Begin a new generation; return the bytes dropped here, None: not this one now."""

    def end(self, place: Place | None) -> bool:
        """The agent says nothing behind its place; return whether there is such a place."""

    def statistics(self) -> CreditStatistics:
        """Return what was asked for and what came of it."""


class RequestDialect:
    """Protocol v1: audio is requested, and commands hold where they arrive.

    Args:
        playout: Plays the agent's audio.
        audio_format: Of it.
    """

    def __init__(self, playout: Playout, audio_format: AudioFormat) -> None:
        self._playout = playout
        self._requests = Requests(playout, audio_format)
        self._request = encode(
            BufferRequest(
                BufferRequestData(
                    requested_bytes=audio_format.frame_bytes,
                    prefer_audio_frame_bytes=_MIN_PIECE_BYTES,
                )
            )
        )

    def receive(self, message: bytes) -> ErrorCode | None:
        """Take the channel byte, then PCM of any length.

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
        return self._requests.receive(memoryview(message)[1:])

    def build(self, frame: FedFrame) -> bytes:
        """Return the channel byte and PCM."""
        return bytes((frame.channel,)) + frame.pcm

    def send_credit(self, link: MediaLink, seen: int) -> None:
        """Request the audio now due, one frame per request."""
        while self._requests.next_request():
            link.send_text(self._request)

    def locate(self, place: Place | None) -> int:
        """Commands hold behind what has arrived; half a sample does not belong to what follows."""
        self._requests.break_sample()
        return self._playout.received

    def clear(self, place: Place | None) -> int:
        """Drop what is queued, and half a sample that waits for its rest."""
        return self._requests.clear()

    def end(self, place: Place | None) -> bool:
        """Ask for no more; what still comes is discarded."""
        self._requests.end()
        return True

    def statistics(self) -> CreditStatistics:
        """Return what was asked for and what came of it."""
        return self._requests.statistics()


class PositionDialect:
    """Protocol v2: everything says where it belongs.

    Args:
        playout: Plays the agent's audio.
        audio_format: Of it.
        acknowledged: Told what has arrived at the client.

    Attributes:
        window: How far audio is taken.
    """

    def __init__(
        self,
        playout: Playout,
        audio_format: AudioFormat,
        acknowledged: Callable[[Acknowledgement], None],
    ) -> None:
        self.window = Window(playout, audio_format)
        self._playout = playout
        self._acknowledged = acknowledged

    def receive(self, message: bytes) -> ErrorCode | CloseCode | None:
        """Take audio or an acknowledgement.

        Returns:
            None: taken.
            ErrorCode.MALFORMED_AUDIO: it cannot be read; ignored.
            ErrorCode.INVALID_CHANNEL: not channel 0; ignored.
            CloseCode: audio that has no place here, see `Window.receive`.
        """
        try:
            if message and message[0] == ACKNOWLEDGEMENT:
                self._acknowledged(parse_acknowledgement(message))
                return None
            audio = parse_audio(message)
        except ProtocolViolation as violation:
            return violation.code
        if audio.channel != _MIXED_CHANNEL:
            return ErrorCode.INVALID_CHANNEL
        return self.window.receive(audio)

    def build(self, frame: FedFrame) -> bytes:
        """Return the frame with its place on the call's time axis."""
        flags = DISCONTINUITY if frame.is_discontinuous else 0
        return build_audio(frame.channel, flags, 0, 0, frame.offset, frame.pcm)

    def send_credit(self, link: MediaLink, seen: int) -> None:
        """Tell the position, if it is news or the link was silent for a second."""
        position = self.window.next_position(seen)
        if position is not None:
            link.send_binary(build_position(position))

    def locate(self, place: Place | None) -> int | None:
        """Return the offset of a place in the generation that is playing."""
        if place is None or place.generation != self._playout.generation:
            return None
        return place.offset

    def clear(self, place: Place | None) -> int | None:
        """Begin the generation that `place` begins, if it is the next one."""
        if place != Place(self._playout.generation + 1, 0):
            return None
        return self.window.clear()

    def end(self, place: Place | None) -> bool:
        """The agent says nothing behind `place`; what is before it may still be to come."""
        offset = self.locate(place)
        if offset is None:
            return False
        self._playout.end_at(offset)
        return True

    def relink(self) -> None:
        """A new link begins."""
        self.window.relink()

    def statistics(self) -> CreditStatistics:
        """Return what was asked for and what came of it."""
        return self.window.statistics()
