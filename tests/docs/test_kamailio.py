"""The sample configuration of docs/how-to/tls-with-kamailio.md is one that Kamailio takes."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path

import pytest

from telcoflow_server.sip_settings import SipSettings
from tests.support.certificates import Authority
from tests.support.pages import ROOT

CONFIGURATION = ROOT / "docs" / "how-to" / "kamailio.cfg"


@pytest.mark.stranger
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("kamailio") is None, reason="kamailio is not installed")
async def test_kamailio_takes_the_sample_configuration(tmp_path: Path) -> None:
    certificate = Authority(tmp_path).issue("server")
    text = CONFIGURATION.read_text(encoding="utf-8")
    for there, here in (
        ("server.pem", certificate.cert_file),
        ("server.key", certificate.key_file),
    ):
        assert f"/etc/kamailio/{there}" in text
        text = text.replace(f"/etc/kamailio/{there}", str(here))
    file = tmp_path / "kamailio.cfg"
    file.write_text(text, encoding="utf-8")

    kamailio = await asyncio.create_subprocess_exec(
        *("kamailio", "-c", "-f", file),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await kamailio.communicate()

    assert kamailio.returncode == 0, output.decode()
    assert b"config file ok" in output
    assert b"ERROR" not in output


def test_the_server_is_where_kamailio_looks_for_it() -> None:
    text = CONFIGURATION.read_text(encoding="utf-8")

    [server] = re.findall(r'#!define SERVER "(.+)"', text)
    assert server == f"{SipSettings().host}:5060"
