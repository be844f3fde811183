"""The client's side of a media link that may be replaced: protocol v2 but for what it is used for.

Not here: the state of the call and its commands (`media.py`), the socket (`_asyncio/media.py`).
Implements "A link, from its first message to its last" of docs/reference/wire-v2.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from telcoflow_sdk.audio.arrivals import Arrival, Arrivals
from telcoflow_sdk.audio.positioned import PositionedOutbox
from telcoflow_sdk.protocol.codec import ProtocolViolation, encode
from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_sdk.protocol.messages import Hello, HelloData, WelcomeData
from telcoflow_sdk.protocol.positions import (
    POSITION,
    Acknowledgement,
    build_acknowledgement,
    parse_position,
)
from telcoflow_sdk.protocol.sequence import SeenMessages, SentMessages

DEFAULT_GRACE_S = 10.0
"""How long a server that never said so is taken to wait."""

ACKNOWLEDGE_S = 0.49
"""How often the client tells what it has: with every 25th frame or, while the call rings and
nothing but one position a second comes, with each. A server takes silence for a lost link."""

_POSITION_BYTE = bytes((POSITION,))


@dataclass(frozen=True, slots=True)
class Resumption:
    """What a resume found.

    Attributes:
        outage_ms: How long there was no link.
        lost_ms: How much of what was said meanwhile was not kept, of the channel that lost most.
    """

    outage_ms: float
    lost_ms: float


class ResumingLink:
    """One client over all the links of one call.

    Args:
        outbox: Audio to the server.
        channels: How many the server sends.
        sample_rate_hz: Of all audio.

    Attributes:
        outbox: As given.
        secret: Opens the next link; None: the call's token still does. Never to be shown.
        is_welcome: Whether the link that there is may be used.
        outages: How often the link was lost; to be read only.
    """

    __slots__ = (
        "_acknowledge_at",
        "_arrivals",
        "_epoch",
        "_grace_s",
        "_lost_at",
        "_max_lag_ms",
        "_sample_rate_hz",
        "_seen",
        "_sent",
        "is_welcome",
        "outages",
        "outbox",
        "secret",
    )

    def __init__(self, outbox: PositionedOutbox, channels: int, sample_rate_hz: int) -> None:
        self.outbox = outbox
        self.secret: str | None = None
        self.is_welcome = False
        self.outages = 0
        self._arrivals = Arrivals(channels)
        self._sample_rate_hz = sample_rate_hz
        self._sent = SentMessages()
        self._seen = SeenMessages()
        self._epoch = 0
        self._grace_s = DEFAULT_GRACE_S
        self._lost_at: float | None = None
        self._acknowledge_at = 0.0
        self._max_lag_ms = 0

    # --- the link --------------------------------------------------------------------------

    def open(self) -> bytes:
        """A new link is there: return what is said first."""
        self._epoch += 1
        self.is_welcome = False
        hello = HelloData(
            epoch=self._epoch, seen=self._seen.last, received=list(self._arrivals.ends)
        )
        return encode(Hello(hello))

    def lose(self, now: float) -> bool:
        """The link is gone; return whether that is news."""
        self.is_welcome = False
        if self._lost_at is not None:
            return False
        self._lost_at = now
        self.outages += 1
        return True

    @property
    def is_away(self) -> bool:
        """Whether the link was lost, and no other one was welcomed since."""
        return self._lost_at is not None

    @property
    def deadline(self) -> float | None:
        """When the call is lost with its link; None while there is one."""
        return None if self._lost_at is None else self._lost_at + self._grace_s

    def is_due(self, now: float) -> bool:
        """Return whether the server has waited for as long as it does."""
        return self.deadline is not None and now >= self.deadline

    def welcome(self, data: WelcomeData, now: float) -> tuple[list[bytes], Resumption | None]:
        """The server goes on over this link.

        Args:
            data: What it says.
            now: Monotonic, seconds.

        Returns:
            The text messages to send again; and what the outage cost, if there was one.

        Raises:
            ProtocolViolation: it answers another `hello`, or knows what never was.
        """
        ends = self._arrivals.ends
        if self.is_welcome or data.epoch != self._epoch or len(data.continues) != len(ends):
            raise ProtocolViolation(
                ErrorCode.INVALID_SEQUENCE, "a welcome that does not answer this link's hello"
            )
        try:
            self.outbox.relink(data.generation, data.received, now)
        except ValueError as error:
            raise ProtocolViolation(ErrorCode.INVALID_POSITION, str(error)) from None
        self.secret = data.secret
        self._acknowledge_at = now  # the secret before this one is void once we have spoken
        self._grace_s = data.grace_ms / 1000
        self.is_welcome = True
        self._sent.acknowledge(data.seen)
        resumption = None
        if self._lost_at is not None:
            pairs = zip(data.continues, ends, strict=True)
            lost_samples = max(max(0, begin - end) for begin, end in pairs)
            resumption = Resumption(
                outage_ms=(now - self._lost_at) * 1000,
                lost_ms=lost_samples * 1000 / self._sample_rate_hz,
            )
            self._lost_at = None
        return self._sent.unseen(), resumption

    @property
    def can_number(self) -> bool:
        """Whether `number` takes another message."""
        return not self._sent.is_full

    # --- messages --------------------------------------------------------------------------

    def number(self, message: bytes) -> bytes:
        """Return a text message as it is sent; it is kept until the server has it.

        Raises:
            SequenceFull: the server acknowledges nothing.
        """
        return self._sent.add(message)

    def is_new(self, message: bytes) -> bool:
        """Return whether a text message comes for the first time. Raises `ProtocolViolation`."""
        return self._seen.is_new(message)

    def receive_binary(self, message: bytes, now: float, lag_s: float) -> Arrival | None:
        """Take a binary message.

        Args:
            message: Audio, or a position.
            now: Monotonic, seconds.
            lag_s: How long the event loop was blocked until now: so much earlier the message
                could have been read.

        Returns:
            Audio that is new, or None.

        Raises:
            ProtocolViolation: it cannot be read, or claims what cannot be.
        """
        if lag_s > 0:
            self._max_lag_ms = max(self._max_lag_ms, int(lag_s * 1000))
        if message[:1] != _POSITION_BYTE:
            return self._arrivals.take(message)
        position = parse_position(message)
        self._sent.acknowledge(position.seen)
        try:
            self.outbox.update(position, now - lag_s)
        except ValueError as error:
            raise ProtocolViolation(ErrorCode.INVALID_POSITION, str(error)) from None
        return None

    def next_acknowledgement(self, now: float) -> bytes | None:
        """Return an acknowledgement if one is due, or None.

        Args:
            now: Monotonic, seconds: when something was received.
        """
        if now < self._acknowledge_at or not self.is_welcome:
            return None
        self._acknowledge_at = now + ACKNOWLEDGE_S
        lag_ms, self._max_lag_ms = min(self._max_lag_ms, 0xFFFF), 0
        received = min(self._arrivals.ends)
        return build_acknowledgement(Acknowledgement(self._seen.last, received, lag_ms))
