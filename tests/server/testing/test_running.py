from __future__ import annotations

import asyncio

import pytest

from telcoflow_server.testing.fixtures import virtual_time
from telcoflow_server.testing.running import running


class AgentError(Exception):
    pass


async def fail_after(delay_s: float) -> None:
    await asyncio.sleep(delay_s)
    raise AgentError


@virtual_time
async def test_the_agent_runs_until_the_block_is_left() -> None:
    async with running(asyncio.sleep(3600)) as agent:
        await asyncio.sleep(1)
        assert not agent.done()

    assert agent.cancelled()
    assert asyncio.get_running_loop().time() == 1.0


@virtual_time
async def test_an_agent_that_returns_ends_nothing() -> None:
    async with running(asyncio.sleep(1)) as agent:
        await asyncio.sleep(2)

    assert agent.done()


@virtual_time
async def test_an_agent_that_fails_ends_the_block_at_once_with_its_exception() -> None:
    with pytest.raises(AgentError):
        async with running(fail_after(1.0)):
            await asyncio.sleep(3600)

    assert asyncio.get_running_loop().time() == 1.0
    await asyncio.sleep(1)  # the test goes on uncancelled


@virtual_time
async def test_the_failure_of_the_block_comes_out_and_ends_the_agent() -> None:
    with pytest.raises(AssertionError, match="of the test"):
        async with running(asyncio.sleep(3600)) as agent:
            raise AssertionError("of the test")

    assert agent.cancelled()


@virtual_time
async def test_a_cancelled_test_is_cancelled() -> None:
    async def test() -> None:
        async with running(asyncio.sleep(3600)):
            await asyncio.sleep(3600)

    task = asyncio.create_task(test())
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait({task})

    assert task.cancelled()
