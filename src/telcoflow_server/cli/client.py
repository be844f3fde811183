"""A sandbox's simulated phones as the command line reaches them, over HTTP.

Not here: what is shown (`live.py`), the other end (`api/sandbox.py`, whose messages these are).
Implements the simulated phones of docs/reference/rest.md.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec

from telcoflow_server.api.sandbox import LiveLine
from telcoflow_server.api.script import ScriptRequest
from telcoflow_server.call.report import CallReport
from telcoflow_server.settings import SANDBOX_NAME

T = TypeVar("T")

ANSWER_TIMEOUT_S = 30.0
"""An upload of half an hour's speech is converted well within this."""


class SandboxError(Exception):
    """The sandbox is not there or says no; the text is for people."""


class _Problem(msgspec.Struct):
    code: str
    message: str


class _Placed(msgspec.Struct):
    call_id: str


class _Line(msgspec.Struct):
    """A line of a call's events: only the last one has a report, and nothing else."""

    report: CallReport | None = None


class AudioTimeline(msgspec.Struct, frozen=True):
    """Where an agent's audio was after each tick: at the server, heard of the utterance; the lead.

    All in milliseconds, one value for each tick.
    """

    queued_ms: list[float]
    said_ms: list[float]
    lead_ms: list[float]


class _ReportWithTimeline(msgspec.Struct):
    timeline: AudioTimeline


@dataclass(frozen=True, slots=True)
class Access:
    """Where a sandbox is and the keys it wants."""

    url: str
    api_key: str
    connector_uuid: str

    @classmethod
    def from_environment(cls, url: str, environment: Mapping[str, str]) -> Self:
        """Take the keys that agents take, or the sandbox's own."""
        return cls(
            url,
            environment.get("TELCOFLOW_API_KEY") or SANDBOX_NAME,
            environment.get("TELCOFLOW_CONNECTOR_UUID") or SANDBOX_NAME,
        )

    def __repr__(self) -> str:
        """Return the address alone: keys are not shown."""
        return f"Access({self.url!r})"


class Phones:
    """Places calls from simulated phones.

    Use it as an async context manager; every method raises `SandboxError` and nothing else.

    Raises:
        SandboxError: the address is not one of a sandbox (at construction).
    """

    def __init__(self, access: Access) -> None:
        try:
            parts = urlsplit(access.url)
            is_address = parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port that is none, brackets that do not close
            is_address = False
        if not is_address:
            raise SandboxError(f"{access.url!r} is no address such as ws://127.0.0.1:8080")
        self._access = access
        self._base = f"{'https' if parts.scheme == 'wss' else 'http'}://{parts.netloc}"
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the connection pool; nothing is sent yet."""
        self._http = aiohttp.ClientSession(
            self._base,
            headers={
                "x-api-key": self._access.api_key,
                "x-connector-uuid": self._access.connector_uuid,
            },
            # A call's events go on for as long as the call does.
            timeout=aiohttp.ClientTimeout(total=None, sock_read=ANSWER_TIMEOUT_S),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.close()

    async def place(self, script: ScriptRequest, sounds: Sequence[Path]) -> str:
        """Place a call and return its id."""
        form = aiohttp.FormData()
        form.add_field(
            "script", msgspec.json.encode(script).decode(), content_type="application/json"
        )
        for sound in sounds:
            try:
                data = sound.read_bytes()
            except OSError as error:
                raise SandboxError(f"{sound} cannot be read: {error.strerror}") from None
            form.add_field("sound", data, content_type="audio/wav", filename=sound.name)
        body = await self._request("POST", "/sandbox/v1/calls", form)
        return _decode(body, _Placed).call_id

    async def watch(self, call_id: str) -> AsyncGenerator[LiveLine | CallReport, None]:
        """Yield a line each 100 ms while the call runs, then its report."""
        path = f"/sandbox/v1/calls/{call_id}/events"
        try:
            async with self._session.get(path) as response:
                await self._check(response)
                pending = b""
                async for data in response.content.iter_any():
                    *lines, pending = (pending + data).split(b"\n")
                    for line in lines:
                        report = _decode(line, _Line).report
                        yield report if report is not None else _decode(line, LiveLine)
                        if report is not None:
                            return
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._gone(error) from None
        raise SandboxError("the sandbox went away during the call")

    async def hang_up(self, call_id: str) -> None:
        """Put the simulated phone down."""
        await self._request("POST", f"/sandbox/v1/calls/{call_id}/hang-up")

    async def recording(
        self, call_id: str, which: Literal["heard", "callee-heard", "call"]
    ) -> bytes:
        """Return a WAV file of an ended call: what a phone heard, or the stereo recording."""
        return await self._request("GET", f"/sandbox/v1/calls/{call_id}/{which}.wav")

    async def timeline(self, call_id: str) -> AudioTimeline:
        """Return where the agent's audio was in an ended call."""
        body = await self._request("GET", f"/sandbox/v1/calls/{call_id}?timeline=1")
        return _decode(body, _ReportWithTimeline).timeline

    @property
    def _session(self) -> aiohttp.ClientSession:
        assert self._http is not None, "used outside of `async with`"
        return self._http

    async def _request(self, method: str, path: str, form: aiohttp.FormData | None = None) -> bytes:
        try:
            async with self._session.request(method, path, data=form) as response:
                await self._check(response)
                return await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._gone(error) from None

    async def _check(self, response: aiohttp.ClientResponse) -> None:
        if response.status < 400:
            return
        try:
            problem = msgspec.json.decode(await response.read(), type=_Problem)
        except msgspec.DecodeError:
            text = f"{self._access.url} answers HTTP {response.status}: it is no sandbox"
        else:
            text = f"{problem.message} ({problem.code})"
        raise SandboxError(text)

    def _gone(self, error: Exception) -> SandboxError:
        if isinstance(error, aiohttp.ClientConnectorError):
            return SandboxError(
                f"no sandbox at {self._access.url}: start one with `telcoflow sandbox`"
            )
        return SandboxError(f"the sandbox at {self._access.url} went away")


def _decode(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise SandboxError(f"the sandbox's answer is not understood: {error}") from None
