"""`telcoflow drain` against a sandbox that is a process of its own."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.cli.test_sandbox import call_runs
from tests.support.commands import (
    example,
    sandbox,
    shared_sandbox,
    telcoflow,
    telcoflow_finished,
    telcoflow_here,
)

pytestmark = pytest.mark.slow


async def readiness(url: str) -> int:
    address = url.replace("ws://", "http://") + "/readyz"
    async with aiohttp.ClientSession() as http, http.get(address) as response:
        return response.status


async def test_an_empty_server_ends_by_itself() -> None:
    async with sandbox() as server:
        drained = await telcoflow_finished("drain", "--url", server.url)
        ended = await server.running.finished()

    assert (drained.exit_code, drained.stdout) == (0, "draining: 0 calls to end\n")
    assert ended.exit_code == 0


async def test_a_busy_server_takes_no_new_calls_and_ends_after_its_last() -> None:
    async with sandbox() as server, example("echo.py", server.url):
        arguments = ("call", "--url", server.url, "--hang-up-after", "60", "--json")
        async with telcoflow(*arguments) as running_call:
            await call_runs(server.url)
            before = await readiness(server.url)
            drained = await telcoflow_finished("drain", "--url", server.url)
            during = await readiness(server.url)
            refused = await telcoflow_finished("call", "--url", server.url)
            again = await telcoflow_finished("drain", "--url", server.url)
            running_call.signal(signal.SIGINT)  # which hangs up
            ended = await running_call.finished()
        finished = await server.running.finished()

    assert (before, during) == (200, 503)
    assert drained.stdout == again.stdout == "draining: 1 calls to end\n"
    assert refused.exit_code == 1
    assert "DRAINING" in refused.stderr
    assert json.loads(ended.stdout)["end_reason"] == "caller_hung_up"
    assert finished.exit_code == 0


async def test_a_call_that_does_not_end_is_cut_off_after_the_time_for_it() -> None:
    variables = {"TELCOFLOW_SERVER_DRAIN_TIMEOUT_S": "0.2"}
    async with sandbox(variables=variables) as server, example("echo.py", server.url):
        arguments = ("call", "--url", server.url, "--hang-up-after", "60", "--json")
        async with telcoflow(*arguments) as running_call:
            await call_runs(server.url)
            await telcoflow_finished("drain", "--url", server.url)
            finished = await server.running.finished()
            await running_call.finished()

    assert finished.exit_code == 0
    assert "1 calls are cut off" in finished.stderr


async def test_only_who_has_the_key_may(tmp_path: Path) -> None:
    key = "k3y-of-the-operator"
    config = tmp_path / "config.toml"
    config.write_text(
        f'[admin]\nkey = "{key}"\n[[connectors]]\nconnector_uuid = "a"\napi_key = "b"\n'
    )
    async with sandbox("--config", config) as server:
        nobody = await telcoflow_finished("drain", "--url", server.url)
        wrong = await telcoflow_finished(
            "drain", "--url", server.url, variables={"TELCOFLOW_ADMIN_KEY": "another-admin-key"}
        )
        ready = await readiness(server.url)
        right = await telcoflow_finished(
            "drain", "--url", server.url, variables={"TELCOFLOW_ADMIN_KEY": key}
        )
        ended = await server.running.finished()

    for refused in (nobody, wrong):
        assert refused.exit_code == 1
        assert "UNAUTHORIZED" in refused.stderr
        assert "TELCOFLOW_ADMIN_KEY" in refused.stderr
    assert ready == 200
    assert (right.exit_code, ended.exit_code) == (0, 0)
    assert key not in ended.stderr


def test_without_a_key_nobody_may(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[[connectors]]\nconnector_uuid = "a"\napi_key = "b"\n')
    with shared_sandbox("--config", config) as url:
        refused = telcoflow_here("drain", "--url", url)

    assert refused.exit_code == 1
    assert "admin.key is not set (FORBIDDEN)" in refused.stderr


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "ws://127.0.0.1:1", "nonsense"])
def test_a_server_that_is_not_there_is_named(url: str) -> None:
    finished = telcoflow_here("drain", "--url", url)

    assert finished.exit_code == 1
    assert url in finished.stderr
    assert finished.stderr.count("\n") == 1
