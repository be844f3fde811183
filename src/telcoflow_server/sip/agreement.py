"""What two sides can agree on for one stream of audio, and what they have agreed on.

Not here: how they come to it (`negotiation.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from telcoflow_server.sip.sdp import Direction


@dataclass(frozen=True, slots=True)
class CodecDescription:
    """A codec as SDP names it.

    Args:
        encoding: As registered, such as "PCMU"; compared without case.
        clock_rate_hz: Of the RTP timestamp: 8000 for G722 (RFC 3551 §4.5.2).
        channels: As in rtpmap; Opus is always 2 (RFC 7587 §7).
        pt: Payload type in our own offers: the static one (RFC 3551 §6), or any from 96 on that
            the far end has not given another meaning.
        fmtp: Parameters we send, in offers and answers; None: no line.
    """

    encoding: str
    clock_rate_hz: int
    pt: int
    channels: int = 1
    fmtp: str | None = None

    @property
    def key(self) -> tuple[str, int, int]:
        """What must be equal in two descriptions of the same codec."""
        return self.encoding.lower(), self.clock_rate_hz, self.channels


@dataclass(frozen=True, slots=True)
class LocalMedia:
    """Our end.

    Args:
        address: Where we listen, as the far end reaches it; its family is that of the session.
        port: Of RTP.
        codecs: What we speak, best first; at least one.
        rtcp_port: None: the next one above.
    """

    address: str
    port: int
    codecs: tuple[CodecDescription, ...]
    rtcp_port: int | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """What both sides have agreed on.

    Attributes:
        codec: One of ours.
        pt: Its payload type, both ways.
        telephone_event_pt: Payload type of digits, both ways; None: they are not understood.
        telephone_event_clock_hz: Their clock rate; the codec's, unless the far end has no such.
        comfort_noise_pt: Of RFC 3389 noise the far end may send; None: it has not said so.
        remote: Address and port of the far end's RTP; not to be trusted before something comes
            from there, and perhaps of the other address family.
        remote_rtcp: Likewise.
        direction: Of our side. `sends` False: nothing may be sent; the far end has put us on hold.
        ptime_ms: Of the packets we send.
        remote_fmtp: The codec's parameters as the far end gave them.
    """

    codec: CodecDescription
    pt: int
    telephone_event_pt: int | None
    telephone_event_clock_hz: int
    comfort_noise_pt: int | None
    remote: tuple[str, int]
    remote_rtcp: tuple[str, int]
    direction: Direction
    ptime_ms: int
    remote_fmtp: str | None

    @property
    def is_on_hold(self) -> bool:
        """Whether the far end does not want to hear us."""
        return not self.direction.sends
