"""Calls with phones of others: `make interop` runs them, `make test` does not look at them."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from telcoflow_server.codec.table import Codec
from telcoflow_server.sip.accounts import EdgeSettings
from tests.interop.recordings import Quality
from tests.interop.relay import Relay
from tests.support.network import Impairment
from tests.support.office import G711, OPEN, Office

if not os.environ.get("INTEROP"):
    collect_ignore_glob = ["test_*.py"]


def needs(peer: str) -> None:
    """Skip a test whose peer is absent, or fail where all must be there."""
    if shutil.which(peer) is None:
        if os.environ.get("INTEROP_REQUIRED") == "1":
            pytest.fail(f"{peer} is absent")
        pytest.skip(f"{peer} is absent")


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """What a test opens."""
    async with AsyncExitStack() as opened:
        yield opened


OpenOffice = Callable[..., Awaitable[Office]]


@pytest.fixture
def open_office(stack: AsyncExitStack) -> OpenOffice:
    """Make a server that speaks certain codecs."""

    async def begin(
        codecs: tuple[Codec, ...] = G711, settings: EdgeSettings = OPEN, **more: Any
    ) -> Office:
        office = Office(settings, codecs, **more)
        await office.start()
        stack.push_async_callback(office.stop)
        return office

    return begin


OpenRelay = Callable[..., Awaitable[Relay]]


@pytest.fixture
def open_relay(stack: AsyncExitStack) -> OpenRelay:
    """Make a network before a server."""

    async def begin(office: Office, up: Impairment | None = None, seed: int = 1) -> Relay:
        more = {} if up is None else {"up": up}
        relay = await Relay.open(office.telephony.edge.address, seed=seed, **more)
        stack.callback(relay.close)
        return relay

    return begin


MEASURED: list[str] = []
"""A line for each direction of each call."""

Measure = Callable[[str, Quality], None]


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Measure:
    """Note how good a direction was, for the summary."""

    def note(way: str, quality: Quality) -> None:
        numbers = (
            f"PESQ {quality.pesq:.2f}  STOI {quality.stoi:.4f}",
            f"gap {quality.longest_gap_ms:2d} ms",
            f"drift {quality.drift_ms:+.2f} ms",
        )
        name = request.node.nodeid.rpartition("/")[2].replace(".py::", " ")
        MEASURED.append("  ".join([*numbers, f"{name} {way}"]))

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what was measured."""
    if MEASURED:
        terminalreporter.section("speech, as it was heard")
        for line in MEASURED:
            terminalreporter.line(line)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a peer finds and leaves its files."""
    return tmp_path
