"""A sandbox with TLS as people run it: its settings, SIGHUP, and the commands that reach it."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.certificates import Authority, Certificate
from tests.support.commands import running, sandbox, telcoflow_finished

pytestmark = pytest.mark.slow

AGENT = """
import asyncio, sys
from telcoflow_sdk import ActiveCall, TelcoflowClient, TelcoflowClientConfig, events

async def main(url, cert, key, ca):
    config = TelcoflowClientConfig.production(
        cert_path=cert, key_path=key, ca_path=ca, base_url=url
    )
    async with TelcoflowClient(config) as client:

        @client.on(events.INCOMING_CALL)
        async def answer(call: ActiveCall) -> None:
            await call.answer()
            await call.send_audio(bytes(9600))

        print("joined", flush=True)
        await client.run_forever()

asyncio.run(main(*sys.argv[1:]))
"""


def with_colons(fingerprint: str) -> str:
    """Return a fingerprint as `openssl x509 -fingerprint` prints it."""
    return bytes.fromhex(fingerprint).hex(":").upper()


class Files:
    """A settings file and what it names, relative to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        self.server = self.authority.issue("server")
        self.agent = self.authority.issue("agent")
        self.config = folder / "config.toml"
        self.config.write_text(
            f"""
[server]
drain_timeout_s = 1
[tls]
cert_file = "{self.server.cert_file.name}"
key_file = "{self.server.key_file.name}"
client_ca_file = "{self.authority.ca_file.name}"
[[connectors]]
connector_uuid = "desk"
api_key = "k3y"
certificate_sha256 = "{with_colons(self.agent.sha256)}"
[admin]
key = "the-key-of-the-operator"
"""
        )
        self.variables = {
            "SSL_CERT_FILE": str(self.authority.ca_file),
            "TELCOFLOW_API_KEY": "k3y",
            "TELCOFLOW_CONNECTOR_UUID": "desk",
            "TELCOFLOW_ADMIN_KEY": "the-key-of-the-operator",
        }

    async def shown(self, url: str, certificate: Certificate) -> tuple[int, bytes]:
        """Ask for sessions with a certificate; return the status and the server's certificate."""
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(
            parts.hostname, parts.port, ssl=self.authority.client_context(certificate)
        )
        writer.write(b"GET /public/v1/sessions HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        head = await reader.readline()
        der: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
        return int(head.split()[1]), der


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


async def test_a_whole_call_with_certificates_on_both_sides(files: Files) -> None:
    async with sandbox("--config", files.config) as server:
        assert server.url.startswith("wss://")
        agent = files.agent
        who = (agent.cert_file, agent.key_file, files.authority.ca_file)
        async with running("-c", AGENT, server.url, *who) as client:
            assert await client.line() == "joined"
            called = await telcoflow_finished(
                *("call", "--url", server.url, "--hang-up-after", "0.5", "--json"),
                variables=files.variables,
            )
            drained = await telcoflow_finished(
                "drain", "--url", server.url, variables=files.variables
            )
        ended = await server.running.finished()

    assert called.exit_code == 0, called.stderr
    assert json.loads(called.stdout)["end_reason"] == "caller_hung_up"
    assert drained.exit_code == 0, drained.stderr
    assert ended.exit_code == 0
    assert "Traceback" not in ended.stderr


async def test_sighup_takes_a_renewed_certificate_and_leaves_a_spoilt_one(files: Files) -> None:
    async with sandbox("--config", files.config) as server:
        renewed = files.authority.issue("server")
        server.running.signal(signal.SIGHUP)
        await server.running.error_line("reloaded")
        first = await files.shown(server.url, files.agent)

        spoil(files.server.cert_file)
        server.running.signal(signal.SIGHUP)
        line = await server.running.error_line("not reloaded")
        second = await files.shown(server.url, files.agent)

    assert first == second == (200, renewed.der)
    assert "tls.cert_file" in line


async def test_sighup_takes_new_connectors_and_leaves_wrong_settings(files: Files) -> None:
    other = files.authority.issue("other")
    async with sandbox("--config", files.config) as server:
        add_connector(files.config, other.sha256)
        server.running.signal(signal.SIGHUP)
        await server.running.error_line("reloaded")
        before = await files.shown(server.url, other)

        add_connector(files.config, "too short")
        server.running.signal(signal.SIGHUP)
        line = await server.running.error_line("not reloaded")
        after = await files.shown(server.url, other)

    assert before[0] == after[0] == 200
    assert "connectors[2].certificate_sha256" in line
    assert f"line {last_line(files.config)})" in line


async def test_a_peer_over_the_limit_is_answered_on_the_loop_of_the_command_line(
    files: Files,
) -> None:
    variables = {"TELCOFLOW_LIMITS_CONNECTION_ATTEMPTS_PER_MINUTE": "1"}
    async with sandbox("--config", files.config, variables=variables) as server:
        statuses = [(await files.shown(server.url, files.agent))[0] for _ in range(2)]

    assert statuses == [200, 429]


def spoil(file: Path) -> None:
    file.write_text("not a certificate")


def last_line(config: Path) -> int:
    return config.read_text().count("\n")


def add_connector(config: Path, fingerprint: str) -> None:
    name = f"added-{fingerprint[:4]}"
    with config.open("a") as file:
        file.write(
            f'[[connectors]]\nconnector_uuid = "{name}"\ncertificate_sha256 = "{fingerprint}"\n'
        )


async def test_files_that_cannot_be_used_are_said_in_one_line(files: Files) -> None:
    spoil(files.server.key_file)

    finished = await telcoflow_finished("sandbox", "--port", "0", "--config", files.config)

    assert finished.exit_code == 1
    assert "tls.cert_file" in finished.stderr
    assert finished.stderr.count("\n") == 1
