"""TLS on both ports over real sockets: who is let in, who is not, and files that change."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path

import aiohttp
import pytest
import websockets
from websockets.asyncio.client import connect

from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_server.api.tls import tls_context
from telcoflow_server.app import CONTROL_PATH, Server
from telcoflow_server.settings import (
    ConnectorSettings,
    ServerSettings,
    Settings,
    SettingsError,
    TlsSettings,
)
from tests.support.certificates import Authority, Certificate
from tests.support.tls import KEY, Trust, running

SESSIONS = "/public/v1/sessions"


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    return Trust(tmp_path)


async def answer(
    http: aiohttp.ClientSession, headers: dict[str, str] | None = None
) -> tuple[int, str]:
    async with http, http.get(SESSIONS, headers=headers) as response:
        body = await response.json()
        return response.status, body.get("code", "")


# --- who is let in -------------------------------------------------------------------------------


async def test_a_certificate_of_a_connector_needs_no_key(trust: Trust) -> None:
    async with running(trust.settings()) as server:
        assert await answer(trust.http(server, trust.agent)) == (200, "")


async def test_a_key_needs_no_certificate(trust: Trust) -> None:
    headers = {"x-api-key": KEY, "x-connector-uuid": "c1"}
    async with running(trust.settings()) as server:
        assert await answer(trust.http(server), headers) == (200, "")


async def test_neither_is_unauthorized(trust: Trust) -> None:
    async with running(trust.settings()) as server:
        assert await answer(trust.http(server)) == (401, ErrorCode.UNAUTHORIZED)


async def test_a_certificate_of_no_connector_is_unknown_and_told_its_fingerprint(
    trust: Trust,
) -> None:
    stranger = trust.authority.issue("stranger")
    async with running(trust.settings()) as server:
        http = trust.http(server, stranger)
        async with http, http.get(SESSIONS) as response:
            body = await response.json()

    assert (response.status, body["code"]) == (403, ErrorCode.CERTIFICATE_UNKNOWN)
    assert stranger.sha256 in body["message"]


async def test_a_certificate_speaks_for_its_connector_only(trust: Trust) -> None:
    async with running(trust.settings()) as server:
        refused = await answer(trust.http(server, trust.other), {"x-connector-uuid": "c1"})

    assert refused == (403, ErrorCode.FORBIDDEN)


async def test_health_needs_nothing(trust: Trust) -> None:
    async with running(trust.settings()) as server:
        http = trust.http(server)
        async with http, http.get("/healthz") as response:
            assert response.status == 200


async def test_without_tls_nobody_is_answered(trust: Trust) -> None:
    async with running(trust.settings()) as server, aiohttp.ClientSession() as http:
        for port in (server.control_port, server.media_port):
            with pytest.raises(aiohttp.ClientError):
                await http.get(f"http://127.0.0.1:{port}/healthz")


# --- who is refused in the handshake -------------------------------------------------------------


def bad_certificate(trust: Trust, what: str) -> Certificate:
    if what == "expired":
        return trust.authority.issue("expired", expired=True)
    if what == "foreign":
        return Authority(trust.folder, "foreign").issue("agent")
    revoked = trust.authority.issue("revoked")
    trust.crl_file = trust.authority.revoke(revoked)
    return revoked


BAD = {
    "expired": "ALERT_CERTIFICATE_EXPIRED",
    "revoked": "ALERT_CERTIFICATE_REVOKED",
    "foreign": "ALERT_UNKNOWN_CA",
}


async def first_byte(port: int, context: ssl.SSLContext) -> bytes:
    """Return what a server says unasked: with TLS 1.3 a refusal comes after the handshake."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        return await reader.read(1)
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("what", BAD)
async def test_a_bad_certificate_is_refused_with_the_alert_that_names_why(
    trust: Trust, what: str, version: ssl.TLSVersion
) -> None:
    context = trust.authority.client_context(bad_certificate(trust, what))
    context.maximum_version = version
    async with running(trust.settings()) as server:
        with pytest.raises(ssl.SSLError) as refused:
            await first_byte(server.control_port, context)

    assert BAD[what] in (refused.value.reason or "")


@pytest.mark.parametrize("what", BAD)
async def test_a_bad_certificate_does_not_get_to_the_media_port(trust: Trust, what: str) -> None:
    context = trust.authority.client_context(bad_certificate(trust, what))
    async with running(trust.settings()) as server:
        with pytest.raises((OSError, websockets.InvalidHandshake, EOFError)):
            await connect(f"wss://127.0.0.1:{server.media_port}/x", ssl=context)


async def test_a_revocation_list_lets_the_others_in(trust: Trust) -> None:
    trust.crl_file = trust.authority.revoke(trust.authority.issue("revoked"))
    async with running(trust.settings()) as server:
        assert await answer(trust.http(server, trust.agent)) == (200, "")


