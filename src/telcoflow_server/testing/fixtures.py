"""For pytest: a sandbox as a fixture, and tests that run in virtual time.

Not here: the sandbox (`sandbox.py`), the clock (`virtual.py`). The only importer of pytest.
Implements docs/how-to/test-your-agent.md.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest_asyncio

from telcoflow_server.testing.sandbox import Sandbox
from telcoflow_server.testing.virtual import run_virtual

AsyncTest = Callable[..., Coroutine[Any, Any, None]]


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Give a telephone network over sockets, on free ports of this machine."""
    async with Sandbox() as running:
        yield running


def virtual_time(test: AsyncTest) -> Callable[..., None]:
    """Run the decorated test in virtual time: a call of ten minutes takes two seconds.

    The test's `sandbox` argument, if it has one, is a sandbox in virtual time. Its other
    fixtures must not be asynchronous: those live on another event loop.

    Args:
        test: An async function or method.

    Returns:
        A function that is not async: pytest needs no plugin for it, and no marker.
    """
    signature = inspect.signature(test)
    takes_sandbox = "sandbox" in signature.parameters

    async def in_sandbox(*args: Any, **kwargs: Any) -> None:
        async with Sandbox() as running:
            await test(*args, sandbox=running, **kwargs)

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        run_virtual((in_sandbox if takes_sandbox else test)(*args, **kwargs))

    # What pytest is to look for fixtures of: not of our own.
    fixtures = [one for name, one in signature.parameters.items() if name != "sandbox"]
    run.__signature__ = signature.replace(parameters=fixtures)  # type: ignore[attr-defined]
    return run
