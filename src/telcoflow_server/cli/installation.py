"""What a server's settings ask of this machine, examined for `telcoflow doctor`.

Not here: the machine by itself (`machine.py`), certificates (`certificates.py`).
"""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from telcoflow_server.cli.finding import Finding, Verdict, ok
from telcoflow_server.cli.node import Node, NodeError
from telcoflow_server.settings import ServerSettings, Settings

LITTLE_SPACE_BYTES = 1024**3

RECORDING_BYTES_PER_HOUR = 24_000 * 2 * 2 * 3600
"""24 kHz, stereo, 16 bits."""


def address_of(settings: Settings) -> str:
    """Return where these settings put a server, as agents on this machine have it."""
    host = settings.server.host
    # What listens everywhere is reached here, too.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    scheme = "wss" if settings.tls.cert_file else "ws"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.server.port}"


async def absence(url: str) -> str | None:
    """Return why no server can be talked to there, or None if one answers."""
    try:
        async with Node(url, None) as node:
            await node.check_health()
    except NodeError as error:
        return str(error)
    return None


def server_finding(url: str, why_not: str | None, *, is_asked_for: bool) -> Finding:
    """Tell whether a server runs there, and judge that if somebody expects one."""
    if why_not is None:
        return ok("server", f"answers at {url}")
    if is_asked_for:
        return Finding("server", Verdict.MISSING, why_not, "telcoflow sandbox")
    return ok("server", f"none runs at {url}")


def port_findings(server: ServerSettings, *, is_running: bool) -> Iterator[Finding]:
    """Judge whether a server could listen.

    Args:
        server: Where it would.
        is_running: Whether it does: then its ports are taken, and should be.
    """
    media_port = server.media_port
    if media_port is None:
        media_port = server.port + 1 if server.port else 0
    for name, key, port in (
        ("control port", "server.port", server.port),
        ("media port", "server.media_port", media_port),
    ):
        if port == 0:
            yield ok(name, "a free one is taken at the start")
        elif is_running:
            yield ok(name, f"{port}, in use by the running server")
        else:
            yield _port_finding(name, key, server.host, port)


def _port_finding(name: str, key: str, host: str, port: int) -> Finding:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        remedy = f"stop what uses it, or set {key} to another; 0 takes a free one"
        return Finding(name, Verdict.BROKEN, f"{host}, port {port}: {error.strerror}", remedy)
    return ok(name, f"{port}, free")


def recording_findings(folder: Path | None) -> Iterator[Finding]:
    """Judge where recordings are kept."""
    if folder is None:
        yield ok("recordings", "not kept (calls.record_dir is not set)")
        return
    if not folder.is_dir():
        yield Finding("recordings", Verdict.MISSING, f"no directory {folder}", f"mkdir -p {folder}")
        return
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix="telcoflow-doctor-") as file:
            file.write(b"\0")
    except OSError as error:
        yield Finding(
            "recordings",
            Verdict.BROKEN,
            f"nothing can be written to {folder}: {error.strerror}",
            "make it writable for whoever runs the server",
        )
        return
    free_bytes = shutil.disk_usage(folder).free
    hours = free_bytes / RECORDING_BYTES_PER_HOUR
    text = f"{folder}, {free_bytes / 1024**3:.1f} GiB free: {hours:.0f} hours of calls"
    if free_bytes < LITTLE_SPACE_BYTES:
        yield Finding("recordings", Verdict.WARNING, text, "make room, or record elsewhere")
    else:
        yield ok("recordings", text)
