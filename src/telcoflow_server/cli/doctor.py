"""`telcoflow doctor`: what a server needs, whether it is there, and how to get it.

Not here: the flags (`commands.py`), the examinations (`machine.py`, `installation.py`,
`certificates.py`, `phone_findings.py`).
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from telcoflow_server.cli import machine
from telcoflow_server.cli.certificates import certificate_findings
from telcoflow_server.cli.finding import BAD, Finding, Verdict, ok
from telcoflow_server.cli.installation import (
    absence,
    address_of,
    port_findings,
    recording_findings,
    server_finding,
)
from telcoflow_server.cli.phone_findings import phone_findings
from telcoflow_server.cli.run import run
from telcoflow_server.loading import load
from telcoflow_server.settings import Settings, SettingsError

STYLES = {
    Verdict.OK: "green",
    Verdict.WARNING: "yellow",
    Verdict.MISSING: "red",
    Verdict.BROKEN: "red",
}


class Diagnosis(msgspec.Struct, frozen=True):
    """Everything found; `is_well` if a server would work."""

    is_well: bool
    findings: list[Finding]


def doctor(config: Path | None, url: str | None, *, as_json: bool) -> int:
    """Examine machine and settings, print what was found; return the exit code."""
    # Progress is for people at a terminal, on the stream that nobody pipes.
    console = Console(stderr=True)
    with console.status("telcoflow: measuring the clock for a second"):
        findings = run(_examine(config, url))
    is_well = not any(finding.verdict in BAD for finding in findings)
    if as_json:
        sys.stdout.write(msgspec.json.encode(Diagnosis(is_well, findings)).decode() + "\n")
    else:
        show(findings)
    return 0 if is_well else 1


async def _examine(config: Path | None, url: str | None) -> list[Finding]:
    findings = [
        machine.python_finding(),
        *machine.library_findings(),
        machine.uvloop_finding(),
        machine.clock_finding(),
        *await machine.timer_findings(),
        machine.descriptor_finding(),
    ]
    try:
        settings = load(config, os.environ)
    except SettingsError as error:
        findings.append(Finding("settings", Verdict.BROKEN, str(error), "put it right"))
        if url is not None:
            findings.append(server_finding(url, await absence(url), is_asked_for=True))
        return findings
    findings.append(ok("settings", str(config) if config else "the defaults and the environment"))
    return [*findings, *await _examine_settings(settings, url)]


async def _examine_settings(settings: Settings, url: str | None) -> list[Finding]:
    address = address_of(settings)
    why_not_here = await absence(address)
    why_not = why_not_here if url is None else await absence(url)
    return [
        *port_findings(settings.server, is_running=why_not_here is None),
        *phone_findings(settings, is_running=why_not_here is None),
        *recording_findings(settings.calls.record_dir),
        *certificate_findings(settings.tls, time.time()),
        server_finding(url or address, why_not, is_asked_for=url is not None),
    ]


def show(findings: list[Finding]) -> None:
    """Print findings for people."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        # As `Text`: what was found may hold what a table would take for markup.
        text = Text(finding.text)
        if finding.remedy:
            text.append(f"\n{finding.remedy}", "bold")
        verdict = Text(finding.verdict, STYLES[finding.verdict])
        table.add_row(verdict, Text(finding.what), text)
    Console().print(table)
