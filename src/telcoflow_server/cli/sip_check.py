"""`telcoflow sip-check`: can a softphone register here, call, hear and be heard?

Not here: the flags (`sip_commands.py`), the call (`trial_call.py`), what is said of it
(`sip_findings.py`). Implements docs/reference/cli.md.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console

from telcoflow_server import speech
from telcoflow_server.cli.doctor import Diagnosis, show
from telcoflow_server.cli.finding import BAD
from telcoflow_server.cli.run import run, stop_signals
from telcoflow_server.cli.sip_findings import Evidence, findings_of, shown
from telcoflow_server.cli.softphone import (
    DEFAULT_SIP_PORT,
    TRIAL_USER,
    Account,
    codec_names,
    new_password,
    with_trial_account,
)
from telcoflow_server.cli.trial_call import OneCall
from telcoflow_server.codec.table import offered
from telcoflow_server.legs.sip import SipPhone
from telcoflow_server.loading import load
from telcoflow_server.media.record import Recorder
from telcoflow_server.media.sound import load_sound
from telcoflow_server.real_phones import edge_settings_of, routes_of
from telcoflow_server.settings import Settings, SettingsError
from telcoflow_server.sip.agreement import LocalMedia
from telcoflow_server.sip.edge import EdgeError
from telcoflow_server.sip.events import Event, IncomingCall, Registered
from telcoflow_server.sip.negotiation import Accepted, NotAcceptable, OfferAnswer
from telcoflow_server.sip.sdp import SdpError
from telcoflow_server.telephony.dialog import describe
from telcoflow_server.telephony.routes import Routes
from telcoflow_server.telephony.service import Telephony
from telcoflow_server.ticker import Ticker
from telcoflow_server.udp import PortPool, PortRange

LOOK_S = 0.2
"""From one look at what happens to the next."""

_SOMEWHERE = ("192.0.2.1", 9)
"""No address of anybody's (RFC 5737), and nothing is sent there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOrder:
    """What is wanted.

    Args:
        host: Where to listen; None: what the settings say, or this machine's own address.
        wait_s: How long a registration is waited for, and then a call.
        listen_s: How long the call lasts.
        record: Where both voices are kept; the left one is the phone's.
    """

    config: Path | None
    host: str | None
    port: int | None
    wait_s: float
    listen_s: float
    record: Path
    as_json: bool


def sip_check(order: CheckOrder) -> int:
    """Conduct the check, print what was found; return the exit code."""
    # With --json, stdout is for the JSON alone.
    console = Console(stderr=order.as_json, highlight=False)
    password = new_password()
    try:
        settings = _settings_of(order, password)
        seen = run(_check(settings, order, console, password))
    except (SettingsError, EdgeError) as error:
        print(f"telcoflow: {error}", file=sys.stderr)
        return 1
    findings = list(findings_of(seen))
    is_well = not any(finding.verdict in BAD for finding in findings)
    if order.as_json:
        sys.stdout.write(msgspec.json.encode(Diagnosis(is_well, findings)).decode() + "\n")
    else:
        show(findings)
        if seen.leg is not None:
            console.print(f"Listen to {order.record}: left the phone, right what was played to it.")
    return 0 if is_well else 1


def own_address() -> str:
    """Return this machine's address in its network, or the loopback address without one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_SOMEWHERE)
        except OSError:
            return "127.0.0.1"
        address: str = probe.getsockname()[0]
        return address


def _settings_of(order: CheckOrder, password: str) -> Settings:
    settings = load(order.config, os.environ, {"sip.host": order.host, "sip.port": order.port})
    sip = settings.sip
    if sip.port is None:
        sip = replace(sip, port=DEFAULT_SIP_PORT)
    if order.config is None and order.host is None and sip.host == type(sip)().host:
        sip = replace(sip, host=own_address())
    return with_trial_account(replace(settings, sip=sip), password)


class _Watch:
    """What the SIP process has said so far, and what follows from it."""

    def __init__(self, telephony: Telephony, calls: OneCall, routes: Routes) -> None:
        self.registered: Registered | None = None
        self.incoming: IncomingCall | None = None
        self._calls = calls
        self._routes = routes
        telephony.on_event = self._heard

    def _heard(self, event: Event) -> None:
        if isinstance(event, Registered):
            self.registered = event
        elif isinstance(event, IncomingCall) and self._calls.phone is None:
            self.incoming = event

    @property
    def was_refused(self) -> bool:
        """Whether the call led to nothing that can be talked over."""
        return self.incoming is not None and self._calls.phone is None

    def outcome(self) -> Accepted | NotAcceptable | None:
        """Return what the call's offer leads to; None: it had none, or one that is broken."""
        incoming = self.incoming
        if incoming is None or incoming.sdp is None:
            return None
        codecs = self._routes.codecs_of(incoming.origin if incoming.is_trunk else "")
        local = LocalMedia("127.0.0.1", 4000, tuple(describe(codec) for codec in codecs))
        try:
            return OfferAnswer(local, 1).answer(incoming.sdp.value)
        except SdpError:
            return None


