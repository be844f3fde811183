"""The processes of a demonstration: a sandbox, and agents from examples/.

Not here: what they do. Each is stopped, and waited for, when its block ends.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

READY_TIMEOUT_S = 30.0
"""A cold start on a slow machine, most of it importing numpy."""

STOP_TIMEOUT_S = 5.0


class DemoError(Exception):
    """The demonstration cannot go on; the text is for people."""


class Process:
    """A child process; what it says on stderr is kept for when it fails."""

    def __init__(self, child: asyncio.subprocess.Process, errors: IO[bytes]) -> None:
        self._child = child
        self._errors = errors

    async def line(self) -> str:
        """Return the next line of its stdout, or "" at the end."""
        assert self._child.stdout is not None, "every child here has its stdout piped"
        return (await self._child.stdout.readline()).decode(errors="replace").strip()

    async def ended(self) -> None:
        """Return when the process has ended; cancelling loses nothing."""
        await self._child.wait()

    def output(self) -> str:
        """Return the end of what it said on stderr."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")[-2000:].strip()


@asynccontextmanager
async def sandbox() -> AsyncIterator[str]:
    """Run `telcoflow sandbox` on free ports; give its address."""
    command = (sys.executable, "-m", "telcoflow_server.cli", "sandbox", "--port", "0")
    async with _child(command, {}) as process:
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                line = await process.line()
        except TimeoutError:
            line = ""
        if not line.startswith("ready "):
            raise DemoError(f"the sandbox did not start:\n{process.output()}")
        yield line.split()[1]


@asynccontextmanager
async def agent(name: str, url: str) -> AsyncIterator[Process]:
    """Run one of the examples against a sandbox."""
    async with _child((sys.executable, str(example(name))), {"TELCOFLOW_BASE_URL": url}) as process:
        yield process


def example(name: str) -> Path:
    """Return where an example is: in a checkout beside `src`, in a wheel inside the package."""
    package = Path(__file__).parents[1]
    for folder in (package / "examples", package.parents[1] / "examples"):
        if (folder / name).is_file():
            return folder / name
    raise DemoError(f"examples/{name} is missing from this installation")


@asynccontextmanager
async def _child(command: tuple[str, ...], variables: dict[str, str]) -> AsyncIterator[Process]:
    # The settings of whoever runs the demo are for their own sandbox, not for this one.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("TELCOFLOW_")}
    with tempfile.TemporaryFile() as errors:
        child = await asyncio.create_subprocess_exec(
            *command,
            env=inherited | variables,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            # Ctrl-C reaches us alone; we stop the children in order.
            start_new_session=True,
        )
        try:
            yield Process(child, errors)
        finally:
            await _stop(child)


async def _stop(child: asyncio.subprocess.Process) -> None:
    if child.returncode is not None:
        return
    child.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await child.wait()
    except TimeoutError:
        child.kill()
        await child.wait()
