from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import wave
from pathlib import Path

import aiohttp
import pytest
from typer.testing import CliRunner

from telcoflow_server import speech
from telcoflow_server.cli.commands import app
from tests.support.commands import example, sandbox, telcoflow, telcoflow_finished

pytestmark = pytest.mark.slow


async def get_status(url: str, path: str, **headers: str) -> int:
    address = url.replace("ws://", "http://") + path
    async with aiohttp.ClientSession() as http, http.get(address, headers=headers) as response:
        return response.status


async def test_says_where_it_is_once_it_accepts() -> None:
    async with telcoflow("sandbox", "--port", "0") as process:
        line = await process.line()

        said = re.fullmatch(
            r"ready (ws://127\.0\.0\.1:\d+) api_key=sandbox connector_uuid=sandbox", line
        )
        assert said
        assert await get_status(said[1], "/healthz") == 200
        keys = {"x-api-key": "sandbox", "x-connector-uuid": "sandbox"}
        assert await get_status(said[1], "/public/v1/sessions", **keys) == 200


async def test_own_connectors_replace_the_well_known_one(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[[connectors]]\nconnector_uuid = "desk"\napi_key_env = "DESK_KEY"\n')

    async with sandbox("--config", config, variables={"DESK_KEY": "s3cr3t"}) as server:
        keys = {"x-api-key": "sandbox", "x-connector-uuid": "sandbox"}
        assert await get_status(server.url, "/public/v1/sessions", **keys) == 401
        keys = {"x-api-key": "s3cr3t", "x-connector-uuid": "desk"}
        assert await get_status(server.url, "/public/v1/sessions", **keys) == 200

        server.running.signal(signal.SIGTERM)
        finished = await server.running.finished()
    assert "s3cr3t" not in finished.stdout + finished.stderr


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (["--host", "0.0.0.0"], {}, "server.host is 0.0.0.0, which other machines can reach"),
        (["--port", "70000"], {}, "server.port must be 0 to 65535, not 70000"),
        (["--log-level", "loud"], {}, "log.level must be debug, info, warning or error"),
        (["--record-split"], {}, "calls.record_split needs calls.record_dir, which is not set"),
        (["--config", "absent.toml"], {}, "absent.toml cannot be read"),
        ([], {"TELCOFLOW_SERVER_PROT": "1"}, "did you mean TELCOFLOW_SERVER_PORT?"),
    ],
)
def test_refuses_bad_settings_in_one_line(
    arguments: list[str], variables: dict[str, str], said: str
) -> None:
    finished = CliRunner(env=variables).invoke(app, ["sandbox", *arguments])

    assert finished.exit_code == 1
    assert said in finished.stderr
    assert finished.stderr.count("\n") == 1
    assert finished.stdout == ""


async def test_says_which_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finished = await telcoflow_finished("sandbox", "--port", str(port), "--media-port", "0")

    assert finished.exit_code == 1
    assert f"cannot listen on 127.0.0.1, port {port}" in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_leaves_at_the_first_signal_when_no_call_runs(number: signal.Signals) -> None:
    async with sandbox() as server:
        server.running.signal(number)

        assert (await server.running.finished()).exit_code == 0


async def test_first_signal_lets_running_calls_end_and_refuses_new_ones() -> None:
    async with sandbox() as server, example("echo.py", server.url):
        arguments = ("call", "--url", server.url, "--hang-up-after", "60", "--json")
        async with telcoflow(*arguments) as running_call:
            await call_runs(server.url)

            server.running.signal(signal.SIGTERM)
            await server.running.error_line("waiting for 1 calls to end")
            refused = await telcoflow_finished("call", "--url", server.url)
            running_call.signal(signal.SIGINT)  # which hangs up
            ended = await running_call.finished()

        assert refused.exit_code == 1
        assert "DRAINING" in refused.stderr
        assert ended.exit_code == 0
        assert json.loads(ended.stdout)["end_reason"] == "caller_hung_up"
        assert (await server.running.finished()).exit_code == 0


