"""Uploads that break off, stall or are garbled: a code for the sender, no traceback for us."""

from __future__ import annotations

import asyncio
import logging

import pytest

from telcoflow_server.api import upload
from telcoflow_server.app import Server
from tests.support.server import HEADERS

HEAD = (
    "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nContent-Type: {content}\r\n"
    + "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    + "\r\n"
)
FORM = ("/sandbox/v1/calls", "multipart/form-data; boundary=b")
JSON = ("/sandbox/v1/phones", "application/json")
BEGINNING = b'--b\r\nContent-Disposition: form-data; name="script"\r\n\r\n{"from'


async def send(
    server: Server, body: bytes, length: int, what: tuple[str, str] = FORM
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.control_port)
    writer.write(HEAD.format(path=what[0], length=length, content=what[1]).encode() + body)
    await writer.drain()
    return reader, writer


async def test_a_client_that_drops_its_upload_is_nobody_s_error(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        _, writer = await send(server, BEGINNING, 10_000)
        writer.close()
        await writer.wait_closed()
        reader, witness = await send(server, b"nonsense", 8)  # answered after the drop was seen
        await reader.readline()
        witness.close()
        await witness.wait_closed()

    assert caplog.text == ""


@pytest.mark.parametrize("what", [FORM, JSON], ids=["form", "json"])
async def test_an_upload_that_stalls_is_answered(
    server: Server, monkeypatch: pytest.MonkeyPatch, what: tuple[str, str]
) -> None:
    monkeypatch.setattr(upload, "UPLOAD_TIMEOUT_S", 0.1)
    reader, writer = await send(server, BEGINNING, 10_000, what)

    status = await reader.readline()
    answer = await reader.readuntil(b"}")
    writer.close()
    await writer.wait_closed()

    assert b" 408 " in status
    assert b"TIMEOUT" in answer


@pytest.mark.parametrize("body", [b"nonsense", b"--c\r\n\r\n", b"--b\r\nx", b"--b--\r\n"])
async def test_a_garbled_form_is_answered(server: Server, body: bytes) -> None:
    reader, writer = await send(server, body, len(body))

    status = await reader.readline()
    writer.close()
    await writer.wait_closed()

    assert b" 400 " in status
