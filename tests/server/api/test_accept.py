"""Limits by address over real sockets: on both ports, with TLS and without, nobody else disturbed.

Everything here comes from one address; that another is not disturbed is shown in `test_limits.py`,
and that one which is in stays in, here.
"""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_server.api import accept as accept_module
from telcoflow_server.api.accept import Acceptor
from telcoflow_server.api.limits import AddressLimits
from telcoflow_server.app import Server
from telcoflow_server.settings import (
    ConnectorSettings,
    LimitSettings,
    ServerSettings,
    Settings,
)
from tests.support.server import Bystander, Caller, RawClient
from tests.support.tls import Trust, running

PORTS: dict[str, Callable[[Server], int]] = {
    "control": lambda server: server.control_port,
    "media": lambda server: server.media_port,
}

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"


def settings(**limits: int) -> Settings:
    return Settings(
        server=ServerSettings(port=0),
        connectors=(
            ConnectorSettings(connector_uuid="c1", api_key="test-key"),
            ConnectorSettings(connector_uuid="c3", api_key="bystander-key"),
        ),
        limits=LimitSettings(**limits),
    )


async def answer(
    port: int, request: bytes = REQUEST, context: ssl.SSLContext | None = None
) -> tuple[int, dict[str, Any]]:
    """Ask with a connection of its own; return status and body, (0, {}) if nothing came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        writer.write(request)
        head, _, body = (await reader.read(4096)).partition(b"\r\n\r\n")
    except ConnectionError:
        return 0, {}
    finally:
        writer.transport.abort()
    if not head:
        return 0, {}
    return int(head.split()[1]), json.loads(body) if body.startswith(b"{") else {}


@pytest.mark.parametrize("port", PORTS)
async def test_a_connection_too_many_is_told_so_and_those_that_are_in_stay(port: str) -> None:
    async with (
        running(settings(connections_per_address=3)) as server,
        RawClient.joined(server) as client,
    ):
        idle = [await hold(server.media_port) for _ in range(2)]
        status, body = await answer(PORTS[port](server))
        for release in idle:
            await release()
        await (await client.socket.ping())
        after = await until_admitted(server)

    assert (status, body["code"]) == (429, ErrorCode.RATE_LIMITED)
    assert after == 200


async def hold(port: int) -> Callable[[], Awaitable[None]]:
    """Open a connection; return what closes it."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)

    async def release() -> None:
        writer.close()
        await writer.wait_closed()

    return release


async def until_admitted(server: Server) -> int:
    """Ask until the server has seen that connections were closed; return the last status."""
    async with asyncio.timeout(5):
        while True:
            status, _ = await answer(server.control_port)
            if status != 429:
                return status
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("port", PORTS)
async def test_attempts_too_many_are_told_so_and_after_as_many_again_dropped(port: str) -> None:
    # So few that none comes back while the test runs.
    async with running(settings(connection_attempts_per_minute=3)) as server:
        statuses = [(await answer(PORTS[port](server)))[0] for _ in range(8)]

    admitted = 200 if port == "control" else 404
    assert statuses == [admitted] * 3 + [429] * 3 + [0] * 2


async def test_tls_is_not_spoken_with_who_is_dropped(tmp_path: Path) -> None:
    trust = Trust(tmp_path)
    context = trust.authority.client_context()
    limits = LimitSettings(connection_attempts_per_minute=1)
    async with running(trust.settings(limits=limits)) as server:
        admitted, _ = await answer(server.control_port, context=context)
        refused, body = await answer(server.control_port, context=context)
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await answer(server.control_port, context=context)

    assert (admitted, refused, body["code"]) == (200, 429, ErrorCode.RATE_LIMITED)


@pytest.mark.slow
async def test_a_flood_of_connections_changes_no_sample_of_a_call() -> None:
    limited = settings(connections_per_address=60, connection_attempts_per_minute=60)
    async with (
        running(limited) as server,
        aiohttp.ClientSession() as http,
        Bystander.talking(server, http),
    ):
        flood = await asyncio.gather(
            *(answer(port(server)) for port in PORTS.values() for _ in range(100)),
            return_exceptions=True,
        )

    statuses = [one[0] for one in flood if isinstance(one, tuple)]
    assert {429, 0} <= set(statuses)


