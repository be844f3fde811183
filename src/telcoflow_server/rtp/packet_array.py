"""Packets of 20 ms of G.711 as rows of arrays: the headers of many streams at once.

Not here: one stream (`receiver.py`, `sender.py`), which streams may be here (`legs/rtp_array.py`).
Implements "Many legs at once" of docs/explanation/phones.md.

A row is the stream of one leg while its packets come, or go, in turn; what is unusual ends that,
and the leg goes on with a receiver and a sender of its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from telcoflow_server.rtp.receiver import RtpReceiver, SteadyReceiver
from telcoflow_server.rtp.sender import RtpSender

CLOCK_RATE_HZ = 8_000
PACKET_UNITS = 160
"""Units of the clock rate, samples and octets of payload: of G.711 they are the same."""

PACKET = np.dtype(
    [
        ("kind", ">u2"),  # version, padding, extension, sources, marker, payload type
        ("seq", ">u2"),
        ("ts", ">u4"),
        ("ssrc", ">u4"),
        ("payload", "u1", (PACKET_UNITS,)),
    ]
)
"""A datagram with nothing but a header and a payload (RFC 3550 §5.1)."""

Packets = NDArray[np.void]
"""Shape (n,), of `PACKET`."""

Rows = NDArray[np.intp]
"""Numbers of rows, each at most once, shape (n,)."""

_PLAIN = 0x8000
_UNMARKED = 0xFF7F
_JITTER_GAIN = 16  # RFC 3550 A.8


class ReceiverArray:
    """What `RtpReceiver` keeps of a stream, for many streams whose packets come in turn.

    Args:
        rows: How many there may be.
    """

    def __init__(self, rows: int) -> None:
        # What the next packet says if it comes in turn.
        self._kind = np.zeros(rows, np.uint16)
        self._seq = np.zeros(rows, np.uint16)
        self._ts = np.zeros(rows, np.uint32)
        self._ssrc = np.zeros(rows, np.uint32)
        self._arrived_s = np.zeros(rows)
        self._jitter_units = np.zeros(rows)
        self._max_jitter_s = np.zeros(rows)
        self._came = np.zeros(rows, np.int64)

    def enter(self, row: int, steady: SteadyReceiver) -> None:
        """Go on with a stream here."""
        self._kind[row] = _PLAIN | steady.pt
        self._seq[row] = (steady.seq + 1) % (1 << 16)
        self._ts[row] = (steady.ts + PACKET_UNITS) % (1 << 32)
        self._ssrc[row] = steady.ssrc
        self._arrived_s[row] = steady.arrived_s
        self._jitter_units[row] = steady.jitter_units
        self._max_jitter_s[row] = steady.max_jitter_s
        self._came[row] = 0

    def are_next(self, rows: Rows, packets: Packets) -> NDArray[np.bool_]:
        """Return whether each packet is the one that its stream goes on with."""
        is_next: NDArray[np.bool_] = packets["seq"] == self._seq[rows]
        is_next &= packets["ts"] == self._ts[rows]
        is_next &= packets["ssrc"] == self._ssrc[rows]
        is_next &= packets["kind"] & _UNMARKED == self._kind[rows]
        return is_next

    def receive(self, rows: Rows, arrived_s: NDArray[np.float64]) -> None:
        """Take the next packet of each of these; see `RtpReceiver.receive`."""
        elapsed = (arrived_s - self._arrived_s[rows]) * CLOCK_RATE_HZ
        jitter = self._jitter_units[rows]
        jitter += (np.abs(elapsed - PACKET_UNITS) - jitter) / _JITTER_GAIN
        self._jitter_units[rows] = jitter
        self._max_jitter_s[rows] = np.maximum(self._max_jitter_s[rows], jitter / CLOCK_RATE_HZ)
        self._arrived_s[rows] = arrived_s
        self._seq[rows] += np.uint16(1)
        self._ts[rows] += np.uint32(PACKET_UNITS)
        self._came[rows] += 1

    def count(self, row: int, receiver: RtpReceiver) -> tuple[int, float]:
        """Tell the receiver what came since this was told last, so that it can go on.

        Returns:
            How many came, and when the last one did.
        """
        came = int(self._came[row])
        arrived_s = float(self._arrived_s[row])
        if came:
            now = SteadyReceiver(
                int(self._kind[row]) - _PLAIN,
                int(self._ssrc[row]),
                (int(self._seq[row]) - 1) % (1 << 16),
                (int(self._ts[row]) - PACKET_UNITS) % (1 << 32),
                arrived_s,
                float(self._jitter_units[row]),
                float(self._max_jitter_s[row]),
            )
            receiver.catch_up(now, came, came * PACKET_UNITS, came * PACKET_UNITS)
            self._came[row] = 0
        return came, arrived_s


class SenderArray:
    """What `RtpSender` keeps of a stream, for many streams in a talkspurt.

    Args:
        rows: How many there may be.
    """

    def __init__(self, rows: int) -> None:
        self._next = np.zeros(rows, PACKET)  # the next packet of each, but for its payload
        self._sent = np.zeros(rows, np.int64)
        self._sent_at_s = np.zeros(rows)

    def enter(self, row: int, pt: int, ssrc: int, seq: int, ts: int) -> None:
        """Go on with a stream here."""
        self._next[row] = (_PLAIN | pt, seq, ts, ssrc, 0)
        self._sent[row] = 0

    def send(self, rows: Rows, payloads: NDArray[np.uint8], now_s: float) -> bytes:
        """Return the next packet of each of these, one after the other; see `RtpSender.send`.

        Args:
            rows: Of which.
            payloads: uint8, shape (rows, `PACKET_UNITS`).
            now_s: Monotonic seconds.
        """
        packets = self._next[rows]
        self._next["seq"][rows] = packets["seq"] + np.uint16(1)
        self._next["ts"][rows] = packets["ts"] + np.uint32(PACKET_UNITS)
        packets["payload"] = payloads
        self._sent[rows] += 1
        self._sent_at_s[rows] = now_s
        return packets.tobytes()

    def count(self, row: int, sender: RtpSender) -> None:
        """Tell the sender what was sent since this was told last, so that it can go on."""
        sent = int(self._sent[row])
        if sent:
            octets = sent * PACKET_UNITS
            sender.catch_up(sent, octets, octets, float(self._sent_at_s[row]))
            self._sent[row] = 0
