"""A sandbox for each test, and an HTTP client."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from telcoflow_server.app import Server
from tests.support.server import sandbox


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with sandbox() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session
