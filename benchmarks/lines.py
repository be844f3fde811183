"""A process that does as the lines on its standard input say, and answers each with one line.

Not here: who writes them (`child.py`). Standard library only: the published client's processes
use it too, in an environment where nothing of ours is installed.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

Command = Callable[..., Awaitable[Any]]


async def serve(commands: Mapping[str, Command]) -> None:
    """Carry out commands until the input ends: `{"do": name, ...}` becomes `name(...)`."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        request = json.loads(line)
        answer = await commands[request.pop("do")](**request)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def run(main: Coroutine[Any, Any, None], loop: str) -> None:
    """Run on "asyncio" or "uvloop", with as many sockets as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)
