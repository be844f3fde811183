"""Calls of SIP phones: from the SIP process's events to calls of the exchange, and back.

Not here: one phone (`dialog.py`), SIP (`sip/`), RTP (`legs/rtp.py`).
Implements docs/explanation/phones.md.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from typing import Protocol

from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_server.call.call import Call
from telcoflow_server.call.exchange import Draining, NewCall, QuotaExceeded
from telcoflow_server.call.placing import CallRefused
from telcoflow_server.call.ports import (
    Callee,
    CalleeProgress,
    DialRequest,
    PhoneOnLine,
    PressedDigit,
)
from telcoflow_server.call.recordings import Recordings
from telcoflow_server.call.session import Session
from telcoflow_server.codec.table import offered
from telcoflow_server.legs.rtp_array import RtpArray
from telcoflow_server.legs.sip import SipPhone
from telcoflow_server.sip.accounts import EdgeSettings, Private
from telcoflow_server.sip.commands import (
    Command,
    Configure,
    Dial,
    Overload,
    Refuse,
    ReportTransfer,
    Ring,
)
from telcoflow_server.sip.edge import SipEdge
from telcoflow_server.sip.events import (
    Answered,
    Cancelled,
    DialogId,
    DtmfInfo,
    Established,
    Event,
    Failed,
    HungUp,
    IncomingCall,
    OfferAnswered,
    Progress,
    Registered,
    ReOffered,
    TransferProgress,
    TransferRequested,
    TrunkReachable,
    TrunkRegistered,
    TrunkUnregistered,
    Unregistered,
)
from telcoflow_server.telephony.dialog import DECLINED, RETRY_AFTER_S, UNAVAILABLE, SipDialog
from telcoflow_server.telephony.routes import Routes
from telcoflow_server.telephony.totals import RtpTotals
from telcoflow_server.udp import NoPortFree, PortPool

logger = logging.getLogger(__name__)

PROGRESS_OF_STATUS = {
    486: CalleeProgress.BUSY,
    600: CalleeProgress.BUSY,
    603: CalleeProgress.DECLINED,
    403: CalleeProgress.DECLINED,
    408: CalleeProgress.UNANSWERED,
    480: CalleeProgress.UNANSWERED,
    487: CalleeProgress.UNANSWERED,
}
"""What an INVITE of ours came to; UNREACHABLE for every other status (RFC 3261 §21)."""


class Calls(Protocol):
    """Where phones' calls are: an `Exchange`, or somebody who only wants to hear one phone."""

    def new_id(self) -> str:
        """Return a new call's id."""

    def check_room(self, connector_uuid: str) -> None:
        """Return if there is room for one more; else raise `Draining` or `QuotaExceeded`."""

    def find(self, call_id: str) -> Call | None:
        """Return a running call."""

    def place(
        self,
        phone: PhoneOnLine,
        new_call: NewCall,
        *,
        recordings: Recordings | None,
        call_id: str | None,
    ) -> Call | None:
        """Let a phone call."""

    def place_outbound(
        self,
        new_call: NewCall,
        ring_time_s: float,
        *,
        recordings: Recordings | None,
        call_id: str | None,
    ) -> Session:
        """Make a call to a person."""


