"""Which media links are let in: to which call, by which token or secret, with which protocol.

Not here: the sockets (`media.py`), the tokens (`auth.py`), the secrets (`call/resumption.py`).
Implements docs/reference/wire.md §2 and "Negotiation" of docs/reference/wire-v2.md.
"""

from __future__ import annotations

from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_sdk.protocol.positions import SUBPROTOCOL
from telcoflow_server.api.auth import Refused, TokenMint, bearer_of
from telcoflow_server.call.call import Call
from telcoflow_server.call.exchange import Exchange

MEDIA_PATH = "/v1/agent/calls/"
"""The call's id follows."""


def admit(
    exchange: Exchange, tokens: TokenMint, path: str, authorization: str | None, now_s: float
) -> Call:
    """Return the call that a media link is for.

    Args:
        exchange: Where the calls are.
        tokens: Who may open a link.
        path: Of the link's address.
        authorization: The header, if there was one.
        now_s: Wall clock, seconds since 1970.

    Raises:
        Refused: there is no such call, it has its link already, or this opens no link to it.
    """
    call_id = path.removeprefix(MEDIA_PATH)
    if call_id == path or not call_id:
        raise Refused(404, ErrorCode.NOT_FOUND, f"media links are at {MEDIA_PATH}<call id>")
    call = exchange.find(call_id)
    if call is not None and call.seat.is_opened_by(bearer_of(authorization)):
        return call
    tokens.check(authorization, call_id, now_s)
    if call is None:
        # The token was good, so there was such a call.
        raise Refused(410, ErrorCode.CALL_ENDED, "the call has ended")
    if call.seat.agent is not None and not call.seat.awaits_first_word:
        raise Refused(409, ErrorCode.MEDIA_LINK_TAKEN, "the call has its media link already")
    return call


def offers_v2(subprotocols: str | None) -> bool:
    """Return whether a client offers protocol v2 in its Sec-WebSocket-Protocol header."""
    return SUBPROTOCOL in [one.strip() for one in (subprotocols or "").split(",")]
