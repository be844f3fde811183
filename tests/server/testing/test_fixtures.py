from __future__ import annotations

import asyncio
import inspect
from pathlib import Path

from telcoflow_server.testing.fixtures import virtual_time
from telcoflow_server.testing.sandbox import Sandbox
from telcoflow_server.testing.virtual import VirtualLoop


@virtual_time
async def test_other_fixtures_are_given_as_ever(sandbox: Sandbox, tmp_path: Path) -> None:
    assert isinstance(tmp_path, Path)
    assert sandbox.base_url == "ws://127.0.0.1:8080"
    assert isinstance(asyncio.get_running_loop(), VirtualLoop)


class TestOfAClass:
    @virtual_time
    async def test_methods_run_in_virtual_time_too(self, sandbox: Sandbox) -> None:
        assert isinstance(self, TestOfAClass)
        await sandbox.dial()


async def test_without_the_decorator_the_sandbox_has_sockets(sandbox: Sandbox) -> None:
    assert sandbox.media_port > 0
    assert not isinstance(asyncio.get_running_loop(), VirtualLoop)


def test_the_decorated_test_keeps_its_name_and_is_not_async() -> None:
    @virtual_time
    async def documented(sandbox: Sandbox, other: int) -> None:
        """Say what it shows."""

    assert not inspect.iscoroutinefunction(documented)
    assert (documented.__name__, documented.__doc__) == ("documented", "Say what it shows.")
    assert list(inspect.signature(documented).parameters) == ["other"]
