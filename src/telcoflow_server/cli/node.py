"""A running server as its operator reaches it, over HTTP.

Not here: what is shown (`top.py`, `doctor.py`), the other end (`api/overview.py`, whose messages
these are). Implements "Seeing it" of docs/reference/rest.md.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import msgspec

from telcoflow_server.api.overview import Overview

ANSWER_TIMEOUT_S = 5.0


class NodeError(Exception):
    """The server is not there or says no; the text is for people."""


class _Problem(msgspec.Struct):
    code: str
    message: str


class Node:
    """Asks one server.

    Use it as an async context manager; every method raises `NodeError` and nothing else.

    Args:
        url: As agents have it, such as ws://127.0.0.1:8080.
        admin_key: For a server on another machine. None: there is none to show.

    Raises:
        NodeError: the address is not one of a server (at construction).
    """

    def __init__(self, url: str, admin_key: str | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("ws", "wss") or not parts.netloc:
            raise NodeError(f"{url!r} is no address such as ws://127.0.0.1:8080")
        self._url = url
        self._base = f"{'https' if parts.scheme == 'wss' else 'http'}://{parts.netloc}"
        self._headers = {"Authorization": f"Bearer {admin_key}"} if admin_key else {}
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the connection pool; nothing is sent yet."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
        self._http = aiohttp.ClientSession(self._base, timeout=timeout)
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

    async def check_health(self) -> None:
        """Return if the server answers. No key is shown, so it may be anybody."""
        await self._get("/healthz", ssl=False)

    async def overview(self) -> Overview:
        """Return the server's calls as they are now."""
        body = await self._get("/admin/v1/calls", headers=self._headers)
        try:
            return msgspec.json.decode(body, type=Overview)
        except msgspec.DecodeError as error:
            raise NodeError(f"the answer of {self._url} is not understood: {error}") from None

    async def _get(self, path: str, **how: Any) -> bytes:
        assert self._http is not None, "used outside of `async with`"
        try:
            async with self._http.get(path, **how) as response:
                body = await response.read()
        except aiohttp.ClientConnectorCertificateError:
            raise NodeError(f"the certificate of {self._url} is not trusted here") from None
        except aiohttp.ClientConnectorError:
            raise NodeError(f"no server at {self._url}") from None
        except (aiohttp.ClientError, TimeoutError):
            raise NodeError(f"{self._url} does not answer as a server does") from None
        if response.status < 400:
            return body
        try:
            problem = msgspec.json.decode(body, type=_Problem)
        except msgspec.DecodeError:
            text = f"{self._url} answers HTTP {response.status}: it is no such server"
        else:
            text = f"{problem.message} ({problem.code})"
        raise NodeError(text)
