"""`telcoflow doctor`: what it finds, on this machine and on poorer ones."""

from __future__ import annotations

import asyncio
import json
import re
import resource
import socket
import time
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from telcoflow_server.cli import machine
from telcoflow_server.cli.commands import app
from telcoflow_server.cli.finding import Finding, Verdict
from telcoflow_server.cli.installation import port_findings, recording_findings
from telcoflow_server.settings import ServerSettings
from tests.support.commands import sandbox, telcoflow_finished

FREE_PORTS = {"TELCOFLOW_SERVER_PORT": "0"}


def diagnose(*arguments: str, variables: dict[str, str]) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return the exit code, and each finding by what it is of."""
    finished = CliRunner(env=variables).invoke(app, ["doctor", "--json", *arguments])
    assert finished.stdout.count("\n") == 1
    diagnosis = json.loads(finished.stdout)
    assert diagnosis["is_well"] == (finished.exit_code == 0)
    return finished.exit_code, {finding["what"]: finding for finding in diagnosis["findings"]}


# --- the command ---------------------------------------------------------------------------


@pytest.mark.slow
def test_finds_this_machine_well() -> None:
    exit_code, found = diagnose(variables=FREE_PORTS)

    assert exit_code == 0
    assert set(found) == {
        "python", "libraries", "uvloop", "clock", "timer", "tick lateness", "file descriptors",
        "settings", "control port", "media port", "phones", "recordings", "certificate", "server",
    }  # fmt: skip
    assert re.search(r"aiohttp \d+\.\d+", found["libraries"]["text"])
    assert re.search(r"p50 \d+\.\d\d ms", found["tick lateness"]["text"])


@pytest.mark.slow
def test_prints_a_line_for_each_finding() -> None:
    finished = CliRunner(env=FREE_PORTS).invoke(app, ["doctor"])

    assert finished.exit_code == 0
    assert re.search(r"^ok +python +3\.", finished.stdout, re.MULTILINE)
    assert re.search(r"^ok +certificate +none", finished.stdout, re.MULTILINE)


@pytest.mark.slow
def test_a_wrong_setting_is_broken_and_keeps_its_secret(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[admin]\nkey = "too-short"\n[server]\nport = 0\n')

    exit_code, found = diagnose("--config", str(config), variables={})

    assert exit_code == 1
    assert found["settings"]["verdict"] == "broken"
    assert "admin.key must have at least 16 characters" in found["settings"]["text"]
    assert "too-short" not in json.dumps(found)
    assert "control port" not in found


@pytest.mark.slow
async def test_knows_a_running_server_from_a_taken_port() -> None:
    async with sandbox() as server:
        port = server.url.rpartition(":")[2]
        variables = {"TELCOFLOW_SERVER_PORT": port}
        running = await telcoflow_finished("doctor", "--json", variables=variables)

    # By a program that is no server of ours: it hangs up on whoever asks.
    other = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", int(port))
    async with other:
        taken = await telcoflow_finished(
            "doctor", "--json", "--url", server.url, variables=variables
        )

    well = {one["what"]: one for one in json.loads(running.stdout)["findings"]}
    ill = {one["what"]: one for one in json.loads(taken.stdout)["findings"]}
    assert running.exit_code == 0, running.stdout
    assert well["server"]["text"] == f"answers at {server.url}"
    assert well["control port"]["text"] == f"{port}, in use by the running server"
    assert taken.exit_code == 1
    assert ill["control port"]["verdict"] == "broken"
    assert "Address already in use" in ill["control port"]["text"]
    assert "server.port" in ill["control port"]["remedy"]
    assert ill["server"]["verdict"] == "missing"


# --- the machine ---------------------------------------------------------------------------


def test_a_library_that_is_not_there_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "picows":
            raise metadata.PackageNotFoundError(name)
        return "0.1" if name == "aiohttp" else "999"

    monkeypatch.setattr(metadata, "version", version)

    found = {finding.what: finding for finding in machine.library_findings()}

    assert found["picows"] == Finding(
        "picows", Verdict.MISSING, "not installed", "pip install 'telcoflow-sdk[server]'"
    )
    assert found["aiohttp"].verdict is Verdict.BROKEN
    assert found["aiohttp"].remedy.startswith("pip install 'aiohttp>=")
    assert "numpy 999" in found["libraries"].text
    for of_no_server in ("pytest", "webrtcvad-wheels", "uvloop"):
        assert of_no_server not in found["libraries"].text


def test_without_uvloop_it_works_less_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)

    assert machine.uvloop_finding().verdict is Verdict.WARNING
    assert machine.uvloop_finding().remedy == "pip install uvloop"


def test_an_old_python_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    older = SimpleNamespace(version_info=(3, 10, 4), platform="linux")
    monkeypatch.setattr("telcoflow_server.cli.machine.sys", older)

    assert machine.python_finding().verdict is Verdict.BROKEN


def test_a_coarse_clock_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "get_clock_info", lambda _: SimpleNamespace(resolution=0.0156))

    assert machine.clock_finding().verdict is Verdict.WARNING


@pytest.mark.parametrize(
    ("limits", "verdict", "remedy"),
    [
        ((1024, 1_048_576), Verdict.WARNING, "ulimit -n 1048576"),
        ((1024, 1024), Verdict.WARNING, "ulimit -n 65536 (as root)"),
        ((65_536, 65_536), Verdict.OK, ""),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), Verdict.OK, ""),
    ],
)
def test_few_file_descriptors_are_a_warning(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], verdict: Verdict, remedy: str
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)

    finding = machine.descriptor_finding()

    assert (finding.verdict, finding.remedy) == (verdict, remedy)


def test_late_and_skipped_ticks_are_a_warning() -> None:
    good = machine.lateness_finding([0.1] * 49 + [1.0], 0)
    late = machine.lateness_finding([0.1] * 49 + [7.5], 0)
    skipped = machine.lateness_finding([], 100)

    assert (good.verdict, good.text) == (
        Verdict.OK, "p50 0.10 ms, worst 1.00 ms in a second"
    )  # fmt: skip
    assert late.verdict is Verdict.WARNING
    assert "100 ticks skipped" in skipped.text
    assert machine.timer_finding(False).verdict is Verdict.WARNING


# --- ports and recordings ------------------------------------------------------------------


def test_a_taken_media_port_is_broken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = ServerSettings(port=0, media_port=port)
        found = {one.what: one for one in port_findings(server, is_running=False)}

    assert found["control port"].verdict is Verdict.OK
    assert found["media port"].verdict is Verdict.BROKEN
    assert "server.media_port" in found["media port"].remedy


def test_a_folder_for_recordings(tmp_path: Path) -> None:
    [there] = recording_findings(tmp_path)
    [absent] = recording_findings(tmp_path / "absent")
    [nowhere] = recording_findings(None)

    assert "GiB free" in there.text
    assert (absent.verdict, absent.remedy) == (Verdict.MISSING, f"mkdir -p {tmp_path / 'absent'}")
    assert nowhere.verdict is Verdict.OK
    assert list(tmp_path.iterdir()) == [], "it leaves nothing behind"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder nobody may write to")
def test_a_folder_nobody_may_write_to_is_broken() -> None:
    [finding] = recording_findings(Path("/proc/self"))

    assert finding.verdict is Verdict.BROKEN
    assert finding.text.startswith("nothing can be written to /proc/self: ")


def test_a_full_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=500 * 1024**2))

    [finding] = recording_findings(tmp_path)

    assert finding.verdict is Verdict.WARNING
    assert "0.5 GiB free: 2 hours of calls" in finding.text
