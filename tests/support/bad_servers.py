"""Servers in virtual time that let a client connect, and then treat it badly."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

from telcoflow_sdk.protocol.link import Link, LinkError, LinkEvents, LinkRefused
from telcoflow_server.testing.memory import MemoryLink
from telcoflow_server.testing.virtual import LinkServer, VirtualLoop


class MuteServer:
    """Accepts links and says nothing.

    Attributes:
        links: All that were ever opened.
    """

    def __init__(self) -> None:
        self.links: list[MemoryLink] = []

    async def open_link(self, path: str, events: LinkEvents, headers: Mapping[str, str]) -> Link:
        """See `LinkServer`."""
        link = MemoryLink(asyncio.get_running_loop(), path)
        self.links.append(link)
        link.agent.attach(events)
        events.link_opened(link.agent)
        return link.agent


class DroppingServer(MuteServer):
    """Accepts links and cuts them at once."""

    async def open_link(self, path: str, events: LinkEvents, headers: Mapping[str, str]) -> Link:
        """See `LinkServer`."""
        link = await super().open_link(path, events, headers)
        asyncio.get_running_loop().call_soon(self.links[-1].cut)
        return link


class RefusingServer:
    """Answers every upgrade request with 401.

    Attributes:
        attempts: How many there were.
    """

    def __init__(self) -> None:
        self.attempts = 0

    async def open_link(self, path: str, events: LinkEvents, headers: Mapping[str, str]) -> Link:
        """See `LinkServer`."""
        self.attempts += 1
        raise LinkRefused(401, "UNAUTHORIZED")


class UnreachableServer:
    """Lets every connection fail.

    Attributes:
        attempts: How many there were.
    """

    def __init__(self) -> None:
        self.attempts = 0

    async def open_link(self, path: str, events: LinkEvents, headers: Mapping[str, str]) -> Link:
        """See `LinkServer`."""
        self.attempts += 1
        raise LinkError("connection refused")


@contextmanager
def in_place_of(base_url: str, server: LinkServer) -> Iterator[None]:
    """Let a server answer at an address; afterwards whoever did so before does again."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    address = urlsplit(base_url).netloc
    before = loop.servers.get(address)
    loop.servers[address] = server
    try:
        yield
    finally:
        if before is None:
            del loop.servers[address]
        else:
            loop.servers[address] = before
