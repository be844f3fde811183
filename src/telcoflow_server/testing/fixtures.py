"""For pytest: a sandbox and a conversation as fixtures, and tests that run in virtual time.

Not here: the sandbox (`sandbox.py`), the clock (`virtual.py`). The only importer of pytest.
Implements docs/how-to/test-your-agent.md and "Pictures" of docs/how-to/test-conversations.md.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
import pytest_asyncio

from telcoflow_server.testing.conversation import Conversation
from telcoflow_server.testing.phone import LivePhone
from telcoflow_server.testing.sandbox import Sandbox
from telcoflow_server.testing.virtual import run_virtual

AsyncTest = Callable[..., Coroutine[Any, Any, None]]


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Give a telephone network over sockets, on free ports of this machine."""
    async with Sandbox() as running:
        yield running


@pytest.fixture
def conversation(request: pytest.FixtureRequest) -> Callable[[LivePhone], Conversation]:
    """Give what makes a phone's call a `Conversation`, with a picture beside a test that fails.

    The picture of `test_agent.py::test_it` is `test_agent.test_it.png`. That of an earlier run is
    removed.
    """
    name = re.sub(r"[^\w.-]+", "-", request.node.name).strip("-")
    picture = request.path.with_name(f"{request.path.stem}.{name}.png")
    picture.unlink(missing_ok=True)
    return functools.partial(Conversation.of, picture=picture)


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
    seen = signature.replace(parameters=fixtures)
    run.__signature__ = seen  # type: ignore[attr-defined]  # unknown to typeshed; see `inspect`
    return run
