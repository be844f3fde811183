"""What a client makes of a TLS server that hangs up; our own server is in `tests/end_to_end`."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from telcoflow_sdk import TelcoflowClient, TelcoflowClientConfig, WSSConnectionError
from telcoflow_sdk._asyncio import tls
from telcoflow_sdk._asyncio.tls import refusal_of
from tests.support.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@asynccontextmanager
async def server(authority: Authority, *, hangs_up: bool) -> AsyncIterator[int]:
    """Speak TLS with everybody, and then hang up or be silent; yield the port."""
    certificate = authority.issue("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert_file, certificate.key_file)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if hangs_up:
            writer.transport.abort()
        else:
            await reader.read()
            writer.transport.abort()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


async def connected(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return sock


async def test_a_server_that_just_hangs_up_did_not_refuse_the_certificate(
    authority: Authority,
) -> None:
    async with server(authority, hangs_up=True) as port:
        context = authority.client_context()
        assert await refusal_of(await connected(port), "127.0.0.1", context) is None

        config = TelcoflowClientConfig.sandbox(
            api_key="k",
            connector_uuid="c",
            ca_path=authority.ca_file,
            base_url=f"wss://127.0.0.1:{port}",
        )
        with pytest.raises(WSSConnectionError, match="cannot open the control link"):
            await TelcoflowClient(config).connect()


async def test_a_silent_server_is_not_waited_for(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "ALERT_TIMEOUT_S", 0.05)
    async with server(authority, hangs_up=False) as port:
        context = authority.client_context()
        assert await refusal_of(await connected(port), "127.0.0.1", context) is None


async def test_a_server_that_is_not_trusted_is_no_refusal(authority: Authority) -> None:
    async with server(authority, hangs_up=False) as port:
        assert await refusal_of(await connected(port), "127.0.0.1", None) is None


async def test_cancelling_leaves_nothing_open(authority: Authority) -> None:
    async with server(authority, hangs_up=False) as port:
        sock = await connected(port)
        asking = asyncio.create_task(refusal_of(sock, "127.0.0.1", authority.client_context()))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert sock.fileno() == -1
