"""What a server needs of the machine it runs on, examined for `telcoflow doctor`.

Not here: what depends on its settings (`installation.py`).
"""

from __future__ import annotations

import asyncio
import platform
import re
import resource
import sys
import time
from collections.abc import Iterator
from importlib import metadata

from telcoflow_server.cli.finding import Finding, Verdict, ok
from telcoflow_server.ticker import TICK_S, Ticker

DISTRIBUTION = "telcoflow-sdk"

OLDEST_PYTHON = (3, 11)

MEASURED_TICKS = 50
"""One second."""

LATE_MS = 5.0
"""A quarter of a tick: what comes later takes from the time the tick has for its work."""

COARSE_CLOCK_S = 0.001

FEW_DESCRIPTORS = 4096
"""A call needs two, one for its media link and one for a recording: enough for 2000 calls."""

_REQUIREMENT = re.compile(r"([\w.-]+)(?:>=([\d.]+))?")


def python_finding() -> Finding:
    """Judge the interpreter."""
    text = f"{platform.python_version()} ({platform.python_implementation()}, {sys.platform})"
    if sys.version_info < OLDEST_PYTHON:
        return Finding("python", Verdict.BROKEN, text, "install Python 3.11 or later")
    return ok("python", text)


def library_findings() -> Iterator[Finding]:
    """Judge what the server is made of: all that is well in one finding, the rest in one each."""
    there: list[str] = []
    for name, least in _requirements():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Finding(
                name, Verdict.MISSING, "not installed", f"pip install '{DISTRIBUTION}[server]'"
            )
            continue
        if _numbers(version) < _numbers(least):
            yield Finding(
                name, Verdict.BROKEN, f"{version} is too old", f"pip install '{name}>={least}'"
            )
        else:
            there.append(f"{name} {version}")
    yield ok("libraries", ", ".join(there))


def _requirements() -> Iterator[tuple[str, str]]:
    """Yield each library of the server, with its least version; uvloop is judged by itself."""
    for line in metadata.requires(DISTRIBUTION) or ():
        requirement, _, condition = line.partition(";")
        is_for_server = "extra ==" not in condition or "server" in condition
        match = _REQUIREMENT.match(requirement)
        if is_for_server and match and match[1] != "uvloop":
            yield match[1], match[2] or "0"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def uvloop_finding() -> Finding:
    """Judge the event loop."""
    try:
        return ok("uvloop", metadata.version("uvloop"))
    except metadata.PackageNotFoundError:
        return Finding(
            "uvloop",
            Verdict.WARNING,
            "not installed: asyncio's own event loop carries fewer calls",
            "pip install uvloop",
        )


def clock_finding() -> Finding:
    """Judge the clock that ticks are timed with."""
    resolution_s = time.get_clock_info("monotonic").resolution
    text = f"monotonic, {resolution_s * 1e9:.0f} ns"
    if resolution_s > COARSE_CLOCK_S:
        return Finding(
            "clock", Verdict.WARNING, text, "run on a system with a clock of 1 ms or finer"
        )
    return ok("clock", text)


async def timer_findings() -> list[Finding]:
    """Tick for a second as a server does, and judge how late that was."""
    lateness_ms: list[float] = []
    is_done = asyncio.Event()

    def tick(lateness_s: float) -> None:
        lateness_ms.append(lateness_s * 1000)
        if len(lateness_ms) >= MEASURED_TICKS:
            is_done.set()

    ticker = Ticker(tick)
    ticker.start()
    try:
        has_own_timer = ticker.has_own_timer
        async with asyncio.timeout(3 * MEASURED_TICKS * TICK_S):
            await is_done.wait()
    except TimeoutError:
        pass  # held up so much that ticks were skipped, which the numbers below tell
    finally:
        ticker.stop()
    return [timer_finding(has_own_timer), lateness_finding(lateness_ms, ticker.skipped_ticks)]


def timer_finding(has_own_timer: bool) -> Finding:
    """Judge what wakes the tick."""
    if has_own_timer:
        return ok("timer", "timerfd")
    return Finding(
        "timer",
        Verdict.WARNING,
        "no timerfd: the event loop's own timers are some tenths of a millisecond later",
        "run on Linux",
    )


def lateness_finding(lateness_ms: list[float], skipped: int) -> Finding:
    """Judge how late ticks came; `skipped` ones not at all."""
    ordered = sorted(lateness_ms) or [float("inf")]
    text = f"p50 {ordered[len(ordered) // 2]:.2f} ms, worst {ordered[-1]:.2f} ms in a second"
    if skipped or ordered[-1] > LATE_MS:
        return Finding(
            "tick lateness",
            Verdict.WARNING,
            text + (f", {skipped} ticks skipped" if skipped else ""),
            "find what else keeps this machine busy, or give the server more of it",
        )
    return ok("tick lateness", text)


def descriptor_finding() -> Finding:
    """Judge how many sockets and files the server may have open."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return ok("file descriptors", "unlimited")
    if limit < FEW_DESCRIPTORS:
        return Finding(
            "file descriptors",
            Verdict.WARNING,
            f"{limit}: enough for {limit // 2} calls at most",
            f"ulimit -n {most}" if most > limit else "ulimit -n 65536 (as root)",
        )
    return ok("file descriptors", f"{limit}")