class Telephony:
    """All SIP phones of a node; a `Dialer`, and a maker of outbound calls.

    Args:
        calls: Where their calls are.
        settings: Of the SIP process.
        routes: Which number belongs to whom.
        pool: RTP ports.
        media_host: Our address in SDP.
        record: Opens the recordings of a call, by its id; None: there are none.

    Attributes:
        edge: The SIP process.
        now_s: Time of the tick that is under way, monotonic seconds.
        legs: All phones' audio.
        trunks: Trunk to whether it can be used, as far as is known.
        ended_legs: What went over the legs that have ended.

    Concurrency: one event loop; nothing waits but `start` and `stop`.
    """

    def __init__(
        self,
        calls: Calls,
        settings: EdgeSettings,
        routes: Routes,
        pool: PortPool,
        media_host: str,
        record: Callable[[str], Recordings] | None = None,
    ) -> None:
        self.edge = SipEdge(settings, self._heard)
        self.trunks = {one.name: False for one in settings.trunks}
        self.media_host = media_host
        self.now_s = time.monotonic()
        self.on_event: Callable[[Event], None] | None = None
        """Told of every event, before it is acted on: for `sip-check`."""
        self.ended_legs = RtpTotals()
        self._calls = calls
        self._routes = routes
        self._pool = pool
        self._record = record
        self.legs = RtpArray()
        self._dialogs: dict[DialogId, SipDialog] = {}
        self._registered: dict[str, set[str]] = {}  # extension to its phones' contacts

    async def start(self) -> None:
        """Begin to take calls. Raises `EdgeError`; nothing is left."""
        offered()  # loads PyAV now, and not in a call
        await self.edge.start()

    async def stop(self) -> None:
        """End every dialog and the process; returns when nothing is left."""
        await self.edge.stop()
        for dialog in list(self._dialogs.values()):
            dialog.close()
        self._pool.close()

    def reconfigure(self, settings: EdgeSettings, routes: Routes) -> None:
        """Go on with other trunks, extensions, numbers and limits; calls that run go on."""
        self._routes = routes
        self.trunks = {one.name: self.trunks.get(one.name, False) for one in settings.trunks}
        self.edge.send(Configure(settings=settings))

    def refuse_calls(self) -> None:
        """Take no new calls any more: the node finishes those it has."""
        self.edge.send(Overload(is_overloaded=True))

    @property
    def dialogs(self) -> int:
        """How many dialogs there are."""
        return len(self._dialogs)

    def phones(self) -> list[SipPhone]:
        """Return the phones that are in a dialog now."""
        return [dialog.phone for dialog in self._dialogs.values()]

    def before_tick(self, due_s: float) -> None:
        """Read what has come for the tick that was due at `due_s`, monotonic seconds."""
        self.now_s = due_s
        wall_s = time.time()
        for dialog in list(self._dialogs.values()):
            leg = dialog.phone.leg
            if leg is not None:
                leg.now_s = due_s
            # Nearly always nothing is due, and calls are what costs here.
            if due_s >= dialog.due_s or (leg is not None and due_s >= leg.due_s):
                dialog.advance(due_s, wall_s)
        for datagrams in self._pool.read():
            self.legs.receive(datagrams)
        self.legs.begin(due_s)

    def after_tick(self) -> None:
        """Send what phones were given to hear in the tick."""
        self.legs.finish()

    def send(self, command: Command) -> None:
        """Tell the SIP process something; for dialogs."""
        self.edge.send(command)

    def forget(self, dialog_id: DialogId) -> None:
        """A dialog is over; for itself."""
        dialog = self._dialogs.pop(dialog_id, None)
        if dialog is not None and dialog.phone.leg is not None:
            self.ended_legs.add_leg(dialog.phone.leg.statistics())

    # --- out -------------------------------------------------------------------------------

    def dial(self, request: DialRequest) -> Callee | None:
        """See `Dialer`: a registered phone, else the connector's trunk."""
        trunk = ""
        if request.number not in self._registered:
            trunk = self._routes.trunks.get(request.connector_uuid, self._routes.default_trunk)
            if not trunk:
                return None
        try:
            ports = self._pool.open()
        except NoPortFree as error:
            logger.warning("nobody can be called: %s", error)
            return None
        dialog_id = DialogId(secrets.token_urlsafe(12))
        dialog = SipDialog(
            self,
            dialog_id,
            ports,
            self._routes.codecs_of(trunk),
            peer_host="",
            is_trusted=True,
        )
        self._dialogs[dialog_id] = dialog
        dialog.call = self._calls.find(request.call_id)
        self.edge.send(
            Dial(
                dialog=dialog_id,
                trunk=trunk,
                number=Private(request.number),
                caller=Private(request.caller),
                sdp=Private(dialog.offer()),
            )
        )
        return dialog.phone

    def make_call(self, connector_uuid: str, number: str, ring_time_s: int) -> Session:
        """Place a call for an agent; a `CallMaker`."""
        call_id = self._calls.new_id()
        try:
            self._calls.check_room(connector_uuid)  # asked before files are made for the call
            return self._calls.place_outbound(
                NewCall(connector_uuid, "", number, int(time.time())),
                ring_time_s,
                recordings=self._recordings(call_id),
                call_id=call_id,
            )
        except Draining as error:
            raise CallRefused(ErrorCode.DRAINING, str(error)) from None
        except QuotaExceeded as error:
            raise CallRefused(ErrorCode.OUTBOUND_OVERFLOW, str(error)) from None

    # --- in --------------------------------------------------------------------------------

    def _heard(self, event: Event) -> None:
        if self.on_event is not None:
            self.on_event(event)
        match event:
            case IncomingCall():
                self._called(event)
            case Registered():
                self._registered.setdefault(event.extension, set()).add(event.contact.value)
            case Unregistered():
                self._unregistered(event)
            case TrunkReachable() | TrunkRegistered() | TrunkUnregistered():
                self._heard_of_trunk(event)
            case _:
                dialog = self._dialogs.get(getattr(event, "dialog", DialogId("")))
                if dialog is not None:
                    self._tell(dialog, event)

    def _unregistered(self, event: Unregistered) -> None:
        contacts = self._registered.get(event.extension, set())
        contacts.discard(event.contact.value)
        if not contacts:
            self._registered.pop(event.extension, None)

    def _heard_of_trunk(self, event: TrunkReachable | TrunkRegistered | TrunkUnregistered) -> None:
        match event:
            case TrunkRegistered():
                logger.info("registered at trunk %s", event.trunk)
                is_up = True
            case TrunkUnregistered():
                logger.warning("trunk %s refuses our registration: %d", event.trunk, event.status)
                is_up = False
            case TrunkReachable():
                is_up = event.is_reachable
                told = logger.info if is_up else logger.warning
                told("trunk %s %s", event.trunk, "answers" if is_up else "does not answer")
        self.trunks[event.trunk] = is_up

    def _tell(self, dialog: SipDialog, event: Event) -> None:
        phone = dialog.phone
        match event:
            case Progress():
                dialog.heard_from(event.source[0])
                if event.sdp is not None and dialog.take_answer(event.sdp.value):
                    phone.progress = CalleeProgress.EARLY
            case Answered():
                dialog.heard_from(event.source[0])
                if dialog.take_answer(event.sdp.value if event.sdp else None):
                    phone.progress = CalleeProgress.ANSWERED
                else:
                    logger.warning("who was called answered with no media we can use")
                    phone.progress = CalleeProgress.UNREACHABLE
            case Established():
                if event.sdp is not None:
                    dialog.take_answer(event.sdp.value)
            case OfferAnswered():
                if event.sdp is not None:
                    dialog.take_answer(event.sdp.value)
            case Failed():
                phone.progress = PROGRESS_OF_STATUS.get(event.status, CalleeProgress.UNREACHABLE)
                dialog.over()
            case Cancelled() | HungUp():
                dialog.over()
            case ReOffered():
                dialog.reoffered(event)
            case DtmfInfo():
                phone.pressed(PressedDigit(event.digit.value, event.duration_ms))
            case TransferRequested():
                # Whom a phone wants to be in its place, its agent has not asked for.
                self.edge.send(ReportTransfer(dialog=event.dialog, status=DECLINED))
            case TransferProgress():
                if event.status >= 200:
                    phone.transferred = event.status < 300
            case _:
                pass

    def _called(self, event: IncomingCall) -> None:
        connector = self._routes.connector_of(event.number.value)
        if connector is None:
            self._refuse(event, 404)
            return
        try:
            self._calls.check_room(connector)
            ports = self._pool.open()
        except (Draining, QuotaExceeded, NoPortFree) as error:
            logger.warning("a call is refused: %s", error)
            self._refuse(event, UNAVAILABLE)
            return
        codecs = self._routes.codecs_of(event.origin if event.is_trunk else "")
        dialog = SipDialog(
            self, event.dialog, ports, codecs, event.source[0], is_trusted=bool(event.origin)
        )
        self._dialogs[event.dialog] = dialog
        status = dialog.take_invite(None if event.sdp is None else event.sdp.value)
        if status is not None:
            self._refuse(event, status)
            dialog.close()
            return
        caller = "" if event.is_private else event.caller.value
        new_call = NewCall(connector, caller, event.number.value, int(time.time()))
        self.edge.send(Ring(dialog=event.dialog))
        call_id = self._calls.new_id()
        dialog.call = self._calls.place(
            dialog.phone, new_call, recordings=self._recordings(call_id), call_id=call_id
        )

    def _recordings(self, call_id: str) -> Recordings | None:
        return None if self._record is None else self._record(call_id)

    def _refuse(self, event: IncomingCall, status: int) -> None:
        retry = RETRY_AFTER_S if status == UNAVAILABLE else None
        self.edge.send(Refuse(dialog=event.dialog, status=status, retry_after_s=retry))
