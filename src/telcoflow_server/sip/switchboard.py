"""The user agent of the server: which requests make which calls, and who is answered what.

Not here: one call (`dialog.py`), the transactions below (`child.py`). Implements RFC 3261 §8 and
§11, and decides what must be decided before any media is set up: who calls, whether that number
exists, whether there is room.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from telcoflow_server.sip import commands as told
from telcoflow_server.sip.accounts import EdgeSettings, Private, Trunk
from telcoflow_server.sip.dialog import Dialog, Phase
from telcoflow_server.sip.events import (
    DialogId,
    DialogRestored,
    EdgeStatistics,
    Event,
    Failed,
    IncomingCall,
)
from telcoflow_server.sip.guard import RateLimit
from telcoflow_server.sip.line import ALLOW, CAPABILITIES, Party, Surroundings
from telcoflow_server.sip.message import (
    SDP_TYPE,
    Headers,
    InviteEvents,
    Request,
    ServerTransaction,
    Stack,
    tokens,
)
from telcoflow_server.sip.numbers import caller_of, comparable, number_of, user_part
from telcoflow_server.sip.peer import Peer, name_of, tag_of
from telcoflow_server.sip.reception import Reception
from telcoflow_server.sip.registrar import Binding
from telcoflow_server.sip.trunks import TrunkLink
from telcoflow_server.sip.uri import SipError, SipUri, parse_uri

BURST_S = 5.0
"""Seconds' worth of messages, and of calls, one address may send at once."""

RESTORED_CSEQ_STEP = 1_000
"""An earlier process may have sent requests that nobody noted: ours go on well above them."""

_SUPPORTED = frozenset({"timer"})
_KNOWN_METHODS = frozenset(
    {"INFO", "MESSAGE", "NOTIFY", "PRACK", "PUBLISH", "REFER", "SUBSCRIBE", "UPDATE"}
)
"""Outside a dialog they are understood and not allowed (405); others are unknown (501)."""


@dataclass(slots=True)
class Counts:
    """What is counted here; see `EdgeStatistics`."""

    requests: int = 0
    calls_refused_busy: int = 0
    calls_refused_unknown: int = 0
    messages_dropped: int = 0
    commands_dropped: int = 0


