"""The WebSocket itself, against a server that writes its own frames."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from telcoflow_sdk._asyncio.link import Link, LinkError, LinkRefused, open_link
from telcoflow_sdk.protocol.codec import MAX_MESSAGE_BYTES

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Ear:
    """Hears everything a link has to say."""

    def __init__(self, *, breaks_on: str = "") -> None:
        self.breaks_on = breaks_on
        self.received: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self.lost: asyncio.Future[tuple[int | None, str]] = (
            asyncio.get_running_loop().create_future()
        )

    def link_opened(self, link: Link) -> None:
        if self.breaks_on == "opened":
            raise LookupError("a mistake of the owner's")

    def text_received(self, data: bytes) -> None:
        self.received.put_nowait(("text", data))

    def binary_received(self, data: bytes) -> None:
        if self.breaks_on == "received":
            raise LookupError("a mistake of the owner's")
        self.received.put_nowait(("binary", data))

    def link_lost(self, code: int | None, reason: str) -> None:
        self.lost.set_result((code, reason))
        if self.breaks_on == "lost":
            raise LookupError("a mistake of the owner's")


@asynccontextmanager
async def served(script: Script) -> AsyncIterator[str]:
    """Serve one connection after another by `script`; give the address."""
    running: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            await script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def opened(url: str, ear: Ear) -> Link:
    return await open_link(
        url, ear, headers={"x-test": "1"}, ssl_context=None, read_buffer_bytes=4_096
    )


async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    request = await reader.readuntil(b"\r\n\r\n")
    key = next(
        line.split(b": ")[1]
        for line in request.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key")
    )
    guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key + guid, usedforsecurity=False).digest())
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    return request


def frame(kind: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    head = bytes((kind | 0x80 * fin,))
    if len(payload) < 126:
        return head + bytes((len(payload),)) + payload
    if len(payload) < 1 << 16:
        return head + b"\x7e" + struct.pack("!H", len(payload)) + payload
    return head + b"\x7f" + struct.pack("!Q", len(payload)) + payload


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first, second = await reader.readexactly(2)
    size = second & 0x7F
    if size == 126:
        (size,) = struct.unpack("!H", await reader.readexactly(2))
    mask = await reader.readexactly(4)
    payload = await reader.readexactly(size)
    return first & 0x0F, bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def sends(*frames: bytes) -> Script:
    """Upgrade, send these frames, then answer the client's close."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upgrade(reader, writer)
        writer.write(b"".join(frames))
        while True:
            kind, payload = await read_frame(reader)
            if kind == CLOSE:
                writer.write(frame(CLOSE, payload))
                return

    return script


