"""`telcoflow drain`: ask a server to finish its calls and end.

Not here: the other end (`api/admin.py`). Implements docs/reference/cli.md.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from urllib.parse import urlsplit

import aiohttp
import msgspec

from telcoflow_server.cli.run import run
from telcoflow_server.settings import SANDBOX_NAME

ANSWER_TIMEOUT_S = 10.0


class _Answer(msgspec.Struct):
    """Either what was done, or what was wrong."""

    calls: int = 0
    message: str = ""
    code: str = ""


def drain(url: str, environment: Mapping[str, str]) -> int:
    """Ask the server at `url`; return the exit code."""
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.netloc:
        print(f"telcoflow: {url!r} is no address such as ws://127.0.0.1:8080", file=sys.stderr)
        return 1
    base = f"{'https' if parts.scheme == 'wss' else 'http'}://{parts.netloc}"
    try:
        status, answer = run(_post(base, environment.get("TELCOFLOW_ADMIN_KEY") or SANDBOX_NAME))
    except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
        reason = str(error) if isinstance(error, aiohttp.ClientConnectorError) else "no such answer"
        print(f"telcoflow: no telcoflow server at {url}: {reason}", file=sys.stderr)
        return 1
    if status != 202:
        hint = "; set TELCOFLOW_ADMIN_KEY to its admin.key" if status == 401 else ""
        print(f"telcoflow: {answer.message} ({answer.code}){hint}", file=sys.stderr)
        return 1
    print(f"draining: {answer.calls} calls to end")
    return 0


async def _post(base: str, key: str) -> tuple[int, _Answer]:
    timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
    async with (
        aiohttp.ClientSession(
            base, headers={"Authorization": f"Bearer {key}"}, timeout=timeout
        ) as http,
        http.post("/admin/v1/drain", allow_redirects=False) as response,
    ):
        return response.status, msgspec.json.decode(await response.read(), type=_Answer)
