"""`telcoflow sip-password`: what it prints is an account that the password opens."""

from __future__ import annotations

import getpass
import hashlib
import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from telcoflow_server.cli.commands import app
from telcoflow_server.cli.sip_password import sip_password
from telcoflow_server.cli.softphone import PASSWORD_LENGTH, PASSWORD_LETTERS
from telcoflow_server.loading import load
from telcoflow_server.sip_settings import ExtensionSettings


def hashes(user: str, realm: str, password: str) -> tuple[str, str]:
    text = f"{user}:{realm}:{password}".encode()
    return hashlib.md5(text).hexdigest(), hashlib.sha256(text).hexdigest()


def test_it_prints_an_extension_whose_hashes_are_of_the_password(tmp_path: Path) -> None:
    finished = CliRunner().invoke(app, ["sip-password", "101"], input="hunter2\n")

    md5, sha256 = hashes("101", "telcoflow", "hunter2")
    file = tmp_path / "telcoflow.toml"
    file.write_text(finished.stdout)
    assert finished.exit_code == 0
    assert load(file, {}).extensions == (ExtensionSettings(user="101", ha1_md5=md5),)
    assert f'#ha1_sha256 = "{sha256}"' in finished.stdout
    assert "hunter2" not in finished.output


def test_the_realm_is_part_of_the_hash() -> None:
    finished = CliRunner().invoke(
        app, ["sip-password", "101", "--realm", "example.org"], input="hunter2\n"
    )

    assert hashes("101", "example.org", "hunter2")[0] in finished.stdout


def test_an_empty_password_is_replaced_by_one_that_is_shown_once() -> None:
    first, second = (CliRunner().invoke(app, ["sip-password", "101"], input="\n") for _ in range(2))

    shown = re.findall(r"password: (\S+)", first.stderr)
    assert len(shown) == 1
    assert len(shown[0]) == PASSWORD_LENGTH
    assert set(shown[0]) <= set(PASSWORD_LETTERS)
    assert hashes("101", "telcoflow", shown[0])[0] in first.stdout
    assert shown[0] not in first.stdout
    assert first.stdout != second.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a b"], "extensions.user must be letters, digits and any of _.+*-, not 'a b'"),
        (["101", "--realm", 'a"b'], "sip.realm must be 1 to 128 letters without quotes"),
    ],
)
def test_what_cannot_be_is_refused_before_a_password_is_asked_for(
    arguments: list[str], said: str
) -> None:
    finished = CliRunner().invoke(app, ["sip-password", *arguments])

    assert finished.exit_code == 1
    assert said in finished.stderr
    assert finished.stdout == ""


class Terminal:
    """A person at a terminal who types these."""

    def __init__(self, *typed: str) -> None:
        self._typed = list(typed)

    def isatty(self) -> bool:
        return True

    def ask(self, prompt: str) -> str:
        del prompt
        return self._typed.pop(0)


@pytest.mark.parametrize(
    ("typed", "exit_code"), [(("hunter2", "hunter2"), 0), (("hunter2", "hunter3"), 1), (("",), 0)]
)
def test_a_terminal_is_asked_twice(
    typed: tuple[str, ...],
    exit_code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    person = Terminal(*typed)
    monkeypatch.setattr(sys, "stdin", person)
    monkeypatch.setattr(getpass, "getpass", person.ask)

    assert sip_password("101", "telcoflow") == exit_code
    assert "hunter" not in "".join(capsys.readouterr())