async def test_a_peer_that_speaks_no_tls_costs_nobody_anything(trust: Trust) -> None:
    async with running(trust.settings()) as server:
        for port in (server.control_port, server.media_port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n" * 100)
            await reader.read()
            writer.close()
        assert await answer(trust.http(server, trust.agent)) == (200, "")


async def test_a_peer_that_hangs_in_the_handshake_does_not_hold_the_server_up(
    trust: Trust,
) -> None:
    async with running(trust.settings()) as server:
        hanging = [
            await asyncio.open_connection("127.0.0.1", port)
            for port in (server.control_port, server.media_port)
        ]
        assert await answer(trust.http(server, trust.agent)) == (200, "")
    for _, writer in hanging:
        writer.close()


# --- files that change ---------------------------------------------------------------------------


async def test_new_connections_get_the_new_certificate_and_open_ones_stay(trust: Trust) -> None:
    settings = trust.settings()
    async with running(settings) as server:
        url = f"wss://127.0.0.1:{server.control_port}{CONTROL_PATH}"
        async with connect(url, ssl=trust.authority.client_context(trust.agent)) as before:
            renewed = trust.authority.issue("server")
            server.reload(settings)
            async with connect(url, ssl=trust.authority.client_context(trust.agent)) as after:
                shown = after.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
            await (await before.ping())

    assert shown == renewed.der


async def test_a_certificate_revoked_since_is_refused_after_a_reload(trust: Trust) -> None:
    trust.crl_file = trust.authority.revoke()
    settings = trust.settings()
    async with running(settings) as server:
        before = await answer(trust.http(server, trust.agent))
        trust.authority.revoke(trust.agent)
        server.reload(settings)

        with pytest.raises((aiohttp.ClientError, OSError)):
            await answer(trust.http(server, trust.agent))
        assert await answer(trust.http(server, trust.other)) == before == (200, "")


async def test_a_file_that_cannot_be_used_leaves_everything_as_it_was(trust: Trust) -> None:
    settings = trust.settings()
    async with running(settings) as server:
        spoil(trust.server.cert_file)
        with pytest.raises(SettingsError, match=r"tls\.cert_file .*server\.pem.* cannot be used"):
            server.reload(settings)

        assert await answer(trust.http(server, trust.agent)) == (200, "")


async def test_tls_is_not_switched_off_by_a_reload(trust: Trust) -> None:
    async with running(trust.settings()) as server:
        with pytest.raises(SettingsError, match="takes a restart"):
            server.reload(Settings())

        assert await answer(trust.http(server, trust.agent)) == (200, "")


async def test_a_certificate_that_leaves_the_settings_is_unknown(trust: Trust) -> None:
    settings = trust.settings()
    async with running(settings) as server:
        server.reload(
            Settings(
                tls=settings.tls,
                connectors=(ConnectorSettings(connector_uuid="c1", api_key="new"),),
            )
        )
        refused = await answer(trust.http(server, trust.agent))
        headers = {"x-api-key": "new", "x-connector-uuid": "c1"}
        accepted = await answer(trust.http(server), headers)

    assert refused == (403, ErrorCode.CERTIFICATE_UNKNOWN)
    assert accepted == (200, "")


def spoil(file: Path) -> None:
    file.write_text("not a certificate")


@pytest.mark.parametrize("name", ["cert_file", "key_file", "client_ca_file", "crl_file"])
@pytest.mark.parametrize("how", ["absent", "garbage", "empty", "directory", "swapped"])
def test_each_file_that_cannot_be_used_is_named(trust: Trust, name: str, how: str) -> None:
    trust.crl_file = trust.authority.revoke()
    files = {key: getattr(trust.settings().tls, key) for key in TLS_FILES}
    bad = trust.folder / "bad"
    if how == "garbage":
        bad.write_bytes(os.urandom(200))
    elif how == "empty":
        bad.touch()
    elif how == "directory":
        bad.mkdir()
    elif how == "swapped":
        wrong = {"client_ca_file": "key_file", "crl_file": "cert_file"}.get(name, "client_ca_file")
        bad.write_bytes(files[wrong].read_bytes())
    files[name] = bad

    with pytest.raises(SettingsError) as refused:
        tls_context(TlsSettings(**files))

    # OpenSSL does not tell which of the two was wrong when it reads them.
    blamed = "cert_file" if name == "key_file" else name
    assert refused.value.key == f"tls.{blamed}"
    assert "bad" in str(refused.value)


TLS_FILES = ("cert_file", "key_file", "client_ca_file", "crl_file")


async def test_a_server_whose_files_cannot_be_used_does_not_start(tmp_path: Path) -> None:
    tls = TlsSettings(cert_file=tmp_path / "a.pem", key_file=tmp_path / "a.key")

    with pytest.raises(SettingsError, match=r"tls\.cert_file .*No such file"):
        Server(Settings(server=ServerSettings(port=0), tls=tls))