async def test_a_call_that_ends_after_the_first_signal_still_gets_its_recording(
    tmp_path: Path,
) -> None:
    """Found in review: the sandbox was gone before the recording could be fetched."""
    file = tmp_path / "heard.wav"
    arguments = ("--hang-up-after", "1", "--record", file, "--json")
    async with sandbox() as server, example("echo.py", server.url):
        call = asyncio.create_task(telcoflow_finished("call", "--url", server.url, *arguments))
        await call_runs(server.url)

        server.running.signal(signal.SIGTERM)
        finished = await call

    assert finished.exit_code == 0, finished.stderr
    assert json.loads(finished.stdout)["end_reason"] == "caller_hung_up"
    with wave.open(str(file)) as heard:
        assert heard.getnframes() >= 24_000


async def test_a_folder_that_cannot_be_written_is_refused_before_the_first_call(
    tmp_path: Path,
) -> None:
    taken = tmp_path / "file"
    taken.touch()

    finished = await telcoflow_finished("sandbox", "--port", "0", "--record-dir", taken)

    assert finished.exit_code == 1
    assert f"no file can be written in {taken}" in finished.stderr
    assert finished.stdout == ""


async def test_a_folder_for_recordings_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"

    async with sandbox("--record-dir", folder):
        assert folder.is_dir()


async def test_second_signal_stops_at_once() -> None:
    async with sandbox() as server, example("echo.py", server.url):
        arguments = ("call", "--url", server.url, "--hang-up-after", "60", "--json")
        async with telcoflow(*arguments) as running_call:
            await call_runs(server.url)

            server.running.signal(signal.SIGTERM)
            await server.running.error_line("waiting for 1 calls to end")
            server.running.signal(signal.SIGTERM)

            assert (await server.running.finished()).exit_code == 0
            assert (await running_call.finished()).exit_code == 1


async def test_keeps_each_party_s_recording_when_asked_to(tmp_path: Path) -> None:
    async with (
        sandbox("--record-dir", tmp_path, "--record-split") as server,
        example("handoff.py", server.url),
    ):
        call = await telcoflow_finished(
            *("call", "--url", server.url, "--play", speech.GOODBYE, "--json"),
            *("--callee-play", speech.GOODBYE, "--hang-up-after", "3"),
        )

    call_id = json.loads(call.stdout)["call_id"]
    names = [f"{call_id}{who}.wav" for who in ("", ".agent", ".callee", ".caller")]
    assert sorted(os.listdir(tmp_path)) == sorted(names)
    lengths = set()
    for name in names:
        with wave.open(str(tmp_path / name)) as recording:
            lengths.add(recording.getnframes())
            assert any(recording.readframes(recording.getnframes()))
    assert len(lengths) == 1


async def test_keeps_recordings_and_logs_json_when_asked_to(tmp_path: Path) -> None:
    async with (
        sandbox("--record-dir", tmp_path, "--log-json", "--log-level", "debug") as server,
        example("echo.py", server.url),
    ):
        call = await telcoflow_finished(
            "call", "--url", server.url, "--hang-up-after", "0.2", "--json"
        )
        server.running.signal(signal.SIGTERM)
        log = (await server.running.finished()).stderr

    call_id = json.loads(call.stdout)["call_id"]
    assert os.listdir(tmp_path) == [f"{call_id}.wav"]
    assert any(call_id in json.loads(line)["message"] for line in log.splitlines())
    assert "+1555" not in log


async def call_runs(url: str) -> None:
    """Wait until the sandbox has a call; only asking tells, since the caller is a process."""
    keys = {"x-api-key": "sandbox", "x-connector-uuid": "sandbox"}
    address = url.replace("ws://", "http://") + "/public/v1/sessions"
    async with aiohttp.ClientSession(headers=keys) as http, asyncio.timeout(15):
        sessions: list[object] = []
        while not sessions:
            await asyncio.sleep(0.02)
            async with http.get(address) as response:
                sessions = (await response.json())["items"]
