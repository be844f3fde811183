"""A party heard and spoken to over RTP: packets in, one frame a tick out, and the other way round.

Not here: sockets (`udp.py`), who signals (`sip.py`), the parts (`rtp/`, `codec/`,
`media/hearing.py`). Implements "An RTP leg" of docs/explanation/phones.md. No clock and no chance:
the time comes with `advance` and with each packet, random numbers with the start.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telcoflow_sdk.audio.format import TICK_MS
from telcoflow_server.codec.g711 import Law
from telcoflow_server.codec.stream import CodecError, Decoder, Encoder
from telcoflow_server.codec.table import Codec
from telcoflow_server.legs.rtp_parts import LegParts
from telcoflow_server.legs.rtp_terms import Address, RtpSeed, RtpTerms, Send
from telcoflow_server.legs.together import JointLeg
from telcoflow_server.media.hearing import Hearing
from telcoflow_server.media.pieces import JitterStatistics
from telcoflow_server.rtp.deadline import MediaDeadline
from telcoflow_server.rtp.dtmf import DigitEnded, DigitReceiver, DigitSender
from telcoflow_server.rtp.latch import Latch, LatchStatistics
from telcoflow_server.rtp.packet import RtpError, RtpPacket
from telcoflow_server.rtp.receiver import ReceiverStatistics, RtpReceiver, SequencedPacket
from telcoflow_server.rtp.reporter import Reporter, ReporterStatistics
from telcoflow_server.rtp.rtcp import Goodbye, parse_compound
from telcoflow_server.rtp.sender import RtpSender, SenderStatistics

DEAD_AFTER_S = 60.0
"""A phone that sends nothing for so long, and is not on hold, is gone."""


@dataclass(frozen=True, slots=True)
class RtpLegStatistics:
    """What went over one leg.

    Attributes:
        malformed: Datagrams that are neither RTP nor RTCP, or are broken.
        undecodable: Payloads the codec could not read; they were concealed.
        unsendable: Frames that had nowhere to go.
    """

    received: ReceiverStatistics
    jitter: JitterStatistics
    sent: SenderStatistics
    reports: ReporterStatistics
    latch: LatchStatistics
    malformed: int
    undecodable: int
    unsendable: int


class RtpLeg(JointLeg):
    """One party's audio over RTP: a `FrameSource` and a `FrameSink` at the codec's rate.

    Every tick begins with `advance`; then packets that have come are given to `receive`, `take` is
    called once, and `put` once. Media is due from `expect_media` on. One thread; nothing waits.

    Args:
        terms: What was agreed.
        seed: Random numbers.
        now_s: Monotonic seconds.
        send: Takes RTP.
        send_rtcp: Takes RTCP.

    Attributes:
        now_s: When the tick began, monotonic seconds. Whoever knows that nothing is due may set it
            instead of calling `advance`.
        due_s: Until then `advance` has nothing else to do; to be read only.
        is_dead: Whether nothing has come for `DEAD_AFTER_S` though something should, as of the
            last `advance`.
    """

    def __init__(
        self, terms: RtpTerms, seed: RtpSeed, now_s: float, send: Send, send_rtcp: Send
    ) -> None:
        super().__init__()
        self._terms = terms
        self._frames_per_packet = terms.frames_per_packet
        self._seed = seed
        self.now_s = now_s
        self._send = send
        self._send_rtcp = send_rtcp
        self._latch, self._rtcp_latch = (
            Latch(remote, terms.peer_host, is_peer_trusted=terms.is_peer_trusted)
            for remote in (terms.remote, terms.remote_rtcp)
        )
        self._deadline = MediaDeadline(DEAD_AFTER_S)
        self._expects_media = False
        self.due_s = now_s
        self.is_dead = False
        self._receiver = RtpReceiver(terms.clock_rates_hz)
        self._sender = RtpSender(
            ssrc=seed.ssrc, seq=seed.seq, ts=seed.ts, clock_rate_hz=terms.codec.clock_rate_hz
        )
        self._reporter = Reporter(
            self._receiver,
            lambda: self._sender,
            cname=seed.cname,
            now_s=now_s,
            factor=self._factor(),
        )
        self._stream: int | None = None
        self._malformed = self._undecodable = self._unsendable = 0
        self._digits = DigitReceiver(terms.digits_clock_hz)
        self._keys = DigitSender(terms.digits_clock_hz, TICK_MS)
        self._pressed: list[DigitEnded] = []
        self._pending = b""  # encoded frames of a packet that is not full yet
        self._pending_frames = 0
        self._use(terms.codec)

    @property
    def sample_rate_hz(self) -> int:
        """Of the frames."""
        return self._terms.codec.sample_rate_hz

    @property
    def takes_digits(self) -> bool:
        """Whether the far end understands telephone-events."""
        return self._terms.digits_pt is not None

    @property
    def is_on_hold(self) -> bool:
        """Whether the far end does not want to hear us."""
        return not self._terms.sends

    # --- signalling ------------------------------------------------------------------------

    def expect_media(self) -> None:
        """The call was answered: from now on a phone that sends nothing is gone. Idempotent.

        Not while it rings, when most send nothing, and not on hold.
        """
        if not self._expects_media:
            self._expects_media = True
            self._watch()

    def renegotiate(self, terms: RtpTerms) -> None:
        """Go on as agreed anew: another address, codec, or hold.

        With a codec of another sample rate, whoever takes the frames must know beforehand.
        """
        self.be_alone()
        before, self._terms = self._terms, terms
        self._frames_per_packet = terms.frames_per_packet
        self._latch.renew(terms.remote, terms.peer_host)
        self._rtcp_latch.renew(terms.remote_rtcp, terms.peer_host)
        self._receiver.renegotiate(terms.clock_rates_hz)
        if terms.codec is not before.codec:
            self._change_codec(before.codec, terms.codec)
        if terms.digits_clock_hz != before.digits_clock_hz:
            self._digits = DigitReceiver(terms.digits_clock_hz)
            self._keys = DigitSender(terms.digits_clock_hz, TICK_MS)
        if (terms.sends, terms.receives) != (before.sends, before.receives):
            self._watch()

    def press(self, digits: str) -> None:
        """Send digits, behind those still under way.

        Raises:
            ValueError: not digits, too many, or the far end does not understand them.
        """
        if self._terms.digits_pt is None:
            raise ValueError("the phone takes no telephone-event")
        self.be_alone()
        self._keys.press(digits)

    def take_digits(self) -> list[DigitEnded]:
        """Return the digits that were pressed since this was last asked, in order."""
        pressed, self._pressed = self._pressed, []
        return pressed

    def goodbye(self, wall_s: float) -> None:
        """Tell the far end by RTCP that this is the end."""
        self.be_alone()
        destination = self._rtcp_latch.destination
        if destination is not None and self._sender.statistics().packets:
            self._send_rtcp(self._reporter.goodbye(self.now_s, wall_s), destination)

    # --- with others -----------------------------------------------------------------------

    def parts(self) -> LegParts | None:
        """Return what others may go on with for this leg; None while something is the matter.

        Between two ticks. What only its own receiver, buffer and sender know, they tell.
        """
        terms, law = self._terms, self._encoder
        source, destination = self._latch.final, self._latch.destination
        if source is None or destination is None or not isinstance(law, Law):
            return None
        is_plain = terms.sends and self._frames_per_packet == 1 and self._pending_frames == 0
        if not is_plain or not self._keys.is_idle:
            return None
        return LegParts(
            source,
            destination,
            terms.pt,
            law,
            self._send,
            self._latch,
            self._deadline,
            self._receiver,
            self._hearing,
            self._sender,
        )

    def _watch(self) -> None:
        # Who holds us may send music, and more often sends nothing.
        if self._expects_media and self._terms.receives and self._terms.sends:
            self._deadline.expect(self.now_s)
        else:
            self._deadline.suspend()
        self.due_s = self.now_s

    # --- packets ---------------------------------------------------------------------------

    def advance(self, now_s: float, wall_s: float) -> None:
        """The tick at `now_s` begins: send the reports that are due, end held digits."""
        self.now_s = now_s
        if now_s >= self.due_s:
            self._do_due(now_s, wall_s)

    def _do_due(self, now_s: float, wall_s: float) -> None:
        self._count()
        ended = self._digits.expire(now_s)
        if ended is not None:
            self._pressed.append(ended)
            self.woken()
        if now_s >= self._reporter.due_s:
            report = self._reporter.report(now_s, wall_s, self._factor())
            destination = self._rtcp_latch.destination
            if destination is not None:
                self._send_rtcp(report, destination)
        dead_s, digit_s = self._deadline.at_s, self._digits.due_s
        self.is_dead = dead_s is not None and now_s >= dead_s
        # Both move on with every packet; whoever comes too early finds nothing to do.
        self.due_s = min(due for due in (self._reporter.due_s, dead_s, digit_s) if due is not None)

    def receive(self, data: bytes, source: Address, arrived_s: float) -> None:
        """Take a datagram of the RTP port. Never raises: what is wrong with it is counted."""
        try:
            packet = RtpPacket.parse(data)
        except RtpError:
            self._malformed += 1
            return
        if not self._latch.admit(source):
            return
        self.be_alone()
        self._deadline.note_media(arrived_s)
        terms, buffer = self._terms, self._hearing.buffer
        for one in self._receiver.receive(packet, arrived_s):
            packet = one.packet
            if one.stream != self._stream:
                if self._stream is not None:
                    buffer.restart()
                self._stream = one.stream
            if packet.pt == terms.digits_pt or packet.pt == terms.noise_pt:
                self._sort(one)
            elif units := terms.codec.payload_units(packet.payload):
                buffer.put(one.seq, packet.ts, one.arrived_s, packet.payload, units)
            else:
                self._undecodable += 1

    def receive_rtcp(self, data: bytes, source: Address, arrived_s: float, wall_s: float) -> None:
        """Take a datagram of the RTCP port; as `receive`."""
        try:
            packets = parse_compound(data)  # what cannot be read must not latch
            if self._rtcp_latch.admit(source):
                if any(isinstance(packet, Goodbye) for packet in packets):
                    self.be_alone()
                self._reporter.receive(data, arrived_s, wall_s)
                self._deadline.note_media(arrived_s)
        except RtpError:
            self._malformed += 1

    def _sort(self, one: SequencedPacket) -> None:
        """Take a packet that is no audio: of a digit, or comfort noise."""
        packet, buffer = one.packet, self._hearing.buffer
        if packet.pt == self._terms.digits_pt:
            buffer.pass_over(one.seq)
            try:
                told = self._digits.receive(one)
            except RtpError:
                self._malformed += 1
                return
            self.due_s = self.now_s  # it may have to be ended
            self._pressed += [event for event in told if isinstance(event, DigitEnded)]
        else:
            buffer.pause(one.seq, packet.ts, one.arrived_s, packet.payload)

    # --- frames ----------------------------------------------------------------------------

    def take(self, tick: int, out: NDArray[np.int16]) -> bool:
        """Fill `out` with what the far end says in this tick."""
        del tick  # the time of the tick came with `advance`
        if self.together is not None:
            together, row = self.together
            together.take(row, out)
            return True
        return self._hearing.take(self.now_s, out)

    def put(self, tick: int, frame: NDArray[np.int16]) -> None:
        """Send one frame, or in its place a packet of a digit."""
        del tick
        if self.together is not None:
            together, row = self.together
            together.put(row, frame)
            return
        destination = self._latch.destination
        if destination is None or not self._terms.sends:
            self._unsendable += destination is None
            self._sender.skip((1 + self._pending_frames) * TICK_MS)
            self._pending, self._pending_frames = b"", 0
            return
        digits_pt = self._terms.digits_pt
        if digits_pt is not None and not self._keys.is_idle:
            if self._pending_frames:
                self._send_pending(destination)  # what was said before the digit comes before it
            event = self._keys.tick(self._sender.ts)
            if event is not None:
                data = self._sender.send_event(
                    digits_pt, event.payload, event.ts, is_first=event.is_first
                )
                self._send(data, destination)
                self._sender.skip(TICK_MS)
                return
        self._pending += self._encoder.encode(frame)
        self._pending_frames += 1
        if self._pending_frames >= self._frames_per_packet:
            self._send_pending(destination)

    def _send_pending(self, destination: Address) -> None:
        duration_ms = self._pending_frames * TICK_MS
        data = self._sender.send(self._terms.pt, self._pending, duration_ms, self.now_s)
        self._pending, self._pending_frames = b"", 0
        self._send(data, destination)

    def statistics(self) -> RtpLegStatistics:
        """Return what went over the leg."""
        self._count()
        return RtpLegStatistics(
            received=self._receiver.statistics(),
            jitter=self._hearing.buffer.statistics(),
            sent=self._sender.statistics(),
            reports=self._reporter.statistics(),
            latch=self._latch.statistics(),
            malformed=self._malformed,
            undecodable=self._undecodable,
            unsendable=self._unsendable,
        )

    # --- codec -----------------------------------------------------------------------------

    def _use(self, codec: Codec) -> None:
        self._encoder: Encoder = codec.encoder()
        self._decoder: Decoder = codec.decoder()
        self._hearing: Hearing[bytes] = Hearing(
            clock_rate_hz=codec.clock_rate_hz,
            sample_rate_hz=codec.sample_rate_hz,
            decode=self._decode,
            generator=self._seed.generator,
        )
        self._pending, self._pending_frames = b"", 0

    def _change_codec(self, before: Codec, codec: Codec) -> None:
        if codec.clock_rate_hz != before.clock_rate_hz:
            # RFC 7160: another clock rate is another source.
            self._sender = RtpSender(
                ssrc=int(self._seed.generator.integers(1 << 32)),
                seq=int(self._seed.generator.integers(1 << 16)),
                ts=int(self._seed.generator.integers(1 << 32)),
                clock_rate_hz=codec.clock_rate_hz,
            )
        self._use(codec)

    def _decode(self, payload: bytes) -> NDArray[np.int16]:
        try:
            return self._decoder.decode(payload)
        except CodecError:
            self._undecodable += 1
            return np.zeros(0, dtype=np.int16)

    def _factor(self) -> float:
        return float(self._seed.generator.uniform(0.5, 1.5))
