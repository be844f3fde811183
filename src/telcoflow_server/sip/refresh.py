"""When a session must be refreshed, and when it is over because it was not.

Not here: the refreshing request (`dialog.py`). Implements RFC 4028: what the far end asks for is
granted; on our own we ask for nothing.
"""

from __future__ import annotations

from enum import Enum

from telcoflow_server.sip.message import Headers, Request, Response, tokens
from telcoflow_server.sip.uri import SipError

MIN_SESSION_S = 90
"""RFC 4028 §5: nobody may ask for less."""

RETRY_S = 4.0
"""After a refresh of ours that met one of theirs (RFC 3261 §14.1: 2.1 to 4 s)."""


class Due(Enum):
    """What the time has come for."""

    NOTHING = "nothing"
    REFRESH = "refresh"
    END = "end"


class SessionTimer:
    """One dialog's session timer; idle until an interval was agreed on."""

    def __init__(self) -> None:
        self._interval_s = 0
        self._is_ours = False
        self._refresh_at_s: float | None = None
        self._end_at_s: float | None = None

    def answer(self, request: Request, now_s: float) -> Headers:
        """Start with what an INVITE or UPDATE asks for; return the headers of its 2xx.

        Raises:
            SipError: status 422: it asks for less than anybody may.
        """
        asked = _parse(request.header("session-expires"))
        if asked is None:
            self._refresh_at_s = self._end_at_s = None
            return ()
        interval_s, refresher = asked
        if interval_s < MIN_SESSION_S:
            raise SipError("a session shorter than allowed", 422)
        can_refresh = "timer" in tokens(request.headers, "supported")
        is_ours = refresher == "uas" or not can_refresh
        self._start(interval_s, now_s, is_ours=is_ours)
        if is_ours:
            return (("session-expires", f"{interval_s};refresher=uas"),)
        return (("session-expires", f"{interval_s};refresher=uac"), ("require", "timer"))

    def answered(self, response: Response, now_s: float) -> None:
        """Start with what the 2xx to a request of ours says; without it the timer stops."""
        told = _parse(response.header("session-expires"))
        if told is None:
            self._refresh_at_s = self._end_at_s = None
        else:
            self._start(max(told[0], MIN_SESSION_S), now_s, is_ours=told[1] != "uas")

    def asking(self) -> Headers:
        """Return the headers of a refresh of ours."""
        if self._end_at_s is None:
            return ()
        # The one refreshed by is the one who asks, if it is us (RFC 4028 §7.4).
        return (("session-expires", f"{self._interval_s};refresher=uac"),) if self._is_ours else ()

    def due(self, now_s: float) -> Due:
        """Return what must be done now; a refresh is due once."""
        if self._end_at_s is not None and now_s >= self._end_at_s:
            return Due.END
        if self._refresh_at_s is not None and now_s >= self._refresh_at_s:
            self._refresh_at_s = None
            return Due.REFRESH
        return Due.NOTHING

    def try_again(self, now_s: float) -> None:
        """A refresh of ours was refused for now."""
        if self._is_ours and self._end_at_s is not None:
            self._refresh_at_s = now_s + RETRY_S

    def _start(self, interval_s: int, now_s: float, *, is_ours: bool) -> None:
        self._interval_s = interval_s
        self._is_ours = is_ours
        self._refresh_at_s = now_s + interval_s / 2 if is_ours else None
        # RFC 4028 §10: who does not refresh hangs up somewhat before the end.
        self._end_at_s = now_s + interval_s - (0 if is_ours else min(32, interval_s / 3))


def _parse(text: str | None) -> tuple[int, str | None] | None:
    """Return seconds and refresher of a Session-Expires header; None: absent or unreadable."""
    if text is None:
        return None
    seconds, *parameters = (part.strip() for part in text.split(";"))
    if not (seconds.isascii() and seconds.isdigit()):
        return None
    named = dict(part.partition("=")[::2] for part in parameters)
    return int(seconds[:9]), named.get("refresher")