async def test_a_refused_peer_that_says_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accept_module, "REFUSAL_TIMEOUT_S", 0.05)
    async with running(settings(connection_attempts_per_minute=1)) as server:
        await answer(server.control_port)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.control_port)

        assert await reader.read() == b""
        writer.close()


async def test_stopping_does_not_wait_for_refused_and_silent_peers() -> None:
    async with running(settings(connection_attempts_per_minute=2)) as server:
        writers = [
            (await asyncio.open_connection("127.0.0.1", port(server)))[1]
            for port in PORTS.values()
            for _ in range(2)
        ]
    for writer in writers:
        writer.close()


@pytest.mark.slow
async def test_a_thousand_connections_are_nothing_by_default() -> None:
    async with running(settings()) as server:
        opened = await asyncio.gather(*(hold(server.media_port) for _ in range(400)))
        status, _ = await answer(server.control_port)
        for release in opened:
            await release()

    assert status == 200
    assert LimitSettings().connections_per_address > 2 * 1000
    assert LimitSettings().connection_attempts_per_minute > 2 * 1000


async def test_a_connector_over_its_calls_is_told_so_and_others_are_not() -> None:
    async with (
        running(settings(calls_per_connector=1)) as server,
        aiohttp.ClientSession() as http,
    ):
        first = await Caller(server, http).dial()
        status, code = await place(server, http)
        await Caller(server, http, {"x-api-key": "bystander-key", "x-connector-uuid": "c3"}).dial()
        await first.hang_up()
        await first.ended()
        again, _ = await place(server, http)

    assert (status, code) == (429, ErrorCode.QUOTA_EXCEEDED)
    assert again == 201


async def place(server: Server, http: aiohttp.ClientSession) -> tuple[int, str]:
    form = aiohttp.FormData()
    form.add_field("script", "{}", content_type="application/json")
    async with http.post(
        f"http://127.0.0.1:{server.control_port}/sandbox/v1/calls",
        data=form,
        headers={"x-api-key": "test-key", "x-connector-uuid": "c1"},
    ) as response:
        return response.status, (await response.json()).get("code", "")


@pytest.mark.slow
async def test_a_call_ends_after_its_time() -> None:
    limited = replace(settings(), limits=LimitSettings(call_duration_s=1.0))
    async with running(limited) as server, aiohttp.ClientSession() as http:
        report = await (await Caller(server, http).dial()).ended()

    assert report["end_reason"] == "max_duration"


async def test_without_descriptors_nothing_is_accepted_for_a_while_and_then_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(accept_module, "RETRY_S", 0.05)
    accept, failures = socket.socket.accept, [OSError(errno.EMFILE, "Too many open files")]

    def failing(listening: socket.socket) -> tuple[socket.socket, Any]:
        if failures:
            raise failures.pop()
        return accept(listening)

    async with running(settings()) as server:
        with monkeypatch.context() as patch:
            patch.setattr(socket.socket, "accept", failing)
            status, _ = await answer(server.control_port)

    assert status == 200
    assert "cannot accept connections: Too many open files" in caplog.text


async def test_a_protocol_that_cannot_be_made_costs_its_own_connection_only() -> None:
    limits = AddressLimits(10, 100)

    def fail() -> asyncio.Protocol:
        raise ConnectionResetError("gone already")

    acceptor = Acceptor(fail, limits, lambda: None, lambda: None)
    port = acceptor.listen("127.0.0.1", 0)
    try:
        assert await answer(port) == (0, {})
        assert await answer(port) == (0, {})
    finally:
        acceptor.close()
        await acceptor.wait_closed()


async def test_a_port_that_is_taken_says_so_whatever_the_family() -> None:
    for host in ("127.0.0.1", "::1"):
        acceptor = Acceptor(asyncio.Protocol, AddressLimits(1, 1), lambda: None, lambda: None)
        port = acceptor.listen(host, 0)
        other = Acceptor(asyncio.Protocol, AddressLimits(1, 1), lambda: None, lambda: None)
        with pytest.raises(OSError, match=r"(?i)address already in use"):
            other.listen(host, port)
        acceptor.close()
