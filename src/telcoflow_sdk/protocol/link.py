"""A link as both ends see it: whole messages, an end with a code, and what can go wrong.

Not here: links over sockets (`_asyncio/link.py`), what messages mean (`control.py`, `media.py`).
Implements docs/reference/wire.md, "Transport".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from telcoflow_sdk.protocol.codes import CloseCode


class LinkError(Exception):
    """The link could not be opened. The text is fit for logs."""


class LinkRefused(LinkError):
    """The server answered the upgrade request with something else than a WebSocket.

    Attributes:
        status: HTTP status.
        code: The `code` of a JSON body, or "".
    """

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"HTTP {status} {code}".rstrip())
        self.status = status
        self.code = code


class LinkUntrusted(LinkError):
    """The server refused our certificate in the TLS handshake; the text says why."""


class Link(Protocol):
    """An open link. Nothing waits but `wait_closed`."""

    @property
    def subprotocol(self) -> str | None:
        """What both ends agreed on in the handshake (RFC 6455 §1.9), or None."""

    def send_text(self, data: bytes) -> None:
        """Queue one text message of UTF-8; does nothing once closing."""

    def send_binary(self, data: bytes) -> None:
        """Queue one binary message; does nothing once closing."""

    def close(self, code: CloseCode = CloseCode.NORMAL) -> None:
        """Say goodbye after what was queued; cut the link if no answer comes. Idempotent."""

    def abort(self) -> None:
        """Cut the link at once. Idempotent."""

    async def wait_closed(self) -> None:
        """Return once the link is gone. Cancellation loses nothing."""


class LinkEvents(Protocol):
    """What a link tells its owner; called on the event loop, must not raise."""

    def link_opened(self, link: Link) -> None:
        """The upgrade is done; messages may be sent."""

    def text_received(self, data: bytes) -> None:
        """One whole text message arrived, as UTF-8."""

    def binary_received(self, data: bytes) -> None:
        """One whole binary message arrived."""

    def link_lost(self, code: int | None, reason: str) -> None:
        """The link is closed, by whomever; the last call.

        Args:
            code: The other end's close code, None when the link just broke.
            reason: The other end's words; may be anything.
        """


@runtime_checkable
class LinkOpener(Protocol):
    """An event loop with links of its own: one in virtual time, where sockets cannot be."""

    async def open_link(self, url: str, events: LinkEvents, headers: Mapping[str, str]) -> Link:
        """Open a link; raises `LinkError` and `LinkRefused` as links over sockets do."""
