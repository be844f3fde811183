"""Everything that can be set of real phones, with its default and its range.

Not here: where values come from (`loading.py`, `tables.py`), what is made of them
(`real_phones.py`). Implements "Real phones" of docs/reference/settings.md.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from telcoflow_server.call.placing import NUMBER
from telcoflow_server.settings_error import SettingsError, check_range, one_of
from telcoflow_server.sip.numbers import comparable

CODECS = ("opus", "G722", "PCMU", "PCMA", "L16")
"""What a trunk's `codecs` may name, best first."""

FIRST_FREE_PORT = 1024

_USER = re.compile(r"[A-Za-z0-9_.+*-]{1,64}")
_REALM = re.compile(r"[ !#-\[\]-~]{1,128}")  # printable, and nothing that a header must escape
_HASHES = {"ha1_md5": 32, "ha1_sha256": 64}


def _address(key: str, text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise SettingsError(key, f"must be an IPv4 or IPv6 address, not {text!r}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class SipSettings:
    """Where phones reach the server, and what they may."""

    port: int | None = None
    """UDP. None: no phones, and none of the rest is used. 0 takes a free one."""
    host: str = "127.0.0.1"
    """Address that SIP and RTP listen on; its family is the only one served."""
    advertised_host: str | None = None
    """Address by which phones reach us, where a NAT changes it. None: `host`."""
    realm: str = "telcoflow"
    """Part of every extension's password hash."""
    rtp_first_port: int = 16_384
    """RTP is received on even ports from here on, RTCP one above each."""
    rtp_last_port: int = 32_766
    """Up to here: below where Linux takes ports for outgoing connections from."""
    default_connector: str | None = None
    """Whose all numbers are that no `[[numbers]]` names. None: they are refused with 404."""
    default_trunk: str | None = None
    """By which calls leave of connectors that no trunk names. None: to registered phones only."""
    unauthenticated_calls: bool = False
    """Whether anybody on this machine may call without a password; on a loopback host only."""
    max_dialogs: int = 2000
    """More calls at once are refused with 503."""
    invites_per_second: float = 20.0
    """Of one address, five times as many as a burst; more are refused with 503. Not of trunks."""
    messages_per_second: float = 200.0
    """Likewise; more are not answered."""
    retry_after_s: int = 10
    """What a 503 asks the caller to wait."""
    min_expires_s: int = 60
    """A phone that registers for less is told so (423)."""
    max_expires_s: int = 3600
    """A phone that registers for more is given this."""

    def __post_init__(self) -> None:
        if self.port is not None:
            check_range("sip.port", self.port, 0, 65535)
        self._check_hosts()
        self._check_ports()
        if not _REALM.fullmatch(self.realm):
            raise SettingsError(
                "sip.realm", f"must be 1 to 128 letters without quotes, not {self.realm!r}"
            )
        check_range("sip.max_dialogs", self.max_dialogs, 1, 100_000)
        check_range("sip.invites_per_second", self.invites_per_second, 0.1, 100_000)
        check_range("sip.messages_per_second", self.messages_per_second, 1, 1_000_000)
        check_range("sip.retry_after_s", self.retry_after_s, 1, 3600)
        check_range("sip.min_expires_s", self.min_expires_s, 10, 3600)
        check_range("sip.max_expires_s", self.max_expires_s, 60, 86_400)
        if self.min_expires_s > self.max_expires_s:
            raise SettingsError(
                "sip.min_expires_s", f"is above max_expires_s, {self.max_expires_s}"
            )

    def _check_hosts(self) -> None:
        host = _address("sip.host", self.host)
        if self.advertised_host is not None:
            advertised = _address("sip.advertised_host", self.advertised_host)
            if advertised.is_unspecified or advertised.version != host.version:
                raise SettingsError(
                    "sip.advertised_host",
                    f"must be one IPv{host.version} address, as sip.host is, not "
                    f"{self.advertised_host!r}",
                )
        elif host.is_unspecified:
            raise SettingsError(
                "sip.host",
                f"is {self.host}, every address of this machine: sip.advertised_host must say "
                "which of them phones are to use",
            )
        if self.unauthenticated_calls and not host.is_loopback:
            raise SettingsError(
                "sip.unauthenticated_calls",
                f"is for a loopback sip.host only: other machines can reach {self.host}",
            )

    def _check_ports(self) -> None:
        first, last = self.rtp_first_port, self.rtp_last_port
        if first == last == 0:
            return
        check_range("sip.rtp_first_port", first, FIRST_FREE_PORT, 65534)
        check_range("sip.rtp_last_port", last, FIRST_FREE_PORT, 65535)
        if first % 2:
            raise SettingsError("sip.rtp_first_port", f"must be even, not {first}")
        if last <= first:
            raise SettingsError("sip.rtp_last_port", f"must be above rtp_first_port, {first}")

    @property
    def reached_at(self) -> str:
        """The address that phones are told."""
        return self.advertised_host or self.host


@dataclass(frozen=True, slots=True, kw_only=True)
class TrunkSettings:
    """A carrier, or another server, that calls come from and go to."""

    name: str
    host: str
    """Where requests go; a name is looked up."""
    port: int = 5060
    sources: tuple[str, ...] = ()
    """Addresses and networks its requests come from. (): `host`, if that is an address."""
    user: str = ""
    password: str | None = field(default=None, repr=False)
    registers: bool = False
    """Whether to register there as `user`."""
    expires_s: int = 600
    keep_alive_s: float = 30.0
    """How often it is asked with OPTIONS whether it is there; 0: never."""
    codecs: tuple[str, ...] = ()
    """Spoken over it, best first. (): all there are."""
    connectors: tuple[str, ...] = ()
    """Whose calls leave by it."""

    def __post_init__(self) -> None:
        if not self.name or not self.name.isprintable():
            raise SettingsError("trunks.name", f"must be a printable name, not {self.name!r}")
        if not self.host or " " in self.host:
            raise SettingsError("trunks.host", f"must be an address or a name, not {self.host!r}")
        check_range("trunks.port", self.port, 1, 65535)
        check_range("trunks.expires_s", self.expires_s, 60, 86_400)
        check_range("trunks.keep_alive_s", self.keep_alive_s, 0, 3600)
        for source in self.sources:
            try:
                ipaddress.ip_network(source, strict=False)
            except ValueError:
                raise SettingsError(
                    "trunks.sources",
                    f"must be addresses and networks such as 203.0.113.0/24, not {source!r}",
                ) from None
        for codec in self.codecs:
            if codec.lower() not in {known.lower() for known in CODECS}:
                raise SettingsError("trunks.codecs", f"must be of {one_of(CODECS)}, not {codec!r}")
        if self.registers and (not self.user or self.password is None):
            raise SettingsError("trunks.registers", "needs a user and a password")
        if self.password is not None and not self.user:
            raise SettingsError("trunks.user", "must be set: the password is its")

    @property
    def allowed_sources(self) -> tuple[str, ...]:
        """Whose requests are the trunk's. (): nobody's, it is for calls out only."""
        if self.sources:
            return self.sources
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return ()  # what a name is looked up to today, it need not be tomorrow
        return (self.host,)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtensionSettings:
    """A softphone's account; `telcoflow sip-password` makes the hashes."""

    user: str
    """Its name, which is also the number it is called by."""
    ha1_md5: str | None = field(default=None, repr=False)
    ha1_sha256: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not _USER.fullmatch(self.user):
            raise SettingsError(
                "extensions.user", f"must be letters, digits and any of _.+*-, not {self.user!r}"
            )
        for name, digits in _HASHES.items():
            given = getattr(self, name)
            if given is not None and not re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", given):
                raise SettingsError(
                    f"extensions.{name}",
                    f"must be {digits} hexadecimal digits, as `telcoflow sip-password` prints them",
                )
        if self.ha1_md5 is None and self.ha1_sha256 is None:
            raise SettingsError(
                "extensions.user",
                f"{self.user!r} needs {one_of(tuple(_HASHES))}: `telcoflow sip-password "
                f"{self.user}` makes them",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberSettings:
    """A number, and the connector whose agents are offered its calls."""

    number: str
    connector: str

    def __post_init__(self) -> None:
        # The number is not shown: it may be somebody's.
        if not NUMBER.fullmatch(comparable(self.number)):
            raise SettingsError(
                "numbers.number", "must be digits, perhaps with a +, or a SIP address"
            )
        if not self.connector:
            raise SettingsError("numbers.connector", "must not be empty")


def check_together(
    sip: SipSettings,
    trunks: Collection[TrunkSettings],
    extensions: Collection[ExtensionSettings],
    numbers: Collection[NumberSettings],
    connectors: Collection[str],
) -> None:
    """Raise `SettingsError` where one part of the settings does not fit another.

    Args:
        connectors: Those there are; empty: not known, because their keys are in a key file, or
            because a sandbox makes its own.
    """
    _check_unique("trunks", "name", (trunk.name for trunk in trunks))
    _check_unique("extensions", "user", (extension.user for extension in extensions))
    _check_unique("numbers", None, (comparable(one.number) for one in numbers))
    _check_unique("trunks", "connector", (name for trunk in trunks for name in trunk.connectors))
    names = {trunk.name for trunk in trunks}
    if sip.default_trunk is not None and sip.default_trunk not in names:
        raise SettingsError("sip.default_trunk", f"is no trunk's name: {sip.default_trunk!r}")
    wanted = [
        (
            "sip.default_connector",
            () if sip.default_connector is None else (sip.default_connector,),
        ),
        ("trunks", tuple(name for trunk in trunks for name in trunk.connectors)),
        ("numbers", tuple(one.connector for one in numbers)),
    ]
    for key, given in wanted:
        for name in given:
            if connectors and name not in connectors:
                raise SettingsError(key, f"names {name!r}, and there is no such connector")


def _check_unique(key: str, what: str | None, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            # A number is not shown: it may be somebody's.
            raise SettingsError(
                key, "have a number twice" if what is None else f"have {what} {name!r} twice"
            )
        seen.add(name)
