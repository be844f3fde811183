"""Asking a server for its health, and what else may answer on its port."""

from __future__ import annotations

import asyncio

import pytest

from telcoflow_server.cli import node
from telcoflow_server.cli.node import Node, NodeError


async def test_a_port_on_which_nobody_answers_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(node, "ANSWER_TIMEOUT_S", 0.05)
    asked = asyncio.Event()

    async def hear_and_say_nothing(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        asked.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hear_and_say_nothing, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        async with Node(f"ws://127.0.0.1:{port}", None) as client:
            with pytest.raises(NodeError, match="does not answer as a server does"):
                await client.check_health()

    assert asked.is_set()
