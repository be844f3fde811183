"""Offer and answer: what two sides agree on for one stream of audio.

Not here: the text (`sdp.py`), sockets, codecs. Implements RFC 3264 for one audio stream: others are
refused. Never answers an encrypted stream in clear.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from telcoflow_server.sip.agreement import Agreement, CodecDescription, LocalMedia
from telcoflow_server.sip.sdp import (
    Attribute,
    Connection,
    Direction,
    Media,
    Origin,
    RtpMap,
    SessionDescription,
    build_sdp,
    parse_sdp,
)

CLEAR_PROTOCOLS = ("RTP/AVP", "RTP/AVPF")
"""What we speak. AVPF (RFC 4585) differs in when RTCP may be sent, which may be never."""

TELEPHONE_EVENT = "telephone-event"
TELEPHONE_EVENT_PT = 101
"""The number most use; some carriers know no other."""
DIGIT_EVENTS = "0-16"
"""RFC 4733 §3.2: the sixteen digits, and flash."""

COMFORT_NOISE_PT = 13
"""RFC 3389, at 8000 Hz; at other rates it has a number of its own."""

FIRST_DYNAMIC_PT, LAST_DYNAMIC_PT = 96, 127
"""RFC 3551 §3."""

DEFAULT_PTIME_MS = 20
MIN_PTIME_MS, MAX_PTIME_MS = 10, 60
"""RFC 3551 has receivers take 0 to 200 ms a packet; more than 60 is heard as delay."""


class Refusal(Enum):
    """Why there is nothing to agree on; each is a 488 (RFC 3261 §21.4.26)."""

    NO_AUDIO = "no audio stream"
    ENCRYPTED = "encrypted streams only, and no keys for them"
    NOTHING_COMMON = "no codec in common"


@dataclass(frozen=True, slots=True)
class Accepted:
    """An offer that is answered.

    Attributes:
        answer: The text to send.
        agreement: What holds from now on.
    """

    answer: str
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class NotAcceptable:
    """An offer or answer that leads nowhere; what held before still holds.

    Attributes:
        status: Of the response that refuses it.
    """

    reason: Refusal
    status: int = 488


@dataclass(frozen=True, slots=True)
class _Stream:
    """The audio stream of a description, and where in it."""

    index: int
    media: Media
    connection: Connection
    direction: Direction


class OfferAnswer:
    """One leg's offers and answers, from the first to the last.

    Remembers what RFC 3264 §8 binds: the order of the streams, what a payload type stands for, and
    the version of our description, which grows when the description changes and only then.

    Args:
        local: Our end; `move` changes it.
        session_id: Random, below 2^62: names our description (RFC 8866 §5.2).
    """

    def __init__(self, local: LocalMedia, session_id: int) -> None:
        self.agreement: Agreement | None = None
        """What holds now; None before the first exchange is done."""
        self._local = local
        self._session_id = session_id
        self._version = session_id
        self._last: SessionDescription | None = None  # ours, in its last version
        self._pts: dict[tuple[str, int, int], int] = {}
        self._streams: tuple[Media, ...] = ()  # of the last exchange, in order
        self._index = 0  # of ours among them
        self._has_offered = False

    def move(self, local: LocalMedia) -> None:
        """Be elsewhere, or speak other codecs, from the next offer or answer on."""
        self._local = local

    def offer(self, direction: Direction = Direction.SENDRECV) -> str:
        """Return an offer: the first one, or another that changes what holds.

        It replaces one that has not been answered.
        """
        self._has_offered = True
        lines = [(codec, self._pt_for(codec)) for codec in self._local.codecs]
        digits = self._pts.get((TELEPHONE_EVENT, 8000, 1), self._free(TELEPHONE_EVENT_PT))
        media = self._media("RTP/AVP", lines, (digits, 8000), direction, DEFAULT_PTIME_MS)
        if not self._streams:
            return self._publish((media,))
        kept = replace(media, protocol=self._streams[self._index].protocol)
        return self._publish(self._among_refused(kept))

    def answer(self, offer: str) -> Accepted | NotAcceptable:
        """Answer an offer.

        Raises:
            SdpError: it cannot be read.
        """
        remote = parse_sdp(offer)
        stream = _audio_stream(remote, self._local.codecs)
        if isinstance(stream, Refusal):
            return NotAcceptable(stream)
        agreement = self._agree(stream, stream.direction)
        self._has_offered = False
        self._streams, self._index = remote.media, stream.index
        self._learn(stream)
        self.agreement = agreement
        digits_pt = agreement.telephone_event_pt
        media = self._media(
            stream.media.protocol,
            [(agreement.codec, agreement.pt)],
            None if digits_pt is None else (digits_pt, agreement.telephone_event_clock_hz),
            agreement.direction,
            agreement.ptime_ms,
        )
        return Accepted(self._publish(self._among_refused(media)), agreement)

    def take_answer(self, answer: str) -> Agreement | NotAcceptable:
        """Take an answer to our offer; a second one, as of 183 and 200, replaces the first.

        Returns:
            Agreement: what holds from now on.
            NotAcceptable: the far end refused the stream or chose what we had not offered.

        Raises:
            SdpError: it cannot be read.
            ValueError: no offer of ours is open.
        """
        if not self._has_offered:
            raise ValueError("take_answer needs an open offer")
        remote = parse_sdp(answer)
        stream = _audio_stream(remote, self._local.codecs)
        if isinstance(stream, Refusal):
            return NotAcceptable(stream)
        assert self._last is not None, "an offer of ours was published"
        if stream.index != self._index:
            return NotAcceptable(Refusal.NO_AUDIO)
        offered = self._last.direction_of(self._last.media[self._index])
        # The far end may take away from what we offered, not add to it (RFC 3264 §6.1).
        flow = Direction.of(
            sends=stream.direction.sends and offered.receives,
            receives=stream.direction.receives and offered.sends,
        )
        self.agreement = self._agree(stream, flow)
        self._streams = self._last.media
        self._learn(stream)
        return self.agreement

    def withdraw_offer(self) -> None:
        """Forget our offer, which was refused: what held before it holds on."""
        self._has_offered = False

    def _agree(self, stream: _Stream, flow: Direction) -> Agreement:
        """Return what a stream of theirs and our codecs come to; they have one in common."""
        numbers = _numbers(stream.media)
        codec, pt = next(
            (one, numbers[one.key]) for one in self._local.codecs if one.key in numbers
        )
        clock_hz = codec.clock_rate_hz
        if (TELEPHONE_EVENT, clock_hz, 1) not in numbers:
            clock_hz = 8000  # beside Opus, many offer digits at the rate of the others only
        address, port = stream.connection.address, stream.media.port
        ours = flow.mirrored
        if stream.connection.is_unspecified:  # RFC 3264 §8.4: the old way to hold
            ours = Direction.of(sends=False, receives=ours.receives)
        return Agreement(
            codec=codec,
            pt=pt,
            telephone_event_pt=numbers.get((TELEPHONE_EVENT, clock_hz, 1)),
            telephone_event_clock_hz=clock_hz,
            comfort_noise_pt=numbers.get(("cn", codec.clock_rate_hz, 1)),
            remote=(address, port),
            remote_rtcp=_rtcp_of(stream.media, address, port),
            direction=ours,
            ptime_ms=_ptime_of(stream.media),
            remote_fmtp=stream.media.format_parameters(pt),
        )

    def _learn(self, stream: _Stream) -> None:
        """Keep what later offers are bound to: numbers keep their meaning (RFC 3264 §8.3.2)."""
        numbers = _numbers(stream.media)
        taken = set(numbers.values())
        kept = {key: pt for key, pt in self._pts.items() if pt not in taken}
        self._pts = {**kept, **numbers}

    def _pt_for(self, codec: CodecDescription) -> int:
        """Return a codec's number in our offers: what it had, else its own, else a free one."""
        pt = self._pts.get(codec.key)
        if pt is None:
            pt = self._pts[codec.key] = self._free(codec.pt)
        return pt

    def _free(self, wanted: int) -> int:
        taken = set(self._pts.values())
        candidates = (wanted, *range(FIRST_DYNAMIC_PT, LAST_DYNAMIC_PT + 1))
        # All taken: a far end with 32 codecs of its own cannot mind one of ours.
        return next((one for one in candidates if one not in taken), wanted)

    def _media(
        self,
        protocol: str,
        codecs: list[tuple[CodecDescription, int]],
        digits: tuple[int, int] | None,
        direction: Direction,
        ptime_ms: int,
    ) -> Media:
        """Return our stream with these codecs and their payload types."""
        attributes: list[Attribute] = []
        for codec, pt in codecs:
            channels = f"/{codec.channels}" if codec.channels > 1 else ""
            text = f"{pt} {codec.encoding}/{codec.clock_rate_hz}{channels}"
            attributes.append(Attribute("rtpmap", text))
            if codec.fmtp is not None:
                attributes.append(Attribute("fmtp", f"{pt} {codec.fmtp}"))
        formats = [str(pt) for _, pt in codecs]
        if digits is not None:
            pt, clock_hz = digits
            formats.append(str(pt))
            attributes.append(Attribute("rtpmap", f"{pt} {TELEPHONE_EVENT}/{clock_hz}"))
            attributes.append(Attribute("fmtp", f"{pt} {DIGIT_EVENTS}"))
        attributes.append(Attribute("ptime", str(ptime_ms)))
        rtcp_port = self._local.rtcp_port
        if rtcp_port is not None and rtcp_port != self._local.port + 1:
            attributes.append(Attribute("rtcp", str(rtcp_port)))  # RFC 3605
        attributes.append(Attribute(direction.value))
        return Media("audio", self._local.port, protocol, tuple(formats), None, tuple(attributes))

    def _among_refused(self, media: Media) -> tuple[Media, ...]:
        """Put our stream in its place among the others, which are refused with port 0."""
        return tuple(
            media if index == self._index else Media(one.kind, 0, one.protocol, one.formats)
            for index, one in enumerate(self._streams)
        )

    def _publish(self, media: tuple[Media, ...]) -> str:
        connection = Connection.to(self._local.address)
        last = self._last
        if last is not None and (last.media, last.connection) != (media, connection):
            self._version += 1
        origin = Origin("-", str(self._session_id), str(self._version), connection)
        self._last = SessionDescription(origin, connection, media)
        return build_sdp(self._last)


