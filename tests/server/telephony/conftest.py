"""Offices that are empty when their test ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from telcoflow_server.codec.table import Codec
from telcoflow_server.sip.accounts import EdgeSettings
from tests.support.office import G711, OPEN, Office, descriptors

OpenOffice = Callable[..., Awaitable[Office]]


@pytest.fixture
async def open_office() -> AsyncIterator[OpenOffice]:
    """Make an office with settings of a test's own."""
    before = descriptors()
    async with AsyncExitStack() as stack:

        async def begin(
            settings: EdgeSettings = OPEN, codecs: tuple[Codec, ...] = G711, **more: Any
        ) -> Office:
            office = Office(settings, codecs, **more)
            await office.start()
            stack.push_async_callback(office.stop)
            return office

        yield begin
    assert descriptors() == before


@pytest.fixture
async def office(open_office: OpenOffice) -> Office:
    """An office that anybody may call."""
    return await open_office()
