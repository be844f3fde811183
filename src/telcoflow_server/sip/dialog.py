"""One call with one phone, as SIP sees it: from INVITE to BYE.

Not here: which calls there are (`switchboard.py`), changes of its media (`renegotiation.py`),
transfers (`transfer.py`). Implements RFC 3261 §12, §13 and §15.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, auto

from telcoflow_server.sip import commands as told
from telcoflow_server.sip.accounts import Private
from telcoflow_server.sip.events import (
    Answered,
    Cancelled,
    DialogId,
    DialogState,
    DtmfInfo,
    Ending,
    Established,
    Event,
    Failed,
    HungUp,
    Progress,
)
from telcoflow_server.sip.exchange import Exchange
from telcoflow_server.sip.info import build_digit, parse_digit
from telcoflow_server.sip.line import ALLOW, CAPABILITIES, Line, Party, Surroundings
from telcoflow_server.sip.message import Body, Headers, Request, Response, ServerTransaction
from telcoflow_server.sip.peer import Peer
from telcoflow_server.sip.refresh import SessionTimer
from telcoflow_server.sip.renegotiation import ReInvite, Renegotiation
from telcoflow_server.sip.transfer import Transfers
from telcoflow_server.sip.uri import SipError


class Phase(Enum):
    """Where a dialog is."""

    INCOMING = auto()
    ACCEPTED = auto()  # 2xx sent, not yet acknowledged
    DIALLING = auto()
    CANCELLING = auto()
    CONFIRMED = auto()
    ENDED = auto()


_FITS: Mapping[type[told.Command], frozenset[Phase]] = {
    told.Ring: frozenset({Phase.INCOMING}),
    told.Accept: frozenset({Phase.INCOMING}),
    told.Refuse: frozenset({Phase.INCOMING}),
    told.HangUp: frozenset(Phase),
    told.ReOffer: frozenset({Phase.CONFIRMED}),
    told.AnswerReOffer: frozenset({Phase.CONFIRMED}),
    told.RefuseReOffer: frozenset({Phase.CONFIRMED}),
    told.SendDtmfInfo: frozenset({Phase.CONFIRMED}),
    told.Refer: frozenset({Phase.CONFIRMED}),
    told.ReportTransfer: frozenset({Phase.CONFIRMED}),
}
"""Which commands fit which phase. What does not fit has crossed an event, and is discarded."""


class Dialog:
    """One dialog.

    Args:
        dialog_id: What it is called outside.
        peer: The far end.
        party: Who that is.
        around: What it works with.
        phase: INCOMING, DIALLING, or CONFIRMED for one of an earlier process.
        ended: Called when it is over.
    """

    def __init__(
        self,
        dialog_id: DialogId,
        peer: Peer,
        party: Party,
        around: Surroundings,
        phase: Phase,
        ended: Callable[[Dialog], None],
    ) -> None:
        self.dialog_id = dialog_id
        self.peer = peer
        self.phase = phase
        self._ended = ended
        self._line = Line(dialog_id, peer, party, around, self._gone)
        self._timer = SessionTimer()
        self._timer_headers: Headers = ()
        self._change = Renegotiation(self._line, self._timer, self._save, self._unacknowledged)
        self._transfers = Transfers(self._line)
        self._invite: ServerTransaction | None = None
        self._dialling: Exchange | None = None
        self._is_leaving = False  # a BYE waits for the ACK

    def invited(self, request: Request, invite: ServerTransaction, now_s: float) -> None:
        """Be the dialog of an INVITE.

        Raises:
            SipError: its session timer cannot be granted.
        """
        self._timer_headers = self._timer.answer(request, now_s)
        self._invite = invite
        self._change.their_sdp = request.sdp

    def dial(self, sdp: str) -> None:
        """Send the INVITE."""
        self._change.our_sdp = sdp
        self._dialling = self._line.ask("INVITE", CAPABILITIES, Body(sdp), self._hear_dialled)

    def restore(self, our_sdp: Private | None) -> None:
        """Be a dialog of an earlier process."""
        self._change.our_sdp = None if our_sdp is None else our_sdp.value

    def obey(self, command: told.Command) -> bool:
        """Do what we are told; False: it does not fit any more."""
        if self.phase not in _FITS[type(command)]:
            return False
        match command:
            case told.Ring():
                self._ring(command.sdp)
            case told.Accept():
                self._accept(command.sdp.value)
            case told.Refuse():
                self._refuse(command)
            case told.HangUp():
                self.hang_up()
            case told.SendDtmfInfo():
                digit = build_digit(command.digit.value, command.duration_ms)
                self._line.send("INFO", (), digit)
            case told.ReOffer():
                return self._change.offer(command.sdp.value)
            case told.AnswerReOffer():
                return self._change.answer(command.sdp.value)
            case told.RefuseReOffer():
                return self._change.refuse(command.status)
            case told.Refer():
                return self._transfers.ask(command.number.value)
            case told.ReportTransfer():
                return self._transfers.report(command.status)
        return True

    def tick(self, now_s: float) -> None:
        """See whether the session must be refreshed, or is over."""
        if self.phase is Phase.CONFIRMED and self._change.tick(now_s):
            self._hang_up_for(Ending.EXPIRED)

    def hang_up(self) -> None:
        """End it, whatever it is in; nothing more is said of it."""
        match self.phase:
            case Phase.INCOMING:
                self._respond(603)
                self._end()
            case Phase.DIALLING:
                assert self._dialling is not None, "set when it began to dial"
                self.phase = Phase.CANCELLING
                self._dialling.cancel()
            case Phase.ACCEPTED:
                self._is_leaving = True  # RFC 3261 §15: no BYE before the ACK
            case Phase.CONFIRMED:
                self._end()
                self._line.send("BYE")

    # --- a call that came ---

    def _ring(self, sdp: Private | None) -> None:
        if sdp is None:
            self._respond(180, self._line.headers)
        else:
            self._change.our_sdp = sdp.value
            self._respond(183, self._line.headers, Body(sdp.value))

    def _accept(self, sdp: str) -> None:
        self._change.our_sdp = sdp
        self.phase = Phase.ACCEPTED
        self._respond(200, (*self._line.headers, *self._timer_headers), Body(sdp))
        self._save()

    def _refuse(self, command: told.Refuse) -> None:
        later = command.retry_after_s
        self._respond(command.status, () if later is None else (("retry-after", str(later)),))
        self._end()

    def cancelled(self, now_s: float) -> None:
        """See `InviteEvents`."""
        if self.phase is Phase.INCOMING:
            self._end(Cancelled(dialog=self.dialog_id))

    def acknowledged(self, body: Body | None, now_s: float) -> None:
        """See `InviteEvents`."""
        if self.phase is not Phase.ACCEPTED:
            return
        self.phase = Phase.CONFIRMED
        if self._is_leaving:
            self.hang_up()
            return
        is_late = self._change.their_sdp is None
        sdp = _private(body.sdp) if is_late and body is not None else None
        self._save()
        self._line.emit(Established(dialog=self.dialog_id, sdp=sdp))

    def unacknowledged(self, now_s: float) -> None:
        """See `InviteEvents`."""
        if self.phase is Phase.ACCEPTED:
            self._unacknowledged()

    def _unacknowledged(self) -> None:
        self._hang_up_for(Ending.NO_ACK)

    # --- a call we make ---

    def _hear_dialled(self, response: Response, now_s: float) -> None:
        is_cancelling = self.phase is Phase.CANCELLING
        if response.status == 100 or not (is_cancelling or self.phase is Phase.DIALLING):
            return
        if response.status < 200:
            if not is_cancelling:
                self._line.emit(
                    Progress(
                        dialog=self.dialog_id,
                        status=response.status,
                        source=response.source or ("", 0),
                        sdp=_private(response.sdp),
                    )
                )
        elif response.status < 300:
            self._hear_answered(response, now_s)
        elif is_cancelling:
            self._end()
        else:
            later = _seconds_of(response.header("retry-after"))
            self._end(Failed(dialog=self.dialog_id, status=response.status, retry_after_s=later))

    def _hear_answered(self, response: Response, now_s: float) -> None:
        is_cancelling = self.phase is Phase.CANCELLING
        try:
            self.peer.answered(response)
        except SipError:  # nowhere to send even a BYE
            self._end(None if is_cancelling else Failed(dialog=self.dialog_id, status=502))
            return
        self._timer.answered(response, now_s)
        self.phase = Phase.CONFIRMED
        if is_cancelling:  # it answered before it heard of the CANCEL
            self.hang_up()
            return
        self._save()
        sdp = _private(response.sdp)
        source = response.source or ("", 0)
        self._line.emit(Answered(dialog=self.dialog_id, source=source, sdp=sdp))

    # --- what the far end asks within the dialog ---

    def receive(
        self, request: Request, transaction: ServerTransaction, now_s: float
    ) -> ReInvite | None:
        """Answer a request of the far end's, now or, when it changes the media, later.

        Returns:
            Who is to hear what becomes of it, for a re-INVITE.
        """
        if self.phase in (Phase.DIALLING, Phase.CANCELLING, Phase.ENDED):
            transaction.respond(481)
        elif not self.peer.heard(request):
            transaction.respond(500)  # RFC 3261 §12.2.2: out of order
        elif request.method == "BYE":
            self._said_bye(transaction)
        elif request.method == "OPTIONS":
            transaction.respond(200, CAPABILITIES)
        elif request.method not in _IN_DIALOG:
            transaction.respond(405, (("allow", ALLOW),))
        elif self.phase is not Phase.CONFIRMED:
            transaction.respond(500, (("retry-after", "1"),))
        elif request.method in ("INVITE", "UPDATE"):
            return self._change.receive(request, transaction, now_s)
        elif request.method == "REFER":
            self._transfers.receive(request, transaction)
        elif request.method == "NOTIFY":
            self._transfers.notified(request, transaction)
        else:
            self._informed(request, transaction)
        return None

    def _said_bye(self, transaction: ServerTransaction) -> None:
        transaction.respond(200)
        if self.phase is Phase.INCOMING:  # of an early dialog (RFC 3261 §15.1.2)
            self._respond(487)
            self._end(Cancelled(dialog=self.dialog_id))
        elif self._is_leaving:
            self._end()
        else:
            self._end(HungUp(dialog=self.dialog_id, ending=Ending.FAR_END))

    def _informed(self, request: Request, transaction: ServerTransaction) -> None:
        if request.body is None:
            transaction.respond(200)
            return
        found = parse_digit(request.body)
        if found is None:
            transaction.respond(415, (("accept", "application/dtmf-relay, application/dtmf"),))
            return
        transaction.respond(200)
        digit, duration_ms = Private(found[0]), found[1]
        self._line.emit(DtmfInfo(dialog=self.dialog_id, digit=digit, duration_ms=duration_ms))

    # --- the end ---

    def _gone(self) -> None:
        if self.phase is Phase.CONFIRMED:
            self._hang_up_for(Ending.GONE)

    def _hang_up_for(self, ending: Ending) -> None:
        self._end(None if self._is_leaving else HungUp(dialog=self.dialog_id, ending=ending))
        self._line.send("BYE")

    def _end(self, event: Event | None = None) -> None:
        self.phase = Phase.ENDED
        self._change.close()
        self._transfers.close()
        if event is not None:
            self._line.emit(event)
        self._ended(self)

    def _respond(self, status: int, headers: Headers = (), body: Body | None = None) -> None:
        assert self._invite is not None, "a dialog that came has an INVITE"
        self._invite.respond(status, headers, body)

    def _save(self) -> None:
        """Say what another process must know to go on with this."""
        peer, party = self.peer, self._line.party
        self._line.emit(
            DialogState(
                dialog=self.dialog_id,
                origin=party.origin,
                is_trunk=party.is_trunk,
                call_id=Private(peer.call_id),
                ours=Private(peer.ours),
                theirs=Private(peer.theirs),
                our_cseq=peer.our_cseq,
                their_target=Private(str(peer.target)),
                destination=peer.destination,
                routes=peer.routes,
                our_sdp=_private(self._change.our_sdp),
            )
        )


_IN_DIALOG = frozenset({"INVITE", "UPDATE", "INFO", "REFER", "NOTIFY"})


def _private(text: str | None) -> Private | None:
    return None if text is None else Private(text)


def _seconds_of(header: str | None) -> int | None:
    """Return the seconds of a Retry-After header (RFC 3261 §20.33)."""
    digits = (header or "").partition(";")[0].partition("(")[0].strip()
    return int(digits[:9]) if digits.isascii() and digits.isdigit() else None
