"""Changes of the media within a dialog: re-INVITE and UPDATE, theirs and ours, and refreshes.

Not here: what SDP says (`negotiation.py`). Implements RFC 3261 §14, RFC 3311, RFC 4028 §7 to §9.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from telcoflow_server.sip.accounts import Private
from telcoflow_server.sip.events import OfferAnswered, OfferRefused, ReOffered
from telcoflow_server.sip.exchange import Exchange
from telcoflow_server.sip.line import CAPABILITIES, GONE, Line
from telcoflow_server.sip.message import (
    SDP_TYPE,
    Body,
    Headers,
    Request,
    Response,
    ServerTransaction,
)
from telcoflow_server.sip.refresh import Due, SessionTimer
from telcoflow_server.sip.uri import SipError

ANSWER_WITHIN_S = 20.0
"""An UPDATE must be answered before its sender gives up, after 32 s."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A re-INVITE or UPDATE that waits for us."""

    transaction: ServerTransaction
    headers: Headers
    since_s: float


class Renegotiation:
    """The changes of one dialog that is confirmed.

    Args:
        line: The far end.
        timer: Of the session.
        changed: Called when our description or their address has changed.
        unacknowledged: Called when the far end never acknowledged our answer.

    Attributes:
        our_sdp: What we described last; None: nothing yet.
        their_sdp: What they did.
    """

    def __init__(
        self,
        line: Line,
        timer: SessionTimer,
        changed: Callable[[], None],
        unacknowledged: Callable[[], None],
    ) -> None:
        self.our_sdp: str | None = None
        self.their_sdp: str | None = None
        self._line = line
        self._timer = timer
        self._changed = changed
        self._unacknowledged = unacknowledged
        self._asked: _Asked | None = None
        self._offering: Exchange | None = None
        self._is_open = True

    def receive(
        self, request: Request, transaction: ServerTransaction, now_s: float
    ) -> ReInvite | None:
        """Answer a re-INVITE or UPDATE that changes nothing; ask what to do about any other.

        Returns:
            Who is to hear what becomes of a re-INVITE.
        """
        if self._offering is not None:
            transaction.respond(491)  # RFC 3261 §14.2: glare
            return None
        if self._asked is not None:
            transaction.respond(500, (("retry-after", "1"),))
            return None
        if request.body is not None and request.sdp is None:
            transaction.respond(415, (("accept", SDP_TYPE),))
            return None
        try:
            timing = self._timer.answer(request, now_s)
        except SipError as error:
            transaction.respond(error.status, (("min-se", "90"),))
            return None
        self._line.peer.refresh_target(request.headers)
        headers = (*self._line.headers, *timing)
        is_invite = request.method == "INVITE"
        if request.sdp is None and not is_invite:
            transaction.respond(200, headers)  # an UPDATE that only refreshes
            return None
        if request.sdp is not None and request.sdp == self.their_sdp and self.our_sdp is not None:
            transaction.respond(200, headers, Body(self.our_sdp))  # RFC 3264 §8: unchanged
            return ReInvite(self, is_late=False) if is_invite else None
        self._asked = _Asked(transaction, headers, now_s)
        self.their_sdp = request.sdp
        sdp = None if request.sdp is None else Private(request.sdp)
        self._line.emit(ReOffered(dialog=self._line.dialog_id, source=request.source, sdp=sdp))
        return ReInvite(self, is_late=request.sdp is None) if is_invite else None

    def answer(self, sdp: str) -> bool:
        """Agree to what was asked; False: nothing is asked any more."""
        asked, self._asked = self._asked, None
        if asked is None:
            return False
        self.our_sdp = sdp
        asked.transaction.respond(200, asked.headers, Body(sdp))
        self._changed()
        return True

    def refuse(self, status: int) -> bool:
        """Refuse what was asked; False: nothing is asked any more."""
        asked, self._asked = self._asked, None
        if asked is None:
            return False
        self.their_sdp = None  # what comes next changes something, whatever it says
        asked.transaction.respond(status)
        return True

    def offer(self, sdp: str) -> bool:
        """Ask the far end to change; False: it is being asked already."""
        if self._offering is not None:
            return False
        if self._asked is not None:  # theirs came first
            self._line.emit(OfferRefused(dialog=self._line.dialog_id, status=491))
        else:
            self._re_invite(sdp, is_refresh=False)
        return True

    def tick(self, now_s: float) -> bool:
        """Refresh the session if that is due; True: it is over, for nobody has refreshed it."""
        if self._asked is not None and now_s - self._asked.since_s >= ANSWER_WITHIN_S:
            self.refuse(504)
        due = self._timer.due(now_s)
        if due is Due.REFRESH:
            if self.our_sdp is not None and self._offering is None:
                self._re_invite(self.our_sdp, is_refresh=True)
            else:
                self._timer.try_again(now_s)
        return due is Due.END

    def close(self) -> None:
        """The dialog is over; what was asked is answered."""
        self._is_open = False
        if self._asked is not None:
            self._asked.transaction.respond(487)
            self._asked = None

    def cancelled(self) -> None:
        """The far end took its re-INVITE back."""
        self._asked = None

    def acknowledged(self, body: Body | None, *, is_late: bool) -> None:
        """The far end acknowledged our answer, or answered our offer."""
        if is_late and self._is_open:
            answer = None if body is None or body.sdp is None else Private(body.sdp)
            self._line.emit(OfferAnswered(dialog=self._line.dialog_id, sdp=answer))

    def unacknowledged(self) -> None:
        """The far end never acknowledged our answer (RFC 3261 §14.2)."""
        if self._is_open:
            self._unacknowledged()

    def _re_invite(self, sdp: str, *, is_refresh: bool) -> None:
        def hear(response: Response, now_s: float) -> None:
            if response.status >= 200:
                self._offering = None
                if self._is_open:
                    self._hear(response, sdp, now_s, is_refresh=is_refresh)

        headers = (*CAPABILITIES, *self._timer.asking())
        self._offering = self._line.ask("INVITE", headers, Body(sdp), hear)

    def _hear(self, response: Response, sdp: str, now_s: float, *, is_refresh: bool) -> None:
        line = self._line
        if response.status in GONE:
            line.gone()
        elif response.status < 300:
            line.peer.refresh_target(response.headers)
            self._timer.answered(response, now_s)
            self.our_sdp = sdp
            self._changed()
            if not is_refresh:
                answer = None if response.sdp is None else Private(response.sdp)
                line.emit(OfferAnswered(dialog=line.dialog_id, sdp=answer))
        elif is_refresh:
            self._timer.try_again(now_s)
        else:
            line.emit(OfferRefused(dialog=line.dialog_id, status=response.status))


@dataclass(frozen=True, slots=True)
class ReInvite:
    """What becomes of a re-INVITE; an `InviteEvents`."""

    change: Renegotiation
    is_late: bool

    def cancelled(self, now_s: float) -> None:
        """See `InviteEvents`."""
        self.change.cancelled()

    def acknowledged(self, body: Body | None, now_s: float) -> None:
        """See `InviteEvents`."""
        self.change.acknowledged(body, is_late=self.is_late)

    def unacknowledged(self, now_s: float) -> None:
        """See `InviteEvents`."""
        self.change.unacknowledged()