async def _check(
    settings: Settings, order: CheckOrder, console: Console, password: str
) -> Evidence:
    sip = settings.sip
    recorder = Recorder()
    sentence = load_sound(speech.SENTENCE.read_bytes()).astype(np.int16, copy=False)
    calls = OneCall(sentence, recorder, order.record)
    # Whatever is dialled is meant.
    routes = replace(routes_of(settings), default_connector="sip-check")
    edge_settings = msgspec.structs.replace(edge_settings_of(settings), numbers=None)
    pool = PortPool(PortRange(sip.host, sip.rtp_first_port, sip.rtp_last_port))
    telephony = Telephony(calls, edge_settings, routes, pool, sip.reached_at)
    watch = _Watch(telephony, calls, routes)

    def tick(lateness_s: float) -> None:
        telephony.before_tick(time.monotonic() - lateness_s)
        calls.tick()
        telephony.after_tick()

    ticker = Ticker(tick)
    try:
        with stop_signals() as signals:
            await telephony.start()
            ticker.start()
            _explain(settings, telephony.edge.address[1], password, console)
            await _watch_to_the_end(watch, calls, order, console, signals.first)
            calls.end()
            await asyncio.sleep(LOOK_S)  # the SIP process says goodbye, and counts
        return _evidence(settings, watch, calls, telephony)
    finally:
        ticker.stop()
        await telephony.stop()
        await asyncio.to_thread(recorder.close)


async def _watch_to_the_end(
    watch: _Watch, calls: OneCall, order: CheckOrder, console: Console, stopped: asyncio.Event
) -> None:
    """Return when the call is over, or was waited for in vain, or somebody wants no more."""

    async def until(is_so: Callable[[], bool], limit_s: float, doing: str) -> bool:
        started_s = time.monotonic()
        with Console(stderr=True).status(doing) as status:
            while not is_so() and not stopped.is_set():
                left_s = limit_s - (time.monotonic() - started_s)
                if left_s <= 0:
                    return False
                status.update(f"{doing} ({left_s:.0f} s left)")
                await asyncio.sleep(LOOK_S)
        return not stopped.is_set()

    def is_there() -> bool:
        return watch.registered is not None or watch.incoming is not None

    if not await until(is_there, order.wait_s, "waiting for the phone to register"):
        return
    if watch.registered is not None:
        console.print(f"registered from {shown(watch.registered.source)}: now dial any number")
    if not await until(lambda: watch.incoming is not None, order.wait_s, "waiting for a call"):
        return
    if watch.incoming is not None:
        console.print(f"call from {shown(watch.incoming.source)}")
    if watch.was_refused:
        return
    console.print("a sentence is played: [bold]say something, and press a key when you hear it[/]")
    await until(lambda: calls.is_over, order.listen_s, "in the call")


def _explain(settings: Settings, port: int, password: str, console: Console) -> None:
    sip = settings.sip
    is_trial = with_trial_account(replace(settings, extensions=()), password) == settings
    user = settings.extensions[0].user if settings.extensions else TRIAL_USER
    account = Account(user, sip.reached_at, port, password if is_trial else None)
    codecs = codec_names([codec.encoding for codec in offered()])
    console.print(f"Server [bold]{account.server}[/], UDP, codecs {', '.join(codecs)}")
    console.print('\n[bold]Linphone[/]: "Use a SIP account" (or "Third-party SIP account")')
    for field, value in account.linphone():
        console.print(f"  {field:<17} {value}", markup=False)
    console.print("\n[bold]baresip[/]: this line in ~/.baresip/accounts")
    console.print(f"  {account.baresip()}\n", markup=False, soft_wrap=True)


def _evidence(settings: Settings, watch: _Watch, calls: OneCall, telephony: Telephony) -> Evidence:
    sip, phone = settings.sip, calls.phone
    leg = phone.leg if isinstance(phone, SipPhone) else None
    outcome = watch.outcome()
    return Evidence(
        server=(sip.reached_at, telephony.edge.address[1]),
        reached_at=sip.reached_at,
        media_ports=(sip.rtp_first_port, sip.rtp_last_port),
        sip=telephony.edge.statistics(),
        registered_from=None if watch.registered is None else watch.registered.source,
        called_from=None if watch.incoming is None else watch.incoming.source,
        refusal=outcome.reason if isinstance(outcome, NotAcceptable) else None,
        codec=outcome.agreement.codec.encoding if isinstance(outcome, Accepted) else None,
        leg=None if leg is None else leg.statistics(),
        loudest_db=calls.loudest_db,
        pressed_keys=calls.pressed_keys,
    )
