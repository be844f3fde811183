"""Our client and server with certificates, over real sockets: whole calls, and every refusal."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import websockets
from websockets.asyncio.client import connect

from telcoflow_sdk import (
    ActiveCall,
    TelcoflowClient,
    TelcoflowClientConfig,
    WSSAuthenticationError,
    WSSConnectionError,
    events,
)
from telcoflow_sdk.protocol.codes import EndReason, ErrorCode
from telcoflow_server.app import Server
from telcoflow_server.settings import ServerSettings
from tests.support.certificates import Authority, Certificate
from tests.support.tls import KEY, Trust, running

PLACE = "/sandbox/v1/calls"
SPEECH = b"\x10\x00" * 12_000


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    return Trust(tmp_path)


async def place(http: aiohttp.ClientSession, **script: Any) -> str:
    form = aiohttp.FormData()
    form.add_field("script", json.dumps(script), content_type="application/json")
    async with http.post(PLACE, data=form) as response:
        assert response.status == 201, await response.text()
        call_id: str = (await response.json())["call_id"]
        return call_id


async def report(http: aiohttp.ClientSession, call_id: str) -> dict[str, Any]:
    async with http.get(f"{PLACE}/{call_id}/events") as response:
        lines = (await response.text()).splitlines()
        ended: dict[str, Any] = json.loads(lines[-1])["report"]
        return ended


@asynccontextmanager
async def talking_agent(config: TelcoflowClientConfig) -> AsyncIterator[None]:
    """Run a client that answers every call and says something."""
    async with TelcoflowClient(config) as client:

        @client.on(events.INCOMING_CALL)
        async def talk(call: ActiveCall) -> None:
            await call.answer()
            await call.send_audio(SPEECH)
            async for _ in call.audio_stream():
                pass

        yield


@pytest.mark.slow
@pytest.mark.parametrize("require_on_media", [False, True])
async def test_production_takes_a_call_with_a_certificate(
    trust: Trust, require_on_media: bool
) -> None:
    async with (
        running(trust.settings(require_on_media=require_on_media)) as server,
        talking_agent(trust.client(server, trust.agent)),
        trust.http(server, trust.agent) as http,
    ):
        ended = await report(http, await place(http, hang_up_after_ms=600))

    assert ended["end_reason"] == EndReason.CALLER_HUNG_UP
    assert ended["frames_from_agent"] > 10
    assert ended["frames_to_agent"] > 10


async def call_in(control: websockets.ClientConnection) -> dict[str, Any]:
    """Take the next call on a control link, as far as its media address."""
    await control.send('{"type": "setup", "data": {"sampleRate": 24000, "audioMode": "mixed"}}')
    while True:
        message: dict[str, Any] = json.loads(await control.recv())
        if message["type"] == "session.notify":
            opened = {"type": "session.open", "sessionId": message["sessionId"], "reqId": "1"}
            await control.send(json.dumps(opened))
            ready = {"type": "session.ready", "sessionId": message["sessionId"]}
            await control.send(json.dumps(ready))
        if message["type"] == "call.in":
            return message


async def media_status(
    trust: Trust, server: Server, offered: dict[str, Any], certificate: Certificate | None
) -> int:
    """Open a call's media link with a certificate; return the HTTP status, 101 if it opens."""
    context = trust.authority.client_context(certificate)
    headers = {"Authorization": f"Bearer {offered['token']}"}
    try:
        async with connect(offered["url"], ssl=context, additional_headers=headers):
            return 101
    except websockets.InvalidStatus as refused:
        return refused.response.status_code


async def test_a_media_link_needs_the_token_alone_by_default(trust: Trust) -> None:
    async with running(trust.settings()) as server, trust.http(server, trust.agent) as http:
        url = trust.client(server, trust.agent).control_url
        async with connect(url, ssl=trust.authority.client_context(trust.agent)) as control:
            await place(http)
            offered = await call_in(control)
            status = await media_status(trust, server, offered, None)

    assert offered["url"].startswith(f"wss://127.0.0.1:{server.media_port}/")
    assert status == 101


