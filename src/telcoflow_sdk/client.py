"""The client: one control link, and the calls that arrive over it.

Not here: calls themselves (`call.py`), the link's protocol (`protocol/control.py`).
Implements `TelcoflowClient` of docs/reference/sdk.md.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from telcoflow_sdk._asyncio.control import ControlConnection
from telcoflow_sdk._asyncio.handlers import Handler, HandlerT, invoke, parse_event
from telcoflow_sdk._asyncio.ids import make_id
from telcoflow_sdk._asyncio.tasks import OwnedTasks
from telcoflow_sdk.call import ActiveCall
from telcoflow_sdk.config import TelcoflowClientConfig
from telcoflow_sdk.events import ClientEvent
from telcoflow_sdk.exceptions import (
    BufferClosedError,
    WSSAuthenticationError,
    WSSCallClosedError,
    WSSCallError,
    WSSConnectionError,
    WSSMediaError,
)
from telcoflow_sdk.offer import OfferedCall
from telcoflow_sdk.protocol.backoff import Backoff
from telcoflow_sdk.protocol.commands import DEFAULT_RING_TIME_S, check_ring_time
from telcoflow_sdk.protocol.control import CallOffered, ControlEngine, SessionEnded
from telcoflow_sdk.protocol.handoff import HandedCall
from telcoflow_sdk.protocol.media_events import EndCause
from telcoflow_sdk.protocol.messages import CallIn
from telcoflow_sdk.protocol.states import CallState
from telcoflow_sdk.version import __version__

SESSION_GRACE_S = 2.0
"""How long a call's media link may take to end after its session was closed: what the caller
said last is still on the way there."""

LEAVE_TIMEOUT_S = 3.0
HANDLER_GRACE_S = 2.0
"""How long handlers may go on after their calls have ended because the client closes."""

_logger = logging.getLogger("telcoflow_sdk")


class TelcoflowClient:
    """Takes the calls of one connector.

    ```python
    async with TelcoflowClient(config) as client:

        @client.on(events.INCOMING_CALL)
        async def on_call(call: ActiveCall) -> None:
            await call.answer()
            async for chunk in call.audio_stream():
                await call.send_audio(chunk)

        await client.run_forever()
    ```

    Several clients, also in other processes, may share a connector: each call goes to one.

    Concurrency: the thread of the event loop that `connect` ran on, which need not be the main
    thread. Signal handlers are left alone.

    Args:
        config: Where the server is and who we are.
    """

    def __init__(self, config: TelcoflowClientConfig) -> None:
        self._config = config
        self._handlers: dict[ClientEvent, list[Handler]] = {kind: [] for kind in ClientEvent}
        self._offers: dict[str, OfferedCall] = {}  # by session; to be given away or handled
        self._calls: dict[str, ActiveCall] = {}
        self._sessions: dict[str, ActiveCall] = {}
        self._tasks = OwnedTasks()
        self._leaving: set[asyncio.Task[Any]] = set()
        self._tls: ssl.SSLContext | None = None
        self._control: ControlConnection | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._shutdown: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()
        self._failure: WSSAuthenticationError | None = None

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.disconnect()

    async def connect(self) -> None:
        """Open the control link; from here on it is kept open.

        Raises:
            WSSAuthenticationError: the server rejected the credentials.
            WSSConnectionError: no connection, or there is one already. Nothing is left behind
                and nothing goes on in the background.

        Cancellation: nothing is left behind.
        """
        if self._control is not None:
            raise WSSConnectionError("the client is connected already")
        self._tls = self._config.tls_context()
        control = self._control = ControlConnection(
            self._config.control_url,
            {**self._config.credentials, "x-sdk-version": __version__},
            self._tls,
            ControlEngine(self._config.sample_rate, self._config.audio_mode, make_id),
            self._control_event,
        )
        self._shutdown = None
        try:
            if any(self._handlers.values()):
                control.accept_calls()
            await control.open()
        except BaseException:
            if self._control is control:
                self._control = None
            raise
        if self._control is not control:
            await control.close()
            raise WSSConnectionError("the client was disconnected while it connected")
        self._failure = None
        self._closed.clear()
        self._supervisor = asyncio.create_task(
            self._keep_connected(control), name="telcoflow control link"
        )
        _logger.info("connected to %s", self._config.base_url)

    async def disconnect(self) -> None:
        """End every call and close every link; does nothing when closed already.

        A goodbye that is being said is finished. Handlers get two seconds to return after their
        calls have ended, then they are cancelled. Afterwards no task or socket is left.

        Cancellation: closing goes on.
        """
        if self._control is None:
            return
        task = asyncio.current_task()
        if task is not None:
            self._leaving.add(task)
        try:
            if self._shutdown is None:
                self._shutdown = asyncio.create_task(self._shut_down(self._control))
            await asyncio.shield(self._shutdown)
        finally:
            if task is not None:
                self._leaving.discard(task)

    async def run_forever(self) -> None:
        """Return when the client is closed.

        Raises:
            WSSAuthenticationError: the server rejected the credentials when the control link
                came back; it is not tried again.
            WSSConnectionError: the client was never connected.

        Cancellation: the client stays connected.
        """
        if self._control is None and not self._closed.is_set():
            raise WSSConnectionError("the client is not connected: call connect() first")
        await self._closed.wait()
        if self._failure is not None:
            raise self._failure

    def on(self, event: str) -> Callable[[HandlerT], HandlerT]:
        """Register the decorated function for an event of the client; returns it unchanged.

        Calls are claimed once there is a handler; those that rang before have waited. Every
        call gets a task of its own for each INCOMING_CALL handler. Handlers of CALL_OFFERED run
        before that, one after another, until one gives the call away.

        Args:
            event: A member of `ClientEvent` or its string.

        Raises:
            ValueError: there is no such event.
        """
        kind = parse_event(ClientEvent, event)

        def register(handler: HandlerT) -> HandlerT:
            self._handlers[kind].append(handler)
            if self._control is not None:
                self._control.accept_calls()
            return handler

        return register

    def get_call(self, call_id: str) -> ActiveCall | None:
        """Return the live call with this id, or None."""
        return self._calls.get(call_id)

    async def call(self, number: str, ring_time_seconds: int = DEFAULT_RING_TIME_S) -> ActiveCall:
        """Call a person. Returns when dialling has begun; `await call.answer()` waits for them.

        The call is like any other, but INCOMING_CALL is not fired. Until the person answers it
        is PENDING, and `progress` and CALL_PROGRESS tell how far dialling has come. End it with
        `close` or `disconnect`; the client ends it when it closes.

        Args:
            number: Whom to call, as the server's network writes numbers.
            ring_time_seconds: How long the person is rung, 1 to 120 s.

        Raises:
            ValueError: an empty number, or another ring time.
            WSSConnectionError: the control link is down, or was lost meanwhile.
            WSSAuthenticationError: the credentials are not good for this.
            WSSCallCommandError: refused; `error_code` is `INVALID_REQUEST` for a number that is
                none, `CALLEE_UNREACHABLE`, `CHANNEL_NOT_CONFIGURED`, `OUTBOUND_OVERFLOW`,
                `QUOTA_EXCEEDED`, ...
            WSSCallCommandTimeoutError: the server did not answer in time.
            WSSCallClosedError: the call was over before it began.
            WSSMediaError: its media link cannot be opened.

        Cancellation: nobody is called, or no longer.
        """
        if not number or not number.strip():
            raise ValueError("number is missing")
        check_ring_time(ring_time_seconds)
        if self._control is None or self._shutdown is not None:
            raise WSSConnectionError("the client is not connected: call connect() first")
        ring_time_s = int(ring_time_seconds)
        placed = await self._control.create_session(number, ring_time_s)
        call = self._take(placed, ring_time_s)
        await self._open(call)
        if call.state is CallState.DISCONNECTED:
            raise WSSCallClosedError
        return call

    async def _keep_connected(self, control: ControlConnection) -> None:
        backoff = Backoff(self._config.reconnect, random.random)
        while True:
            await control.wait_lost()
            _logger.warning("the control link is lost; live calls go on")
            while True:
                await asyncio.sleep(backoff.next_delay_s())
                try:
                    await control.open()
                except WSSAuthenticationError as error:
                    _logger.error("%s", error)
                    self._failure = error
                    self._closed.set()
                    return
                except WSSConnectionError as error:
                    _logger.warning("%s; trying again", error)
                else:
                    break
            # Only now, after a whole handshake: a server that accepts and drops is not stormed.
            backoff.reset()
            _logger.info("the control link is back")

    def _control_event(self, event: CallOffered | SessionEnded) -> None:
        match event:
            case CallOffered():
                self._offered(event.call)
            case SessionEnded():
                self._session_ended(event.session_id)

    def _offered(self, offer: CallIn) -> None:
        if offer.call_id in self._calls or self._shutdown is not None:
            return
        if not self._handlers[ClientEvent.CALL_OFFERED]:
            call = self._take(offer)
            self._tasks.spawn(self._deliver(call), f"deliver {offer.call_id}")
        elif offer.session_id not in self._offers:
            handed = HandedCall(offer, self._config.sample_rate, self._config.audio_mode)
            self._offers[offer.session_id] = OfferedCall(handed)
            self._tasks.spawn(self._offer(offer), f"offer {offer.call_id}")

    async def _offer(self, call_in: CallIn) -> None:
        offer = self._offers[call_in.session_id]
        try:
            for handler in self._handlers[ClientEvent.CALL_OFFERED]:
                try:
                    await invoke(handler, offer)
                except Exception:
                    _logger.exception("call %s: the CALL_OFFERED handler failed", offer.call_id)
                if offer.is_given:
                    break
        finally:
            offer.expire()
            is_wanted = self._offers.pop(call_in.session_id, None) is not None
        if offer.is_given:
            _logger.info("call %s was given away", offer.call_id)
        elif is_wanted and self._shutdown is None:
            await self._deliver(self._take(call_in))
            return
        self._forget_session(call_in.session_id)

    def _take(self, call_in: CallIn, ring_time_s: int | None = None) -> ActiveCall:
        call = ActiveCall(
            call_in, self._config.call_audio, self._tasks, self._call_ended, ring_time_s=ring_time_s
        )
        self._calls[call_in.call_id] = call
        self._sessions[call_in.session_id] = call
        return call

    def _session_ended(self, session_id: str) -> None:
        self._offers.pop(session_id, None)
        call = self._sessions.get(session_id)
        if call is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(SESSION_GRACE_S, call.media.end, EndCause.SESSION_CLOSED)

    def _call_ended(self, call: ActiveCall) -> None:
        self._calls.pop(call.call_id, None)
        self._sessions.pop(call.session_id, None)
        self._forget_session(call.session_id)

    def _forget_session(self, session_id: str) -> None:
        if self._control is not None:
            self._control.forget_session(session_id)

    async def _open(self, call: ActiveCall) -> None:
        await call.open(self._tls, only_encrypted=self._config.cert_path is not None)

    async def _deliver(self, call: ActiveCall) -> None:
        try:
            await self._open(call)
        except WSSMediaError as error:
            _logger.error("call %s: %s", call.call_id, error)
        if call.state is CallState.DISCONNECTED:
            return  # nothing is left to be handled
        handlers = self._handlers[ClientEvent.INCOMING_CALL]
        if not handlers:
            _logger.error("call %s: nobody handles it; ending it", call.call_id)
            await self._end(call)
        for handler in handlers:
            self._tasks.spawn(self._run_handler(handler, call), f"call {call.call_id}")

    async def _run_handler(self, handler: Handler, call: ActiveCall) -> None:
        try:
            await invoke(handler, call)
        except (WSSCallClosedError, BufferClosedError) as error:
            if call.state is CallState.DISCONNECTED:
                _logger.info("call %s: the handler was left because %s", call.call_id, error)
            else:
                await self._handler_failed(call)
        except asyncio.CancelledError:
            if call.state is not CallState.DISCONNECTED:
                # This task cannot wait any more; nobody shall be left in silence.
                self._tasks.spawn(self._end(call), f"end {call.call_id}")
            raise
        except Exception:
            await self._handler_failed(call)

    async def _handler_failed(self, call: ActiveCall) -> None:
        _logger.exception("call %s: the handler failed; ending the call", call.call_id)
        await self._end(call)

    async def _end(self, call: ActiveCall) -> None:
        try:
            await call.close()
        except WSSCallError as error:
            _logger.warning("call %s: hanging up failed: %s", call.call_id, error)

    async def _shut_down(self, control: ControlConnection) -> None:
        try:
            if self._supervisor is not None:
                self._supervisor.cancel()
                await asyncio.wait((self._supervisor,))
            await asyncio.gather(
                *(call.leave(LEAVE_TIMEOUT_S) for call in list(self._calls.values()))
            )
            await control.close()
            await self._tasks.finish(HANDLER_GRACE_S, self._leaving)
        finally:
            self._control = None
            self._supervisor = None
            self._closed.set()
            _logger.info("disconnected from %s", self._config.base_url)
