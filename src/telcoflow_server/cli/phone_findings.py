"""What real phones need of this machine, examined for `telcoflow doctor`.

Not here: the rest of a server (`machine.py`, `installation.py`), one phone (`sip_check.py`).
"""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Iterator
from importlib import metadata

from telcoflow_server.cli.finding import Finding, Verdict, ok
from telcoflow_server.settings import Settings
from telcoflow_server.sip_settings import SipSettings
from telcoflow_server.udp import NoPortFree, PortPool, PortRange

DISTRIBUTION = "telcoflow-sdk"


def phone_findings(settings: Settings, *, is_running: bool) -> Iterator[Finding]:
    """Judge whether real phones could be served.

    Args:
        settings: Of the server.
        is_running: Whether it runs: then its port is taken, and should be.
    """
    if settings.sip.port is None:
        yield ok("phones", "simulated ones only (sip.port is not set)")
        return
    yield sippy_finding()
    yield codec_finding()
    yield _port_finding(settings.sip, settings.sip.port, is_running=is_running)
    yield _media_finding(settings.sip)
    yield from _trunk_findings(settings)
    # A sandbox that makes its own connector lets it have all numbers.
    has_connectors = settings.connectors or settings.server.keys_file is not None
    if has_connectors and not settings.numbers and settings.sip.default_connector is None:
        yield Finding(
            "numbers",
            Verdict.WARNING,
            "none: whoever calls is told that there is no such number",
            "set sip.default_connector, or name numbers in [[numbers]]",
        )


def sippy_finding() -> Finding:
    """Judge the SIP stack."""
    if importlib.util.find_spec("sippy") is None:
        return Finding(
            "sippy", Verdict.MISSING, "not installed", f"pip install '{DISTRIBUTION}[sip]'"
        )
    return ok("sippy", metadata.version("sippy"))


def codec_finding() -> Finding:
    """Judge the codecs that need a library."""
    if importlib.util.find_spec("av") is None:
        return Finding(
            "av",
            Verdict.WARNING,
            "not installed: phones are offered G.711 and linear PCM, not Opus and G.722",
            f"pip install '{DISTRIBUTION}[av]'",
        )
    return ok("av", metadata.version("av"))


def _port_finding(sip: SipSettings, port: int, *, is_running: bool) -> Finding:
    what = "SIP port"
    if port == 0:
        return ok(what, "a free one is taken at the start")
    if is_running:
        return ok(what, f"{port}, of the running server")
    family = socket.AF_INET6 if ":" in sip.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as one:
        try:
            one.bind((sip.host, port))
        except OSError as error:
            return Finding(
                what,
                Verdict.BROKEN,
                f"{sip.host}, UDP port {port}: {error.strerror}",
                "stop what uses it, or set sip.port to another; sip.host must be an address of "
                "this machine",
            )
    return ok(what, f"{port}, free")


def _media_finding(sip: SipSettings) -> Finding:
    what, first, last = "RTP ports", sip.rtp_first_port, sip.rtp_last_port
    if first == 0:
        return ok(what, "any that are free")
    pool = PortPool(PortRange(sip.host, first, last))
    try:
        pool.open()
    except NoPortFree:
        return Finding(
            what,
            Verdict.BROKEN,
            f"not one pair of {first} to {last} can be bound at {sip.host}",
            "set sip.rtp_first_port and sip.rtp_last_port to ports that nothing else uses",
        )
    finally:
        pool.close()
    calls = (last - first + 1) // 2
    return ok(what, f"{first} to {last}, {calls} calls; a firewall must let them in, UDP")


def _trunk_findings(settings: Settings) -> Iterator[Finding]:
    for trunk in settings.trunks:
        what = f"trunk {trunk.name}"
        if trunk.allowed_sources:
            yield ok(what, f"to {trunk.host}, from {', '.join(trunk.allowed_sources)}")
        else:
            yield Finding(
                what,
                Verdict.WARNING,
                f"to {trunk.host}; calls from it are asked for a password, which it has not",
                "name the addresses its calls come from in `sources`",
            )
