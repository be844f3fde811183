"""The metrics that are documented are those a server has, with their types and labels."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_server.api.budget import MALFORMED_MESSAGES_ALLOWED
from telcoflow_server.app import Server
from telcoflow_server.settings import ConnectorSettings, ServerSettings, Settings
from telcoflow_server.sip_settings import SipSettings, TrunkSettings
from tests.support.exchange import MemoryPhone, Node
from tests.support.pages import REFERENCE, blocks, prose, quoted, table
from tests.support.server import CONNECTOR, HEADERS, KEY, control_url, http_url

METRICS = REFERENCE / "metrics.md"


@asynccontextmanager
async def phone_server() -> AsyncIterator[Server]:
    """Run a server with all that is counted: a trunk, too, which is not there."""
    settings = Settings(
        server=ServerSettings(port=0),
        connectors=(ConnectorSettings(connector_uuid=CONNECTOR, api_key=KEY),),
        sip=SipSettings(port=0, rtp_first_port=0, rtp_last_port=0),
        trunks=(TrunkSettings(name="carrier", host="127.0.0.1", port=9, keep_alive_s=0),),
    )
    server = Server(settings)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.mark.slow
async def test_metrics_are_all_listed() -> None:
    async with phone_server() as server, aiohttp.ClientSession() as http:
        async with connect(control_url(server), additional_headers=HEADERS) as socket:
            for _ in range(MALFORMED_MESSAGES_ALLOWED + 1):  # refused, and then closed
                await socket.send("nonsense")
            with pytest.raises(ConnectionClosed):
                async for _ in socket:
                    pass
        async with http.get(http_url(server, "/metrics")) as response:
            families = list(text_string_to_metric_families(await response.text()))

    measured = {
        family.name + "_total" * (family.type == "counter"): (
            family.type,
            {label for sample in family.samples for label in sample.labels} - {"le"},
        )
        for family in families
    }
    listed = {
        quoted(name)[0]: (kind, set(quoted(labels)))
        for name, kind, labels, _ in table(METRICS, "Metrics")
    }
    assert listed == measured


def test_metrics_to_watch_exist() -> None:
    listed = {quoted(row[0])[0] for row in table(METRICS, "Metrics")}
    named = set(re.findall(r"\btelcoflow_\w+", prose(METRICS)))

    assert named <= listed


def test_the_line_of_a_call_has_the_fields_that_are_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    node = Node()
    caplog.set_level(logging.INFO, "telcoflow_server")
    call, agent = node.answered_call(MemoryPhone())
    agent.command("call.nonsense")
    call.end(EndReason.CALLER_HUNG_UP)

    [shown] = [block.text for block in blocks("text") if block.page == METRICS]
    line = caplog.records[-1].getMessage()
    fields = [re.findall(r"(\w+)=", text) for text in (shown, line)]
    # The call of the page has a gap and nothing refused; this one has it the other way round.
    assert [name for name in fields[0] if name != "gap_causes"] == [
        name for name in fields[1] if name != "refusals"
    ]
