"""Code in the documentation runs: scripts against a real sandbox, messages through the codec."""

from __future__ import annotations

import asyncio
import doctest
import re
import shlex
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import typer
import typer.core
import typer.main

import telcoflow_sdk
from telcoflow_sdk import (
    ActiveCall,
    BufferClosedError,
    TelcoflowClient,
    TelcoflowClientConfig,
    WSSCallClosedError,
    events,
)
from telcoflow_sdk.protocol import codec
from telcoflow_sdk.protocol.codes import NORMAL_END_REASONS
from telcoflow_sdk.testing import Sandbox
from telcoflow_server.api.overview import Overview
from telcoflow_server.api.sandbox import LiveLine
from telcoflow_server.api.script import CalleeRequest, PhoneRequest, ScriptRequest
from telcoflow_server.call.report import CallReport
from telcoflow_server.cli.commands import app
from telcoflow_server.loading import load
from tests.support.pages import ROOT, Block, blocks
from tests.support.server import CONNECTOR, KEY, Caller, noise, sandbox
from tests.support.traces import run_without_a_trace

V2_CLIENT: dict[str, Callable[[bytes], Any]] = {
    "hello": codec.decode_hello,
    "command": codec.decode_command,
}

DECODERS: dict[str, Callable[[bytes], Any]] = {
    "": msgspec.json.decode,
    "control-request": codec.decode_control_request,
    "control-event": codec.decode_control_event,
    "command": codec.decode_command,
    "media-event": codec.decode_media_event,
    "v2-client": lambda data: V2_CLIENT[msgspec.json.decode(data)["type"]](data),
    "v2-server": codec.decode_media_event,
}

STRUCTS: dict[str, type[msgspec.Struct]] = {
    "report": CallReport,
    "script": ScriptRequest,
    "callee": CalleeRequest,
    "phone": PhoneRequest,
    "live": LiveLine,
    "overview": Overview,
}


def is_agent(block: Block) -> bool:
    return "asyncio.run(" in block.text


def ids(block: Block) -> str:
    return block.name


PYTHON = blocks("python")


@pytest.mark.parametrize("block", [b for b in PYTHON if not b.kind and is_agent(b)], ids=ids)
@pytest.mark.slow
async def test_agent_says_back_what_it_hears(block: Block, tmp_path: Path) -> None:
    script = tmp_path / "agent.py"
    keys = {'api_key="sandbox"': f'api_key="{KEY}"', 'uuid="sandbox"': f'uuid="{CONNECTOR}"'}
    text = block.text
    for shown, of_the_test in keys.items():
        assert shown in text
        text = text.replace(shown, of_the_test)
    script.write_text(text, encoding="utf-8")
    async with sandbox() as server, aiohttp.ClientSession() as http:
        url = f"ws://127.0.0.1:{server.control_port}"
        agent = await asyncio.create_subprocess_exec(
            sys.executable, script, env={"TELCOFLOW_BASE_URL": url, "PYTHONPATH": str(ROOT / "src")}
        )
        try:
            caller = await Caller(server, http).dial(noise(12_000))
            report = await caller.ended()
            heard = await caller.recording("heard.wav")
        finally:
            agent.terminate()
            await agent.wait()

    assert report["end_reason"] in NORMAL_END_REASONS
    assert heard[heard != 0].tolist() == noise(12_000).tolist()


@pytest.mark.parametrize("block", [b for b in PYTHON if b.kind == "fragment"], ids=ids)
def test_fragment_runs_in_a_call(block: Block) -> None:
    namespace: dict[str, Any] = {"print": lambda *_: None}
    source = "async def fragment(call, client):\n" + textwrap.indent(block.text, "    ")
    exec(compile(source, block.name, "exec"), namespace)
    numbers = re.findall(r'client\.call\("([^"]+)"', block.text)

    run_without_a_trace(run_fragment(namespace["fragment"], numbers))


async def run_fragment(fragment: Callable[..., Awaitable[None]], numbers: list[str]) -> None:
    outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    async with Sandbox() as sandbox:
        config = TelcoflowClientConfig.sandbox(**sandbox.credentials)
        async with TelcoflowClient(config) as client:

            @client.on(events.INCOMING_CALL)
            async def run(call: ActiveCall) -> None:
                try:
                    await fragment(call, client)
                except (WSSCallClosedError, BufferClosedError):
                    outcome.set_result(None)  # the ordinary way for a handler to stop
                except Exception as error:
                    outcome.set_exception(error)
                else:
                    outcome.set_result(None)

            sandbox.callee(after_s=0)
            for number in numbers:
                sandbox.callee(number, after_s=0)
            caller = await sandbox.dial()
            await caller.say(noise(12_000))
            await caller.listen(0.3)
            await caller.hang_up()
            await outcome


