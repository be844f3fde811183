"""Nobody's number, no key and no token in anything that a whole call prints, at any level.

Not here: the filter that is the last net (`tests/server/test_logs.py`).
"""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from telcoflow_server import speech
from tests.support.commands import ROOT, running, sandbox, telcoflow_finished

CALLER, CALLEE, KEY = "+49301234567", "+442079460123", "k3y-of-the-front-desk"
TOKEN = re.compile(r"eyJ[\w-]{8,}")

CHATTY_ECHO = f"""
import logging, runpy
logging.basicConfig(level=logging.DEBUG)
runpy.run_path({str(ROOT / "examples" / "echo.py")!r}, run_name="__main__")
"""


@pytest.mark.slow
async def test_a_whole_call_prints_no_number_key_or_token(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[[connectors]]\nconnector_uuid = "desk"\napi_key = "{KEY}"\n')
    keys = {"TELCOFLOW_API_KEY": KEY, "TELCOFLOW_CONNECTOR_UUID": "desk"}
    call = ("--from", CALLER, "--to", CALLEE, "--play", speech.GOODBYE, "--hang-up-after", "1")

    async with sandbox("--config", config, "--log-level", "debug") as server:
        agent_variables = {**keys, "TELCOFLOW_BASE_URL": server.url}
        async with running("-c", CHATTY_ECHO, variables=agent_variables) as agent:
            caller = await telcoflow_finished("call", "--url", server.url, *call, variables=keys)
            agent.signal(signal.SIGINT)
            agent_said = await agent.finished()
        server.running.signal(signal.SIGTERM)
        server_said = await server.running.finished()

    assert caller.exit_code == 0, caller.stderr
    printed = "".join(said.stdout + said.stderr for said in (caller, agent_said, server_said))
    assert "joined connector desk" in printed
    assert "DEBUG" in agent_said.stderr
    for secret in (CALLER, CALLEE, KEY):
        assert secret.lstrip("+") not in printed
    assert not TOKEN.search(printed)
