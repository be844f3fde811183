"""The control port's HTTP: health, sessions over REST, and errors as JSON.

Not here: the control link (`control.py`), simulated phones (`sandbox.py`), keys (`auth.py`).
Implements docs/reference/rest.md.
"""

from __future__ import annotations

import logging
import time

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_server.api.auth import KeyRing, Refused
from telcoflow_server.api.tally import Port, Tally
from telcoflow_server.api.tls import fingerprint_of
from telcoflow_server.call.exchange import Exchange

logger = logging.getLogger(__name__)

_CODES = {
    400: ErrorCode.INVALID_REQUEST,
    404: ErrorCode.NOT_FOUND,
    405: ErrorCode.INVALID_REQUEST,
    413: ErrorCode.INVALID_REQUEST,
}


def json_response(content: object, status: int = 200) -> web.Response:
    """Return `content` (anything msgspec encodes) as a JSON response."""
    return web.Response(
        body=msgspec.json.encode(content), status=status, content_type="application/json"
    )


def error_response(refused: Refused) -> web.Response:
    """Return a refusal in the one shape all our errors have: `code` and `message`."""
    return json_response({"code": refused.code, "message": refused.message}, refused.status)


def errors_as_json(tally: Tally) -> Middleware:
    """Return what turns every way a request can fail into a JSON body with a code.

    Args:
        tally: Counts the codes.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refused as known:
            refused = known
        except web.HTTPException as error:
            if error.status < 400:
                raise
            code = _CODES.get(error.status, ErrorCode.INVALID_REQUEST)
            refused = Refused(error.status, code, error.reason)
        except Exception:
            logger.exception("%s failed", request.match_info.route.name or "a request")
            refused = Refused(500, ErrorCode.INTERNAL_ERROR, "internal error")
        tally.refusals[Port.CONTROL, refused.code] += 1
        return error_response(refused)

    return middleware


class RestPort:
    """Health and sessions.

    Args:
        exchange: The node's calls.
        keys: Who may ask.
    """

    def __init__(self, exchange: Exchange, keys: KeyRing) -> None:
        self._exchange = exchange
        self._keys = keys

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Put this port's paths on the control port."""
        router.add_get("/healthz", self._health)
        router.add_get("/readyz", self._readiness)
        router.add_get("/public/v1/sessions", self._list_sessions, name="list-sessions")
        router.add_post(
            "/public/v1/sessions/{session_id}/close", self._close_session, name="close-session"
        )

    def connector_of(self, request: web.Request) -> str:
        """Return the connector this request speaks for. Raises `Refused`."""
        return self._keys.connector(
            request.headers.get("x-api-key"),
            request.headers.get("x-connector-uuid"),
            fingerprint_of(request.transport),
        )

    async def _health(self, request: web.Request) -> web.Response:
        return json_response({"status": "ok"})

    async def _readiness(self, request: web.Request) -> web.Response:
        if self._exchange.is_draining:
            return json_response(
                {"code": ErrorCode.DRAINING, "message": "finishing calls, taking no new ones"}, 503
            )
        return json_response({"status": "ready", "calls": self._exchange.call_count})

    async def _list_sessions(self, request: web.Request) -> web.Response:
        sessions = self._exchange.board.sessions(self.connector_of(request))
        channel = request.query.get("channel")
        remote = request.query.get("remoteAddress")
        state = request.query.get("state", "OPEN")
        items = [
            session
            for session in sessions
            if (channel in (None, session.channel))
            and (remote in (None, session.remote_address))
            and state == session.state
        ]
        return json_response({"items": items})

    async def _close_session(self, request: web.Request) -> web.Response:
        connector_uuid = self.connector_of(request)
        session = self._exchange.board.find(request.match_info["session_id"], connector_uuid)
        if session is None:
            raise Refused(404, ErrorCode.SESSION_NOT_FOUND, "no open session with this id")
        self._exchange.end_session(session)
        return json_response({"closedAt": int(time.time()), "reason": "SDK_REQUEST"})
