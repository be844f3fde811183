"""What the SIP process says, as plain values.

Not here: what it is told (`commands.py`), the bytes (`pipe.py`). Nothing in here knows which SIP
stack is behind it.

A dialog is one call with one phone. Incoming ones are named by the process, others by who dials.
Every dialog ends with exactly one of `Cancelled`, `Failed` and `HungUp`, unless our side ended it
by `Refuse` or `HangUp`: then nothing more is said about it.
"""

from __future__ import annotations

from enum import Enum
from typing import NewType

import msgspec

from telcoflow_server.sip.accounts import Private

DialogId = NewType("DialogId", str)


class Message(msgspec.Struct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    """Something said or told, tagged with the name of its class."""


class Ending(Enum):
    """Why a dialog that had been answered is over."""

    FAR_END = "far_end"
    """It said BYE."""
    NO_ACK = "no_ack"
    """Our answer was never acknowledged."""
    EXPIRED = "expired"
    """The session was not refreshed in time (RFC 4028)."""
    GONE = "gone"
    """The far end does not know the dialog any more (481, 408), or never answered a BYE."""
    SIGNALLING_LOST = "signalling_lost"
    """The SIP process died before it was answered."""


class Listening(Message, frozen=True, kw_only=True):
    """The process is ready."""


class IncomingCall(Message, frozen=True, kw_only=True):
    """Somebody calls. 100 has been sent; `Ring`, `Accept`, `Refuse` or `HangUp` must follow.

    Attributes:
        origin: Name of the trunk or the extension it comes from; empty: a stranger.
        is_trunk: Which of the two.
        number: Who is called.
        caller: P-Asserted-Identity of a trunk, else From; empty: anonymous.
        is_private: The caller does not want to be named to others (RFC 3323).
        source: Address and port the request came from: where media may be expected from, too.
        sdp: The offer; None: we are asked for one (late offer).
    """

    dialog: DialogId
    origin: str
    is_trunk: bool
    number: Private
    caller: Private
    is_private: bool
    source: tuple[str, int]
    sdp: Private | None


class Progress(Message, frozen=True, kw_only=True):
    """Who was dialled rings (180), or sends early media (with `sdp`, usually 183)."""

    dialog: DialogId
    status: int
    source: tuple[str, int]
    sdp: Private | None


class Answered(Message, frozen=True, kw_only=True):
    """Who was dialled answered; without `sdp`, that of the last `Progress` holds."""

    dialog: DialogId
    source: tuple[str, int]
    sdp: Private | None


class Established(Message, frozen=True, kw_only=True):
    """Our `Accept` was acknowledged; `sdp` is the answer when we had offered."""

    dialog: DialogId
    sdp: Private | None


class Failed(Message, frozen=True, kw_only=True):
    """Who was dialled will not be reached; `status` is the response's (RFC 3261 §21)."""

    dialog: DialogId
    status: int
    retry_after_s: int | None = None


class Cancelled(Message, frozen=True, kw_only=True):
    """The caller gave up before the answer."""

    dialog: DialogId


class HungUp(Message, frozen=True, kw_only=True):
    """A dialog is over."""

    dialog: DialogId
    ending: Ending


class ReOffered(Message, frozen=True, kw_only=True):
    """The far end wants to change the media; `AnswerReOffer` or `RefuseReOffer` must follow.

    Attributes:
        source: Where it came from now.
        sdp: The offer; None: it asks for ours, and `OfferAnswered` follows.
    """

    dialog: DialogId
    source: tuple[str, int]
    sdp: Private | None


class OfferAnswered(Message, frozen=True, kw_only=True):
    """The far end answered our offer."""

    dialog: DialogId
    sdp: Private | None


class OfferRefused(Message, frozen=True, kw_only=True):
    """The far end refused our `ReOffer`: what held before it holds. 491: try again later."""

    dialog: DialogId
    status: int


class DtmfInfo(Message, frozen=True, kw_only=True):
    """A digit that came by INFO."""

    dialog: DialogId
    digit: Private
    duration_ms: int


class TransferRequested(Message, frozen=True, kw_only=True):
    """The far end wants us to call somebody else in its place; `ReportTransfer` must follow."""

    dialog: DialogId
    number: Private


class TransferProgress(Message, frozen=True, kw_only=True):
    """How far our `Refer` has come: below 200 on the way, 200 done, else failed."""

    dialog: DialogId
    status: int


class Registered(Message, frozen=True, kw_only=True):
    """A softphone is reachable, or still is.

    Attributes:
        source: Where it is reached.
        expires_s: Unless it registers again.
    """

    extension: str
    contact: Private
    source: tuple[str, int]
    expires_s: int


class Unregistered(Message, frozen=True, kw_only=True):
    """A softphone is not reachable there any more: it said so, or was not heard of in time."""

    extension: str
    contact: Private


class TrunkRegistered(Message, frozen=True, kw_only=True):
    """We are registered at a trunk."""

    trunk: str
    expires_s: int


class TrunkUnregistered(Message, frozen=True, kw_only=True):
    """A trunk refused our registration, or does not answer (408)."""

    trunk: str
    status: int


class TrunkReachable(Message, frozen=True, kw_only=True):
    """A trunk answers, or does not answer any more; said when that changes."""

    trunk: str
    is_reachable: bool


class LoginsRefused(Message, frozen=True, kw_only=True):
    """An address showed wrong passwords too often; said once a minute at most."""

    address: str
    failures: int


class SignallingLost(Message, frozen=True, kw_only=True):
    """The SIP process died. The dialog's media may go on; nothing can be said about the rest.

    If `DialogRestored` follows, the dialog can be hung up again, and be heard to end.
    """

    dialog: DialogId


class DialogRestored(Message, frozen=True, kw_only=True):
    """A new SIP process knows the dialog again."""

    dialog: DialogId


class EdgeStatistics(Message, frozen=True, kw_only=True):
    """What the process has counted since it was started; sent every second.

    Attributes:
        keep_alives, garbage, malformed: Datagrams that are no messages, or wrong ones.
        logins_failed: Wrong passwords.
        logins_refused: Requests of addresses that showed too many of them.
        calls_refused_busy: 503.
        calls_refused_unknown: 404 and 480.
        messages_dropped: Beyond the limit of their address.
        commands_dropped: That did not fit their dialog any more.
    """

    dialogs: int = 0
    registrations: int = 0
    requests: int = 0
    responses: int = 0
    keep_alives: int = 0
    garbage: int = 0
    malformed: int = 0
    logins_failed: int = 0
    logins_refused: int = 0
    calls_refused_busy: int = 0
    calls_refused_unknown: int = 0
    messages_dropped: int = 0
    commands_dropped: int = 0


class DialogState(Message, frozen=True, kw_only=True):
    """What must be known of a dialog to go on with it in a new process. Never leaves the edge."""

    dialog: DialogId
    origin: str
    is_trunk: bool
    call_id: Private
    ours: Private
    theirs: Private
    our_cseq: int
    their_target: Private
    destination: tuple[str, int] | None
    routes: tuple[str, ...]
    our_sdp: Private | None


class Fault(Message, frozen=True, kw_only=True):
    """A fault of ours that met one message; says where, never with which values."""

    error: str
    places: tuple[str, ...]


Event = (
    Listening
    | IncomingCall
    | Progress
    | Answered
    | Established
    | Failed
    | Cancelled
    | HungUp
    | ReOffered
    | OfferAnswered
    | OfferRefused
    | DtmfInfo
    | TransferRequested
    | TransferProgress
    | Registered
    | Unregistered
    | TrunkRegistered
    | TrunkUnregistered
    | TrunkReachable
    | LoginsRefused
    | SignallingLost
    | DialogRestored
    | EdgeStatistics
    | DialogState
    | Fault
)
