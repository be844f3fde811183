"""Keeping up with trunks: our registrations there, and whether they answer.

Not here: calls over them (`switchboard.py`). Implements RFC 3261 §10.2 and the OPTIONS pings that
carriers expect.
"""

from __future__ import annotations

from collections.abc import Callable

from telcoflow_server.sip.accounts import Trunk
from telcoflow_server.sip.events import TrunkReachable, TrunkRegistered, TrunkUnregistered
from telcoflow_server.sip.exchange import Exchange, Login
from telcoflow_server.sip.line import Surroundings
from telcoflow_server.sip.message import Headers, OutgoingRequest, Response, every
from telcoflow_server.sip.uri import SipError, SipUri, parse_name_address

REFRESH_AFTER = 0.8
"""Of the time granted; leaves room for a transaction that times out (32 s) from 160 s on."""
MIN_REFRESH_S = 5.0
FIRST_RETRY_S = 10.0
LAST_RETRY_S = 320.0
"""After failures the time doubles from the first to the last: a wrong password is no attack."""

UNREACHABLE = (408, 503)
"""Other responses, refusals among them, come from somebody who is there."""


class TrunkLink:
    """What we and one trunk know of each other.

    Args:
        trunk: Which.
        around: To send and to tell.
        address: Ours as others reach it: `host:port`.
    """

    def __init__(self, trunk: Trunk, around: Surroundings, address: str) -> None:
        self.trunk = trunk
        self._around = around
        self._address = address
        self._target = SipUri("sip", "", trunk.host, None if trunk.port == 5060 else trunk.port)
        self._call_id = around.random_text()
        self._tag = around.random_text()
        self._cseq = 0
        self._expires_s = trunk.expires_s
        self._register_at_s = 0.0
        self._retry_s = FIRST_RETRY_S
        self._ping_at_s = 0.0
        self._is_registered = False
        self._is_reachable: bool | None = None

    @property
    def domain(self) -> str:
        """Host and port as they stand in addresses."""
        return str(self._target).removeprefix("sip:")

    @property
    def login(self) -> Login | None:
        """What we show there when asked."""
        trunk = self.trunk
        return Login(trunk.user, trunk.password) if trunk.user and trunk.password else None

    def tick(self, now_s: float) -> None:
        """Register and ask when it is time to."""
        if self.trunk.registers and now_s >= self._register_at_s:
            # Until the response says when: later than any transaction lasts.
            self._register_at_s = now_s + LAST_RETRY_S
            self._register(self._expires_s)
        if self.trunk.keep_alive_s and now_s >= self._ping_at_s:
            self._ping_at_s = now_s + self.trunk.keep_alive_s
            self._send("OPTIONS", (), self._hear_ping)

    def close(self) -> None:
        """Withdraw the registration, if there is one."""
        if self._is_registered:
            self._is_registered = False
            self._register(0)

    def _register(self, expires_s: int) -> None:
        self._send("REGISTER", (("expires", str(expires_s)),), self._hear_registered)

    def _send(self, method: str, headers: Headers, hear: Callable[[Response, float], None]) -> None:
        user = f"{self.trunk.user}@" if self.trunk.user else ""
        to = f"<sip:{user}{self.domain}>"

        def build(credentials: Headers) -> OutgoingRequest:
            self._cseq += 1
            return OutgoingRequest(
                method=method,
                uri=str(self._target),
                from_=f"{to};tag={self._tag}",
                to=to,
                call_id=f"{self._call_id}-{method.lower()}",
                cseq=self._cseq,
                target=(self.trunk.host, self.trunk.port),
                contact=f"<sip:{user}{self._address}>",
                headers=(*headers, *credentials),
            )

        around = self._around
        Exchange(around.stack, build, self.login, around.random_text, hear)

    def _hear_registered(self, response: Response, now_s: float) -> None:
        status = response.status
        if status < 200 or not self.trunk.registers:
            return
        if status < 300:
            granted_s = self._granted(response)
            if granted_s == 0:
                return  # withdrawn
            self._register_at_s = now_s + max(granted_s * REFRESH_AFTER, MIN_REFRESH_S)
            self._retry_s = FIRST_RETRY_S
            if not self._is_registered:
                self._is_registered = True
                self._around.emit(TrunkRegistered(trunk=self.trunk.name, expires_s=granted_s))
            return
        shortest = response.header("min-expires") or ""
        if status == 423 and shortest.isascii() and shortest.isdigit():
            asked_s, self._expires_s = self._expires_s, int(shortest[:9])
            if self._expires_s > asked_s:
                self._register_at_s = now_s
                return
        self._is_registered = False
        self._register_at_s = now_s + self._retry_s
        self._retry_s = min(self._retry_s * 2, LAST_RETRY_S)
        self._around.emit(TrunkUnregistered(trunk=self.trunk.name, status=status))

    def _granted(self, response: Response) -> int:
        """Return for how long: what our Contact says, else Expires, else what we asked for."""
        texts = [response.header("expires")]
        for contact in every(response.headers, "contact"):
            try:
                parsed = parse_name_address(contact)
            except SipError:
                continue
            if str(parsed.uri).partition("@")[2] == self._address or parsed.uri.user == "":
                texts.insert(0, parsed.parameter("expires"))
        for text in texts:
            if text is not None and text.isascii() and text.isdigit():
                return int(text[:9])
        return self._expires_s

    def _hear_ping(self, response: Response, now_s: float) -> None:
        if response.status < 200:
            return
        is_reachable = response.status not in UNREACHABLE
        if is_reachable is not self._is_reachable:
            self._is_reachable = is_reachable
            event = TrunkReachable(trunk=self.trunk.name, is_reachable=is_reachable)
            self._around.emit(event)
