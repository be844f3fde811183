"""What the SIP process is told, as plain values.

Not here: what it says (`events.py`), the bytes (`pipe.py`).
"""

from __future__ import annotations

from telcoflow_server.sip.accounts import EdgeSettings, Private
from telcoflow_server.sip.events import DialogId, DialogState, Message


class Configure(Message, frozen=True, kw_only=True):
    """First of all messages; again to change trunks, extensions, numbers and limits."""

    settings: EdgeSettings


class RestoreDialog(Message, frozen=True, kw_only=True):
    """Go on with a dialog of an earlier process."""

    state: DialogState


class RestoreBinding(Message, frozen=True, kw_only=True):
    """A softphone that had registered with an earlier process."""

    extension: str
    contact: Private
    source: tuple[str, int]
    expires_s: int


class Serve(Message, frozen=True, kw_only=True):
    """Take requests from now on: everything that was known has been restored."""


class Overload(Message, frozen=True, kw_only=True):
    """Refuse new calls with 503, or take them again."""

    is_overloaded: bool


class Ring(Message, frozen=True, kw_only=True):
    """Let the caller know that it rings (180), or hear it (183, with `sdp`)."""

    dialog: DialogId
    sdp: Private | None = None


class Accept(Message, frozen=True, kw_only=True):
    """Answer a call; `sdp` is the answer to its offer, or our offer if it had none."""

    dialog: DialogId
    sdp: Private


class Refuse(Message, frozen=True, kw_only=True):
    """Refuse a call.

    Attributes:
        status: 300 to 699.
        retry_after_s: For 480, 486, 500, 503 and 600.
    """

    dialog: DialogId
    status: int
    retry_after_s: int | None = None


class Dial(Message, frozen=True, kw_only=True):
    """Call a number over a trunk, or a softphone.

    Attributes:
        dialog: New.
        trunk: By name; empty: `number` is an extension. An unknown name fails with 404, a phone
            that is not registered with 480.
        caller: Shown to who is called; empty: the trunk's account.
        sdp: Our offer.
    """

    dialog: DialogId
    trunk: str
    number: Private
    caller: Private
    sdp: Private


class HangUp(Message, frozen=True, kw_only=True):
    """End a dialog, whatever it is in: 603, CANCEL or BYE."""

    dialog: DialogId


class ReOffer(Message, frozen=True, kw_only=True):
    """Change the media; `OfferAnswered` or `OfferRefused` follows."""

    dialog: DialogId
    sdp: Private


class AnswerReOffer(Message, frozen=True, kw_only=True):
    """Agree to what was re-offered; `sdp` is our answer, or our offer if there was none."""

    dialog: DialogId
    sdp: Private


class RefuseReOffer(Message, frozen=True, kw_only=True):
    """Refuse what was re-offered: what held before it holds."""

    dialog: DialogId
    status: int = 488


class SendDtmfInfo(Message, frozen=True, kw_only=True):
    """Send a digit by INFO, to phones that take no telephone-event."""

    dialog: DialogId
    digit: Private
    duration_ms: int


class Refer(Message, frozen=True, kw_only=True):
    """Ask the far end to call somebody else in our place; `TransferProgress` follows."""

    dialog: DialogId
    number: Private


class ReportTransfer(Message, frozen=True, kw_only=True):
    """Tell who asked for a transfer how far it has come: below 200 on the way, else the end."""

    dialog: DialogId
    status: int


class Stop(Message, frozen=True, kw_only=True):
    """Hang up everything, withdraw registrations, and exit."""


Command = (
    Configure
    | RestoreDialog
    | RestoreBinding
    | Serve
    | Overload
    | Ring
    | Accept
    | Refuse
    | Dial
    | HangUp
    | ReOffer
    | AnswerReOffer
    | RefuseReOffer
    | SendDtmfInfo
    | Refer
    | ReportTransfer
    | Stop
)
