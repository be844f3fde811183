"""The server: everything wired together, started and stopped.

Not here: settings (`settings.py`), what they make of phones (`real_phones.py`), signals and the
command line (`cli`). The only place that knows all parts. Implements ARCHITECTURE.md.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import ssl
import tempfile
import time
import uuid
from pathlib import Path

from aiohttp import web

from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_server.api.accept import Acceptor
from telcoflow_server.api.admin import AdminPort
from telcoflow_server.api.admission import MEDIA_PATH
from telcoflow_server.api.auth import KeyRing, TokenMint
from telcoflow_server.api.control import ControlPort
from telcoflow_server.api.http import RestPort, errors_as_json
from telcoflow_server.api.limits import AddressLimits
from telcoflow_server.api.media import MediaPort
from telcoflow_server.api.metrics import Metrics, Sources
from telcoflow_server.api.overview import OverviewPort
from telcoflow_server.api.sandbox import SandboxPort
from telcoflow_server.api.tally import Port, Tally
from telcoflow_server.api.tls import tls_context
from telcoflow_server.call.accounts import Accounts
from telcoflow_server.call.exchange import Exchange
from telcoflow_server.call.ports import Dialer
from telcoflow_server.call.report import CallReport
from telcoflow_server.call.session import Client, Session
from telcoflow_server.garbage import Garbage
from telcoflow_server.keys import KeyFileError, digest_of, read_keys
from telcoflow_server.media.lead import LeadRange
from telcoflow_server.media.record import Recorder
from telcoflow_server.real_phones import (
    Ways,
    check_reload,
    edge_settings_of,
    routes_of,
    telephony_of,
)
from telcoflow_server.settings import Settings, SettingsError
from telcoflow_server.simulation import Folders, PhoneBook, Simulation
from telcoflow_server.sip.edge import EdgeError
from telcoflow_server.telephony.service import Telephony
from telcoflow_server.ticker import Ticker

logger = logging.getLogger(__name__)

# The library logs what it cannot parse, and that may be a header with a key in it. The sender
# gets its answer; the log needs no more than our own lines.
_library_logger = logging.getLogger("telcoflow_server.control_port")
_library_logger.setLevel(logging.CRITICAL)

CONTROL_PATH = "/v1/agent/session-manager"

IDLE_CONNECTION_S = 5.0
"""An HTTP connection that says nothing for so long is closed."""

LINGERING_S = 1.0
"""How long the rest of a request is read after it was refused, so that the answer arrives."""

SHUTDOWN_S = 5.0
"""How long handlers of closed links may take to return."""


class Server:
    """One node: control port, media port, phones, tick.

    Args:
        settings: Everything that can be set.
        sandbox: Serve simulated phones, too.
        dialer: The way to people who are called; in a sandbox that is the simulated phones.
        lead: The range of the agents' leads; None: the usual one.
        owns_process: Whether the process has no other purpose: then the server decides when it
            looks for cyclic garbage, see `Garbage`.

    Raises:
        SettingsError: a certificate, key, key file or codec cannot be used.

    Attributes:
        drain_requested: Set when an operator asks to drain: `drain` and `stop` must follow.

    Concurrency: one event loop; `start`, `drain` and `stop` are called once each, in this order.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        sandbox: bool = False,
        dialer: Dialer | None = None,
        lead: LeadRange | None = None,
        owns_process: bool = False,
    ) -> None:
        self._settings = settings
        self._garbage = Garbage()
        self._owns_process = owns_process
        self._phone_book = PhoneBook() if sandbox else None
        self._tally = Tally()
        self._is_started = False
        self._tls: ssl.SSLContext | None = None
        self._keys = KeyRing()
        self._telephony: Telephony | None = None
        self.reload(settings)
        self._limits = AddressLimits(
            settings.limits.connections_per_address, settings.limits.connection_attempts_per_minute
        )
        self._tokens = TokenMint(secrets.token_bytes(32))
        simulated = self._phone_book or dialer
        ways = Ways() if simulated is None else Ways(simulated)
        self._exchange = Exchange(
            self._media_address,
            _new_id,
            ring_timeout_s=settings.calls.ring_timeout_s,
            call_duration_s=settings.limits.call_duration_s,
            media_grace_s=settings.calls.media_grace_s,
            lead=lead,
            calls_per_connector=settings.limits.calls_per_connector,
            dialer=ways,
        )
        self._recorder = Recorder()
        self._telephony = telephony_of(settings, self._exchange, self._recorder)
        if self._telephony is not None:
            ways.prefer(self._telephony)
            self._exchange.board.make_call = self._telephony.make_call
        self._ticker = Ticker(self._tick)
        self._media = MediaPort(
            self._exchange,
            self._tokens,
            self._keys if settings.media.require_client_certificate else None,
            settings.limits.messages_per_second,
            self._ticker.since_tick_ms,
            self._tally,
        )
        self._overview = self._make_overview(settings.admin.key)
        self._runner: web.AppRunner | None = None
        self._acceptor: Acceptor | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._simulation: Simulation | None = None
        self.drain_requested = asyncio.Event()
        self.host = settings.server.host
        self.control_port = 0
        self.media_port = 0

    @property
    def exchange(self) -> Exchange:
        """The calls of this node."""
        return self._exchange

    @property
    def telephony(self) -> Telephony | None:
        """The real phones of this node, if it serves any."""
        return self._telephony

    async def start(self) -> None:
        """Open all ports and start the tick.

        Raises:
            OSError: a port is taken; nothing is left open.
            EdgeError: phones cannot be served; likewise.
        """
        try:
            await self._start_control()
            self.media_port = self._media.start(
                self.host, self._wanted_media_port(), self._limits, lambda: self._tls
            )
            if self._telephony is not None:
                await self._telephony.start()
        except (OSError, EdgeError):
            await self.stop()
            raise
        self._is_started = True
        if self._owns_process:
            self._garbage.take_over()
        self._ticker.start()
        logger.info("control port %d, media port %d", self.control_port, self.media_port)

    def reload(self, settings: Settings) -> None:
        """Take over connectors, API keys, TLS files, trunks, extensions and numbers.

        Links that are open stay open, calls that run go on.

        Raises:
            SettingsError: one of them cannot be used; nothing has changed.
        """
        context = tls_context(settings.tls)
        if self._is_started and (context is None) != (self._tls is None):
            raise SettingsError("tls.cert_file", "switches TLS on or off: that takes a restart")
        keys = [
            (one.connector_uuid, digest_of(one.api_key))
            for one in settings.connectors
            if one.api_key is not None
        ]
        if settings.server.keys_file is not None:
            try:
                stored = read_keys(settings.server.keys_file)
            except KeyFileError as error:
                raise SettingsError("server.keys_file", f"cannot be used: {error}") from None
            keys += [(one.connector_uuid, one.sha256) for one in stored]
        check_reload(self._settings.sip, settings.sip)
        routes = routes_of(settings)
        certificates = {
            fingerprint: one.connector_uuid
            for one in settings.connectors
            for fingerprint in one.certificate_sha256
        }
        if self._telephony is not None:
            self._telephony.reconfigure(edge_settings_of(settings), routes)
        self._keys.replace(keys, certificates)
        self._tls = context

    async def drain(self) -> None:
        """Refuse new calls; return when the running ones have ended or the time for that is up.

        A sandbox then waits a little, so that the recordings of its last calls can be fetched.
        """
        self._exchange.is_draining = True
        if self._telephony is not None:
            self._telephony.refuse_calls()
        if self._exchange.call_count > 0:
            await self._wait_for_calls()
        if self._simulation is not None:
            await asyncio.sleep(self._simulation.fetch_grace_s)

    async def _wait_for_calls(self) -> None:
        empty = asyncio.Event()
        self._exchange.on_empty = empty.set
        logger.info("waiting for %d calls to end", self._exchange.call_count)
        try:
            async with asyncio.timeout(self._settings.server.drain_timeout_s):
                await empty.wait()
        except TimeoutError:
            logger.warning("%d calls are cut off", self._exchange.call_count)

    async def stop(self) -> None:
        """End what still runs and leave nothing: no task, socket, thread or scratch file."""
        self._exchange.shut_down()
        self._ticker.stop()
        self._garbage.give_back()
        if self._telephony is not None:
            await self._telephony.stop()
        await self._media.stop()
        if self._acceptor is not None:
            self._acceptor.close()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._acceptor is not None:
            await self._acceptor.wait_closed()
        await asyncio.to_thread(self._recorder.close)
        if self._simulation is not None:
            self._simulation.close()
        if self._scratch is not None:
            self._scratch.cleanup()

    async def _start_control(self) -> None:
        rest = RestPort(self._exchange, self._keys)
        control = ControlPort(
            self._exchange.board,
            rest.connector_of,
            self._settings.limits.messages_per_second,
            self._tally,
        )
        app = web.Application(middlewares=[errors_as_json(self._tally)])
        app.router.add_get(CONTROL_PATH, control.serve, name="control-link")
        rest.add_routes(app.router)
        AdminPort(self._exchange, self._settings.admin.key, self.drain_requested.set).add_routes(
            app.router
        )
        self._overview.add_routes(app.router)
        if self._phone_book is not None:
            self._simulation = self._make_simulation(self._phone_book)
            SandboxPort(self._simulation, rest).add_routes(app.router)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_library_logger,
            handle_signals=False,
            keepalive_timeout=IDLE_CONNECTION_S,
            shutdown_timeout=SHUTDOWN_S,
            lingering_time=LINGERING_S,
        )
        await self._runner.setup()
        refused = (Port.CONTROL, ErrorCode.RATE_LIMITED)
        assert self._runner.server is not None, "set up just now"
        self._acceptor = Acceptor(
            self._runner.server,
            self._limits,
            lambda: self._tls,
            lambda: self._tally.refusals.update((refused,)),
        )
        self.control_port = self._acceptor.listen(self.host, self._settings.server.port)

    def _make_simulation(self, book: PhoneBook) -> Simulation:
        self._scratch = tempfile.TemporaryDirectory(prefix="telcoflow-")
        calls = self._settings.calls
        folders = Folders(Path(self._scratch.name), calls.record_dir, calls.record_split)
        simulation = Simulation(self._exchange, book, self._recorder, folders)
        self._exchange.board.make_call = simulation.make_call
        return simulation

    def _make_overview(self, admin_key: str | None) -> OverviewPort:
        accounts = Accounts()
        sources = Sources(
            exchange=self._exchange,
            media=self._media,
            recorder=self._recorder,
            ticker=self._ticker,
            garbage=self._garbage,
            tally=self._tally,
            accounts=accounts,
            telephony=self._telephony,
        )
        overview = OverviewPort(self._exchange, Metrics(sources), self._ticker, admin_key)

        def call_ended(report: CallReport) -> None:
            accounts.add(report)
            overview.call_ended(report)

        self._exchange.on_report = call_ended
        return overview

    def _wanted_media_port(self) -> int:
        if self._settings.server.media_port is not None:
            return self._settings.server.media_port
        # One above the control port, where people look for it; any when that was left open, too.
        return self.control_port + 1 if self._settings.server.port else 0

    def _media_address(self, session: Session, client: Client) -> tuple[str, str]:
        base = self._settings.media.public_url
        if base is None:
            host = f"[{client.reached_at}]" if ":" in client.reached_at else client.reached_at
            scheme = "ws" if self._tls is None else "wss"
            base = f"{scheme}://{host}:{self.media_port}"
        token = self._tokens.issue(session.call_id, time.time())
        return base.rstrip("/") + MEDIA_PATH + session.call_id, token

    def _tick(self, lateness_s: float) -> None:
        if self._telephony is not None:
            self._telephony.before_tick(self._ticker.due_s)
        if self._simulation is not None:
            self._simulation.sample()
        self._exchange.tick(lateness_s)
        if self._telephony is not None:
            self._telephony.after_tick()
        self._garbage.after_tick(self._exchange.call_count, self._exchange.ended_calls)


def _new_id() -> str:
    return str(uuid.uuid4())
