"""What an operator sees of a running server: metrics, and the calls of this moment.

Not here: the numbers (`metrics.py`, `call/report.py`), what is shown of them (`cli/top.py`).
Implements "Seeing it" of docs/reference/rest.md. Numbers dialled are in none of it.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections import deque

from aiohttp import web
from msgspec import Struct

from telcoflow_sdk.audio.format import TICK_MS
from telcoflow_sdk.protocol.codes import EndReason, ErrorCode
from telcoflow_sdk.protocol.states import CallState
from telcoflow_server.api.auth import Refused
from telcoflow_server.api.http import json_response
from telcoflow_server.api.metrics import CONTENT_TYPE, UNKNOWN_LATENESS, Metrics, unhurried
from telcoflow_server.call.call import Call
from telcoflow_server.call.exchange import Exchange
from telcoflow_server.call.report import CallReport, Percentiles, percentiles
from telcoflow_server.legs.simulated import level_db
from telcoflow_server.media.routing import Slot
from telcoflow_server.ticker import Ticker

ENDED_CALLS_KEPT = 20
"""How many ended calls the overview remembers."""

RECENT_TICKS = 60_000 // TICK_MS
"""The overview's lateness is that of the last minute."""

FORWARDING_HEADERS = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")
"""What a proxy on this machine adds to requests of other machines."""


class LiveCall(Struct, frozen=True):
    """A running call. `mode` is "" where none was chosen; levels are of the last tick."""

    call_id: str
    connector_uuid: str
    state: str
    mode: str
    since_ms: int
    duration_ms: int
    caller_db: float
    agent_db: float
    queued_ms: float
    lead_ms: float
    gaps: int
    gap_ms: int
    clears: int


class EndedCall(Struct, frozen=True):
    """A call that is over."""

    call_id: str
    end_reason: EndReason | None
    duration_ms: int
    gaps: int
    gap_ms: int


class Overview(Struct, frozen=True):
    """All calls of a server: those that run, oldest first, and the last to end, newest first."""

    is_draining: bool
    tick_lateness_ms: Percentiles
    skipped_ticks: int
    calls: list[LiveCall]
    ended: list[EndedCall]


class OverviewPort:
    """Answers an operator.

    Args:
        exchange: The node's calls.
        metrics: What was counted.
        ticker: Tells what ticks it skipped.
        admin_key: Lets requests from other machines in. None: nothing does.
    """

    def __init__(
        self, exchange: Exchange, metrics: Metrics, ticker: Ticker, admin_key: str | None
    ) -> None:
        self._exchange = exchange
        self._metrics = metrics
        self._ticker = ticker
        self._admin_key = admin_key
        self._ended: deque[EndedCall] = deque(maxlen=ENDED_CALLS_KEPT)

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Put this port's paths on the control port."""
        router.add_get("/metrics", self._show_metrics, name="metrics")
        router.add_get("/admin/v1/calls", self._show_calls, name="live-calls")

    def call_ended(self, report: CallReport) -> None:
        """Remember how a call ended, for a while."""
        self._ended.appendleft(
            EndedCall(
                report.call_id,
                report.end_reason,
                report.duration_ms,
                report.gap_count,
                report.gap_ms,
            )
        )

    async def _show_metrics(self, request: web.Request) -> web.Response:
        self._check(request)
        return web.Response(body=await self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def _show_calls(self, request: web.Request) -> web.Response:
        self._check(request)
        calls = [live_call(call) async for call in unhurried(self._exchange.calls)]
        return json_response(
            Overview(
                self._exchange.is_draining,
                _recent_lateness(self._exchange),
                self._ticker.skipped_ticks,
                calls,
                list(self._ended),
            )
        )

    def _check(self, request: web.Request) -> None:
        """Let the request in, or not. Raises `Refused`."""
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        is_admin = (
            self._admin_key is not None
            and scheme.lower() == "bearer"
            and hmac.compare_digest(key.encode(), self._admin_key.encode())
        )
        if not (is_admin or is_from_here(request)):
            raise Refused(
                403,
                ErrorCode.FORBIDDEN,
                "this is for requests from the server's own machine, or with the admin key as "
                "Authorization: Bearer",
            )


def is_from_here(request: web.Request) -> bool:
    """Whether a process on this machine asks, and not for somebody else, as proxies do."""
    if any(name in request.headers for name in FORWARDING_HEADERS):
        return False
    try:
        return ipaddress.ip_address(request.remote or "").is_loopback
    except ValueError:
        return False


def _recent_lateness(exchange: Exchange) -> Percentiles:
    _, lateness_ms = exchange.lateness_ms(0)
    return percentiles(lateness_ms[-RECENT_TICKS:])


def live_call(call: Call) -> LiveCall:
    """Return a running call as an operator sees it."""
    report = call.report(UNKNOWN_LATENESS)
    is_connected = call.state is CallState.CONNECTED
    return LiveCall(
        call_id=report.call_id,
        connector_uuid=call.identity.connector_uuid,
        state=call.state,
        mode=report.modes[-1].mode if is_connected and report.modes else "",
        since_ms=report.duration_ms - report.states[-1].at_ms,
        duration_ms=report.duration_ms,
        caller_db=round(level_db(call.said(Slot.CALLER)), 1),
        agent_db=round(level_db(call.said(Slot.AGENT)), 1),
        queued_ms=round(call.seat.audio.queued_ms, 1),
        lead_ms=report.lead_ms,
        gaps=report.gap_count,
        gap_ms=report.gap_ms,
        clears=len(report.clears),
    )
