"""Running the server by HTTP: for operators, with a key of their own.

Not here: what draining is (`app.py`). Implements the administration of docs/reference/rest.md.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable

from aiohttp import web

from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_server.api.auth import Refused
from telcoflow_server.api.http import json_response
from telcoflow_server.call.exchange import Exchange

logger = logging.getLogger(__name__)


class AdminPort:
    """Lets operators drain the server.

    Args:
        exchange: The node's calls.
        key: What a request must show; None lets nobody in.
        on_drain: Called at each request to drain; new calls are refused already.
    """

    def __init__(self, exchange: Exchange, key: str | None, on_drain: Callable[[], None]) -> None:
        self._exchange = exchange
        self._key = key
        self._on_drain = on_drain

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Put this port's paths on the control port."""
        router.add_post("/admin/v1/drain", self._drain, name="drain")

    def check(self, request: web.Request) -> None:
        """Let an operator in, or raise `Refused`."""
        if self._key is None:
            raise Refused(403, ErrorCode.FORBIDDEN, "nobody may: admin.key is not set")
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(key.encode(), self._key.encode()):
            raise Refused(
                401, ErrorCode.UNAUTHORIZED, "header Authorization: Bearer must hold the admin key"
            )

    async def _drain(self, request: web.Request) -> web.Response:
        self.check(request)
        self._exchange.is_draining = True
        calls = self._exchange.call_count
        logger.info("an operator drains the server; %d calls run", calls)
        self._on_drain()
        return json_response({"status": "draining", "calls": calls}, 202)
