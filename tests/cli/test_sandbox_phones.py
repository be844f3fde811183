"""`telcoflow sandbox --sip`: a softphone talks to an agent in two commands."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from telcoflow_server.cli.commands import app
from tests.support.commands import Running, example, telcoflow, telcoflow_finished
from tests.support.rtp_phone import rtp_phone
from tests.support.sip_phone import SipPhone, authorization, register
from tests.support.tones import tone

pytestmark = pytest.mark.slow

LINE = re.compile(
    r"phone sip:(\w+)@([\d.]+):(\d+) user=\1(?: password=(\w+))? transport=udp codecs=(\S+)"
)


@dataclass(frozen=True, slots=True)
class PhoneSandbox:
    """A running sandbox with phones, and what it prints for them."""

    running: Running
    url: str
    server: tuple[str, int]
    user: str
    password: str | None
    codecs: list[str]


@asynccontextmanager
async def sandbox(*arguments: str | Path) -> AsyncIterator[PhoneSandbox]:
    async with telcoflow("sandbox", "--port", "0", *arguments) as running:
        ready = (await running.line()).split()
        assert ready[:1] == ["ready"], await running.finished()
        said = LINE.fullmatch(await running.line())
        assert said is not None
        server = said[2], int(said[3])
        yield PhoneSandbox(running, ready[1], server, said[1], said[4], said[5].split(","))


@asynccontextmanager
async def phone(server: tuple[str, int], user: str) -> AsyncIterator[SipPhone]:
    one = await SipPhone.open(server, user)
    try:
        yield one
    finally:
        one.close()
        await asyncio.sleep(0)


async def test_a_phone_with_the_printed_account_is_answered_by_the_agent() -> None:
    async with (
        sandbox("--sip-port", "0") as made,
        example("echo.py", made.url),
        phone(made.server, made.user) as caller,
        rtp_phone() as sound,
    ):
        assert made.password is not None
        assert made.codecs[-3:] == ["PCMU", "PCMA", "L16"]
        assert (await register(caller, made.password)).status == 200
        call = caller.call("5551234")
        call.invite(sound.offer())
        challenged = await caller.response()
        call.ack(challenged)
        login = authorization(
            challenged.header("www-authenticate"), made.user, made.password, "INVITE", call.target
        )
        call.to_tag = None
        call.invite(sound.offer(), headers=(login,))
        response = await caller.response(above=180)
        assert response.status == 200, response.start
        call.ack(response)
        sound.obey(response.body)
        sound.say(tone(500, 1_000, 8_000))
        heard = await sound.until_heard(1_300)
        call.send("BYE")
        assert (await caller.response("BYE")).status == 200

        made.running.signal(signal.SIGTERM)
        finished = await made.running.finished()

    assert np.abs(heard).max() > 3_000, "the echo"
    assert finished.exit_code == 0
    assert "caller_hung_up" in finished.stderr
    assert "5551234" not in finished.stderr
    assert made.password not in finished.stderr


async def test_accounts_of_its_own_are_printed_without_a_password(tmp_path: Path) -> None:
    config = tmp_path / "telcoflow.toml"
    config.write_text(f"[sip]\nport = 0\n[[extensions]]\nuser = '101'\nha1_md5 = '{'a' * 32}'\n")

    async with sandbox("--config", config) as made:
        assert (made.user, made.password) == ("101", None)


async def test_the_made_account_is_the_same_after_a_reload() -> None:
    async with sandbox("--sip-port", "0") as made, phone(made.server, made.user) as caller:
        made.running.signal(signal.SIGHUP)
        await made.running.error_line("reloaded")

        assert made.password is not None
        assert (await register(caller, made.password)).status == 200


async def test_a_sip_port_that_is_taken_is_said_in_one_line() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        finished = await telcoflow_finished("sandbox", "--port", "0", "--sip-port", port)

    assert finished.exit_code == 1
    assert f"SIP cannot listen on 127.0.0.1 port {port}" in finished.stderr
    assert "--sip-port takes another" in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sip-host", "phone.example"], "sip.host must be an IPv4 or IPv6 address"),
        (["--sip-host", "0.0.0.0"], "sip.advertised_host must say which"),
        (["--sip-port", "70000"], "sip.port must be 0 to 65535, not 70000"),
    ],
)
def test_bad_addresses_of_phones_are_refused_in_one_line(arguments: list[str], said: str) -> None:
    finished = CliRunner().invoke(app, ["sandbox", *arguments])

    assert finished.exit_code == 1
    assert said in finished.stderr
    assert finished.stderr.count("\n") == 1
