"""`telcoflow sandbox`: start the server, say that it is ready, leave as signals ask.

Not here: the server (`app.py`), its settings (`settings.py`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from telcoflow_server import logs
from telcoflow_server.cli.run import on_reload, run, stop_signals
from telcoflow_server.cli.softphone import (
    DEFAULT_SIP_PORT,
    TRIAL_USER,
    Account,
    codec_names,
    extension_of,
    new_password,
    with_trial_account,
)
from telcoflow_server.loading import load
from telcoflow_server.settings import (
    SANDBOX_NAME,
    Settings,
    SettingsError,
    for_sandbox,
)

if TYPE_CHECKING:
    from telcoflow_server.app import Server

logger = logging.getLogger(__name__)


def sandbox(config: Path | None, overrides: Mapping[str, object], *, has_phones: bool) -> int:
    """Serve until told to stop; return the exit code.

    Args:
        has_phones: Serve real phones also where nothing else says so.
    """
    password = new_password()  # of an account that nobody has set up; the same after a SIGHUP

    def read() -> Settings:
        settings = for_sandbox(load(config, os.environ, overrides))
        if has_phones and settings.sip.port is None:
            settings = replace(settings, sip=replace(settings.sip, port=DEFAULT_SIP_PORT))
        return with_trial_account(settings, password)

    try:
        settings = read()
    except SettingsError as error:
        print(f"telcoflow: {error}", file=sys.stderr)
        return 1
    logs.configure(settings.log)
    # Mixing is many small products: BLAS threads would cost more than they bring. Read by numpy
    # when it is imported, which the server below does.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    return run(_serve(settings, read, password))


async def _serve(settings: Settings, read: Callable[[], Settings], password: str) -> int:
    from telcoflow_server.app import Server
    from telcoflow_server.sip.edge import EdgeError

    try:
        server = Server(settings, sandbox=True, owns_process=True)
    except SettingsError as error:
        print(f"telcoflow: {error}", file=sys.stderr)
        return 1

    def reload() -> None:
        try:
            server.reload(read())
        except SettingsError as error:
            logger.error("not reloaded, the old settings go on: %s", error)
        else:
            logger.info("reloaded connectors, API keys, TLS files, trunks, extensions, numbers")

    problem = _cannot_record(settings.calls.record_dir)
    if problem is not None:
        print(f"telcoflow: {problem}", file=sys.stderr)
        return 1
    with stop_signals() as signals, on_reload(reload):
        try:
            await server.start()
        except OSError as error:
            print(f"telcoflow: {_why_not(settings, error)}", file=sys.stderr)
            return 1
        except EdgeError as error:
            print(f"telcoflow: {error}; --sip-port takes another", file=sys.stderr)
            return 1
        print(ready_line(settings, server.host, server.control_port), flush=True)
        for line in phone_lines(settings, server, password):
            print(line, flush=True)
        await _first_of(signals.first, server.drain_requested)
        drain = asyncio.create_task(server.drain(), name="drain")
        cut = asyncio.create_task(signals.second.wait(), name="second signal")
        await asyncio.wait({drain, cut}, return_when=asyncio.FIRST_COMPLETED)
        drain.cancel()
        cut.cancel()
        await asyncio.wait({drain, cut})
        await server.stop()
    return 0


async def _first_of(*events: asyncio.Event) -> None:
    waiting = {asyncio.create_task(event.wait()) for event in events}
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)


def ready_line(settings: Settings, host: str, port: int) -> str:
    """Return what tells people and scripts where to connect; only the well-known key is shown."""
    address = f"[{host}]" if ":" in host else host
    scheme = "ws" if settings.tls.cert_file is None else "wss"
    line = f"ready {scheme}://{address}:{port}"
    if settings.has_known_keys:
        line += f" api_key={SANDBOX_NAME} connector_uuid={SANDBOX_NAME}"
    return line


def phone_lines(settings: Settings, server: Server, password: str) -> Iterator[str]:
    """Yield what a softphone is to be told, for each account; nothing where there are no phones.

    Args:
        password: Of the account that was made up, which is the only one that is shown.
    """
    from telcoflow_server.codec.table import offered

    if server.telephony is None:
        return
    host, port = settings.sip.reached_at, server.telephony.edge.address[1]
    codecs = codec_names([codec.encoding for codec in offered()])
    made = extension_of(TRIAL_USER, password, settings.sip.realm)
    for extension in settings.extensions:
        shown = password if extension == made else None
        yield Account(extension.user, host, port, shown).line(codecs)


def _cannot_record(record_dir: Path | None) -> str | None:
    """Make the folder for recordings; return why no file can be written there, or None."""
    if record_dir is None:
        return None
    try:
        record_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=record_dir):
            return None
    except OSError as error:
        reason = error.strerror or error
        return f"calls.record_dir: no file can be written in {record_dir}: {reason}"


def _why_not(settings: Settings, error: OSError) -> str:
    server = settings.server
    return (
        f"cannot listen on {server.host}, port {server.port} (media: "
        f"{server.media_port or 'next to it'}): {error.strerror or error}; "
        "--port 0 takes free ones"
    )
