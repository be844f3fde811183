"""The command line and the example agents as users run them: as processes.

Not here: a sandbox in the test's own process (`server.py`).
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

from telcoflow_server.cli.commands import app

ROOT = Path(__file__).parents[2]

START_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class Finished:
    """A process that has ended."""

    exit_code: int
    stdout: str
    stderr: str


class Running:
    """A process that a test talks to."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        """Return the next line of its stdout."""
        assert self.process.stdout is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            return (await self.process.stdout.readline()).decode().rstrip("\n")

    async def error_line(self, containing: str) -> str:
        """Return the next line of its stderr that contains some text."""
        assert self.process.stderr is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            while line := (await self.process.stderr.readline()).decode():
                if containing in line:
                    return line
        raise AssertionError(f"stderr ended without {containing!r}")

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def finished(self) -> Finished:
        """Wait for its end and return what else it said."""
        stdout, stderr = await self.process.communicate()
        assert self.process.returncode is not None
        return Finished(self.process.returncode, stdout.decode(), stderr.decode())


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A running `telcoflow sandbox`."""

    running: Running
    url: str


@asynccontextmanager
async def running(
    *command: str | Path, variables: Mapping[str, str] | None = None
) -> AsyncIterator[Running]:
    """Run a command with the tests' Python; kill it at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        env=_environment(variables),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Running(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@asynccontextmanager
async def telcoflow(
    *arguments: str | Path, variables: Mapping[str, str] | None = None
) -> AsyncIterator[Running]:
    """Run the command line."""
    async with running("-m", "telcoflow_server.cli", *arguments, variables=variables) as process:
        yield process


async def telcoflow_finished(
    *arguments: str | Path, variables: Mapping[str, str] | None = None
) -> Finished:
    """Run the command line to its end."""
    async with telcoflow(*arguments, variables=variables) as process:
        return await process.finished()


def telcoflow_here(*arguments: str | Path, variables: Mapping[str, str] | None = None) -> Finished:
    """Run the command line to its end in this very process: nothing has to start for it.

    For commands that end by themselves; not on an event loop, since they run one.
    """
    not_ours: dict[str, str | None] = {
        name: None for name in os.environ if name.startswith("TELCOFLOW_")
    }
    result = CliRunner(env={**not_ours, **(variables or {})}).invoke(app, [*map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Finished(result.exit_code, result.stdout, result.stderr)


@asynccontextmanager
async def sandbox(
    *arguments: str | Path, variables: Mapping[str, str] | None = None
) -> AsyncIterator[Sandbox]:
    """Run `telcoflow sandbox` on free ports until it is ready."""
    async with telcoflow("sandbox", "--port", "0", *arguments, variables=variables) as process:
        ready = (await process.line()).split()
        assert ready[:1] == ["ready"], await process.finished()
        yield Sandbox(process, ready[1])


@contextmanager
def shared_sandbox(
    *arguments: str | Path, variables: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run `telcoflow sandbox` on free ports for all tests of a module; yields its URL.

    It belongs to no event loop: every test has one of its own.
    """
    command = ("-m", "telcoflow_server.cli", "sandbox", "--port", "0", *arguments)
    with subprocess.Popen(
        [sys.executable, *command],
        env=_environment(variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            ready = process.stdout.readline().split()
            assert ready[:1] == ["ready"]
            yield ready[1]
        finally:
            process.kill()


def _environment(variables: Mapping[str, str] | None) -> dict[str, str]:
    ours = {k: v for k, v in os.environ.items() if not k.startswith("TELCOFLOW_")}
    return {**ours, **(variables or {})}


@asynccontextmanager
async def example(name: str, url: str, *arguments: str | Path) -> AsyncIterator[Running]:
    """Run one of the example agents against a sandbox."""
    file = ROOT / "examples" / name
    async with running(file, *arguments, variables={"TELCOFLOW_BASE_URL": url}) as process:
        yield process
