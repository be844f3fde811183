"""Digits as telephone-events, in both directions. Digits are secrets: no `repr` here shows one.

Not here: numbering and sending packets (`sender.py`), SIP INFO.
Implements RFC 4733 §2 for events 0 to 15.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass, field

from telcoflow_server.rtp.packet import TS_MODULUS, RtpError
from telcoflow_server.rtp.receiver import SequencedPacket

DIGITS = "0123456789*#ABCD"
"""In the order of their event codes (RFC 4733 §3.2)."""

MAX_DURATION_UNITS = 0xFFFF
"""A longer event goes on in another segment (RFC 4733 §2.5.1.3)."""

END_TIMEOUT_S = 0.2
"""An event of which nothing comes for this long is over: four updates at the usual 50 ms."""

DIGIT_MS = 100
"""How long we press a key. Receivers must know a digit of 40 ms; slow ones like more."""
GAP_MS = 100
"""From the end of one digit to the next. Receivers must know a gap of 40 ms."""
END_PACKETS = 3
"""The end of an event is sent so often (RFC 4733 §2.5.1.4)."""
MAX_QUEUED_DIGITS = 100
"""20 s of digits. More is a mistake."""

VOLUME_DB = 10
"""Loudness of the tone a gateway makes of it, in -dBm0: the usual."""

_EVENT = struct.Struct("!BBH")
_END = 0x80
_VOLUME = 0x3F
_EVENTS_REMEMBERED = 16


@dataclass(frozen=True, slots=True)
class TelephoneEvent:
    """The payload of a telephone-event packet.

    Attributes:
        code: 0 to 255; 0 to 15 are `DIGITS`.
        is_end: Whether the event is over.
        volume_db: In -dBm0, 0 to 63.
        duration_units: Since the packet's timestamp, in units of the clock rate, 0 to 65535.
    """

    code: int = field(repr=False)
    is_end: bool
    volume_db: int
    duration_units: int

    @classmethod
    def parse(cls, payload: bytes) -> TelephoneEvent:
        """Return the first event of a payload.

        Raises:
            RtpError: too short for one.
        """
        if len(payload) < _EVENT.size:
            raise RtpError("telephone-event too short")
        code, flags, duration_units = _EVENT.unpack_from(payload)
        return cls(code, bool(flags & _END), flags & _VOLUME, duration_units)

    def build(self) -> bytes:
        """Return the payload; raises ValueError when a field is out of its range."""
        if not 0 <= self.volume_db <= _VOLUME:
            raise ValueError(f"volume must be 0 to {_VOLUME} -dBm0, not {self.volume_db}")
        try:
            return _EVENT.pack(self.code, self.is_end << 7 | self.volume_db, self.duration_units)
        except struct.error as error:
            raise ValueError(f"a field of the telephone-event is out of range: {error}") from None


@dataclass(frozen=True, slots=True)
class DigitStarted:
    """The far end presses a key.

    Attributes:
        digit: One of `DIGITS`.
        ts: Extended timestamp of the moment, for its place in the audio.
    """

    digit: str = field(repr=False)
    ts: int


@dataclass(frozen=True, slots=True)
class DigitEnded:
    """The key was let go.

    Attributes:
        digit: The one that started.
        duration_ms: As far as it is known: to the last packet that came.
    """

    digit: str = field(repr=False)
    duration_ms: float


@dataclass(slots=True, repr=False)
class _Pressed:
    """The key held now."""

    digit: str
    key: tuple[int, int, int]  # stream, timestamp of the segment, code
    clock_rate_hz: int
    before_units: int  # segments before this one
    duration_units: int
    heard_at_s: float

    @property
    def ended(self) -> DigitEnded:
        units = self.before_units + self.duration_units
        return DigitEnded(self.digit, units * 1000 / self.clock_rate_hz)


class DigitReceiver:
    """Tells digits from the packets that repeat them.

    A digit starts with the first packet that comes of it, whichever that is, and ends with the
    first end packet, the next digit, or `END_TIMEOUT_S` of nothing. What has the timestamp and
    the code of a digit that was reported is that digit; the code, because there are senders that
    give all digits of a call one timestamp.

    Args:
        clock_rate_hz: Of telephone-event, as negotiated.
    """

    def __init__(self, clock_rate_hz: int) -> None:
        self._clock_rate_hz = clock_rate_hz
        self._pressed: _Pressed | None = None
        self._past: deque[tuple[int, int, int]] = deque(maxlen=_EVENTS_REMEMBERED)

    @property
    def due_s(self) -> float | None:
        """When `expire` is to be called, monotonic seconds; None while no key is held."""
        return None if self._pressed is None else self._pressed.heard_at_s + END_TIMEOUT_S

    def receive(self, sequenced: SequencedPacket) -> tuple[DigitStarted | DigitEnded, ...]:
        """Take a packet of payload type telephone-event; return what it tells, in order.

        Events that are no digits, such as flash, tell nothing.

        Raises:
            RtpError: malformed.
        """
        event = TelephoneEvent.parse(sequenced.packet.payload)
        if event.code >= len(DIGITS):
            return ()
        key = sequenced.stream, sequenced.packet.ts, event.code
        told: list[DigitStarted | DigitEnded] = []
        pressed = self._pressed
        if pressed is None or pressed.key != key:
            if key in self._past:
                return ()
            if pressed is not None and _continues(pressed, key):
                pressed.before_units += MAX_DURATION_UNITS
                pressed.duration_units = 0
                self._past.append(pressed.key)
                pressed.key = key
            else:
                told += self._end()
                told.append(DigitStarted(DIGITS[event.code], sequenced.ts))
                pressed = self._pressed = _Pressed(
                    DIGITS[event.code], key, self._clock_rate_hz, 0, 0, sequenced.arrived_s
                )
        pressed.duration_units = max(pressed.duration_units, event.duration_units)
        pressed.heard_at_s = sequenced.arrived_s
        if event.is_end:
            told += self._end()
        return tuple(told)

    def expire(self, now_s: float) -> DigitEnded | None:
        """Return the end of a digit whose end packets were all lost, once `due_s` has come."""
        due_s = self.due_s
        if due_s is None or now_s < due_s:
            return None
        return self._end()[0]

    def _end(self) -> list[DigitEnded]:
        pressed, self._pressed = self._pressed, None
        if pressed is None:
            return []
        self._past.append(pressed.key)
        return [pressed.ended]


def _continues(pressed: _Pressed, key: tuple[int, int, int]) -> bool:
    """Whether an event is the next segment of a long one (RFC 4733 §2.5.1.3)."""
    stream, ts, code = pressed.key
    return key == (stream, (ts + MAX_DURATION_UNITS) % TS_MODULUS, code)


@dataclass(frozen=True, slots=True)
class EventPacket:
    """What to send in this tick, see `RtpSender.send_event`.

    Attributes:
        payload: Of the telephone-event.
        ts: When the event began.
        is_first: Whether it bears the marker.
    """

    payload: bytes = field(repr=False)
    ts: int
    is_first: bool


class DigitSender:
    """Presses keys in real time: one packet per tick, until the digits are out.

    Each digit is one event of one timestamp whose duration grows; its end is sent three times,
    a tick apart, in the gap that follows.

    Args:
        clock_rate_hz: Of telephone-event, as negotiated.
        ptime_ms: How often `tick` is called, 10 to 60.
    """

    def __init__(self, clock_rate_hz: int, ptime_ms: int) -> None:
        self._units_per_tick = clock_rate_hz * ptime_ms // 1000
        self._tone_ticks = -(-DIGIT_MS // ptime_ms)
        self._ticks_per_digit = self._tone_ticks + max(-(-GAP_MS // ptime_ms), END_PACKETS)
        self._queue: deque[int] = deque()  # event codes
        self._elapsed_ticks = 0  # of the first digit in the queue
        self._began_ts = 0

    @property
    def is_idle(self) -> bool:
        """Whether every digit is out, with the gap behind it."""
        return not self._queue

    def press(self, digits: str) -> None:
        """Queue digits behind those still to be sent.

        Args:
            digits: Of `DIGITS`, letters in either case.

        Raises:
            ValueError: another character, or more than `MAX_QUEUED_DIGITS` would wait; none of
                them is queued.
        """
        codes = [DIGITS.find(digit) for digit in digits.upper()]
        if -1 in codes:
            raise ValueError(f"digits are {DIGITS}; other characters were given")
        if len(self._queue) + len(codes) > MAX_QUEUED_DIGITS:
            raise ValueError(f"at most {MAX_QUEUED_DIGITS} digits can wait")
        self._queue.extend(codes)

    def tick(self, ts: int) -> EventPacket | None:
        """Return the packet to send in place of this tick's audio, or None: audio goes out.

        Args:
            ts: Timestamp of the frame that is due, `RtpSender.ts`.
        """
        if not self._queue:
            return None
        if self._elapsed_ticks == 0:
            self._began_ts = ts
        code = self._queue[0]
        self._elapsed_ticks += 1
        elapsed = self._elapsed_ticks
        if elapsed == self._ticks_per_digit:
            self._queue.popleft()
            self._elapsed_ticks = 0
        if elapsed >= self._tone_ticks + END_PACKETS:
            return None
        event = TelephoneEvent(
            code=code,
            is_end=elapsed >= self._tone_ticks,
            volume_db=VOLUME_DB,
            duration_units=min(elapsed, self._tone_ticks) * self._units_per_tick,
        )
        return EventPacket(event.build(), self._began_ts, is_first=elapsed == 1)