def _audio_stream(
    remote: SessionDescription, codecs: tuple[CodecDescription, ...]
) -> _Stream | Refusal:
    """Return the first stream we can take, or why there is none."""
    refusal = Refusal.NO_AUDIO
    for index, media in enumerate(remote.media):
        connection = remote.connection_of(media)
        if media.kind != "audio" or media.port == 0 or connection is None:
            continue
        if media.protocol not in CLEAR_PROTOCOLS:
            refusal = Refusal.ENCRYPTED
        elif any(codec.key in _numbers(media) for codec in codecs):
            return _Stream(index, media, connection, remote.direction_of(media))
        elif refusal is Refusal.NO_AUDIO:
            refusal = Refusal.NOTHING_COMMON
    return refusal


_STATIC_MAPS = {
    0: RtpMap(0, "PCMU", 8000),
    8: RtpMap(8, "PCMA", 8000),
    9: RtpMap(9, "G722", 8000),
    COMFORT_NOISE_PT: RtpMap(COMFORT_NOISE_PT, "CN", 8000),
}
"""RFC 3551 §6: what the numbers mean that need no rtpmap; those we know."""


def _numbers(media: Media) -> dict[tuple[str, int, int], int]:
    """Return each codec's payload type; of two numbers for one codec the preferred one."""
    maps = {**_STATIC_MAPS, **media.rtp_maps()}
    found: dict[tuple[str, int, int], int] = {}
    for pt in media.payload_types:
        one = maps.get(pt)
        if one is not None:
            found.setdefault((one.encoding.lower(), one.clock_rate_hz, one.channels), pt)
    return found


def _ptime_of(media: Media) -> int:
    """Return the packet time the far end likes, in steps of 10 ms."""
    wanted_ms = media.number("ptime") or DEFAULT_PTIME_MS
    limit_ms = media.number("maxptime") or MAX_PTIME_MS
    steps = min(wanted_ms, limit_ms, MAX_PTIME_MS) // MIN_PTIME_MS
    return max(steps, 1) * MIN_PTIME_MS


def _rtcp_of(media: Media, address: str, port: int) -> tuple[str, int]:
    """Return where RTCP goes: `a=rtcp` (RFC 3605), with an address of its own or without."""
    for value in media.values("rtcp"):
        words = value.split()
        if words and words[0].isascii() and words[0].isdigit() and int(words[0]) <= 0xFFFF:
            return (words[3] if len(words) == 4 else address), int(words[0])
    return address, port + 1
