from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from telcoflow_sdk.protocol.link import Link, LinkError, LinkEvents, LinkOpener, LinkRefused


@pytest.mark.parametrize(
    ("refused", "text"),
    [
        (LinkRefused(401, "UNAUTHORIZED"), "HTTP 401 UNAUTHORIZED"),
        (LinkRefused(502, ""), "HTTP 502"),
    ],
)
def test_refusal_says_what_the_server_said(refused: LinkRefused, text: str) -> None:
    assert str(refused) == text
    assert isinstance(refused, LinkError)


class LoopWithLinks:
    async def open_link(self, url: str, events: LinkEvents, headers: Mapping[str, str]) -> Link:
        raise LinkError(url)


async def test_only_a_loop_with_links_of_its_own_opens_them() -> None:
    assert isinstance(LoopWithLinks(), LinkOpener)
    assert not isinstance(asyncio.get_running_loop(), LinkOpener)
