"""What the SIP process is set up with: phones, trunks, limits.

Not here: where it is configured (`settings.py` of the server).
"""

from __future__ import annotations

import ipaddress
from typing import Any

import msgspec


class Private(msgspec.Struct, frozen=True):
    """A number, a secret or a body: passed on, and never seen in a log line."""

    value: str

    def __repr__(self) -> str:
        """Return no more than that there is something."""
        return "<hidden>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Say the same to rich."""
        return []

    def __str__(self) -> str:
        """Return what `repr` does."""
        return "<hidden>"


class Extension(msgspec.Struct, frozen=True, kw_only=True):
    """A softphone's account.

    Attributes:
        user: Its name, which is also the number it is called by.
        ha1_md5: Hexadecimal MD5 of `user:realm:password`; None: that algorithm is not offered.
        ha1_sha256: The same with SHA-256. Some phones fail when both are offered.
    """

    user: str
    ha1_md5: Private | None = None
    ha1_sha256: Private | None = None


class Trunk(msgspec.Struct, frozen=True, kw_only=True):
    """A carrier, or another server, that calls come from and go to.

    Attributes:
        name: Ours for it; stands in log lines.
        host: Where requests go; a name is looked up.
        sources: Addresses and networks its requests come from, in CIDR; they are not challenged,
            and their P-Asserted-Identity is believed.
        user: The account; empty: none.
        registers: Whether to register there.
        expires_s: Asked for when registering.
        keep_alive_s: How often it is asked with OPTIONS whether it is there; 0: never.
    """

    name: str
    host: str
    port: int = 5060
    sources: tuple[str, ...] = ()
    user: str = ""
    password: Private | None = None
    registers: bool = False
    expires_s: int = 600
    keep_alive_s: float = 30.0

    def __post_init__(self) -> None:
        """Raise `ValueError` for a source that is no address and no network."""
        for source in self.sources:
            ipaddress.ip_network(source, strict=False)


class EdgeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the SIP process needs to know.

    Attributes:
        host: Address to listen on, no name; its family is the only one served.
        port: 0: any.
        advertised_host: How others reach us; empty: `host`, which must then be no wildcard.
        realm: Of passwords; part of each HA1.
        numbers: What may be called from outside, besides extensions; others are answered 404.
            None: everything, and who is told of a call refuses it.
        max_dialogs: Beyond it, calls are answered 503.
        invites_per_second: Of one address, with bursts of five times as many; beyond it, 503.
        messages_per_second: Likewise; beyond it, nothing is answered. Trunks have neither limit.
        retry_after_s: What a 503 asks for.
        min_expires_s: Registrations for less are answered 423.
        max_expires_s: Registrations for more are cut to it.
        unauthenticated_calls: Whether strangers may call; for a sandbox on a loopback address.
    """

    host: str = "127.0.0.1"
    port: int = 5060
    advertised_host: str = ""
    realm: str = "telcoflow"
    extensions: tuple[Extension, ...] = ()
    trunks: tuple[Trunk, ...] = ()
    numbers: tuple[str, ...] | None = None
    max_dialogs: int = 2000
    invites_per_second: float = 20.0
    messages_per_second: float = 200.0
    retry_after_s: int = 10
    min_expires_s: int = 60
    max_expires_s: int = 3600
    unauthenticated_calls: bool = False

    def __post_init__(self) -> None:
        """Raise `ValueError` where others could not reach us."""
        if not self.advertised_host and ipaddress.ip_address(self.host).is_unspecified:
            raise ValueError(f"listening on {self.host} needs an advertised_host")