async def test_a_media_link_needs_its_connector_s_certificate_where_that_is_set(
    trust: Trust,
) -> None:
    stranger = trust.authority.issue("stranger")
    settings = trust.settings(require_on_media=True)
    async with running(settings) as server, trust.http(server, trust.agent) as http:
        url = trust.client(server, trust.agent).control_url
        async with connect(url, ssl=trust.authority.client_context(trust.agent)) as control:
            await place(http)
            offered = await call_in(control)
            statuses = [
                await media_status(trust, server, offered, certificate)
                for certificate in (None, stranger, trust.other, trust.agent)
            ]

    assert statuses == [401, 403, 403, 101]


def refused_certificate(trust: Trust, what: str) -> Certificate:
    if what == "foreign":
        return Authority(trust.folder, "foreign").issue("agent")
    certificate = trust.authority.issue(what, expired=what == "expired")
    if what == "revoked":
        trust.crl_file = trust.authority.revoke(certificate)
    return certificate


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("unknown", "knows no connector with this client certificate .*certificate_sha256"),
        ("expired", "it has expired; get a new one .alert certificate_expired"),
        ("revoked", "it was revoked; get a new one .* .alert certificate_revoked"),
        ("foreign", "does not trust the authority that signed it.* .alert unknown_ca"),
    ],
)
async def test_a_refused_certificate_is_an_authentication_error_that_says_what_to_do(
    trust: Trust, what: str, said: str
) -> None:
    certificate = refused_certificate(trust, what)
    async with running(trust.settings()) as server:
        with pytest.raises(WSSAuthenticationError, match=said):
            await TelcoflowClient(trust.client(server, certificate)).connect()


async def test_a_server_that_is_not_trusted_is_a_connection_error(trust: Trust) -> None:
    async with running(trust.settings()) as server:
        config = TelcoflowClientConfig.sandbox(
            api_key=KEY,
            connector_uuid="c1",
            ca_path=Authority(trust.folder, "elsewhere").ca_file,
            base_url=f"wss://127.0.0.1:{server.control_port}",
        )
        with pytest.raises(WSSConnectionError, match="certificate is not trusted"):
            await TelcoflowClient(config).connect()


async def test_a_client_whose_certificate_was_revoked_meanwhile_gives_up_on_its_reconnect(
    trust: Trust,
) -> None:
    trust.crl_file = trust.authority.revoke()
    async with running(trust.settings()) as server:
        port = server.control_port
        client = TelcoflowClient(trust.client(server, trust.agent))
        await client.connect()
        serving = asyncio.create_task(client.run_forever())
        trust.authority.revoke(trust.agent)
    again = replace(trust.settings(), server=ServerSettings(port=port, media_port=0))
    async with running(again):
        with pytest.raises(WSSAuthenticationError, match="revoked"):
            await serving
        await client.disconnect()


async def test_the_log_says_why_a_handshake_failed_and_nothing_else(
    trust: Trust, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = refused_certificate(trust, "expired")
    with caplog.at_level(logging.DEBUG):
        async with running(trust.settings()) as server:
            with pytest.raises(WSSAuthenticationError):
                await TelcoflowClient(trust.client(server, certificate)).connect()

    lines = [r.getMessage() for r in caplog.records if r.name.endswith("api.accept")]
    assert set(lines) == {"TLS handshake failed: certificate has expired"}


async def test_a_certificate_s_connector_sees_its_own_calls_only(trust: Trust) -> None:
    async with (
        running(trust.settings()) as server,
        trust.http(server, trust.agent) as ours,
        trust.http(server, trust.other) as theirs,
    ):
        call_id = await place(ours)
        async with theirs.get(f"{PLACE}/{call_id}") as response:
            assert (response.status, (await response.json())["code"]) == (404, ErrorCode.NOT_FOUND)
