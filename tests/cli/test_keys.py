"""`telcoflow keys` as people run it, and a server that reads what it wrote."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
from pathlib import Path

import aiohttp
import pytest
from typer.testing import CliRunner, Result

from telcoflow_server.cli.commands import app
from tests.support.commands import sandbox, telcoflow_finished

KEY = re.compile(r"tfk_[0-9a-f]{8}_[\w-]{43}")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def keys(*arguments: str | Path) -> Result:
    return CliRunner(env={}).invoke(app, ["keys", *map(str, arguments)])


def create(file: Path, connector: str = "desk") -> str:
    result = keys("create", "--connector", connector, "--file", file)
    assert result.exit_code == 0, result.stderr
    return result.stdout.strip()


def test_a_key_is_printed_once_and_its_digest_kept(file: Path) -> None:
    key = create(file)

    assert KEY.fullmatch(key)
    kept = file.read_text()
    assert key not in kept
    assert key.rpartition("_")[2] not in kept
    assert json.loads(kept)["keys"][0]["connector_uuid"] == "desk"


def test_the_file_is_for_its_owner_alone_even_when_it_was_not(file: Path) -> None:
    create(file)
    file.chmod(0o644)

    create(file)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert os.listdir(file.parent) == [file.name]


def test_keys_are_listed_without_their_secret(file: Path) -> None:
    first, second = create(file, "desk"), create(file, "night")

    listed = keys("list", "--file", file).stdout.splitlines()

    assert [line.split()[0] for line in listed] == [first.split("_")[1], second.split("_")[1]]
    assert [line.split()[2] for line in listed] == ["desk", "night"]
    assert first.rpartition("_")[2] not in "".join(listed)


def test_a_revoked_key_is_gone_and_the_others_are_not(file: Path) -> None:
    first, second = create(file), create(file)

    revoked = keys("revoke", first.split("_")[1], "--file", file)

    assert revoked.exit_code == 0
    assert [line.split()[0] for line in keys("list", "--file", file).stdout.splitlines()] == [
        second.split("_")[1]
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("list", "--file", "absent/keys.json"), "absent/keys.json cannot be read"),
        (("revoke", "0000", "--file", "absent/keys.json"), "absent/keys.json cannot be written"),
        (("create", "--connector", "a", "--file", "absent/k.json"), "k.json cannot be written"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    result = keys(*arguments)

    assert result.exit_code == 1
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_a_key_that_is_not_there_cannot_be_revoked(file: Path) -> None:
    create(file)

    result = keys("revoke", "0badcafe", "--file", file)

    assert result.exit_code == 1
    assert "has no key 0badcafe" in result.stderr


async def status(url: str, key: str) -> int:
    address = url.replace("ws://", "http://") + "/public/v1/sessions"
    headers = {"x-api-key": key, "x-connector-uuid": "desk"}
    async with aiohttp.ClientSession(headers=headers) as http, http.get(address) as response:
        return response.status


def spoil(file: Path) -> None:
    file.write_text("{")


@pytest.mark.slow
async def test_a_server_takes_new_keys_and_forgets_revoked_ones_on_sighup(file: Path) -> None:
    old = create(file)
    async with sandbox(variables={"TELCOFLOW_SERVER_KEYS_FILE": str(file)}) as server:
        new = create(file)
        before = [await status(server.url, key) for key in (old, new, "tfk_wrong")]
        revoked = await telcoflow_finished("keys", "revoke", old.split("_")[1], "--file", file)
        server.running.signal(signal.SIGHUP)
        await server.running.error_line("reloaded")
        after = [await status(server.url, key) for key in (old, new, "tfk_wrong")]

        spoil(file)
        server.running.signal(signal.SIGHUP)
        line = await server.running.error_line("not reloaded")
        still = [await status(server.url, key) for key in (old, new)]
        server.running.signal(signal.SIGTERM)
        said = await server.running.finished()

    assert revoked.exit_code == 0
    assert before == [200, 401, 401]
    assert after == [401, 200, 401]
    assert "is no key file" in line
    assert still == [401, 200]
    assert not KEY.search(said.stderr + said.stdout)
