"""Calls of every kind, and everything the server says about them: no number, key, token, sound.

Searched are logs at DEBUG in both formats and before the filter that is the last net, reports,
event streams, metrics, the overview, and every refusal.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import aiohttp
import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.asyncio.client import connect

from telcoflow_sdk import ActiveCall, TelcoflowClient, TelcoflowClientConfig, events
from telcoflow_sdk.exceptions import WSSCallCommandError
from telcoflow_server.app import Server
from telcoflow_server.logs import JsonFormatter, TextFormatter
from telcoflow_server.settings import AdminSettings, ConnectorSettings, ServerSettings, Settings
from tests.support.server import Caller, RawAgent, RawClient, control_url, http_url, noise

pytestmark = pytest.mark.slow

CALLER, CALLEE, CALLED = "+49301234567", "+442079460123", "+33140506070"
NUMBERS = (CALLER, CALLEE, CALLED)
KEY, WRONG_KEY, ADMIN_KEY = "k3y-of-the-front-desk", "wr0ng-k3y", "adm1n-key-of-this-server"
HEADERS = {"x-api-key": KEY, "x-connector-uuid": "desk"}
STRANGERS = "websockets"
"""What clumsy peers speak with logs every message of theirs; the server has no part in it."""

TOKEN = re.compile(r"eyJ[\w-]{8,}")

CALLER_SAYS, AGENT_SAYS = noise(12_000, 11), noise(12_000, 12)


def forms(sound: NDArray[np.int16]) -> Iterator[str]:
    """Yield some of a sound as it would look in a text, however it got there."""
    for start in range(0, len(sound) - 12, 480):
        piece = sound[start : start + 12]
        data = piece.tobytes()
        yield data.hex()
        yield repr(data)[2:-1]
        yield ", ".join(map(str, piece.tolist()[:4]))
        for shift in range(3):  # base64 looks different wherever a group begins
            yield base64.b64encode(data[shift : shift + 18]).decode()


class Said:
    """Everything that was said, by where."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self._logs = {
            "log before the filter": logging.Formatter("%(message)s %(args)s"),
            "text log": TextFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"),
            "JSON log": JsonFormatter(),
        }

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Keep the log, at DEBUG, of everybody in this process."""
        root = logging.getLogger()
        before = root.level
        root.setLevel(logging.DEBUG)
        streams = {name: io.StringIO() for name in self._logs}
        handlers = [logging.StreamHandler(stream) for stream in streams.values()]
        for handler, formatter in zip(handlers, self._logs.values(), strict=True):
            handler.setFormatter(formatter)
            handler.addFilter(lambda record: not record.name.startswith(STRANGERS))
            root.addHandler(handler)
        try:
            yield
        finally:
            root.setLevel(before)
            for handler in handlers:
                root.removeHandler(handler)
            for name, stream in streams.items():
                self.texts[name] = stream.getvalue()

    def leaks(self) -> list[tuple[str, str]]:
        """Return what should not have been said, and where."""
        needles = [number.lstrip("+") for number in NUMBERS]
        needles += [KEY, WRONG_KEY, ADMIN_KEY]
        needles += [*forms(CALLER_SAYS), *forms(AGENT_SAYS)]
        found = [
            (where, needle)
            for where, text in self.texts.items()
            for needle in needles
            if needle in text
        ]
        return found + [
            (where, match[0])
            for where, text in self.texts.items()
            for match in TOKEN.finditer(text)
        ]


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server(
        Settings(
            server=ServerSettings(port=0),
            connectors=(ConnectorSettings(connector_uuid="desk", api_key=KEY),),
            admin=AdminSettings(key=ADMIN_KEY),
        ),
        sandbox=True,
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def keep(said: Said, where: str, response: aiohttp.ClientResponse, status: int) -> None:
    said.texts[where] = f"{response.headers} {await response.text()}"
    assert response.status == status, said.texts[where]


async def keep_report(said: Said, caller: Caller, where: str) -> None:
    said.texts[where] = json.dumps(await caller.events())


async def dial(server: Server, http: aiohttp.ClientSession, **script: object) -> Caller:
    fields = {"from": CALLER, "to": CALLEE, "hang_up_after_ms": 600, **script}
    return await Caller(server, http, HEADERS).dial(CALLER_SAYS, **fields)


# --- what happens --------------------------------------------------------------------------


async def calls_of_an_agent(server: Server, http: aiohttp.ClientSession, said: Said) -> None:
    """Answer, connect to somebody, be refused, call somebody: with the SDK, which logs as well."""
    config = TelcoflowClientConfig.sandbox(
        api_key=KEY,
        connector_uuid="desk",
        base_url=f"ws://127.0.0.1:{server.control_port}",
        sample_rate=24_000,
    )
    async with TelcoflowClient(config) as client:

        @client.on(events.INCOMING_CALL)
        async def take(call: ActiveCall) -> None:
            await call.answer()
            await call.send_audio(AGENT_SAYS.tobytes())
            await call.connect()
            await call.whisper()
            await call.interrupt()

        callee = {"behaviour": "answer", "after_ms": 100}
        caller = await dial(server, http, callee=callee, hang_up_after_ms=1500)
        await keep_report(said, caller, "report of a connected call")
        called = await client.call(CALLED)
        await called.answer()
        await called.send_audio(AGENT_SAYS.tobytes())
        await called.disconnect()
        unreachable = await client.call("+" + CALLED[1:], ring_time_seconds=1)
        with pytest.raises(WSSCallCommandError):
            await unreachable.connect()
        await unreachable.disconnect()
        said.texts["objects"] = f"{client!r} {config!r} {called!r} {called.statistics()!r}"


async def a_call_with_a_clumsy_agent(
    server: Server, http: aiohttp.ClientSession, said: Said
) -> None:
    """Everything an agent can be refused, with secrets in the wrong places."""
    async with RawClient.joined(server, headers=HEADERS) as client:
        caller = await dial(server, http)
        call_in = await client.take_call()
        async with RawAgent.on(call_in) as agent:
            serving_task = asyncio.create_task(agent.serve())
            await agent.command("call.answer")
            await agent.command(f"call.{CALLER}", "x")
            await agent.command("call.answer", KEY)
            await agent.socket.send(json.dumps({"type": CALLEE, "data": call_in["token"]}))
            await agent.socket.send(b"\x09" + AGENT_SAYS.tobytes()[:960])
            await agent.socket.send(b"\x00" + np.tile(AGENT_SAYS, 4).tobytes()[:64_000])
            await keep_report(said, caller, "report of a clumsy call")
            await serving_task
        said.texts["errors to an agent"] = json.dumps(
            [m for m in agent.messages if m["data"].get("event") == "call.error"]
        )
        await client.say(type="session.open", sessionId=CALLER, reqId="r")
        await client.say(type=CALLER, data=KEY)
        said.texts["a refused session"] = json.dumps(await client.hear("response"))
    url = call_in["url"].replace("ws://", "http://")
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    for where, token, status in (
        ("ended call", call_in["token"], 410),
        ("forged token", call_in["token"][:-4] + "AAAA", 403),
        ("no token", "", 403),
    ):
        headers = upgrade | {"Authorization": f"Bearer {token}"}
        async with http.get(url, headers=headers) as response:
            await keep(said, where, response, status)


async def refused_requests(server: Server, http: aiohttp.ClientSession, said: Said) -> None:
    wrong = {"x-api-key": WRONG_KEY, "x-connector-uuid": "desk"}
    sessions = http_url(server, "/public/v1/sessions")
    async with http.get(sessions, headers=wrong) as response:
        await keep(said, "wrong key", response, 401)
    async with http.get(sessions, headers=HEADERS | {"x-connector-uuid": "other"}) as response:
        await keep(said, "another's key", response, 403)
    async with http.post(f"{sessions}/{CALLER}/close", headers=HEADERS) as response:
        await keep(said, "no such session", response, 404)
    async with http.get(http_url(server, f"/{KEY}/{CALLER}")) as response:
        await keep(said, "no such path", response, 404)
    for where, path, part, content in (
        ("bad script", "/sandbox/v1/calls", "script", {"from": CALLER, "plays": CALLEE}),
        ("bad phone", "/sandbox/v1/phones", "phone", {"number": f"{CALLER} or {CALLEE}"}),
    ):
        form = aiohttp.FormData()
        form.add_field(part, json.dumps(content), content_type="application/json")
        sound = io.BytesIO(CALLER_SAYS.tobytes())
        form.add_field("sound", sound, content_type="audio/wav")
        async with http.post(http_url(server, path), data=form, headers=HEADERS) as response:
            await keep(said, where, response, 400)
    proxied = {"X-Forwarded-For": "203.0.113.7", "Authorization": f"Bearer {WRONG_KEY}"}
    async with http.get(http_url(server, "/metrics"), headers=proxied) as response:
        await keep(said, "wrong admin key", response, 403)
    async with connect(control_url(server), additional_headers=HEADERS) as socket:
        await socket.send(json.dumps({"type": "setup", "data": {"sampleRate": CALLER}}))
        said.texts["bad setup"] = str(await socket.recv())


async def test_nothing_the_server_says_holds_a_number_key_token_or_sound() -> None:
    said = Said()
    async with said.listening(), serving() as server, aiohttp.ClientSession() as http:
        await calls_of_an_agent(server, http, said)
        await a_call_with_a_clumsy_agent(server, http, said)
        await refused_requests(server, http, said)
        for path in ("/metrics", "/admin/v1/calls", "/healthz", "/readyz"):
            async with http.get(http_url(server, path)) as response:
                await keep(said, path, response, 200)

    assert said.leaks() == []
    # All of it was said, or the search would prove nothing.
    assert "UNAUTHORIZED" in said.texts["/metrics"]
    for log in ("log before the filter", "text log", "JSON log"):
        assert said.texts[log].count(" ended: ") >= 3
        assert re.search(r"modes=\S*whisper@", said.texts[log])
    assert '"refusals":' in said.texts["JSON log"]


def test_the_search_finds_what_is_there() -> None:
    said = Said()
    said.texts = {
        "a number": f"tel:{CALLER}",
        "a token": "Bearer eyJhbGciOiJIUzI1NiJ9.x.y",
        "sound": base64.b64encode(AGENT_SAYS.tobytes()).decode(),
        "samples": str(CALLER_SAYS.tolist()),
        "bytes": repr(CALLER_SAYS.tobytes()),
    }

    assert {where for where, _ in said.leaks()} == set(said.texts)