def answers(response: bytes) -> Script:
    """Answer the upgrade request with these bytes."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response)
        await writer.drain()

    return script


async def close(link: Link) -> None:
    link.close()
    await link.wait_closed()


async def test_messages_arrive_whole_in_order_also_with_the_upgrade() -> None:
    async with served(sends(frame(TEXT, b"{}"), frame(BINARY, b"\0ab"), frame(TEXT, b"x"))) as url:
        ear = Ear()
        link = await opened(url, ear)

        received = [await ear.received.get() for _ in range(3)]

        assert received == [("text", b"{}"), ("binary", b"\0ab"), ("text", b"x")]
        await close(link)


async def test_fragments_are_put_together_with_other_frames_between_them() -> None:
    frames = (
        frame(BINARY, b"\0a", fin=False),
        frame(PING, b"still there?"),
        frame(CONTINUATION, b"b", fin=False),
        frame(CONTINUATION, b"c"),
        frame(TEXT, b"{", fin=False),
        frame(CONTINUATION, b"}"),
    )
    async with served(sends(*frames)) as url:
        ear = Ear()
        link = await opened(url, ear)

        assert await ear.received.get() == ("binary", b"\0abc")
        assert await ear.received.get() == ("text", b"{}")
        await close(link)


@pytest.mark.parametrize("size", [MAX_MESSAGE_BYTES, 2_000])
async def test_messages_up_to_the_limit_are_taken(size: int) -> None:
    async with served(sends(frame(BINARY, bytes(size)))) as url:
        ear = Ear()
        link = await opened(url, ear)

        assert await ear.received.get() == ("binary", bytes(size))
        await close(link)


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([frame(BINARY, bytes(MAX_MESSAGE_BYTES + 1))], 1009),
        (
            [
                frame(BINARY, bytes(MAX_MESSAGE_BYTES), fin=False),
                frame(CONTINUATION, b"x"),
            ],
            1009,
        ),
        ([frame(CONTINUATION, b"of nothing")], 1002),
        ([frame(TEXT, b"a", fin=False), frame(TEXT, b"b", fin=False)], 1002),
    ],
)
async def test_what_breaks_the_rules_closes_the_link_with_a_code(
    frames: list[bytes], code: int
) -> None:
    said: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upgrade(reader, writer)
        writer.write(b"".join(frames))
        said.put_nowait(await read_frame(reader))
        writer.write(frame(CLOSE, struct.pack("!H", code)))

    async with served(script) as url:
        ear = Ear()
        link = await opened(url, ear)

        kind, payload = await said.get()

        assert (kind, struct.unpack("!H", payload[:2])[0]) == (CLOSE, code)
        await link.wait_closed()
        await ear.lost


@pytest.mark.parametrize("breaks_on", ["opened", "received", "lost"])
async def test_mistake_of_the_owners_is_logged_and_closes_the_link(
    breaks_on: str, caplog: pytest.LogCaptureFixture
) -> None:
    closing = frame(CLOSE, struct.pack("!H", 1000)) if breaks_on == "lost" else b""
    async with served(sends(frame(BINARY, b"\0ab"), closing)) as url:
        ear = Ear(breaks_on=breaks_on)
        link = await opened(url, ear)

        await link.wait_closed()

        await ear.lost
        assert "a mistake of the owner's" in caplog.text


async def test_what_is_sent_arrives_masked_and_uncompressed() -> None:
    heard: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
    requests: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await upgrade(reader, writer))
        while True:
            heard.put_nowait(await read_frame(reader))

    async with served(script) as url:
        link = await opened(url, Ear())
        link.send_text(b"{}")
        link.send_binary(bytes(960))

        assert [await heard.get() for _ in range(2)] == [(TEXT, b"{}"), (BINARY, bytes(960))]
        assert b"x-test: 1" in requests[0]
        assert b"extensions" not in requests[0].lower()
        link.abort()
        await link.wait_closed()


async def test_close_of_the_servers_is_answered_and_reported_with_its_code() -> None:
    answered: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upgrade(reader, writer)
        writer.write(frame(CLOSE, struct.pack("!H", 4410) + b"the call ended"))
        answered.put_nowait(await read_frame(reader))

    async with served(script) as url:
        ear = Ear()
        await opened(url, ear)

        assert await ear.lost == (4410, "the call ended")
        assert (await answered.get())[0] == CLOSE


async def test_broken_socket_is_reported_without_a_code() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upgrade(reader, writer)
        await writer.drain()
        writer.transport.abort()

    async with served(script) as url:
        ear = Ear()
        link = await opened(url, ear)

        assert await ear.lost == (None, "")
        link.send_text(b"{}")
        link.send_binary(b"\0ab")
        link.close()
        link.abort()
        await link.wait_closed()


@pytest.mark.slow
async def test_server_that_does_not_answer_a_close_is_cut_off() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upgrade(reader, writer)
        await asyncio.Event().wait()

    async with served(script) as url:
        ear = Ear()
        link = await opened(url, ear)

        link.close()
        link.close()

        await link.wait_closed()
        assert await ear.lost == (None, "")


@pytest.mark.parametrize(
    ("response", "status", "code"),
    [
        (
            b'HTTP/1.1 401 Unauthorized\r\nContent-Length: 24\r\n\r\n{"code": "UNAUTHORIZED"}',
            401,
            "UNAUTHORIZED",
        ),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\nnot JSON", 503, ""),
        (b'HTTP/1.1 403 Forbidden\r\n\r\n{"code": "the key you sent: k"}', 403, ""),
        (b'HTTP/1.1 403 Forbidden\r\n\r\n{"code": 7}', 403, ""),
        (b"HTTP/1.1 426 Upgrade Required\r\n\r\n", 426, ""),
        (b"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:1/\r\n\r\n", 302, ""),
        (b"HTTP/1.1 200 OK\r\n\r\n", 200, ""),
    ],
)
async def test_refusal_carries_status_and_code(response: bytes, status: int, code: str) -> None:
    async with served(answers(response)) as url:
        with pytest.raises(LinkRefused) as caught:
            await opened(url, Ear())

        assert (caught.value.status, caught.value.code) == (status, code)


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: wrong\r\n\r\n"
        ),
        b"HTTP/1.1 101 Switching",
    ],
)
async def test_what_is_no_websocket_is_an_error(response: bytes) -> None:
    async with served(answers(response)) as url:
        with pytest.raises(LinkError):
            await opened(url, Ear())


@pytest.mark.parametrize("url", ["ws://nowhere.invalid/", "wss://127.0.0.1:1/"])
async def test_what_cannot_be_reached_is_an_error(url: str) -> None:
    with pytest.raises(LinkError):
        await opened(url, Ear())


async def test_clear_text_server_is_no_tls_server() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with served(script) as url:
        with pytest.raises(LinkError):
            await opened(url.replace("ws:", "wss:"), Ear())


async def test_cancelled_while_the_server_thinks_leaves_nothing() -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        assert await reader.read() == b""  # the client hangs up
        gone.set()

    async with served(script) as url:
        opening = asyncio.ensure_future(opened(url, Ear()))
        await asked.wait()

        opening.cancel()

        with pytest.raises(asyncio.CancelledError):
            await opening
        await gone.wait()
