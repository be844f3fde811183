"""The control link of one client: opens it, sets it up, runs its engine.

Not here: reconnecting and calls (`client.py`), the protocol (`protocol/control.py`).
Implements docs/reference/wire.md §1.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping

from telcoflow_sdk._asyncio.driver import EngineDriver
from telcoflow_sdk._asyncio.link import Link, LinkError, LinkRefused, LinkUntrusted, open_link
from telcoflow_sdk.exceptions import WSSAuthenticationError, WSSConnectionError
from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_sdk.protocol.control import (
    CallOffered,
    ControlEngine,
    ControlOutput,
    CreationFailed,
    SessionEnded,
    SetupCompleted,
    SetupTimedOut,
)
from telcoflow_sdk.protocol.messages import CallIn

_READ_BUFFER_BYTES = 16 * 1024

_REJECTED = (401, 403)

_logger = logging.getLogger("telcoflow_sdk.control_connection")


class ControlConnection:
    """Opens the control link, again and again if need be; one link at a time.

    Args:
        url: Of the control link.
        headers: Credentials and version.
        ssl_context: For `wss://`.
        engine: Outlives each link.
        on_event: Hears of calls offered and sessions ended; must not raise.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        ssl_context: ssl.SSLContext | None,
        engine: ControlEngine,
        on_event: Callable[[CallOffered | SessionEnded], None],
    ) -> None:
        self._url = url
        self._headers = headers
        self._ssl_context = ssl_context
        self._engine = engine
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._driver = EngineDriver[ControlOutput](engine, self._loop, self._handle)
        self._setup: asyncio.Future[None] | None = None
        self._creating: dict[str, asyncio.Future[CallIn]] = {}
        self._lost = self._loop.create_future()

    async def open(self) -> None:
        """Open the link and set it up.

        Raises:
            WSSAuthenticationError: the server rejected the credentials.
            WSSConnectionError: anything else; nothing is left open.

        Cancellation: closes what was opened.
        """
        setup = self._setup = self._loop.create_future()
        self._lost = self._loop.create_future()
        try:
            link = await open_link(
                self._url,
                self,
                headers=self._headers,
                ssl_context=self._ssl_context,
                read_buffer_bytes=_READ_BUFFER_BYTES,
            )
        except LinkError as error:
            raise _connection_error(error) from None
        try:
            await setup
        except BaseException:
            link.abort()
            await link.wait_closed()
            raise

    async def wait_lost(self) -> None:
        """Return once the link is gone. Cancellation loses nothing."""
        await asyncio.shield(self._lost)

    async def close(self) -> None:
        """Close the link and wait for its end, about a second at most."""
        link = self._driver.link
        if link is not None:
            link.close()
            await link.wait_closed()

    def accept_calls(self) -> None:
        """Claim the sessions that wait, and every one that comes."""
        self._engine.accept_calls(self._loop.time())
        self._driver.drain()

    async def create_session(self, number: str, ring_time_s: int) -> CallIn:
        """Place a call; return what its media link needs. Nobody is rung before that is open.

        Raises:
            WSSConnectionError: the link is down, or was lost meanwhile.
            WSSAuthenticationError: the credentials are not good for this.
            WSSCallError: refused, not answered in time, or over before it began.

        Cancellation: the session is forgotten.
        """
        request_id = self._engine.create_session(number, ring_time_s, self._loop.time())
        future: asyncio.Future[CallIn] = self._loop.create_future()
        self._creating[request_id] = future
        self._driver.drain()
        try:
            return await future
        except asyncio.CancelledError:
            self._engine.abandon_creation(request_id)
            if not future.cancelled() and future.exception() is None:
                self._engine.forget_session(future.result().session_id)
            self._driver.drain()
            raise
        finally:
            del self._creating[request_id]

    def forget_session(self, session_id: str) -> None:
        """The call of this session is over, or is no longer ours."""
        self._engine.forget_session(session_id)

    def link_opened(self, link: Link) -> None:
        """The upgrade is done."""
        self._engine.link_opened(self._loop.time())
        self._driver.attach(link)

    def text_received(self, data: bytes) -> None:
        """A message of the server's arrived."""
        self._engine.receive_message(data, self._loop.time())
        self._driver.drain()

    def binary_received(self, data: bytes) -> None:
        """The control link has no binary messages."""

    def link_lost(self, code: int | None, reason: str) -> None:
        """The socket is closed."""
        self._driver.detach()
        self._engine.link_lost()
        self._driver.drain()
        self._settle(WSSConnectionError(f"the server closed the control link ({code})"))
        if not self._lost.done():
            self._lost.set_result(None)

    def _handle(self, event: ControlOutput) -> None:
        match event:
            case SetupCompleted():
                self._settle(None)
            case SetupTimedOut():
                self._settle(WSSConnectionError("the server did not answer the set-up in time"))
            case CallOffered() if event.request_id is not None:
                self._placed(event.request_id, event.call)
            case CreationFailed():
                future = self._creating[event.request_id]
                if not future.done():
                    future.set_exception(event.error)
            case CallOffered() | SessionEnded():
                self._on_event(event)

    def _placed(self, request_id: str, call: CallIn) -> None:
        future = self._creating[request_id]
        if future.done():
            # Whoever waited was cancelled a moment ago, and has not run since.
            self._engine.forget_session(call.session_id)
        else:
            future.set_result(call)

    def _settle(self, error: WSSConnectionError | None) -> None:
        if self._setup is None or self._setup.done():
            return
        if error is None:
            self._setup.set_result(None)
        else:
            self._setup.set_exception(error)
            # Whoever waited may have been cancelled: asyncio need not say that nobody looked.
            self._setup.exception()


def _connection_error(error: LinkError) -> WSSConnectionError | WSSAuthenticationError:
    if isinstance(error, LinkUntrusted):
        return WSSAuthenticationError(str(error))
    if isinstance(error, LinkRefused):
        if error.code == ErrorCode.CERTIFICATE_UNKNOWN:
            return WSSAuthenticationError(
                f"the server knows no connector with this client certificate ({error}): have its "
                "SHA-256 fingerprint put in the connector's certificate_sha256"
            )
        if error.status in _REJECTED:
            return WSSAuthenticationError(
                f"the server rejected the credentials ({error}): check api_key and "
                "connector_uuid, or the client certificate"
            )
        return WSSConnectionError(f"the server refused the control link ({error})")
    return WSSConnectionError(f"cannot open the control link: {error}")