class Switchboard:
    """All calls, registrations and trunks.

    Args:
        settings: Who may do what.
        stack: Below.
        emit: Above.
        address: Ours as others reach it, `host:port`.
        random_text: Makes tags, Call-IDs and nonces; nobody can guess what comes next.
        nonce_secret: Random bytes.
    """

    def __init__(
        self,
        settings: EdgeSettings,
        stack: Stack,
        emit: Callable[[Event], None],
        address: str,
        random_text: Callable[[], str],
        nonce_secret: bytes,
    ) -> None:
        self.counts = Counts()
        self._emit = emit
        self._address = address
        self._random_text = random_text
        self._around = Surroundings(stack, emit, random_text)
        self._reception = Reception(settings, emit, nonce_secret)
        self._dialogs: dict[DialogId, Dialog] = {}
        self._by_tag: dict[tuple[str, str], Dialog] = {}
        self._invites: dict[DialogId, tuple[str, str | None, int]] = {}
        self._links: dict[str, TrunkLink] = {}
        self._is_overloaded = False
        self._configure(settings)

    def admits(self, address: str, now_s: float) -> bool:
        """Whether a message of an address is looked at; asked before anything is spent on it."""
        is_admitted = self._messages.admit(address, now_s)
        if is_admitted or self._reception.access.trunk_at(address) is not None:
            return True
        self.counts.messages_dropped += 1
        return False

    def receive(
        self, request: Request, transaction: ServerTransaction, now_s: float
    ) -> InviteEvents | None:
        """Answer a request, now or later.

        Returns:
            Who is to hear what becomes of an INVITE that was not refused.
        """
        self.counts.requests += 1
        unsupported = tokens(request.headers, "require") - _SUPPORTED
        tag = tag_of(request.header("to"))
        if unsupported:
            transaction.respond(420, (("unsupported", ", ".join(sorted(unsupported))),))
        elif tag is not None:
            return self._receive_within(request, tag, transaction, now_s)
        elif request.method == "INVITE":
            return self._receive_invite(request, transaction, now_s)
        elif request.method == "REGISTER":
            self._reception.receive_register(request, transaction, now_s)
        elif request.method == "OPTIONS":
            transaction.respond(200, (*CAPABILITIES, ("accept", SDP_TYPE)))
        elif request.method == "BYE":
            transaction.respond(481)
        elif request.method in _KNOWN_METHODS:
            transaction.respond(405, (("allow", ALLOW),))
        else:
            transaction.respond(501, (("allow", ALLOW),))
        return None

    def obey(self, command: told.Command, now_s: float) -> None:
        """Do what we are told; what does not fit any more is counted."""
        match command:
            case told.Configure():
                self._configure(command.settings)
            case told.Overload():
                self._is_overloaded = command.is_overloaded
            case told.Dial():
                self._dial(command, now_s)
            case told.RestoreDialog():
                self._restore(command)
            case told.RestoreBinding():
                expires_at_s = now_s + command.expires_s
                binding = Binding(command.contact.value, command.source, expires_at_s)
                self._reception.registrar.restore(command.extension, binding)
            case told.Stop():
                self._close()
            case told.Serve():
                pass  # the process's affair
            case _:
                dialog = self._dialogs.get(command.dialog)
                if dialog is not None and not dialog.obey(command):
                    self.counts.commands_dropped += 1

    def tick(self, now_s: float) -> None:
        """Do what the time has come for; called a few times a second."""
        self._reception.tick(now_s)
        for link in self._links.values():
            link.tick(now_s)
        for dialog in list(self._dialogs.values()):
            dialog.tick(now_s)

    def statistics(self) -> EdgeStatistics:
        """Return what is known here."""
        counts = self.counts
        return EdgeStatistics(
            dialogs=len(self._dialogs),
            registrations=len(self._reception.registrar),
            requests=counts.requests,
            logins_failed=self._reception.logins_failed,
            logins_refused=self._reception.logins_refused,
            calls_refused_busy=counts.calls_refused_busy,
            calls_refused_unknown=counts.calls_refused_unknown,
            messages_dropped=counts.messages_dropped,
            commands_dropped=counts.commands_dropped,
        )

    def _configure(self, settings: EdgeSettings) -> None:
        self._settings = settings
        self._reception.configure(settings)
        self._calls = _limit_of(settings.invites_per_second)
        self._messages = _limit_of(settings.messages_per_second)
        self._numbers = (
            None if settings.numbers is None else frozenset(map(comparable, settings.numbers))
        )
        before, self._links = self._links, {}
        for trunk in settings.trunks:
            link = before.get(trunk.name)
            if link is not None and link.trunk == trunk:
                self._links[trunk.name] = before.pop(trunk.name)
            else:
                self._links[trunk.name] = TrunkLink(trunk, self._around, self._address)
        for link in before.values():
            link.close()

    def _close(self) -> None:
        for dialog in list(self._dialogs.values()):
            dialog.hang_up()
        for link in self._links.values():
            link.close()

    # --- calls that come ---

    def _receive_within(
        self, request: Request, tag: str, transaction: ServerTransaction, now_s: float
    ) -> InviteEvents | None:
        dialog = self._by_tag.get((request.call_id, tag))
        if dialog is None or tag_of(dialog.peer.theirs) != tag_of(request.header("from")):
            transaction.respond(481)
            return None
        return dialog.receive(request, transaction, now_s)

    def _receive_invite(
        self, request: Request, transaction: ServerTransaction, now_s: float
    ) -> InviteEvents | None:
        caller = name_of(request.header("from"))
        trunk = self._reception.access.trunk_at(request.source[0])
        key = (request.call_id, None if caller is None else caller.tag, request.cseq)
        if caller is None or caller.tag is None:
            transaction.respond(400)
        elif key in self._invites.values():
            transaction.respond(482)  # RFC 3261 §8.2.2.2: the same, on another way
        elif request.body is not None and request.sdp is None:
            transaction.respond(415, (("accept", SDP_TYPE),))
        elif not self._has_room(request, trunk, now_s):
            self.counts.calls_refused_busy += 1
            retry_after_s = self._settings.retry_after_s
            transaction.respond(503, (("retry-after", str(retry_after_s)),))
        else:
            user = caller.uri.user
            origin = self._reception.origin_of(request, trunk, user, transaction, now_s)
            if origin is not None:
                return self._take_call(request, trunk, origin, transaction, now_s)
        return None

    def _has_room(self, request: Request, trunk: Trunk | None, now_s: float) -> bool:
        if self._is_overloaded or len(self._dialogs) >= self._settings.max_dialogs:
            return False
        return trunk is not None or self._calls.admit(request.source[0], now_s)

    def _take_call(
        self,
        request: Request,
        trunk: Trunk | None,
        origin: str,
        transaction: ServerTransaction,
        now_s: float,
    ) -> InviteEvents | None:
        try:
            number = number_of(request, trunk)
            refusal = self._refusal_of(number, now_s)
            if refusal is not None:
                self.counts.calls_refused_unknown += 1
                transaction.respond(refusal)
                return None
            contact = f"<sip:{self._address}>"
            tag = transaction.tag
            peer = Peer.of_caller(request, tag, contact, is_behind_nat=trunk is None)
            link = None if trunk is None else self._links[trunk.name]
            dialog = self._make(DialogId(self._random_text()), peer, origin, link, Phase.INCOMING)
            dialog.invited(request, transaction, now_s)
        except SipError as error:
            headers: Headers = (("min-se", "90"),) if error.status == 422 else ()
            transaction.respond(error.status, headers)
            return None
        self._keep(dialog, tag)
        self._invites[dialog.dialog_id] = request.call_id, tag_of(peer.theirs), request.cseq
        caller, is_private = caller_of(request, trunk, origin)
        self._emit(
            IncomingCall(
                dialog=dialog.dialog_id,
                origin=origin,
                is_trunk=trunk is not None,
                number=Private(number),
                caller=Private(caller),
                is_private=is_private,
                source=request.source,
                sdp=None if request.sdp is None else Private(request.sdp),
            )
        )
        return dialog

    def _refusal_of(self, number: str, now_s: float) -> int | None:
        """Return what a call to a number is refused with: 404, 480, or not at all."""
        if self._reception.access.extension(number) is not None:
            return 480 if self._reception.registrar.find(number, now_s) is None else None
        if self._numbers is None or comparable(number) in self._numbers:
            return None
        return 404

    # --- calls we make ---

    def _dial(self, command: told.Dial, now_s: float) -> None:
        number, caller = command.number.value, command.caller.value
        tag = self._random_text()
        link = self._links.get(command.trunk)
        binding = None if command.trunk else self._reception.registrar.find(number, now_s)
        if len(self._dialogs) >= self._settings.max_dialogs:
            self._emit(Failed(dialog=command.dialog, status=503))
            return
        try:
            target, domain = self._way_to(number, link, binding)
            ours = f"<sip:{user_part(caller or (link.trunk.user if link else ''))}@{domain}>"
            peer = Peer(
                call_id=self._random_text(),
                ours=f"{ours};tag={tag}",
                theirs=f"<sip:{user_part(number)}@{domain}>",
                contact=f"<sip:{self._address}>",
                target=target,
                destination=None if binding is None else binding.source,
                is_behind_nat=binding is not None,
            )
        except SipError as error:
            self._emit(Failed(dialog=command.dialog, status=error.status))
            return
        origin = command.trunk or number
        dialog = self._make(command.dialog, peer, origin, link, Phase.DIALLING)
        self._keep(dialog, tag)
        dialog.dial(command.sdp.value)

    def _way_to(
        self, number: str, link: TrunkLink | None, binding: Binding | None
    ) -> tuple[SipUri, str]:
        """Return where a number is, and the domain of its address. Raises `SipError`: nowhere."""
        if link is not None:
            return parse_uri(f"sip:{user_part(number)}@{link.domain}"), link.domain
        if binding is not None:
            return parse_uri(binding.contact), self._address
        is_extension = self._reception.access.extension(number) is not None
        raise SipError("nobody is there", 480 if is_extension else 404)

    def _make(
        self, dialog_id: DialogId, peer: Peer, origin: str, link: TrunkLink | None, phase: Phase
    ) -> Dialog:
        party = Party(
            origin=origin,
            is_trunk=link is not None,
            login=None if link is None else link.login,
            domain=self._address if link is None else link.domain,
        )
        return Dialog(dialog_id, peer, party, self._around, phase, self._ended)

    def _keep(self, dialog: Dialog, tag: str) -> None:
        self._dialogs[dialog.dialog_id] = dialog
        self._by_tag[dialog.peer.call_id, tag] = dialog

    def _ended(self, dialog: Dialog) -> None:
        peer = dialog.peer
        self._dialogs.pop(dialog.dialog_id, None)
        self._by_tag.pop((peer.call_id, tag_of(peer.ours) or ""), None)
        self._invites.pop(dialog.dialog_id, None)

    def _restore(self, command: told.RestoreDialog) -> None:
        state = command.state
        link = self._links.get(state.origin) if state.is_trunk else None
        try:
            target = parse_uri(state.their_target.value)
        except SipError:
            return
        peer = Peer(
            call_id=state.call_id.value,
            ours=state.ours.value,
            theirs=state.theirs.value,
            contact=f"<sip:{self._address}>",
            target=target,
            routes=state.routes,
            destination=state.destination,
            is_behind_nat=state.destination is not None,
            our_cseq=state.our_cseq + RESTORED_CSEQ_STEP,
        )
        dialog = self._make(state.dialog, peer, state.origin, link, Phase.CONFIRMED)
        dialog.restore(state.our_sdp)
        self._keep(dialog, tag_of(peer.ours) or "")
        self._emit(DialogRestored(dialog=state.dialog))


def _limit_of(per_second: float) -> RateLimit:
    return RateLimit(per_second, max(1.0, per_second * BURST_S))