def docstring_examples() -> list[tuple[str, str]]:
    return [
        (file.relative_to(ROOT).as_posix(), textwrap.dedent(example))
        for file in sorted((ROOT / "src").rglob("*.py"))
        for example in re.findall(r"```python\n(.*?)```", file.read_text(encoding="utf-8"), re.S)
    ]


@pytest.mark.parametrize(("file", "example"), docstring_examples())
def test_example_in_a_docstring_takes_a_call(file: str, example: str) -> None:
    async def main() -> None:
        async with Sandbox() as sandbox:
            config = TelcoflowClientConfig.sandbox(**sandbox.credentials)
            namespace: dict[str, Any] = {**vars(telcoflow_sdk), "events": events, "config": config}
            source = "async def example():\n" + textwrap.indent(example, "    ")
            exec(compile(source, file, "exec"), namespace)
            running = asyncio.create_task(namespace["example"]())
            caller = await sandbox.dial()
            await caller.answered()
            await caller.say(noise(12_000))
            await caller.listen(0.3)
            await caller.hang_up()
            running.cancel()
            await asyncio.wait({running})

        assert running.cancelled(), "it runs until it is told to stop"
        assert caller.report is not None
        assert caller.report.frames_from_agent > 0

    run_without_a_trace(main())


@pytest.mark.parametrize("block", [b for b in PYTHON if not b.kind and not is_agent(b)], ids=ids)
def test_python_runs(block: Block) -> None:
    exec(compile(block.text, block.name, "exec"), {})


@pytest.mark.parametrize("block", blocks("pycon"), ids=ids)
def test_session_prints_what_is_shown(block: Block) -> None:
    examples = doctest.DocTestParser().get_doctest(block.text, {}, block.name, None, None)
    runner = doctest.DocTestRunner(verbose=False)

    runner.run(examples)

    assert runner.failures == 0
    assert examples.examples


@pytest.mark.parametrize("block", blocks("json"), ids=ids)
def test_json_is_understood(block: Block) -> None:
    data = block.text.encode()
    if block.kind in STRUCTS:
        parsed = msgspec.json.decode(data, type=STRUCTS[block.kind])
        # Every field is shown, and none that does not exist.
        assert set(msgspec.to_builtins(parsed)) == set(msgspec.json.decode(data))
    else:
        DECODERS[block.kind](data)


def test_every_message_is_shown() -> None:
    shown: dict[str, set[str]] = {}
    for block in blocks("json"):
        if block.kind:
            shown.setdefault(block.kind, set()).add(msgspec.json.decode(block.text).get("type"))

    assert shown["control-request"] == codec.CONTROL_REQUEST_TYPES
    assert shown["control-event"] == codec.CONTROL_EVENT_TYPES
    assert shown["media-event"] | shown["v2-server"] == codec.MEDIA_EVENT_TYPES
    assert shown["v2-client"] == set(V2_CLIENT)


@pytest.mark.parametrize("block", blocks("toml"), ids=ids)
def test_configuration_is_accepted(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "telcoflow.toml"
    file.write_text(block.text, encoding="utf-8")
    names = re.findall(r'(?:api_key|password)_env = "(\w+)"', block.text)

    load(file, dict.fromkeys(names, "secret"))


def commands() -> list[tuple[str, str]]:
    return [
        (block.name, line.removeprefix("$ ").partition("#")[0].strip())
        for block in blocks("console")
        for line in block.text.splitlines()
        if line.startswith("$ ")
    ]


def test_consoles_show_commands() -> None:
    assert all(block.text.startswith("$ ") for block in blocks("console"))


@pytest.mark.parametrize(("where", "command"), commands())
def test_command_exists(where: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    program, *arguments = shlex.split(command)

    match program:
        case "make":
            makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
            assert re.search(rf"^{arguments[0]}:", makefile, re.MULTILINE)
        case "telcoflow":
            group = typer.main.get_command(app)
            assert isinstance(group, typer.core.TyperGroup)
            name, found, rest = group.resolve_command(typer.Context(group), arguments)
            assert found is not None
            found.make_context(name, rest)
        case "python":
            assert (ROOT / arguments[0]).is_file()
        case "source":
            assert arguments == [".venv/bin/activate"]
        case _:
            assert program in {"pip", "git", "cd", "kamailio"}, where
