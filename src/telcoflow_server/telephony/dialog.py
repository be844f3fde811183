"""One phone's dialog: what is agreed on with it, its sockets, its beginning and its end.

Not here: all of them together (`service.py`), the SIP stack (`sip/`), the phone as a party to a
call (`legs/sip.py`), its audio (`legs/rtp.py`). Implements docs/explanation/phones.md.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import deque
from typing import Protocol

import numpy as np

from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_server.call.call import Call
from telcoflow_server.codec.table import Codec, find
from telcoflow_server.legs.rtp import RtpLeg
from telcoflow_server.legs.rtp_array import RtpArray
from telcoflow_server.legs.rtp_terms import RtpSeed, RtpTerms
from telcoflow_server.legs.sip import SipPhone
from telcoflow_server.sip.accounts import Private
from telcoflow_server.sip.agreement import Agreement, CodecDescription, LocalMedia
from telcoflow_server.sip.commands import (
    Accept,
    AnswerReOffer,
    Command,
    HangUp,
    Refer,
    Refuse,
    RefuseReOffer,
    Ring,
    SendDtmfInfo,
)
from telcoflow_server.sip.events import DialogId, ReOffered
from telcoflow_server.sip.negotiation import Accepted, NotAcceptable, OfferAnswer
from telcoflow_server.sip.sdp import SdpError
from telcoflow_server.udp import PortPair

logger = logging.getLogger(__name__)

INFO_DIGIT_MS = 160
"""How long a digit that goes by INFO is said to be: what phones send themselves."""

INFO_EVERY_S = 0.26
"""That and a gap of 100 ms: requests that overtake each other would be digits that do."""

_NEVER_S = float("inf")

MAX_INFO_DIGITS = 100
"""So many wait to be sent, half a minute of them. More is a mistake."""

RETRY_AFTER_S = 5
"""What a caller who finds no room is asked to wait."""

BUSY_HERE, DECLINED, UNAVAILABLE = 486, 603, 503

_REFUSALS = {
    EndReason.NO_AGENT: BUSY_HERE,
    EndReason.NO_ANSWER: BUSY_HERE,
    EndReason.AGENT_REJECTED: DECLINED,
    EndReason.AGENT_LOST: UNAVAILABLE,
    EndReason.SERVER_SHUTDOWN: UNAVAILABLE,
    EndReason.SERVER_ERROR: 500,
}
"""What a caller hears whose call was never answered; BUSY_HERE for every other reason."""


class DialogOwner(Protocol):
    """Whoever keeps the dialogs."""

    media_host: str
    now_s: float
    legs: RtpArray

    def send(self, command: Command) -> None:
        """Tell the SIP process something."""

    def forget(self, dialog_id: DialogId) -> None:
        """The dialog is over."""


class SipDialog:
    """One phone's dialog: a `Dialog` to its phone, and the target of its events.

    Args:
        owner: Where it belongs.
        dialog_id: Its name to the SIP process.
        ports: Its sockets; closed with it.
        codecs: What it may speak.
        peer_host: Who signals.
        is_trusted: Whether that is a trunk or showed a password.

    Attributes:
        due_s: Until then `advance` has nothing to do but for the leg; to be read only.
    """

    def __init__(
        self,
        owner: DialogOwner,
        dialog_id: DialogId,
        ports: PortPair,
        codecs: tuple[Codec, ...],
        peer_host: str,
        is_trusted: bool,
    ) -> None:
        self.phone = SipPhone(self)
        self.call: Call | None = None
        self._owner = owner
        self._id = dialog_id
        self._ports = ports
        self._peer_host = peer_host
        self._is_trusted = is_trusted
        local = LocalMedia(owner.media_host, ports.port, tuple(describe(codec) for codec in codecs))
        self._talk = OfferAnswer(local, secrets.randbits(61))
        self._answer: str | None = None  # our SDP for the answer to an INVITE
        self._is_accepted = False
        self._is_over = False
        self._digits: deque[str] = deque()
        self._next_digit_s = 0.0
        self.due_s = _NEVER_S

    # --- Dialog ----------------------------------------------------------------------------

    def send_early(self) -> None:
        """See `Dialog`; an INVITE without an offer gets none before its answer."""
        if self._answer is not None and self.phone.leg is not None:
            self._owner.send(Ring(dialog=self._id, sdp=Private(self._answer)))

    def accept(self) -> None:
        """See `Dialog`; who was dialled has accepted itself."""
        if self._answer is not None and not self._is_accepted:
            self._is_accepted = True
            self._owner.send(Accept(dialog=self._id, sdp=Private(self._answer)))

    def leave(self, reason: EndReason) -> None:
        """See `Dialog`."""
        if self._is_over:
            return
        if self._answer is not None and not self._is_accepted:
            status = _REFUSALS.get(reason, BUSY_HERE)
            retry = RETRY_AFTER_S if status == UNAVAILABLE else None
            self._owner.send(Refuse(dialog=self._id, status=status, retry_after_s=retry))
        else:
            self._owner.send(HangUp(dialog=self._id))
        self.close()

    def send_digits(self, digits: str) -> None:
        """See `Dialog`: one after the other, as fingers would."""
        if len(self._digits) + len(digits) > MAX_INFO_DIGITS:
            raise ValueError(f"at most {MAX_INFO_DIGITS} digits can wait")
        self._digits.extend(digits)
        self.due_s = self._next_digit_s

    def refer(self, number: str) -> None:
        """See `Dialog`."""
        self._owner.send(Refer(dialog=self._id, number=Private(number)))

    # --- offers and answers ----------------------------------------------------------------

    def take_invite(self, offer: str | None) -> int | None:
        """Take the offer of who calls, or make ours; return the status that refuses it, or None."""
        if offer is None:
            self._answer = self._talk.offer()
            return None
        try:
            outcome = self._talk.answer(offer)
        except SdpError:
            return 400
        if isinstance(outcome, NotAcceptable):
            return outcome.status
        self._answer = outcome.answer
        self._agreed(outcome.agreement)
        return None

    def offer(self) -> str:
        """Return our offer to who is dialled."""
        return self._talk.offer()

    def take_answer(self, answer: str | None) -> bool:
        """Take the answer to our offer; return whether there is media to talk over."""
        if answer is not None:
            try:
                outcome = self._talk.take_answer(answer)
            except (SdpError, ValueError):
                return self.phone.leg is not None
            if isinstance(outcome, Agreement):
                self._agreed(outcome)
        return self.phone.leg is not None

    def heard_from(self, host: str) -> None:
        """Signalling of who was dialled comes from there."""
        self._peer_host = host

    def reoffered(self, event: ReOffered) -> None:
        """The phone wants to change its media: hold, another codec, another address."""
        send = self._owner.send
        self._peer_host = event.source[0]
        if event.sdp is None:
            send(AnswerReOffer(dialog=self._id, sdp=Private(self._talk.offer())))
            return
        try:
            outcome = self._talk.answer(event.sdp.value)
        except SdpError:
            send(RefuseReOffer(dialog=self._id))
            return
        if isinstance(outcome, Accepted):
            self._agreed(outcome.agreement)
            send(AnswerReOffer(dialog=self._id, sdp=Private(outcome.answer)))
        else:
            send(RefuseReOffer(dialog=self._id, status=outcome.status))

    def _agreed(self, agreement: Agreement) -> None:
        codec = find(
            agreement.codec.encoding, agreement.codec.clock_rate_hz, agreement.codec.channels
        )
        assert codec is not None, "only what we offer can be agreed on"
        terms = RtpTerms(
            codec=codec,
            pt=agreement.pt,
            digits_pt=agreement.telephone_event_pt,
            digits_clock_hz=agreement.telephone_event_clock_hz,
            noise_pt=agreement.comfort_noise_pt,
            remote=agreement.remote,
            remote_rtcp=agreement.remote_rtcp,
            peer_host=self._peer_host,
            is_peer_trusted=self._is_trusted,
            sends=agreement.direction.sends,
            receives=agreement.direction.receives,
            ptime_ms=agreement.ptime_ms,
        )
        leg = self.phone.leg
        if leg is None:
            leg = self._new_leg(terms)
        else:
            rate_hz = leg.sample_rate_hz
            leg.renegotiate(terms)
            if leg.sample_rate_hz == rate_hz:
                return
        if self.call is not None:
            self.call.retune(self.phone)

    def _new_leg(self, terms: RtpTerms) -> RtpLeg:
        ports, owner = self._ports, self._owner
        leg = RtpLeg(terms, new_seed(), owner.now_s, ports.send, ports.send_rtcp)
        owner.legs.add(ports.port, leg)
        ports.received_rtcp = lambda data, source, at_s: leg.receive_rtcp(
            data, source, at_s, time.time()
        )
        self.phone.talk_over(leg)
        return leg

    # --- time and the end ------------------------------------------------------------------

    def advance(self, now_s: float, wall_s: float) -> None:
        """A tick begins."""
        if now_s >= self.due_s:
            digit = Private(self._digits.popleft())
            self._next_digit_s = now_s + INFO_EVERY_S
            self.due_s = self._next_digit_s if self._digits else _NEVER_S
            self._owner.send(SendDtmfInfo(dialog=self._id, digit=digit, duration_ms=INFO_DIGIT_MS))
        leg = self.phone.leg
        if leg is None:
            return
        leg.advance(now_s, wall_s)
        if leg.is_dead and not self.phone.has_hung_up:
            logger.warning("a phone has sent nothing for a minute: its dialog is ended")
            self.phone.hung_up()

    def over(self) -> None:
        """The dialog is over; nothing can be said to the phone any more."""
        self.phone.hung_up()
        self._is_over = True
        self.close()

    def close(self) -> None:
        """Give everything back. Idempotent."""
        self._is_over = True
        if self.phone.leg is not None:
            self.phone.leg.goodbye(time.time())
            self._owner.legs.remove(self._ports.port)
        self._ports.close()
        self._owner.forget(self._id)


def describe(codec: Codec) -> CodecDescription:
    """Return a codec as SDP names it."""
    return CodecDescription(
        encoding=codec.encoding,
        clock_rate_hz=codec.clock_rate_hz,
        pt=96 if codec.static_pt is None else codec.static_pt,
        channels=codec.channels,
        fmtp=codec.fmtp,
    )


def new_seed() -> RtpSeed:
    """Return the random numbers that an RTP leg begins with."""
    return RtpSeed(
        ssrc=secrets.randbits(32),
        seq=secrets.randbits(16),
        ts=secrets.randbits(32),
        cname=secrets.token_urlsafe(12),
        generator=np.random.default_rng(secrets.randbits(64)),
    )
