"""A call that was claimed and that no process handles yet.

Not here: the call itself (`call.py`), its JSON (`protocol/handoff.py`).
Implements `OfferedCall` of docs/reference/sdk.md.
"""

from __future__ import annotations

from telcoflow_sdk.exceptions import WSSCallError
from telcoflow_sdk.protocol.handoff import HandedCall, build_handed_call


class OfferedCall:
    """A claimed call before its media link is open: the one moment it can be given away.

    Made by the client and handed to the CALL_OFFERED handler. Once that has returned, the call is
    handled here or was given away, and nothing can be changed any more.

    Args:
        handed: The call, and what was agreed for it.
    """

    __slots__ = ("_handed", "_is_given", "_is_over")

    def __init__(self, handed: HandedCall) -> None:
        self._handed = handed
        self._is_given = False
        self._is_over = False

    def __repr__(self) -> str:
        return f"<OfferedCall {self.call_id}>"

    @property
    def call_id(self) -> str:
        """The call's id, for logs."""
        return self._handed.call.call_id

    @property
    def caller_number(self) -> str | None:
        """Who calls; None when the number is withheld."""
        return self._handed.call.caller or None

    @property
    def callee_number(self) -> str | None:
        """Who was called; None when the server does not say."""
        return self._handed.call.callee or None

    def to_json(self) -> str:
        """Give the call away: return what `ActiveCall.from_json` needs, in any process.

        This client forgets the call, and INCOMING_CALL is not fired. The link must be opened
        within a minute from the offer. Asking twice gives the same text.

        The text is a secret: it holds the token that opens the call, and phone numbers. It must
        be passed on to the other process only, and appear in no log.

        Raises:
            WSSCallError: the handler has returned, or the call has ended.
        """
        if self._is_over and not self._is_given:
            raise WSSCallError("only the CALL_OFFERED handler can give the call away")
        self._is_given = True
        return build_handed_call(self._handed)

    @property
    def is_given(self) -> bool:
        """Whether the call was given away."""
        return self._is_given

    def expire(self) -> None:
        """It is too late to give the call away. Called by the client."""
        self._is_over = True
