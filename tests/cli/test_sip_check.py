"""`telcoflow sip-check` as a process, and phones that do it right or wrong."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from telcoflow_server.cli.commands import app
from telcoflow_server.cli.sip_check import own_address
from tests.support.commands import Running, telcoflow, telcoflow_here
from tests.support.rtp_phone import RtpPhone, rtp_phone
from tests.support.server import wav_samples
from tests.support.sip_phone import PhoneCall, SipPhone, authorization, register
from tests.support.tones import tone

pytestmark = pytest.mark.slow

OPEN = "[sip]\nport = 0\nunauthenticated_calls = true\nrtp_first_port = 0\nrtp_last_port = 0\n"


@dataclass(frozen=True, slots=True)
class Check:
    """A running check, and what it prints for phones."""

    running: Running
    server: tuple[str, int]
    password: str

    async def findings(self) -> tuple[int, dict[str, dict[str, Any]]]:
        """Wait for its end; return the exit code and what was found, by what it is of."""
        finished = await self.running.finished()
        diagnosis = json.loads(finished.stdout)
        assert diagnosis["is_well"] == (finished.exit_code == 0)
        return finished.exit_code, {one["what"]: one for one in diagnosis["findings"]}


@asynccontextmanager
async def check(tmp_path: Path, *arguments: str | Path, config: str = "") -> AsyncIterator[Check]:
    """Run a check on a free port until it waits for a phone."""
    file = tmp_path / "telcoflow.toml"
    file.write_text(config)
    usual = ("--config", file) if config else ("--host", "127.0.0.1", "--port", "0")
    record = ("--record", tmp_path / "check.wav")
    async with telcoflow("sip-check", "--json", *usual, *record, *arguments) as running:
        server = re.search(r"Server ([\d.]+):(\d+), UDP", await running.error_line("Server "))
        line = await running.error_line("auth_pass=")
        password = re.search(r"auth_pass=([^;]+);", line)
        assert server is not None
        assert password is not None
        yield Check(running, (server[1], int(server[2])), password[1])


@asynccontextmanager
async def phone(check: Check, user: str = "100") -> AsyncIterator[SipPhone]:
    made = await SipPhone.open(check.server, user)
    try:
        yield made
    finally:
        made.close()
        await asyncio.sleep(0)


async def answered(caller: SipPhone, sound: RtpPhone, offer: str) -> PhoneCall:
    """Call without a password, and talk once that is answered."""
    call = caller.call("5551234")
    call.invite(offer)
    response = await caller.response(above=180)
    assert response.status == 200, response.start
    call.ack(response)
    sound.obey(response.body)
    return call


async def test_a_phone_that_does_everything_right_is_told_so(tmp_path: Path) -> None:
    file = tmp_path / "check.wav"
    async with (
        check(tmp_path, "--listen", "3") as running,
        phone(running) as caller,
        rtp_phone() as sound,
    ):
        assert (await register(caller, running.password)).status == 200
        await running.running.error_line("registered from 127.0.0.1")
        call = caller.call("5551234")
        call.invite(sound.offer())
        challenged = await caller.response()
        call.ack(challenged)
        login = authorization(
            challenged.header("www-authenticate"), "100", running.password, "INVITE", call.target
        )
        call.to_tag = None
        call.invite(sound.offer(), headers=(login,))
        response = await caller.response(above=180)
        assert response.status == 200, response.start
        call.ack(response)
        sound.obey(response.body)
        sound.say(tone(500, 2_000, 8_000))
        await sound.until_heard(1_500)
        sound.press("1")
        await caller.request("BYE")

        exit_code, findings = await running.findings()

    assert exit_code == 0
    assert {what: one["verdict"] for what, one in findings.items()} == dict.fromkeys(
        ("registration", "call", "from the phone", "to the phone", "quality"), "ok"
    )
    assert findings["call"]["text"].endswith(", codec PCMU")
    assert "a key was pressed" in findings["to the phone"]["text"]
    kept = wav_samples(file.read_bytes())
    assert np.abs(kept[:, 0]).max() > 3_000, "the phone"
    assert np.abs(kept[:, 1]).max() > 3_000, "the sentence"
    assert np.abs(sound.heard).max() > 3_000


async def test_one_way_audio_is_told_with_address_and_ports(tmp_path: Path) -> None:
    async with (
        check(tmp_path, "--listen", "1", config=OPEN) as running,
        phone(running, "stranger") as caller,
        rtp_phone() as sound,
    ):
        sound.is_sending = False
        await answered(caller, sound, sound.offer())

        exit_code, findings = await running.findings()

    assert exit_code == 1
    assert "not one packet came to 127.0.0.1" in findings["from the phone"]["text"]
    assert f"127.0.0.1:{sound.port}" in findings["to the phone"]["text"]


async def test_audio_from_elsewhere_is_told_with_both_addresses(tmp_path: Path) -> None:
    async with (
        check(tmp_path, "--listen", "1", config=OPEN) as running,
        phone(running, "stranger") as caller,
        rtp_phone(host="127.0.0.2") as sound,
    ):
        await answered(caller, sound, sound.offer(host="127.0.0.1"))

        exit_code, findings = await running.findings()

    assert exit_code == 1
    said = findings["from the phone"]["text"]
    assert f"packets came from 127.0.0.2:{sound.port}, and were not believed" in said
    assert f"its SDP names 127.0.0.1:{sound.port}" in said


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("RTP/AVP", "RTP/SAVP", "refused: encrypted streams only"),
        ("PCMU", "GSM", "refused: no codec in common"),
    ],
)
async def test_a_call_that_cannot_be_agreed_on_is_told_at_once(
    tmp_path: Path, before: str, after: str, said: str
) -> None:
    async with (
        check(tmp_path, "--wait", "60", config=OPEN) as running,
        phone(running, "stranger") as caller,
        rtp_phone() as sound,
    ):
        call = caller.call("5551234")
        call.invite(
            sound.offer(digits=False)
            .replace("RTP/AVP 0", "RTP/AVP 96")
            .replace("rtpmap:0", "rtpmap:96")
            .replace(before, after)
        )
        assert (await caller.response()).status == 488

        exit_code, findings = await running.findings()

    assert exit_code == 1
    assert said in findings["call"]["text"]
    assert "from the phone" not in findings


async def test_a_wrong_password_is_told(tmp_path: Path) -> None:
    async with check(tmp_path, "--wait", "3") as running, phone(running) as caller:
        assert (await register(caller, "wrong")).status == 401

        exit_code, findings = await running.findings()

    assert exit_code == 1
    assert findings["registration"]["text"] == "1 times with a wrong user or password"


async def test_a_second_call_is_not_needed(tmp_path: Path) -> None:
    async with (
        check(tmp_path, "--listen", "1", config=OPEN) as running,
        phone(running, "stranger") as caller,
        phone(running, "other") as other,
        rtp_phone() as sound,
    ):
        await answered(caller, sound, sound.offer())
        other.call("5551234").invite(sound.offer())

        assert (await other.response()).status == 503
        assert (await running.findings())[1]["call"]["verdict"] == "ok"


async def test_a_phone_that_hangs_up_ends_the_check(tmp_path: Path) -> None:
    async with (
        check(tmp_path, "--listen", "600", config=OPEN) as running,
        phone(running, "stranger") as caller,
        rtp_phone() as sound,
    ):
        call = await answered(caller, sound, sound.offer())
        sound.say(tone(500, 2_000, 8_000))
        await sound.until_heard(500)
        call.send("BYE")

        _, findings = await running.findings()

    assert findings["from the phone"]["verdict"] == "ok"


async def test_ctrl_c_ends_the_waiting_and_tells_what_is_known(tmp_path: Path) -> None:
    async with check(tmp_path) as running:
        running.running.signal(signal.SIGINT)

        exit_code, findings = await running.findings()

    assert exit_code == 1
    assert list(findings) == ["registration"]


def test_findings_are_readable_without_json(tmp_path: Path) -> None:
    finished = telcoflow_here(
        *("sip-check", "--host", "127.0.0.1", "--port", "0", "--wait", "1"),
        *("--record", tmp_path / "check.wav"),
    )

    assert finished.exit_code == 1
    assert "Linphone" in finished.stdout
    assert "Transport         UDP" in finished.stdout
    assert "nothing at all came to" in finished.stdout
    assert not (tmp_path / "check.wav").exists()


def test_a_port_that_is_taken_is_said_in_one_line() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        finished = telcoflow_here("sip-check", "--host", "127.0.0.1", "--port", str(port))

    assert finished.exit_code == 1
    assert f"SIP cannot listen on 127.0.0.1 port {port}" in finished.stderr
    assert finished.stderr.count("\n") == 1


def test_own_settings_have_their_own_accounts(tmp_path: Path) -> None:
    config = tmp_path / "telcoflow.toml"
    config.write_text(
        f"{OPEN}[[extensions]]\nuser = 'desk'\nha1_md5 = '{'a' * 32}'\n", encoding="utf-8"
    )

    finished = CliRunner().invoke(
        app, ["sip-check", "--config", str(config), "--wait", "1", "--record", f"{tmp_path}/a.wav"]
    )

    assert "<sip:desk@127.0.0.1:" in finished.stdout
    assert "auth_pass=PASSWORD" in finished.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "nowhere"], "sip.host must be an IPv4 or IPv6 address, not 'nowhere'"),
        (["--record", "no/such/place.wav"], "no directory no/such"),
    ],
)
def test_bad_arguments_are_refused(arguments: list[str], said: str) -> None:
    finished = CliRunner().invoke(app, ["sip-check", *arguments])

    assert finished.exit_code != 0
    assert said in finished.stderr


def test_the_address_is_one_of_this_machine() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind((own_address(), 0))
